"""Losses and the generated law at every recorded step of a training run."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
from jax import lax
from numpy.typing import ArrayLike

from learning_dynamics import short_text
from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels
from learning_dynamics.validation import reject
from linear_diffusion.learners import Denoiser, denoiser_losses
from linear_diffusion.sampling import generated_moments

__all__ = ["GeneratedLaw", "Moments", "generated_along_training", "losses_along_training"]


class Moments(NamedTuple):
    """First two moments of a data set or of a population."""

    mean: jax.Array  #: (d,)
    covariance: jax.Array  #: (d, d)

    def __repr__(self) -> str:
        return short_text.represent(self)


class GeneratedLaw(NamedTuple):
    """Gaussian law that a denoiser generates, per recorded step."""

    mean: jax.Array  #: (observations, d)
    covariance: jax.Array  #: (observations, d, d)

    def __repr__(self) -> str:
        return short_text.represent(self)


def _denoisers(weights: jax.Array, bias: jax.Array, alpha_bar: ArrayLike) -> Denoiser:
    if weights.ndim != 4 or weights.shape[2:] != (bias.size, bias.size):
        raise reject(
            "weights",
            f"have shape (observations, levels, {bias.size}, {bias.size})",
            f"{weights.shape}",
        )
    levels = noise_levels(alpha_bar, weights.dtype)
    if levels.signal_power.size != weights.shape[1]:
        raise reject("alpha_bar", f"hold {weights.shape[1]} levels", f"{levels.signal_power.size}")
    return Denoiser(weights, bias.astype(weights.dtype), levels)


def losses_along_training(
    weights: jax.Array, bias: jax.Array, alpha_bar: ArrayLike, *, data: tuple[Moments, ...]
) -> tuple[jax.Array, ...]:
    """Loss at every recorded step and noise level, on each of several data sets.

    The noise is averaged exactly (`denoiser_losses`). With the moments of the training set and of
    the population, the two results are training and test loss.

    Args:
        weights: from `gradient_descent` or `online_sgd`, (observations, levels, d, d).
        bias: mu_hat of the training set, (d,).
        alpha_bar: noise levels, (levels,).
        data: moments to evaluate on.

    Returns:
        One array (observations, levels) for each entry of `data`.

    Raises:
        ValueError: if shapes do not fit.
    """
    trained = _denoisers(weights, bias, alpha_bar)

    def losses(moments: Moments) -> jax.Array:
        mean, covariance = (array.astype(weights.dtype) for array in moments)
        return lax.map(
            lambda W: denoiser_losses(trained._replace(weights=W), mean, covariance), weights
        )

    return tuple(losses(moments) for moments in data)


def generated_along_training(
    weights: jax.Array, bias: jax.Array, schedule: NoiseSchedule, *, sampler: str = "ddpm"
) -> GeneratedLaw:
    """Exact mean and covariance that the sampler generates at every recorded step.

    Args:
        weights: (observations, T, d, d), one matrix for each step of the schedule.
        bias: mu_hat of the training set, (d,).
        schedule: noise schedule with T steps.
        sampler: "ddpm" or "ddim".

    Raises:
        ValueError: if shapes do not fit or the sampler is unknown.
    """
    trained = _denoisers(weights, bias, schedule.alpha_bar)
    law = partial(generated_moments, schedule=schedule, sampler=sampler)
    return GeneratedLaw(*lax.map(lambda W: law(trained._replace(weights=W)), weights))
