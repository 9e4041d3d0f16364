"""KL between the data and what a partly trained model generates."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import non_negative, one_of
from linear_diffusion.theory.contour import make_contour, trace_measure
from linear_diffusion.theory.divergence import DIRECTIONS, Direction
from linear_diffusion.theory.resolvent import EPSILON, make_grid
from linear_diffusion.theory.sampler import (
    Sampler,
    generated_variance_recursion,
    mode_factors,
)
from linear_diffusion.theory.training import gain_growth

__all__ = ["training_kl"]

Array = NDArray[np.float64]


def _analytic_margin(
    gains: Callable[[NDArray], NDArray], schedule: NoiseSchedule, sampler: Sampler, reach: float
) -> float:
    """Largest delta such that the generated variance stays positive on [-2 delta, 0]."""
    x = -np.geomspace(1e-12 * reach, reach, 400)
    with np.errstate(over="ignore", invalid="ignore"):
        p = generated_variance_recursion(gains(x), schedule, sampler=sampler).reshape(-1, x.size)
        start = generated_variance_recursion(gains(np.zeros(1)), schedule, sampler=sampler)
    bad = ~(p > 0.25 * start.reshape(-1, 1)).all(axis=0)
    return float(-x[np.argmax(bad)] if bad.any() else reach) / 2


def training_kl(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    schedule: NoiseSchedule,
    times: ArrayLike,
    *,
    direction: Direction,
    sampler: Sampler = "ddpm",
    mean_known: bool = False,
) -> Prediction:
    """KL between data and generated Gaussian along training, all noise levels trained for tau.

    The data have zero mean (which is still estimated unless `mean_known`). Each sample mode x of
    Sigma_hat gets the finite-T variance p(x; tau) and the share h(x; tau) of its mean; with
    E mu_hat mu_hat' = Sigma / N,

        forward = 1/2 { E tr Sigma [1 + h^2/N] / p - d + E tr ln p - ln det Sigma },
        reverse = 1/2 { E tr Sigma^-1 p + E tr h Sigma^-1 h Sigma / N - d - E tr ln p
                        + ln det Sigma }.

    At early times the model generates noise, at late times the (memorised) sample covariance;
    in between lies an optimum.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        samples: N; broadcast with `ridge` to the grid.
        ridge: c >= 0.
        schedule: noise schedule.
        times: tau >= 0, shape (times,).
        direction: "forward" or "reverse".
        sampler: "ddpm" or "ddim".
        mean_known: the mean zero is known, not estimated.

    Returns:
        KL in nats, shape (*grid, times).

    Raises:
        ValueError: samples < 2, negative ridge or time, bad spectrum, unknown sampler.

    Source: derived here.
    """
    one_of("direction", direction, DIRECTIONS)
    one_of("sampler", sampler, ("ddpm", "ddim"))
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    tau = np.atleast_1d(non_negative("times", times))
    s, c = grid.spectrum, grid.others[0]
    d, log_det = s.size, np.log(s).sum()
    noise, signal = schedule.noise_power, schedule.alpha_bar
    shape = (*grid.samples.shape, tau.size)
    values, errors = np.empty(shape), np.empty(shape)
    for index in np.ndindex(grid.samples.shape):
        N, ridge_here = float(grid.samples[index]), float(c[index])

        def gains(x: NDArray, ridge_here: float = ridge_here) -> NDArray:
            m = signal * (x[:, None] + ridge_here) + noise
            return np.sqrt(noise) * gain_growth(m, tau[:, None, None])

        reach = 3 / max(tau.max(), 3 / s.sum())
        delta = _analytic_margin(gains, schedule, sampler, reach)
        contour = make_contour(s, N, float(grid.freedom[index]), delta)
        w = gains(contour.nodes)  # (times, nodes, T)
        p = generated_variance_recursion(w, schedule, sampler=sampler)
        share = 1 - np.sqrt(signal[-1]) * np.prod(mode_factors(w, schedule, sampler), axis=-1)
        phase = np.unwrap(np.angle(p), axis=-1)
        log_p = np.log(np.abs(p)) + 1j * phase
        enclosed = np.abs(phase[:, -1] - phase[:, 0]) > 1e-6
        logs, log_error = contour.trace(log_p, contour.plain)
        mean_weight = 0.0 if mean_known else 1 / N
        if direction == "forward":
            first, first_error = contour.trace((1 + mean_weight * share**2) / p, contour.signal)
            value = (first - d + logs - log_det) / 2
        else:
            inverse = trace_measure(s**-2, s, contour.nodes, contour.kappa, contour.freedom)
            first, first_error = contour.trace(p, inverse)
            if not mean_known:
                first = first + contour.quadratic_trace(share, s) / N
            value = (first - d - logs + log_det) / 2
        values[index] = np.where(enclosed, np.nan, value)
        errors[index] = (first_error + log_error) / 2 + 8 * EPSILON * (d + abs(log_det))
    return Prediction(values, errors, label="gradient flow")
