"""Learning curves of linear denoisers under gradient flow, and early stopping.

From zero weights and with the bias at its optimum b = mu_hat, training on the noise-averaged loss
at one noise level obeys dW/dtau = -(W M - sqrt(1 - alpha_bar)), M = alpha_bar (Sigma_hat + c) +
1 - alpha_bar, so that every mode learns on its own,

    w(tau) = sqrt(1 - alpha_bar) (1 - exp(-m tau)) / m,

leading directions first. Gradient descent on the loss |W x - eps|^2 / d with learning rate eta has
tau = 2 eta steps / d. All observables are functions of Sigma_hat alone: contour integrals.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from learning_dynamics.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import finite_array, non_negative, one_of, reject
from linear_diffusion.theory.contour import Contour, make_contour, trace_measure
from linear_diffusion.theory.divergence import DIRECTIONS, Direction
from linear_diffusion.theory.losses import Losses, bayes_loss, losses
from linear_diffusion.theory.resolvent import EPSILON, Grid, make_grid
from linear_diffusion.theory.sampler import (
    Sampler,
    generated_variance_recursion,
    mode_factors,
)

__all__ = ["OptimalStopping", "gain_growth", "optimal_stopping", "training_kl", "training_losses"]

Array = NDArray[np.float64]


def gain_growth(rate: NDArray, times: Array, step_size: float | None = None) -> NDArray:
    """Learned share of the optimum over the rate, (1 - exp(-m tau))/m or (1 - (1 - h m)^j)/m.

    Args:
        rate: m, real or complex, shape (..., 1) or broadcasting against `times`.
        times: tau >= 0.
        step_size: h of gradient descent, tau = h j; gradient flow if not given.

    Source: elementary.
    """
    if step_size is None:
        exponent = -rate * times
    else:
        exponent = np.log1p(-step_size * rate) * (times / step_size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rate == 0, times + 0 * rate, -np.expm1(exponent) / rate)


def _check_alpha_bar(value: float) -> float:
    signal = float(finite_array("alpha_bar", value, ndim=0))
    if not 0 < signal < 1:
        raise reject("alpha_bar", "lie strictly between 0 and 1", signal)
    return signal


def _check_steps(step_size: float | None, times: Array, largest_rate: float) -> None:
    if step_size is None:
        return
    if not 0 < step_size * largest_rate < 1:
        raise reject(
            "step_size", f"be positive and below 1/m_max = {1 / largest_rate:.4g}", step_size
        )
    steps = times / step_size
    if np.any(np.abs(steps - np.rint(steps)) > 1e-6 * np.maximum(steps, 1)):
        raise reject("times", "be multiples of the step size", times.tolist())


def _contours(grid: Grid, delta: float) -> Iterator[tuple[tuple[int, ...], Contour]]:
    """One contour for every grid point; points of equal sample size share it."""
    made: dict[float, Contour] = {}
    for index in np.ndindex(grid.samples.shape):
        N = float(grid.samples[index])
        if N not in made:
            made[N] = make_contour(grid.spectrum, N, float(grid.freedom[index]), delta)
        yield index, made[N]


def _losses_at(
    contour: Contour, N: float, c: float, signal: float, d: int, growth: Callable, known: bool
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(value, error) of training and test loss, from the growth function of the rate."""
    sigma2 = (1 - signal) / signal
    z = contour.nodes
    f = signal * growth(signal * (z + c) + 1 - signal)
    trace, trace_error = contour.trace(f, contour.plain)
    square, square_error = contour.trace(f**2, contour.plain)
    seen, seen_error = contour.trace(z * f**2, contour.plain)
    true, true_error = contour.trace(f**2, contour.signal)
    factor = 1.0 if known else 1 + 1 / N
    common = 1 - 2 * sigma2 / d * trace + sigma2**2 / d * square
    error = 4 * EPSILON + 2 * sigma2 / d * trace_error + sigma2**2 / d * square_error
    return (
        (common + sigma2 / d * seen, error + sigma2 / d * seen_error),
        (common + sigma2 / d * factor * true, error + sigma2 / d * factor * true_error),
    )


