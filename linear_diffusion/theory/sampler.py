"""The law that a finite number of sampling steps generates, exact at finite T.

In the eigenbasis of the sample covariance, around the estimated mean, a linear denoiser acts on
each mode by a gain w_t and one sampling step multiplies the mode by F_t:

    DDPM  F_t = [1 - beta_t w_t / sqrt(1 - alpha_bar_t)] / sqrt(1 - beta_t), adds sqrt(beta_t) noise
          (at every step, the last one included);
    DDIM  F_t = sqrt(alpha_bar_(t-1)/alpha_bar_t) [1 - sqrt(1 - alpha_bar_t) w_t]
                + sqrt(1 - alpha_bar_(t-1)) w_t, no noise;
    flow  the probability-flow equation integrated exactly between steps; at the optimum
          F_t = sqrt(m_(t-1)/m_t) with m_t = alpha_bar_t s' + 1 - alpha_bar_t.

The start is u_T ~ N(0, 1). Derived here from the samplers of Ho, Jain and Abbeel (2020) and Song,
Meng and Ermon (2021).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import non_negative, one_of
from linear_diffusion.theory.resolvent import EPSILON

__all__ = [
    "Sampler",
    "generated_variance",
    "generated_variance_recursion",
    "mean_factor",
    "mode_factors",
    "optimal_gains",
]

Array = NDArray[np.float64]
Sampler = Literal["ddpm", "ddim", "flow"]
SAMPLERS = ("ddpm", "ddim", "flow")


def _modes(eigenvalues: ArrayLike, ridge: float) -> Array:
    """S' = s_hat + c with a trailing axis for the steps."""
    return (non_negative("eigenvalues", eigenvalues) + non_negative("ridge", ridge))[..., None]


def optimal_gains(eigenvalues: ArrayLike, schedule: NoiseSchedule, *, ridge: float = 0.0) -> Array:
    """Gains of the optimal denoiser, w_t = sqrt(1 - alpha_bar_t) / m_t per mode.

        m_t = alpha_bar_t (s_hat + c) + 1 - alpha_bar_t

    Args:
        eigenvalues: s_hat >= 0 of the sample covariance, any shape.
        schedule: noise schedule with T steps.
        ridge: c >= 0.

    Returns:
        Array of shape (*eigenvalues.shape, T).

    Raises:
        ValueError: if an eigenvalue or the ridge is negative.

    Equation: :eq:`eq:linear-optimum`.

    Source: derived here (Wiener filter).
    """
    noise = schedule.noise_power
    return np.sqrt(noise) / (schedule.alpha_bar * _modes(eigenvalues, ridge) + noise)


def mode_factors(gains: NDArray, schedule: NoiseSchedule, sampler: Sampler) -> NDArray:
    """Factors F_t of one DDPM or DDIM step (module docstring), from gains of shape (..., T).

    Args:
        gains: w_t per mode, shape (..., T); complex in the contour integrals of training.
        schedule: noise schedule with T steps.
        sampler: "ddpm" or "ddim".

    Raises:
        ValueError: if the sampler is neither "ddpm" nor "ddim".

    Equations: :eq:`eq:linear-recursion`, :eq:`eq:linear-ddim`.

    Source: elementary, from the samplers of Ho, Jain and Abbeel (2020) and Song et al. (2021).
    """
    one_of("sampler", sampler, ("ddpm", "ddim"))
    beta, noise, signal = schedule.beta, schedule.noise_power, schedule.alpha_bar
    if sampler == "ddpm":
        return (1 - beta / np.sqrt(noise) * gains) / np.sqrt(1 - beta)
    noise_before = np.concatenate([[0.0], noise[:-1]])
    signal_before = np.concatenate([[1.0], signal[:-1]])
    return np.sqrt(signal_before / signal) * (1 - np.sqrt(noise) * gains) + (
        np.sqrt(noise_before) * gains
    )


