"""Exact laws of linear regression: the best rate on the sphere, and momentum at finite N."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

from learning_dynamics.validation import (
    between,
    finite_array,
    increasing_integers,
    increasing_times,
    non_negative,
    positive_integer,
    positive_number,
    reject,
)

__all__ = ["best_rate_on_sphere", "regression_on_sphere", "regression_with_momentum"]

Array = NDArray[np.float64]


def best_rate_on_sphere(overlap: ArrayLike, *, label_noise: float) -> Array:
    """Learning rate of linear regression on the sphere that is best at an overlap.

        eta_* = (1 - m^2) / (m (2 (1 - m) + sigma^2))

    maximises dm/dtau of `regression_on_sphere`. Since that depends on m alone, and a larger m
    never hurts later, the rate that is best at every overlap is the best function of the time.

    Args:
        overlap: m, positive, any shape.
        label_noise: sigma.

    Raises:
        ValueError: unless 0 < m <= 1, and on negative noise.

    Source: derived here.
    """
    m = finite_array("overlap", overlap)
    if np.any((m <= 0) | (m > 1)):
        raise reject("overlap", "lie above 0 and not above 1", m.tolist())
    noise = float(non_negative("label_noise", label_noise, ndim=0)) ** 2
    slowed = m * (2 * (1 - m) + noise)
    if np.any(slowed == 0):
        raise reject("overlap", "be below 1 without label noise", m.tolist())
    return np.asarray((1 - m**2) / slowed)


def regression_on_sphere(
    times: ArrayLike,
    *,
    rate: float | Callable[[float, Array], Any],
    overlap: float,
    label_noise: float = 0.0,
) -> Array:
    """Overlap m = w.w_* of linear regression on the sphere |w| = |w_*| = 1, N -> infinity.

        dm/dtau = eta (1 - m^2) - eta^2 m (2 (1 - m) + sigma^2) / 2

    for y = w_*.x + sigma xi and the loss (w.x - y)^2 / 2; w is put back on the sphere at each step.

    Args:
        times: tau = updates / N, increasing, from zero on.
        rate: eta, a number or a function of tau and of m, elementwise.
        overlap: m at time zero.
        label_noise: sigma.

    Returns:
        m, shape (times,).

    Raises:
        ValueError: on values outside their range.

    Source: derived here.
    """
    tau, first = increasing_times(times), between("overlap", overlap, -1, 1)
    noise = float(non_negative("label_noise", label_noise, ndim=0)) ** 2
    fixed = None if callable(rate) else positive_number("rate", rate)

    def velocity(at: float, m: Array) -> Array:
        eta: Any = rate(at, m) if callable(rate) else fixed
        lost = eta**2 * m * (2 * (1 - m) + noise) / 2
        return np.asarray(eta * (1 - m**2) - lost)

    options = {"t_eval": tau, "rtol": 1e-10, "atol": 1e-12}
    solution: Array = solve_ivp(velocity, (0.0, float(tau[-1])), [first], **options).y[0]
    return solution


def regression_with_momentum(
    updates: ArrayLike,
    *,
    rate: float,
    momentum: float,
    dimension: int,
    label_noise: float = 0.0,
    distance: float = 1.0,
) -> Array:
    """Mean of |w - w_*|^2 along linear regression with a momentum, exact at every N.

    For V' = beta V - (eta/N) (w.x - y) x, w' = w + V' with V = 0 at the start, normal inputs and
    y = w_*.x + sigma xi, let a = E |w - w_*|^2, b = E (w - w_*).V, c = E |V|^2 and s = eta / N:

        c' = beta^2 c - 2 beta s b + s^2 ((N + 2) a + N sigma^2),
        b' = beta b - s a + c',
        a' = a + 2 (beta b - s a) + c'.

    Args:
        updates: numbers of updates, increasing, shape (times,).
        rate: eta.
        momentum: beta, from 0 up to below 1.
        dimension: N.
        label_noise: sigma.
        distance: |w - w_*|^2 at the start.

    Returns:
        a after those updates, shape (times,).

    Raises:
        ValueError: on values outside their range.

    Source: derived here.
    """
    wanted, n = increasing_integers("updates", updates), positive_integer("dimension", dimension)
    step = positive_number("rate", rate) / n
    memory = float(non_negative("momentum", momentum, ndim=0))
    if memory >= 1:
        raise reject("momentum", "be below 1", momentum)
    noise = float(non_negative("label_noise", label_noise, ndim=0)) ** 2
    error, cross, speed = float(non_negative("distance", distance, ndim=0)), 0.0, 0.0
    errors = np.empty(wanted[-1])
    for i in range(wanted[-1]):
        kick = step**2 * ((n + 2) * error + n * noise)
        speed = memory**2 * speed - 2 * memory * step * cross + kick
        cross = memory * cross - step * error
        error, cross = error + 2 * cross + speed, cross + speed
        errors[i] = error
    return errors[wanted - 1]
