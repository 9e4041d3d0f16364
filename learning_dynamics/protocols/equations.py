"""Equations of motion of linear regression: their solution, and the variance of its labels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from learning_dynamics.validation import non_negative, reject

__all__ = ["solution_at", "variance_of_labels"]

Array = NDArray[np.float64]
_TINY = 1e-100  # squares of earlier times underflow in the solver


def variance_of_labels(label_noise: float) -> float:
    """Variance sigma^2 of a label noise.

    Raises:
        ValueError: if the noise is negative or its square leaves double precision.
    """
    with np.errstate(over="ignore"):
        variance = np.square(non_negative("label_noise", label_noise, ndim=0))
    if not np.isfinite(variance):
        raise reject("label_noise", "have a square within double precision", label_noise)
    return float(variance)


def solution_at(
    times: Array,
    velocity: Callable[[float, Array], Array],
    start: Array,
    *,
    rtol: float,
    atol: float,
) -> Array:
    """Solution from time zero on at increasing times, shape (times, numbers); stiff ones as well.

    Raises:
        RuntimeError: if the solver does not reach the last time.
    """
    later = times[times > _TINY]
    values = np.broadcast_to(start, (times.size, start.size)).copy()
    if later.size:
        solution = solve_ivp(
            velocity, (0.0, float(later[-1])), start, "LSODA", later, rtol=rtol, atol=atol
        )
        if not solution.success:
            raise RuntimeError(f"the equation could not be solved: {solution.message}")
        values[times.size - later.size :] = solution.y.T
    return values
