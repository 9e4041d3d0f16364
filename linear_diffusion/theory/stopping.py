"""Early stopping: the training time of least test loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Prediction
from linear_diffusion.theory.contour import Contour
from linear_diffusion.theory.losses import losses
from linear_diffusion.theory.resolvent import make_grid
from linear_diffusion.theory.training import check_alpha_bar, contours, gain_growth, losses_at

__all__ = ["OptimalStopping", "optimal_stopping"]

Array = NDArray[np.float64]


class OptimalStopping(NamedTuple):
    """Training time of least test loss (infinite where stopping early does not help)."""

    time: Prediction
    test_loss: Prediction

    def __repr__(self) -> str:
        return short_text.represent(self)


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

    Equation: :eq:`eq:linear-curves`.

    Source: derived here.
    """
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    signal = check_alpha_bar(alpha_bar)
    s, c = grid.spectrum, grid.others[0]
    slowest = 1 - signal + signal * c.min()
    earliest, latest = 1e-3 / (signal * s.sum() + 1 - signal), 60 / slowest
    scan = np.log(np.geomspace(earliest, latest, 200))
    time, loss, error = (np.empty(grid.samples.shape) for _ in range(3))
    asymptote = losses(s, grid.samples, c, signal, mean_known=mean_known).test
    for index, contour in contours(grid, 3 / (signal * latest)):

        def test(log_tau: ArrayLike, at: tuple = index, contour: Contour = contour) -> Array:
            tau = np.exp(np.atleast_1d(log_tau))[:, None]
            _, (value, spread) = losses_at(
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
        minimum = minimize_scalar(
            lambda x: float(test(x)[0]), bounds=bounds, method="bounded", options={"xatol": 1e-7}
        )
        time[index], loss[index] = np.exp(minimum.x), minimum.fun
    time_error = np.where(np.isfinite(time), 1e-4 * np.where(np.isfinite(time), time, 0), 0.0)
    return OptimalStopping(Prediction(time, time_error), Prediction(loss, error))
