"""KL between the data and what a partly trained model generates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import non_negative, one_of
from linear_diffusion.theory.contour import Contour, make_contour, trace_measure
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


class _Trained(NamedTuple):
    """Denoisers of all noise levels, trained for the time tau, as functions of a sample mode x."""

    schedule: NoiseSchedule
    sampler: Sampler
    ridge: float
    tau: float

    def law(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """Generated variance p(x) and share h(x) of the estimated mean, shape of `x`."""
        noise, signal = self.schedule.noise_power, self.schedule.alpha_bar
        rate = signal * (x[:, None] + self.ridge) + noise
        gains = np.sqrt(noise) * gain_growth(rate, self.tau)
        factors = mode_factors(gains, self.schedule, self.sampler)
        share = 1 - np.sqrt(signal[-1]) * np.prod(factors, axis=-1)
        return generated_variance_recursion(gains, self.schedule, sampler=self.sampler), share

    def margin(self, reach: float) -> float:
        """Largest delta <= reach / 2 such that the variance stays positive on [-2 delta, 0]."""
        x = -np.geomspace(1e-12 * reach, reach, 400)
        with np.errstate(over="ignore", invalid="ignore"):
            p, start = self.law(x)[0], self.law(np.zeros(1))[0]
            bad = ~(p > 0.25 * start)
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
        KL in nats, shape (*grid, times); NaN where the variance of null directions is too small
        to be resolved (DDIM without ridge, n <= d, late times: the KL diverges there).

    Raises:
        ValueError: samples < 2, negative ridge or time, bad spectrum, unknown sampler.

    Equation: :eq:`eq:linear-training-kl`.

    Source: derived here.
    """
    one_of("direction", direction, DIRECTIONS)
    one_of("sampler", sampler, ("ddpm", "ddim"))
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    tau = np.atleast_1d(non_negative("times", times))
    values, errors = (np.empty((*grid.samples.shape, tau.size)) for _ in range(2))
    reach = 3 / max(tau.max(), 3 / grid.spectrum.sum())
    for index in np.ndindex(grid.samples.shape):
        N, n, c = (float(a[index]) for a in (grid.samples, grid.freedom, grid.others[0]))
        runs = [_Trained(schedule, sampler, c, float(time)) for time in tau]
        # Above n = d the contour need not come near the small variances around x = 0.
        delta = None if n > grid.spectrum.size else min(run.margin(reach) for run in runs)
        contour = make_contour(grid.spectrum, N, n, delta)
        for j, run in enumerate(runs):
            value = _divergence_at(
                contour, grid.spectrum, run, direction, 0.0 if mean_known else 1 / N
            )
            values[(*index, j)], errors[(*index, j)] = value
    return Prediction(values, errors, label="gradient flow")


def _divergence_at(
    contour: Contour, s: Array, run: _Trained, direction: Direction, mean_weight: float
) -> tuple[float, float]:
    """KL and its numerical error at one time; NaN if the contour encloses a zero of p."""
    d, log_det = s.size, np.log(s).sum()
    p, share = run.law(contour.nodes)
    phase = np.unwrap(np.angle(p))
    if abs(phase[-1] - phase[0]) > 1e-6:
        return np.nan, np.nan
    logs, log_error = contour.trace(np.log(np.abs(p)) + 1j * phase, contour.plain)
    if direction == "forward":
        first, first_error = contour.trace((1 + mean_weight * share**2) / p, contour.signal)
        value = (first - d + logs - log_det) / 2
    else:
        inverse = trace_measure(s**-2, s, contour.nodes, contour.kappa, contour.freedom)
        first, first_error = contour.trace(p, inverse)
        first = first + contour.quadratic_trace(share, s) * mean_weight
        value = (first - d - logs + log_det) / 2
    return float(value), float((first_error + log_error) / 2 + 8 * EPSILON * (d + abs(log_det)))