def generated_variance(
    eigenvalues: ArrayLike,
    schedule: NoiseSchedule,
    *,
    ridge: float = 0.0,
    sampler: Sampler = "ddpm",
) -> Prediction:
    """Variance p_0 generated along each mode of the sample covariance by the optimal denoiser.

    With s' = s_hat + c and m_t = alpha_bar_t s' + 1 - alpha_bar_t (m_0 = s'),

        DDPM  p_0 = s' + (1 - s') s'^2 [ sum_t beta_t^2 alpha_bar_(t-1)^2 / (m_(t-1)^2 m_t)
                                         + alpha_bar_T^2 / m_T^2 ],
        flow  p_0 = s' / m_T,
        DDIM  p_0 = prod_t F_t^2.

    Null directions (s' = 0) keep the variance beta_1 that the last DDPM step adds.

    Args:
        eigenvalues: s_hat >= 0, any shape.
        schedule: noise schedule.
        ridge: c >= 0.
        sampler: "ddpm", "ddim" or "flow".

    Raises:
        ValueError: negative eigenvalue or ridge, unknown sampler.

    Equation: :eq:`eq:linear-ddpm`.

    Source: derived here.
    """
    one_of("sampler", sampler, SAMPLERS)
    s = _modes(eigenvalues, ridge)
    signal, noise, beta = schedule.alpha_bar, schedule.noise_power, schedule.beta
    m = signal * s + noise
    if sampler == "flow":
        value = (s / m)[..., -1]
        return Prediction(value, 4 * EPSILON * value, label="probability flow")
    if sampler == "ddim":
        factors = mode_factors(optimal_gains(eigenvalues, schedule, ridge=ridge), schedule, "ddim")
        value = np.prod(factors**2, axis=-1)
        return Prediction(value, 8 * schedule.steps * EPSILON * value, label="DDIM, finite T")
    m_before = np.concatenate([s, m[..., :-1]], axis=-1)
    signal_before = np.concatenate([[1.0], signal[:-1]])
    # s'^2 / m_(t-1)^2 is written as a ratio so that the first step has a limit at s' = 0.
    with np.errstate(invalid="ignore"):
        ratio = np.where(s > 0, s / np.where(m_before > 0, m_before, 1.0), 0.0)
    ratio[..., 0] = 1.0
    terms = beta**2 * signal_before**2 * ratio**2 / m
    last = (signal[-1] * s[..., 0] / m[..., -1]) ** 2
    s = s[..., 0]
    bracket = terms.sum(axis=-1) + last
    value = s + (1 - s) * bracket
    rounding = 4 * np.sqrt(schedule.steps) * EPSILON * (s + np.abs(1 - s) * bracket)
    return Prediction(value, rounding, label="DDPM, finite T")


def generated_variance_recursion(
    gains: NDArray, schedule: NoiseSchedule, *, sampler: Sampler = "ddpm"
) -> NDArray:
    """Variance generated by any gains, p_(t-1) = F_t^2 p_t + sigma_t^2 from p_T = 1.

    Args:
        gains: w_t per mode, shape (..., T), real or complex.
        schedule: noise schedule.
        sampler: "ddpm" (sigma_t^2 = beta_t) or "ddim" (sigma_t = 0).

    Raises:
        ValueError: on another sampler.

    Equation: :eq:`eq:linear-recursion`.

    Source: elementary.
    """
    factors = mode_factors(gains, schedule, sampler) ** 2
    added = schedule.beta if sampler == "ddpm" else np.zeros(schedule.steps)
    variance = np.ones(factors.shape[:-1], factors.dtype)
    for t in reversed(range(schedule.steps)):
        variance = factors[..., t] * variance + added[t]
    return variance


def mean_factor(
    eigenvalues: ArrayLike,
    schedule: NoiseSchedule,
    *,
    ridge: float = 0.0,
    sampler: Sampler = "ddpm",
) -> Prediction:
    """Share of the estimated mean that the generated mean reaches, per mode.

        1 - sqrt(alpha_bar_T) prod_t F_t,   for DDPM  1 - alpha_bar_T s' / m_T.

    The start N(0, 1) has mean zero instead of sqrt(alpha_bar_T) mu_hat, which costs this factor.

    Args:
        eigenvalues: s_hat >= 0, any shape.
        schedule: noise schedule.
        ridge: c >= 0.
        sampler: "ddpm", "ddim" or "flow".

    Raises:
        ValueError: negative eigenvalue or ridge, unknown sampler.

    Equation: :eq:`eq:linear-mean`.

    Source: derived here.
    """
    one_of("sampler", sampler, SAMPLERS)
    s = _modes(eigenvalues, ridge)[..., 0]
    signal = schedule.alpha_bar[-1]
    m = signal * s + schedule.noise_power[-1]
    if sampler == "ddpm":
        lost = signal * s / m
    elif sampler == "flow":
        lost = np.sqrt(signal * s / m)
    else:
        gains = optimal_gains(eigenvalues, schedule, ridge=ridge)
        lost = np.sqrt(signal) * np.prod(mode_factors(gains, schedule, "ddim"), axis=-1)
    return Prediction(1 - lost, 8 * schedule.steps * EPSILON * (1 + np.abs(lost)))
