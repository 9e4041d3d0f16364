"""Number of samples at which the test loss of a linear denoiser is a multiple of the best."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.images.patches import generator
from learning_dynamics.tracking import track
from learning_dynamics.validation import between, finite_array, increasing_integers, reject
from linear_diffusion import theory

__all__ = ["Doubling", "measure_doubling", "population_loss", "predict_doubling"]

Array = NDArray[np.float64]
DOUBLE = 2.0
MOST = 10**6  # samples up to which the theory is searched
TOGETHER = 50  # sizes in one call


class Doubling(NamedTuple):
    """Number of samples at which the test loss is twice the best, read off subsamples."""

    samples: float  #: N; the largest size where it is more, the smallest where it is less
    error: float  #: standard error over subsamples
    reached: str  #: "between", "above" the largest size or "below" the smallest one


def predict_doubling(spectrum: ArrayLike, alpha_bar: float) -> int | None:
    """Largest N at which the predicted test loss without ridge is at least twice the best.

        R_test(N) >= 2 R*,   R* the loss at N = infinity

    Args:
        spectrum: eigenvalues of the covariance, shape (d,), largest first.
        alpha_bar: noise level in (0, 1).

    Returns:
        N; None where already two samples give less.

    Equation: :eq:`eq:linear-losses`.
    """
    best = float(theory.bayes_loss(spectrum, alpha_bar).values)
    low, high = 2, MOST
    while True:
        sizes = np.unique(np.rint(np.geomspace(low, high, TOGETHER)).astype(np.int64))
        test = theory.losses(spectrum, sizes, 0.0, alpha_bar).test.values
        above = np.flatnonzero(test >= DOUBLE * best)
        if not above.size:
            return None
        last = int(above[-1])
        low = int(sizes[last])
        if last == sizes.size - 1:
            return low
        high = int(sizes[last + 1])
        if high - low <= 1:
            return low


def population_loss(data: ArrayLike, spectrum: ArrayLike, alpha_bar: float) -> float:
    """Test loss per direction of the optimal linear denoiser of one data set, without ridge.

        R = 1 - (2/d) sqrt(b) tr W + (1/d) tr W^2 (a (Sigma + delta delta') + b),
        W = sqrt(b) (a Sigma_hat + b)^-1,   a = alpha_bar, b = 1 - a,

    from the min(N, d) directions in which the data vary; W = 1 / sqrt(b) in all others.

    Args:
        data: rows in the eigenbasis of the population covariance, less the population mean, shape
            (N, d).
        spectrum: eigenvalues of the population covariance, shape (d,).
        alpha_bar: noise level in (0, 1).

    Raises:
        ValueError: on fewer than two rows, or another dimension than that of the spectrum.

    Equation: :eq:`eq:linear-losses`.
    """
    a = between("alpha_bar", alpha_bar, 0, 1)
    rows, s = finite_array("data", data, ndim=2), finite_array("spectrum", spectrum, ndim=1)
    if len(rows) < 2 or rows.shape[1] != s.size:
        raise reject("data", f"hold at least two rows of {s.size}", f"shape {rows.shape}")
    (n, d), b = rows.shape, 1 - a
    shift = rows.mean(axis=0)
    centred = (rows - shift) / np.sqrt(n)
    if n > d:
        variance, vectors = np.linalg.eigh(centred.T @ centred)
    else:
        gram, left = np.linalg.eigh(centred @ centred.T)
        kept = gram > 1e-12 * max(gram[-1], 1e-300)
        variance = gram[kept]
        vectors = centred.T @ (left[:, kept] / np.sqrt(variance))
    along = vectors.T**2 @ s + (vectors.T @ shift) ** 2
    rest = s.sum() + shift @ shift - along.sum()  # of the directions in which the data do not vary
    w, flat = np.sqrt(b) / (a * variance + b), 1 / np.sqrt(b)
    spare = d - variance.size
    trace = w.sum() + spare * flat
    square = (w**2 * (a * along + b)).sum() + flat**2 * (a * rest + b * spare)
    return float(1 + (square - 2 * np.sqrt(b) * trace) / d)


def measure_doubling(
    rows: ArrayLike,
    spectrum: ArrayLike,
    sizes: ArrayLike,
    alpha_bar: float,
    *,
    replicas: int,
    key: jax.Array,
) -> Doubling:
    """Number of samples at which the mean test loss of subsamples is twice the best.

    Subsamples are drawn with replacement, and the covariance of all rows is that of the
    population. The last crossing of the mean curve, linear in log loss against log N; its error is
    a jackknife over subsamples.

    Args:
        rows: coordinates in the eigenbasis of their covariance, less their mean, shape (n, d).
        spectrum: its eigenvalues, shape (d,).
        sizes: numbers of rows of the subsamples, increasing, at least two each.
        alpha_bar: noise level in (0, 1).
        replicas: subsamples of each size, at least two.
        key: typed random key.

    Raises:
        ValueError: on sizes below two or that do not increase, or fewer than two replicas.
    """
    data = finite_array("rows", rows, ndim=2)
    N = increasing_integers("sizes", sizes)
    draws = generator(key)
    best = DOUBLE * float(theory.bayes_loss(spectrum, alpha_bar).values)
    curves = np.array([
        [population_loss(data[draws.integers(len(data), size=n)], spectrum, alpha_bar) for n in N]
        for _ in track(range(replicas), "test loss of subsamples")
    ])  # fmt: skip
    logs = np.log(N)

    def crossing(curve: Array) -> Array:
        """Logarithm of N; the end of the sizes that is nearest where there is no crossing."""
        excess = np.log(curve / best)
        above = np.flatnonzero(excess >= 0)
        if not above.size:
            return logs[:1]
        at = int(above[-1])
        if at == N.size - 1:
            return logs[-1:]
        share = excess[at] / (excess[at] - excess[at + 1])
        return np.asarray(logs[at] + share * (logs[at + 1] - logs[at]))[None]

    mean = curves.mean(axis=0)
    if mean[-1] >= best:
        return Doubling(float(N[-1]), 0.0, "above")
    if not np.any(mean >= best):
        return Doubling(float(N[0]), 0.0, "below")
    found = jackknife(curves, crossing, {"quantity": np.array(["log N"])})
    samples = float(np.exp(found.values[0]))
    return Doubling(samples, samples * float(found.standard_error[0]), "between")
