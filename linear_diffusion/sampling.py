"""Sampling from linear denoisers: compiled reverse processes, and the exact law they generate."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.random import check_key
from learning_dynamics.sampling import Coefficients, reverse_coefficients, reverse_process
from learning_dynamics.tracking import track
from learning_dynamics.validation import finite_array, positive_integer, reject
from linear_diffusion.learners import Denoiser

__all__ = ["generate", "generated_moments", "generated_variances"]

HIGHEST = lax.Precision.HIGHEST


def _coefficients(
    schedule: NoiseSchedule, sampler: str, denoiser: Denoiser, dtype: DTypeLike
) -> Coefficients:
    """u_(t-1) = keep_t u_t - remove_t eps(u_t, t) + added_t noise, each of shape (T,)."""
    if denoiser.weights.shape[0] != schedule.steps:
        raise reject(
            "denoiser",
            f"hold one matrix for each of the schedule's {schedule.steps} steps",
            f"{denoiser.weights.shape[0]}",
        )
    columns = reverse_coefficients(schedule, sampler)
    keep, remove, added = (jnp.asarray(column, dtype) for column in columns)
    return keep, remove, added


@partial(compiled, static_argnames=("count",))
def _generate(
    denoiser: Denoiser, coefficients: Coefficients, key: jax.Array, count: int
) -> jax.Array:
    def predict(u: jax.Array, level: tuple[jax.Array, jax.Array]) -> jax.Array:
        W, signal = level
        centred = u - (jnp.sqrt(signal) * denoiser.bias)[None, :]
        return jnp.matmul(centred, W.T, precision=HIGHEST)

    levels = (denoiser.weights, denoiser.levels.signal_power)
    return reverse_process(predict, levels, coefficients, (count, denoiser.bias.shape[0]), key)


def generate(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    *,
    key: jax.Array,
    count: int,
    sampler: str = "ddpm",
) -> jax.Array:
    """Draw samples from a trained denoiser.

    DDPM: u_(t-1) = [u_t - beta_t eps(u_t, t)/sqrt(1 - alpha_bar_t)]/sqrt(1 - beta_t)
    + sqrt(beta_t) noise, noise added at the last step too; DDIM: the deterministic form
    (`linear_diffusion.theory.sampler`). Two calls with the same key share the start and all step
    noises, whatever the denoiser.

    Args:
        denoiser: one matrix per step of the schedule.
        schedule: noise schedule, T steps.
        key: typed random key.
        count: number of samples.
        sampler: "ddpm" or "ddim".

    Returns:
        Shape (count, d).

    Raises:
        ValueError: unknown sampler, or a denoiser for another number of steps.
    """
    check_key(key)
    coefficients = _coefficients(schedule, sampler, denoiser, denoiser.weights.dtype)
    return _generate(denoiser, coefficients, key, positive_integer("count", count))


@compiled
def _moments(denoiser: Denoiser, coefficients: Coefficients) -> tuple[jax.Array, jax.Array]:
    d = denoiser.bias.shape[0]
    dtype = denoiser.weights.dtype
    identity = jnp.eye(d, dtype=dtype)

    def step(carry: tuple[jax.Array, jax.Array], inputs: tuple) -> tuple[tuple, None]:
        centre, cov = carry
        W, keep, remove, added = inputs
        F = keep * identity - remove * W
        cov = jnp.matmul(jnp.matmul(F, cov, precision=HIGHEST), F.T, precision=HIGHEST)
        centre = jnp.matmul(F, centre[:, None], precision=HIGHEST)[:, 0]
        return (centre, cov + added**2 * identity), None

    start = (-jnp.sqrt(denoiser.levels.signal_power[-1]) * denoiser.bias, identity)
    (centre, cov), _ = lax.scan(step, start, (denoiser.weights, *coefficients), reverse=True)
    return denoiser.bias + centre, cov


def generated_moments(
    denoiser: Denoiser, schedule: NoiseSchedule, *, sampler: str = "ddpm"
) -> tuple[jax.Array, jax.Array]:
    """Exact mean and covariance of what `generate` draws, by the d x d matrix recursion.

    Args:
        denoiser: one affine map for each noise level of the schedule.
        schedule: noise schedule with T steps.
        sampler: "ddpm" or "ddim".

    Returns:
        Mean, shape (d,), and covariance, shape (d, d).

    Raises:
        ValueError: as `generate`.
    """
    return _moments(denoiser, _coefficients(schedule, sampler, denoiser, denoiser.weights.dtype))


def generated_variances(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    directions: ArrayLike,
    *,
    batches: int,
    count: int,
    key: jax.Array,
    sampler: str = "ddpm",
) -> NDArray[np.float64]:
    """Unbiased variances of generated samples along directions, one estimate for every batch.

    Args:
        denoiser: one affine map for each noise level of the schedule.
        schedule: noise schedule with T steps.
        directions: unit vectors, shape (d, shown).
        batches: number of batches; batch b has the key `fold_in(key, b)`.
        count: samples of each batch, two at least.
        key: typed random key.
        sampler: "ddpm" or "ddim".

    Returns:
        Shape (batches, shown).

    Raises:
        ValueError: as `generate`, without a batch, with a single sample in one, or on directions
            of another dimension.
    """
    check_key(key)
    positive_integer("count", count, least=2)
    along = finite_array("directions", directions, ndim=2)
    if len(along) != (d := denoiser.bias.shape[0]):
        raise reject("directions", f"have {d} rows", f"shape {along.shape}")

    def variances(batch: int) -> NDArray[np.float64]:
        drawn = generate(
            denoiser, schedule, key=jax.random.fold_in(key, batch), count=count, sampler=sampler
        )
        return np.var(np.asarray(drawn, np.float64) @ along, axis=0, ddof=1)

    return np.stack(
        [variances(i) for i in track(range(positive_integer("batches", batches)), "sampling")]
    )
