"""Replicas of data sets and the exact averages of the denoisers trained on them.

Everything that a fully trained (or gradient-flow trained) denoiser does depends on its data set
through the eigendecomposition of the sample covariance. `draw_modes` draws data sets and keeps
just that; the functions below are plain algebra on it, without any of the approximations of
`linear_diffusion.theory` (no averages over data, finite dimension).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import random, short_text
from learning_dynamics.compilation import compiled
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.loop import MOST_STEPS
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.process.motion import replica_keys
from learning_dynamics.tracking import track
from learning_dynamics.validation import (
    between,
    finite_array,
    fractions,
    increasing_times,
    integers,
    non_negative,
    one_of,
    positive_integer,
    real_array,
    reject,
)
from linear_diffusion.data import DataLaw, draw_moments
from linear_diffusion.learners import online_sgd
from linear_diffusion.theory import (
    gain_growth,
    generated_variance_recursion,
    mode_factors,
)
from linear_diffusion.theory.divergence import DIRECTIONS
from linear_diffusion.theory.sampler import Sampler

__all__ = [
    "SampleModes",
    "draw_modes",
    "kl_of_modes",
    "learning_times",
    "losses_of_modes",
    "modes_of",
    "population_gains",
    "root_overlap",
    "sgd_gains",
    "trained_variance",
    "training_times",
]

Array = NDArray[np.float64]
TOGETHER = 16  # runs of SGD in one program


class SampleModes(NamedTuple):
    """Data sets in the eigenbases v_i of their covariances; leading axes (replicas, sizes)."""

    samples: Array  #: N, (sizes,)
    spectrum: Array  #: eigenvalues of Sigma, (d,)
    variance: Array  #: eigenvalues of Sigma_hat, (replicas, sizes, d)
    mean_error: Array  #: v_i . (mu_hat - mu), (replicas, sizes, d)
    overlap: Array  #: v_i . e_k with the eigenvectors e_k of Sigma, (replicas, sizes, d, d)

    def __repr__(self) -> str:
        return short_text.represent(self)

    def at(self, size: int) -> SampleModes:
        """Data sets of one size alone, that of number `size` from zero.

        Raises:
            ValueError: if there are no more sizes than that.
        """
        size = int(integers("size", size, least=0))
        if size >= self.samples.size:
            raise reject("size", f"be below the number of sizes, {self.samples.size}", size)
        each = (array[:, [size]] for array in (self.variance, self.mean_error, self.overlap))
        return SampleModes(self.samples[[size]], self.spectrum, *each)

    @property
    def signal(self) -> Array:
        """Population variance v_i' Sigma v_i along each sample mode."""
        return self.overlap**2 @ self.spectrum

    @property
    def precision(self) -> Array:
        """v_i' Sigma^-1 v_i."""
        return self.overlap**2 @ (1 / self.spectrum)


