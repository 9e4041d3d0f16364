"""Learning curves of linear denoisers under gradient flow, and early stopping.

From zero weights and with the bias at its optimum b = mu_hat, training on the noise-averaged loss
at one noise level obeys dW/dtau = -(W M - sqrt(1 - alpha_bar)), M = alpha_bar (Sigma_hat + c) +
1 - alpha_bar, so that every mode learns on its own,

    w(tau) = sqrt(1 - alpha_bar) (1 - exp(-m tau)) / m,

leading directions first. Gradient descent on the loss |W x - eps|^2 / d with learning rate eta has
tau = 2 eta steps / d. All observables are functions of Sigma_hat alone: contour integrals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import between, non_negative, reject
from linear_diffusion.theory.contour import Contour, make_contour, trace_measure
from linear_diffusion.theory.losses import Losses, bayes_loss
from linear_diffusion.theory.resolvent import EPSILON, Grid, make_grid

__all__ = ["gain_growth", "mode_rates", "training_gains", "training_losses"]

Array = NDArray[np.float64]


def gain_growth(rate: NDArray, times: Array | float, step_size: float | None = None) -> NDArray:
    """Learned share of the optimum over the rate, (1 - exp(-m tau))/m or (1 - (1 - h m)^j)/m.

    Args:
        rate: m, real or complex, shape (..., 1) or broadcasting against `times`.
        times: tau >= 0.
        step_size: h of gradient descent, tau = h j; gradient flow if not given.

    Equation: :eq:`eq:linear-mode`.

    Source: elementary.
    """
    if step_size is None:
        exponent = -rate * times
    else:
        exponent = np.log1p(-step_size * rate) * (times / step_size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rate == 0, times + 0 * rate, -np.expm1(exponent) / rate)


def mode_rates(variance: ArrayLike, alpha_bar: float, *, ridge: float = 0.0) -> Array:
    """Rate m = alpha_bar (s + c) + 1 - alpha_bar at which gradient flow learns a mode.

    The gain tends to sqrt(1 - alpha_bar) / m, and half of it is learned at the time log 2 / m.

    Args:
        variance: s of the data along the mode, any shape; of the population for unlimited data.
        alpha_bar: noise level in (0, 1).
        ridge: c >= 0.

    Raises:
        ValueError: on a negative variance or ridge, or a level outside (0, 1).

    Equation: :eq:`eq:linear-mode`.

    Source: elementary.
    """
    level, c = check_alpha_bar(alpha_bar), non_negative("ridge", ridge, ndim=0)
    return np.asarray(level * (non_negative("variance", variance) + c) + 1 - level)


def check_alpha_bar(value: float) -> float:
    """Return a noise level strictly between 0 and 1."""
    return between("alpha_bar", value, 0, 1)


def _checked(
    grid: Grid, alpha_bar: float, times: ArrayLike, step_size: float | None
) -> tuple[float, Array]:
    """Check the noise level, the times and the step size that must divide them."""
    signal, tau = check_alpha_bar(alpha_bar), np.atleast_1d(non_negative("times", times))
    if step_size is not None:
        fastest = _fastest(grid, grid.others[0], signal)
        if not 0 < step_size * fastest < 1:
            raise reject(
                "step_size",
                f"be positive and below {1 / fastest:.4g}, half the inverse of the fastest rate",
                step_size,
            )
        steps = tau / step_size
        if np.any(np.abs(steps - np.rint(steps)) > 1e-6 * np.maximum(steps, 1)):
            raise reject("times", "be multiples of the step size", tau.tolist())
    return signal, tau


def _fastest(grid: Grid, c: Array, signal: float) -> float:
    """Bound on the learning rate of any mode, twice the edge of the sample spectrum."""
    largest = 2 * grid.spectrum[0] * (1 + np.sqrt(grid.spectrum.size / grid.freedom.min())) ** 2
    return float(signal * (largest + c.max()) + 1 - signal)


def _reach(s: Array, signal: float, tau: Array) -> float:
    """Distance of the contour from zero at which exp(-alpha_bar tau z) is still of order one."""
    return float(3 / max(signal * tau.max(), 3 / s.sum()))


def contours(grid: Grid, delta: float) -> Iterator[tuple[tuple[int, ...], Contour]]:
    """One contour for every grid point; points of equal sample size share it."""
    by_size: dict[float, Contour] = {}
    for index in np.ndindex(grid.samples.shape):
        N = float(grid.samples[index])
        if N not in by_size:
            by_size[N] = make_contour(grid.spectrum, N, float(grid.freedom[index]), delta)
        yield index, by_size[N]


def losses_at(
    contour: Contour, N: float, c: float, signal: float, d: int, growth: Callable, known: bool
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(value, error) of training and test loss, from the growth function of the rate."""
    sigma2 = (1 - signal) / signal
    z = contour.nodes
    f = signal * growth(signal * (z + c) + 1 - signal)
    trace, trace_error = contour.trace(f, contour.plain)
    square, square_error = contour.trace(f**2, contour.plain)
    sampled, sampled_error = contour.trace(z * f**2, contour.plain)
    true, true_error = contour.trace(f**2, contour.signal)
    factor = 1.0 if known else 1 + 1 / N
    common = 1 - 2 * sigma2 / d * trace + sigma2**2 / d * square
    error = 4 * EPSILON + 2 * sigma2 / d * trace_error + sigma2**2 / d * square_error
    return (
        (common + sigma2 / d * sampled, error + sigma2 / d * sampled_error),
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
            a step size above half the inverse of the fastest rate (the contour leaves the
            spectrum by as much) or that does not divide the times.

    Equation: :eq:`eq:linear-curves`.

    Source: derived here.
    """
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    s, c = grid.spectrum, grid.others[0]
    signal, tau = _checked(grid, alpha_bar, times, step_size)
    shape = (*grid.samples.shape, tau.size)
    train, test, errors, test_errors = (np.empty(shape) for _ in range(4))
    for index, contour in contours(grid, _reach(s, signal, tau)):
        (train[index], errors[index]), (test[index], test_errors[index]) = losses_at(
            contour,
            float(grid.samples[index]),
            float(c[index]),
            signal,
            s.size,
            lambda rate: gain_growth(rate, tau[:, None], step_size),
            mean_known,
        )
    bayes = bayes_loss(s, np.full(shape, signal))
    return Losses(
        Prediction(train, errors, label="training loss"),
        Prediction(test, test_errors, label="test loss"),
        bayes,
    )


def training_gains(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    alpha_bar: float,
    times: ArrayLike,
    *,
    step_size: float | None = None,
    mean_known: bool = False,
) -> Prediction:
    """Expected gain e_k' W(tau) e_k along each eigenvector of the population covariance.

        E [f(Sigma_hat)]_kk = - oint dz/(2 pi i) f(z) (kappa/(-z)) / (s_k + kappa),
        f(x) = sqrt(1 - alpha_bar) (1 - exp(-m tau))/m,   m = alpha_bar (x + c) + 1 - alpha_bar

    With unlimited data mode k learns at the rate alpha_bar s_k + 1 - alpha_bar: modes of large
    variance first.

    Args: as in `training_losses`.

    Returns:
        Shape (*grid, times, d).

    Raises:
        ValueError: as in `training_losses`.

    Equation: :eq:`eq:linear-contour`.

    Source: derived here.
    """
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    s, c = grid.spectrum, grid.others[0]
    signal, tau = _checked(grid, alpha_bar, times, step_size)
    values, errors = (np.empty((*grid.samples.shape, tau.size, s.size)) for _ in range(2))
    modes = np.diag(1 / s)
    for index, contour in contours(grid, _reach(s, signal, tau)):
        rate = signal * (contour.nodes + c[index]) + 1 - signal
        gains = np.sqrt(1 - signal) * gain_growth(rate, tau[:, None], step_size)
        measure = trace_measure(modes, s, contour.nodes, contour.kappa, contour.freedom).T
        values[index], errors[index] = contour.trace(gains[:, None, :], measure)
    return Prediction(values, errors, label="gradient flow")