def training_losses(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    alpha_bar: float,
    times: ArrayLike,
    *,
    step_size: float | None = None,
    mean_known: bool = False,
) -> Losses:
    """Training and test loss along gradient flow (or descent) from zero weights.

    With sigma2 = (1 - alpha_bar)/alpha_bar and f(x) = alpha_bar (1 - exp(-m tau))/m,

        R_train = 1 - (2 sigma2/d) tr f + (sigma2/d) tr (Sigma_hat + sigma2) f^2,
        R_test  = 1 - (2 sigma2/d) tr f + (sigma2/d) [ (1 + 1/N) tr Sigma f^2 + sigma2 tr f^2 ],

    all functions of Sigma_hat, m = alpha_bar (x + c) + 1 - alpha_bar.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        samples: N; broadcast with `ridge` to the grid.
        ridge: c >= 0.
        alpha_bar: signal power of the noise level, in (0, 1).
        times: tau >= 0, shape (times,); module docstring for the unit.
        step_size: h of gradient descent with tau = h * steps, instead of gradient flow.
        mean_known: no mean is estimated.

    Returns:
        Losses of shape (*grid, times); `bayes` is the loss of the best linear denoiser.

    Raises:
        ValueError: samples < 2, negative ridge or time, alpha_bar outside (0, 1), bad spectrum,
            a step size that diverges or does not divide the times.

    Source: derived here.
    """
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    signal = _check_alpha_bar(alpha_bar)
    tau = np.atleast_1d(non_negative("times", times))
    s, c = grid.spectrum, grid.others[0]
    largest = 2 * s[0] * (1 + np.sqrt(s.size / grid.freedom.min())) ** 2
    _check_steps(step_size, tau, signal * (largest + c.max()) + 1 - signal)
    shape = (*grid.samples.shape, tau.size)
    train, test, errors, test_errors = (np.empty(shape) for _ in range(4))
    delta = 3 / max(signal * tau.max(), 3 / s.sum())
    for index, contour in _contours(grid, delta):
        (train[index], errors[index]), (test[index], test_errors[index]) = _losses_at(
            contour,
            float(grid.samples[index]),
            float(c[index]),
            signal,
            s.size,
            lambda rate: gain_growth(rate, tau[:, None], step_size),
            mean_known,
        )
    bayes = bayes_loss(s, np.full(shape, (1 - signal) / signal))
    return Losses(
        Prediction(train, errors, label="training loss"),
        Prediction(test, test_errors, label="test loss"),
        bayes,
    )


class OptimalStopping(NamedTuple):
    """Training time of least test loss (infinite where stopping early does not help)."""

    time: Prediction
    test_loss: Prediction


def optimal_stopping(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    alpha_bar: float,
    *,
    mean_known: bool = False,
) -> OptimalStopping:
    """Time tau at which the expected test loss along gradient flow is least.

    Args: as in `training_losses`.

    Returns:
        Time and test loss on the grid of `samples` and `ridge`. Where the loss falls for ever the
        time is infinite and the loss that of the optimum. The time's error is the width of its
        bracket, about the square root of the loss's relative accuracy.

    Raises:
        ValueError: as in `training_losses`.

    Source: derived here.
    """
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    signal = _check_alpha_bar(alpha_bar)
    s, c = grid.spectrum, grid.others[0]
    slowest = 1 - signal + signal * c.min()
    earliest, latest = 1e-3 / (signal * s.sum() + 1 - signal), 60 / slowest
    scan = np.log(np.geomspace(earliest, latest, 200))
    time, loss, error = (np.empty(grid.samples.shape) for _ in range(3))
    asymptote = losses(s, grid.samples, c, (1 - signal) / signal, mean_known=mean_known).test
    for index, contour in _contours(grid, 3 / (signal * latest)):

        def test(log_tau: ArrayLike, at: tuple = index, contour: Contour = contour) -> Array:
            tau = np.exp(np.atleast_1d(log_tau))[:, None]
            _, (value, spread) = _losses_at(
                contour,
                float(grid.samples[at]),
                float(c[at]),
                signal,
                s.size,
                lambda rate: gain_growth(rate, tau),
                mean_known,
            )
            error[at] = spread.max()
            return value

        values = test(scan)
        best = int(np.argmin(values))
        limit = asymptote.values[index]
        if best == scan.size - 1 or values[best] >= limit - 1e-10 * abs(limit):
            time[index], loss[index], error[index] = np.inf, limit, asymptote.numerical_error[index]
            continue
        bounds = scan[max(best - 1, 0)], scan[best + 1]
        found = minimize_scalar(
            lambda x: float(test(x)[0]), bounds=bounds, method="bounded", options={"xatol": 1e-7}
        )
        time[index], loss[index] = np.exp(found.x), found.fun
    time_error = np.where(np.isfinite(time), 1e-4 * np.where(np.isfinite(time), time, 0), 0.0)
    return OptimalStopping(Prediction(time, time_error), Prediction(loss, error))


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