@partial(compiled, static_argnames=("replicas",))
def _draw_modes(
    law: DataLaw, key: jax.Array, samples: jax.Array, replicas: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    basis = jnp.asarray(law.basis, jnp.float64)

    def one(index: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        replica, size = index // samples.shape[0], index % samples.shape[0]
        N = samples[size]
        run = random.fold_in(random.fold_in(key, replica), N)
        mean, covariance = draw_moments(law, N, key=run, dtype=np.float64)
        rotated = jnp.matmul(basis.T, jnp.matmul(covariance, basis))
        variance, vectors = jnp.linalg.eigh(rotated)
        shift = jnp.matmul(vectors.T, jnp.matmul(basis.T, mean[:, None]))[:, 0]
        return variance, shift, vectors.T

    return lax.map(one, jnp.arange(replicas * samples.shape[0], dtype=jnp.int32))


@sees_edits("law")
def draw_modes(law: DataLaw, samples: ArrayLike, *, replicas: int, key: jax.Array) -> SampleModes:
    """Draw `replicas` data sets of every size and diagonalise their covariances, in float64.

    Replica r at size N uses `fold_in(fold_in(key, r), N)`: it is the same data set whatever else
    is asked for.

    Args:
        law: data law.
        samples: sizes N >= 2, shape (sizes,).
        replicas: number of data sets per size.
        key: typed random key.

    Raises:
        ValueError: samples < 2 or no replica.
    """
    random.check_key(key)
    sizes = np.atleast_1d(integers("samples", samples, least=2))
    if np.any(sizes > MOST_STEPS):
        raise reject("samples", f"not exceed {MOST_STEPS}", sizes.max())
    count = positive_integer("replicas", replicas)
    with jax.enable_x64(True):
        drawn = _draw_modes(law, key, jnp.asarray(sizes, jnp.int32), count)
        variance, shift, overlap = (np.asarray(array) for array in drawn)
    shape = (count, sizes.size, variance.shape[-1])
    return _modes(
        sizes, law, variance.reshape(shape), shift.reshape(shape),
        overlap.reshape(*shape, shape[-1]),
    )  # fmt: skip


def modes_of(data: ArrayLike, law: DataLaw) -> SampleModes:
    """One given data set in the eigenbasis of its covariance: one replica of one size.

    Args:
        data: shape (N, d), N >= 2.
        law: from which it was drawn.

    Raises:
        ValueError: on fewer than two rows, or another dimension than that of the law.
    """
    rows = finite_array("data", data, ndim=2)
    if len(rows) < 2 or rows.shape[1] != len(law.basis):
        demand = f"hold at least two rows of {len(law.basis)}"
        raise reject("data", demand, f"shape {rows.shape}")
    centred = (rows - rows.mean(axis=0)) @ law.basis
    variance, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    shift = (rows.mean(axis=0) - law.mean) @ law.basis @ vectors
    return _modes(
        np.array([len(rows)]), law, variance[None, None], shift[None, None], vectors.T[None, None]
    )


def _modes(
    sizes: NDArray[np.int64], law: DataLaw, variance: Array, shift: Array, overlap: Array
) -> SampleModes:
    d = variance.shape[-1]
    # Fewer samples than dimensions leave exact null directions, which eigh returns as rounding.
    order = np.arange(d) >= d - (sizes[:, None] - 1)
    spectrum, variance = np.asarray(law.spectrum, np.float64), np.maximum(variance, 0)
    kept = np.where(order, variance, 0.0)
    return SampleModes(sizes.astype(np.float64), spectrum, kept, shift, overlap)


def training_times(times: ArrayLike) -> Array:
    """Training times as a float64 array; infinity is the end of training.

    Raises:
        ValueError: on a time that is negative or NaN.
    """
    tau = real_array("times", times)
    if not np.all(tau >= 0):
        raise reject("times", "not be negative", tau[~(tau >= 0)].ravel()[:3])
    return tau


def losses_of_modes(
    modes: SampleModes, ridge: ArrayLike, alpha_bar: ArrayLike, times: ArrayLike = np.inf
) -> tuple[Array, Array]:
    """Training and test loss per dimension of each replica's denoiser.

        R = 1 - (2/d) sqrt(1 - alpha_bar) sum_i w_i
              + (1/d) sum_i w_i^2 [ alpha_bar C_i + 1 - alpha_bar ],

    with C_i = s_hat_i for training and v_i' Sigma v_i + (mean error)_i^2 for test, and
    w_i = sqrt(1 - alpha_bar) (1 - exp(-m_i tau))/m_i.

    Args:
        modes: from `draw_modes`.
        ridge: c >= 0; with `alpha_bar` and `times` broadcast to a common shape (...).
        alpha_bar: noise level in (0, 1).
        times: gradient-flow time tau; infinity is the optimum.

    Returns:
        Two arrays of shape (replicas, sizes, ...).
    """
    c, a, tau = (
        array[..., None]
        for array in np.broadcast_arrays(
            non_negative("ridge", ridge),
            fractions("alpha_bar", alpha_bar),
            training_times(times),
        )
    )
    spread = (slice(None), slice(None)) + (None,) * (c.ndim - 1)
    sampled, true = modes.variance[spread], (modes.signal + modes.mean_error**2)[spread]
    rate = a * (sampled + c) + 1 - a
    w = np.sqrt(1 - a) * gain_growth(rate, tau)
    linear = 1 - 2 * (np.sqrt(1 - a) * w).mean(axis=-1)
    return (
        linear + (w**2 * (a * sampled + 1 - a)).mean(axis=-1),
        linear + (w**2 * (a * true + 1 - a)).mean(axis=-1),
    )


def kl_of_modes(
    modes: SampleModes, variance: Array, *, direction: str, mean_share: ArrayLike = 1.0
) -> Array:
    """KL of the generated law with `variance` along each sample mode, for data of zero mean.

    Args:
        modes: from `draw_modes`.
        variance: p_i, shape (replicas, sizes, ..., d), for example modes.variance + ridge.
        direction: "forward" or "reverse".
        mean_share: share of mu_hat that the generated mean reaches, broadcast against `variance`.

    Returns:
        Shape (replicas, sizes, ...); infinite where a variance is zero.

    Raises:
        ValueError: on another direction, or a negative variance.
    """
    one_of("direction", direction, DIRECTIONS)
    singular = np.any(variance == 0, axis=-1)
    if np.any(variance < 0):
        raise reject("variance", "not be negative", variance.min())
    variance = np.where(variance == 0, 1.0, variance)
    extra = variance.ndim - 3
    spread = (slice(None), slice(None)) + (None,) * extra
    d, log_det = modes.spectrum.size, np.log(modes.spectrum).sum()
    logs = np.log(variance).sum(axis=-1) - log_det
    shift = np.broadcast_to(mean_share, variance.shape) * modes.mean_error[spread]
    if direction == "forward":
        fitted = ((modes.signal[spread] + shift**2) / variance).sum(axis=-1)
        return np.where(singular, np.inf, (fitted - d + logs) / 2)
    components = np.einsum("rs...i,rsik->rs...k", shift, modes.overlap)
    mean_term = (components**2 / modes.spectrum).sum(axis=-1)
    fitted = (modes.precision[spread] * variance).sum(axis=-1) + mean_term
    return np.where(singular, np.inf, (fitted - d - logs) / 2)


def trained_variance(
    modes: SampleModes,
    schedule: NoiseSchedule,
    times: ArrayLike,
    *,
    ridge: float = 0.0,
    sampler: Sampler = "ddpm",
) -> tuple[Array, Array]:
    """Finite-T generated variance and mean share along each sample mode, along training.

    Args:
        modes: from `draw_modes`.
        schedule: noise schedule; all its levels are trained for the same time.
        times: gradient-flow times tau, shape (times,).
        ridge: c >= 0.
        sampler: "ddpm" or "ddim".

    Returns:
        Variance and mean share, each of shape (replicas, sizes, times, d).

    Raises:
        ValueError: without a time, or on a negative one or a negative ridge.
    """
    noise, signal = schedule.noise_power, schedule.alpha_bar
    rate = signal * (modes.variance[..., None] + non_negative("ridge", ridge, ndim=0)) + noise
    variances, shares = [], []
    if not (each := np.atleast_1d(training_times(times))).size:
        raise reject("times", "hold at least one time", "none")
    for tau in each:
        gains = np.sqrt(noise) * gain_growth(rate, tau)
        variances.append(generated_variance_recursion(gains, schedule, sampler=sampler))
        factors = mode_factors(gains, schedule, sampler)
        shares.append(1 - np.sqrt(signal[-1]) * np.prod(factors, axis=-1))
    return np.stack(variances, axis=2), np.stack(shares, axis=2)


def population_gains(
    modes: SampleModes,
    alpha_bar: float,
    times: ArrayLike,
    *,
    ridge: float = 0.0,
    step_size: float | None = None,
) -> Array:
    """Diagonal e_k' W(tau) e_k in the eigenbasis of the population covariance.

    Args:
        modes: from `draw_modes` or `modes_of`.
        alpha_bar: noise level in (0, 1).
        times: tau, shape (times,).
        ridge: c >= 0.
        step_size: h of gradient descent, tau = h * steps; gradient flow if not given.

    Returns:
        Shape (replicas, sizes, times, d).

    Raises:
        ValueError: on a negative time, or a step that is not positive and below the inverse of the
            largest rate alpha_bar (s_hat + c) + 1 - alpha_bar.
    """
    tau = np.atleast_1d(training_times(times))[:, None]
    level = between("alpha_bar", alpha_bar, 0, 1)
    c = non_negative("ridge", ridge, ndim=0)
    rate = level * (modes.variance[:, :, None, :] + c) + 1 - level
    if step_size is not None:
        between("step_size", step_size, 0, 1 / float(rate.max()))
    w = np.sqrt(1 - level) * gain_growth(rate, tau, step_size)
    return np.einsum("rsti,rsik->rstk", w, modes.overlap**2)


def sgd_gains(
    data: ArrayLike,
    directions: ArrayLike,
    alpha_bar: float,
    *,
    learning_rate: float,
    batch: int,
    steps: ArrayLike,
    replicas: int,
    key: jax.Array,
) -> Array:
    """Gains e_k' W e_k of independent runs of `online_sgd` on one data set.

    Their mean is `population_gains` of `modes_of` the data, with the step 2 (learning rate) / d.

    Args:
        data: training set, shape (samples, d).
        directions: unit vectors e_k, shape (d, shown).
        alpha_bar: noise level in (0, 1).
        learning_rate: as in `online_sgd`.
        batch: rows per step.
        steps: step numbers at which gains are recorded, increasing, shape (observations,).
        replicas: number of runs; run r has the key `fold_in(key, r)`.
        key: typed random key; of another generator than threefry a threefry key made of it.

    Returns:
        Shape (replicas, observations, shown).

    Raises:
        ValueError: as in `online_sgd`, without a run, or on directions of another dimension.
    """
    key = random.threefry_key(key)  # under vmap, numbers of others depend on all runs
    rows, e = finite_array("data", data, ndim=2), finite_array("directions", directions, ndim=2)
    if len(e) != rows.shape[1]:
        raise reject("directions", f"have {rows.shape[1]} rows", f"shape {e.shape}")
    count = positive_integer("replicas", replicas)
    train = partial(
        online_sgd, jnp.asarray(rows, jnp.float32), [alpha_bar], learning_rate=learning_rate,
        batch=batch, steps=steps,
    )  # fmt: skip
    together = min(max(count, 2), TOGETHER)  # products of one run alone round in another way
    runs = np.arange(-(-count // together) * together, dtype=np.int32).reshape(-1, together)
    gains = []
    for indices in track(runs, "SGD"):
        weights = jax.vmap(lambda run: train(key=run))(replica_keys(key, indices))[:, :, 0]
        gains.append(np.sum(e * np.matmul(np.asarray(weights, np.float64), e), axis=-2))
    return np.concatenate(gains)[:count]


def learning_times(
    modes: SampleModes,
    alpha_bar: float,
    times: ArrayLike,
    *,
    directions: ArrayLike,
    share: float = 0.5,
) -> Array:
    """Time tau at which the gain along a direction has reached a share of its final value.

    Args:
        modes: from `draw_modes`.
        alpha_bar: noise level in (0, 1).
        times: tau, increasing, shape (times,); the gain is interpolated linearly between them.
        directions: indices of eigenvectors of the population covariance, shape (shown,).
        share: of the final gain.

    Returns:
        Shape (replicas, sizes, shown); infinite where the share is not reached by the last time.

    Raises:
        ValueError: unless times increase and directions are those of eigenvectors.
    """
    tau, shown = increasing_times(times), integers("directions", directions, least=0)
    if np.max(shown, initial=0) >= (d := modes.spectrum.size):
        raise reject("directions", f"be below {d}", shown)
    level = between("share", share, 0, 1)
    final = population_gains(modes, alpha_bar, [np.inf])[..., shown]
    shares = population_gains(modes, alpha_bar, tau)[..., shown] / final
    curves = np.moveaxis(shares, 2, -1)
    reached = [np.interp(level, curve, tau, right=np.inf) for curve in curves.reshape(-1, tau.size)]
    return np.array(reached).reshape(curves.shape[:-1])


def root_overlap(first: SampleModes, second: SampleModes, *, ridge: float = 0.0) -> Array:
    """Overlap of two models' probability-flow samples from the same noise, per replica.

        tr P P' / mean tr P^2,   P = (Sigma_hat + c)^(1/2),

    with the mean over replicas in the denominator, so that its average estimates the ratio of
    expectations E <x, x'> / E |x|^2.

    Args:
        first: from `draw_modes`.
        second: independent data sets of the same sizes.
        ridge: c >= 0.

    Returns:
        Shape (replicas, sizes).
    """
    c = non_negative("ridge", ridge, ndim=0)
    roots = [
        np.einsum("rsik,rsi,rsil->rskl", m.overlap, np.sqrt(m.variance + c), m.overlap)
        for m in (first, second)
    ]
    power = np.mean([(m.variance + c).sum(axis=-1) for m in (first, second)], axis=(0, 1))
    return (roots[0] * roots[1]).sum(axis=(-2, -1)) / power
