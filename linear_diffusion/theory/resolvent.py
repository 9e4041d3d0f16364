"""Deterministic equivalent of a sample covariance: one implicit ridge for every trace.

Notation of this package. Sigma (eigenvalues s_i, "spectrum") is the population covariance,
Sigma_hat the maximum-likelihood covariance of N samples ("samples") with n degrees of freedom:
n = N - 1 when the mean is estimated, n = N when it is known. With a total ridge lam > 0,

    kappa (n - df_1(kappa)) = N lam,      df_1(kappa) = tr Sigma (Sigma + kappa)^-1,
    (Sigma_hat + lam)^-1  is equivalent to  (kappa / lam) (Sigma + kappa)^-1,

up to relative corrections of order 1/N in its traces. Derived here from the Marchenko-Pastur
equation for general spectra; the trace formulas are written for any n and N, which keeps the
exact 1/N shift of an estimated mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import (
    finite_array,
    integers,
    non_negative,
    reject,
    spectrum_array,
)

__all__ = [
    "Equivalent",
    "Grid",
    "equivalent",
    "evaluate",
    "implicit_ridge",
    "make_grid",
    "power_law_kappa",
    "total",
]

Array = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)
CHUNK = 1 << 21  # grid points times eigenvalues held at once


class Grid(NamedTuple):
    """Checked and broadcast arguments of a theory function."""

    spectrum: Array  #: (d,), largest first
    samples: Array  #: N, grid shape
    freedom: Array  #: n = N - 1 or N, grid shape
    others: tuple[Array, ...]  #: ridge, noise ratio, ...: each of grid shape


def make_grid(
    spectrum: ArrayLike, samples: ArrayLike, mean_known: bool, /, **others: ArrayLike
) -> Grid:
    """Check the arguments shared by all theory functions and broadcast them to one grid.

    Raises:
        ValueError: on a bad spectrum, samples < 2, or a negative argument among `others`.
    """
    s = spectrum_array("spectrum", spectrum)
    N = integers("samples", samples, least=2).astype(np.float64)
    checked = [non_negative(name, value) for name, value in others.items()]
    N, *checked = np.broadcast_arrays(N, *checked)
    return Grid(s, N, N if mean_known else N - 1, tuple(checked))


def _newton(s: Array, n: Array, target: Array) -> tuple[Array, Array]:
    """Largest root of g(k) = k (n - df_1(k)) - target and a bound on its error, flat grids.

    g is convex, so that Newton's iteration from a point right of the root falls monotonically.
    """
    kappa = (target + s.sum()) / n
    exact_zero = (target == 0) & (n >= s.size)
    kappa = np.where(exact_zero, 0.0, kappa)
    for _ in range(200):
        ratio = s / (s + kappa[:, None])
        df1, df2 = ratio.sum(axis=1), (ratio**2).sum(axis=1)
        slope = np.where(exact_zero, 1.0, n - df2)
        step = np.where(exact_zero, 0.0, (kappa * (n - df1) - target) / slope)
        kappa = np.maximum(kappa - step, 0.0)
        if np.all(np.abs(step) <= 4 * EPSILON * kappa):
            break
    rounding = EPSILON * (kappa * (n + df1 * np.sqrt(s.size)) + target) / slope
    return kappa, np.where(exact_zero, 0.0, np.abs(step) + 4 * rounding)


class Equivalent(NamedTuple):
    """Solution of the fixed-point equation on a grid."""

    kappa: Array  #: grid shape
    error: Array  #: grid shape, bound on the error of kappa

    def __repr__(self) -> str:
        return short_text.represent(self)


def equivalent(s: Array, n: Array, target: Array) -> Equivalent:
    """Solve kappa (n - df_1(kappa)) = target for arrays n, target of any equal shape.

    Equation: :eq:`eq:linear-kappa`.
    """
    flat_n, flat_target = np.ravel(n), np.ravel(target)
    size = max(1, CHUNK // s.size)
    parts = [
        _newton(s, flat_n[i : i + size], flat_target[i : i + size])
        for i in range(0, flat_n.size, size)
    ]
    kappa, error = (
        np.concatenate(column).reshape(np.shape(n)) for column in zip(*parts, strict=True)
    )
    return Equivalent(kappa, error)


def implicit_ridge(
    spectrum: ArrayLike, samples: ArrayLike, ridge: ArrayLike, *, mean_known: bool = False
) -> Prediction:
    """Implicit ridge kappa, the largest root of kappa (n - df_1(kappa)) = samples * ridge.

    For ridge -> 0 it tends to zero when n >= d and to kappa_0 with df_1(kappa_0) = n below,
    where n * kappa_0 is the variance outside the span of the data (to leading order).

    Args:
        spectrum: eigenvalues of the population covariance, shape (d,), largest first.
        samples: N, any shape.
        ridge: total constant added to the sample covariance, broadcast against `samples`.
        mean_known: n = samples if true, else n = samples - 1.

    Raises:
        ValueError: samples < 2, negative ridge, non-positive or unsorted spectrum.

    Equations: :eq:`eq:linear-kappa`, :eq:`eq:linear-equivalent`, :eq:`eq:linear-cavity`.

    Source: derived here (module docstring).
    """
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    solution = equivalent(grid.spectrum, grid.freedom, grid.samples * grid.others[0])
    return Prediction(solution.kappa, solution.error)


def power_law_kappa(
    amplitude: float, exponent: float, samples: ArrayLike, *, mean_known: bool = False
) -> Prediction:
    """Implicit ridge left at ridge 0 by few samples of power-law data, lambda_nu = A nu^-k, k > 1.

        kappa_0 = A [ pi / (k sin(pi/k) (n + 1/2)) ]^k      for 1 << n << d

    n kappa_0 is the variance outside the span of the data: a steep hierarchy of variances leaves
    little of it, which is how it prevents overfitting below N = d.

    Args:
        amplitude: A, the largest eigenvalue.
        exponent: k > 1.
        samples: N >= 2, any shape.
        mean_known: n = samples if true, else n = samples - 1.

    Returns:
        kappa_0; the bias is the next term of the Euler-Maclaurin sum for df_1(kappa_0) = n.

    Raises:
        ValueError: an exponent of at most one, an amplitude that is not positive, samples < 2.

    Equation: :eq:`eq:linear-hierarchy`.

    Source: derived here; the cut-off at finite d adds corrections of relative order (n/d)^(k-1).
    """
    k, A = float(finite_array("exponent", exponent)), float(finite_array("amplitude", amplitude))
    if k <= 1:
        raise reject("exponent", "exceed 1", k)
    if A <= 0:
        raise reject("amplitude", "be positive", A)
    n = integers("samples", samples, least=2) - (0.0 if mean_known else 1.0)
    value = A * (np.pi / (k * np.sin(np.pi / k) * (n + 0.5))) ** k
    return Prediction(
        value, 8 * k * EPSILON * value, k * value / (n + 0.5) ** 2, "1/n^2", "power law"
    )


def total(*terms: Array | float) -> tuple[Array, Array]:
    """Sum of the terms and sum of their sizes, which bounds the rounding error."""
    return np.asarray(sum(terms)), np.asarray(sum(np.abs(term) for term in terms))


def evaluate(
    formula: Callable[..., tuple[Array, Array]], found: Equivalent, grid: Grid, *others: Array
) -> Prediction:
    """Evaluate `formula(ratios, kappa, n, N, *others) -> (value, magnitude)` over a grid.

    `ratios` has shape (chunk, d) and holds s / (s + kappa); `magnitude` is the sum of the
    absolute terms, from which the rounding error follows. The error of kappa is propagated by
    evaluating the formula at both ends of its interval.
    """
    s, shape = grid.spectrum, grid.samples.shape
    columns = [
        np.ravel(np.broadcast_to(a, shape))
        for a in (found.kappa, found.error, grid.freedom, grid.samples, *others)
    ]
    size = max(1, CHUNK // s.size)
    values, errors = [], []
    for i in range(0, columns[0].size, size):
        kappa, error, *rest = (column[i : i + size] for column in columns)

        def at(k: Array, rest: list[Array] = rest) -> tuple[Array, Array]:
            return formula(s / (s + k[:, None]), k, *rest)

        value, magnitude = at(kappa)
        spread = np.abs(at(kappa + error)[0] - value)
        lower = np.maximum(kappa - error, 0.0)
        spread = np.maximum(spread, np.where(lower > 0, np.abs(at(lower)[0] - value), spread))
        values.append(value)
        errors.append(spread + 4 * np.sqrt(s.size) * EPSILON * magnitude)
    return Prediction(np.concatenate(values).reshape(shape), np.concatenate(errors).reshape(shape))
