"""Reverse processes of diffusion models, for any predictor of the noise."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from learning_dynamics import random
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import one_of

__all__ = ["reverse_coefficients", "reverse_process"]

Array = NDArray[np.float64]
Coefficients = tuple[jax.Array, jax.Array, jax.Array]


def reverse_coefficients(schedule: NoiseSchedule, sampler: str) -> tuple[Array, Array, Array]:
    """Return keep, remove and added of u_(t-1) = keep_t u_t - remove_t eps(u_t, t) + added_t noise.

    DDPM: keep = 1 / sqrt(1 - beta_t), remove = keep beta_t / sqrt(1 - alpha_bar_t), added =
    sqrt(beta_t), at the last step too. DDIM: keep = sqrt(alpha_bar_(t-1) / alpha_bar_t),
    remove = keep sqrt(1 - alpha_bar_t) - sqrt(1 - alpha_bar_(t-1)), nothing added.

    Args:
        schedule: noise schedule, T steps.
        sampler: "ddpm" or "ddim".

    Returns:
        Three float64 arrays of shape (T,).

    Raises:
        ValueError: on an unknown sampler.

    Source: Ho, Jain and Abbeel (2020), algorithm 2; Song, Meng and Ermon (2021), eq. 12, sigma = 0.
    """
    one_of("sampler", sampler, ("ddpm", "ddim"))
    beta, noise, signal = schedule.beta, schedule.noise_power, schedule.alpha_bar
    if sampler == "ddpm":
        keep = 1 / np.sqrt(1 - beta)
        return keep, beta / np.sqrt(noise) * keep, np.sqrt(beta)
    noise_before = np.concatenate([[0.0], noise[:-1]])
    keep = np.sqrt(np.concatenate([[1.0], signal[:-1]]) / signal)
    return keep, keep * np.sqrt(noise) - np.sqrt(noise_before), np.zeros_like(beta)


def reverse_process(
    predict: Callable[[jax.Array, Any], jax.Array],
    levels: Any,
    coefficients: Coefficients,
    shape: tuple[int, ...],
    key: jax.Array,
) -> jax.Array:
    """Run the reverse process from Gaussian noise; for use inside `jax.jit`.

    Two calls with the same key share the start and all step noises, whatever the predictor.

    Args:
        predict: predicted noise `predict(u, level)`, shape as u.
        levels: pytree with a leading axis over the T steps, passed to `predict` step by step.
        coefficients: of `reverse_coefficients`, in the precision of the computation.
        shape: of the samples, (count, ...).
        key: typed random key.

    Returns:
        Samples, shape `shape`.
    """
    dtype = coefficients[0].dtype
    start_key, step_key = random.fold_in(key, 0), random.fold_in(key, 1)
    start = random.normal(start_key, shape, dtype)
    steps = jnp.arange(coefficients[0].shape[0], dtype=jnp.int32)

    def step(u: jax.Array, inputs: tuple) -> tuple[jax.Array, None]:
        level, t, keep, remove, added = inputs
        noise = random.normal(random.fold_in(step_key, t), shape, dtype)
        return keep * u - remove * predict(u, level) + added * noise, None

    return lax.scan(step, start, (levels, steps, *coefficients), reverse=True)[0]
