"""Similarity of two models trained on disjoint data that start from the same noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import one_of, reject
from linear_diffusion.theory.resolvent import EPSILON, equivalent, make_grid

__all__ = ["similarity"]

Array = NDArray[np.float64]
STEP = 0.125  # of the logarithmic grid of the flow's integral


def _flow(s: Array, N: float, n: float, c: float) -> tuple[float, float]:
    """Cosine for the probability flow, where x = (Sigma_hat + c)^(1/2) noise."""

    def overlap(step: float) -> float:
        # Trapezoid in log u: the integrand is flat below sqrt(s_min) and falls as 1/u^2 above
        # sqrt(s_max), so that both ends are cut where they weigh less than 1e-9.
        low = 0.5 * np.log(s[-1] + c) - 21
        high = 0.5 * np.log(s[0] * (1 + s.size / N) + c) + 21
        u = np.exp(np.arange(low, high, step))
        total_ridge = u**2 + c
        kappa = equivalent(s, np.full(u.shape, n), N * total_ridge).kappa
        root = s + kappa[:, None]
        # 1 - (u^2/(u^2+c)) kappa/(s+kappa), arranged against cancellation at large u
        lost = (s / root) + (c / total_ridge)[:, None] * (kappa[:, None] / root)
        # first correction for real Gaussian data, as in `contour.trace_measure`
        ratio = s / root
        df2, gap = (ratio**2).sum(axis=1), (ratio**2 * (kappa[:, None] / root)).sum(axis=1)
        free = (n - df2)[:, None]
        shift = (
            (kappa * u**2 / total_ridge)[:, None] / s * (ratio**3 - gap[:, None] / free * ratio**2)
        )
        lost -= shift / free
        a = (2 / np.pi) * step * (lost * u[:, None]).sum(axis=0)
        return float((a**2).sum() / (n / N * s.sum() + s.size * c))

    fine, half = overlap(STEP), overlap(2 * STEP)
    return fine, abs(fine - half) + 1e-8 * fine


def _ddpm(s: Array, N: float, n: float, c: float, schedule: NoiseSchedule) -> tuple[float, float]:
    """Cosine for DDPM with the start and all step noises shared."""
    sigma2, signal = schedule.noise_to_signal, schedule.alpha_bar
    lam = sigma2 + c
    solution = equivalent(s, np.full(lam.shape, n), N * lam)
    kappa = solution.kappa[:, None]
    G = 1 / (s + kappa)
    mean_P = (1 - (sigma2 / lam)[:, None] * kappa * G) / np.sqrt(signal)[:, None]
    slope = N / (n - ((s * G) ** 2).sum(axis=1))
    first = solution.kappa / lam * G.sum(axis=1)
    second = first / lam - slope / lam * (s * G**2).sum(axis=1)
    power = (s.size - 2 * sigma2 * first + sigma2**2 * second) / signal
    # Step t adds sqrt(beta_t) noise that P_(t-1) carries to the end; P_0 = 1.
    weights = np.concatenate([schedule.beta[1:], [1.0]])
    common = schedule.beta[0] * s.size + (weights * (mean_P**2).sum(axis=1)).sum()
    everything = schedule.beta[0] * s.size + (weights * power).sum()
    rounding = 16 * EPSILON * (weights * (s.size / signal)).sum() / everything
    return float(common / everything), float(rounding + 4 * np.max(solution.error / solution.kappa))


def similarity(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    *,
    sampler: str = "flow",
    schedule: NoiseSchedule | None = None,
    mean_known: bool = False,
) -> Prediction:
    """Cosine between what two models generate from the same noise, trained on disjoint samples.

        E <x, x'> / E |x|^2  =  sum_i (E P)_ii^2 / E tr P^2,      x = mean + P noise, mean removed.

    Probability flow, P = (Sigma_hat + c)^(1/2):

        a_i = (2/pi) int_0^inf du [ 1 - (u^2/(u^2 + c)) kappa(u^2 + c) / (s_i + kappa(u^2 + c)) ],
        cosine = sum_i a_i^2 / ((n/N) tr Sigma + d c),

    where kappa/(s_i + kappa) also carries the first correction for real Gaussian data.

    DDPM with all noises shared: the noise of step t reaches the end through P_(t-1), the start
    through P_T, P_t = sqrt(alpha_bar_t) (Sigma_hat + c) [alpha_bar_t (Sigma_hat + c) + 1 -
    alpha_bar_t]^-1, whose mean and mean square are deterministic equivalents.

    Near zero each model reproduces its own samples, near one both generate the same distribution.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        samples: N of each model; broadcast with `ridge`.
        ridge: c >= 0.
        sampler: "flow", or "ddpm" with a `schedule`.
        schedule: noise schedule, only for "ddpm".
        mean_known: n = samples if true, else n = samples - 1.

    Raises:
        ValueError: samples < 2, negative ridge, bad spectrum, unknown sampler, a schedule that is
            missing or would be ignored.

    Equation: :eq:`eq:linear-similarity`.

    Source: derived here.
    """
    one_of("sampler", sampler, ("flow", "ddpm"))
    if (schedule is None) == (sampler == "ddpm"):
        raise reject("schedule", 'be given exactly for sampler "ddpm"', schedule)
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    values, errors = np.empty(grid.samples.shape), np.empty(grid.samples.shape)
    for index in np.ndindex(grid.samples.shape):
        arrays = (grid.samples, grid.freedom, grid.others[0])
        N, n, c = (float(array[index]) for array in arrays)
        if schedule is None:
            values[index], errors[index] = _flow(grid.spectrum, N, n, c)
        else:
            values[index], errors[index] = _ddpm(grid.spectrum, N, n, c, schedule)
    return Prediction(values, errors, label="deterministic equivalent")
