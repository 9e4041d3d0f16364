"""Exact laws of linear regression: the best rate on the sphere, and momentum at finite N."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.protocols.equations import solution_at, variance_of_labels
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
STEEPEST = 1e30  # change over all times at the velocity of a moment: beyond, steps round to none


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
    noise = variance_of_labels(label_noise)
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
        ValueError: on values outside their range, also those of a function.
        RuntimeError: if the solver does not reach the last time.

    Source: derived here.
    """
    tau, first = increasing_times(times), between("overlap", overlap, -1, 1)
    noise = variance_of_labels(label_noise)
    if not callable(rate):
        positive_number("rate", rate)

    def velocity(at: float, m: Array) -> Array:
        eta = non_negative("rate", rate(at, m) if callable(rate) else rate)
        if eta.size != 1:
            raise reject("rate", "be one number at a time", f"shape {eta.shape} at {at:.6g}")
        with np.errstate(over="ignore", invalid="ignore"):
            change = eta * (1 - m**2) - eta**2 * m * (2 * (1 - m) + noise) / 2
        if not np.all(np.abs(change) * tau[-1] < STEEPEST):
            demand = (
                f"change the overlap by less than {STEEPEST:g} over all times if it were linear"
            )
            raise reject("rate", demand, eta.item())
        return np.reshape(change, m.shape)

    # large rates and long times are stiff: the overlap rests where both terms cancel
    return solution_at(tau, velocity, np.array([first]), rtol=1e-11, atol=1e-13)[:, 0]


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
        a after those updates, shape (times,); infinite where it leaves double precision.

    Raises:
        ValueError: on values outside their range.

    Source: derived here.
    """
    wanted, n = increasing_integers("updates", updates), positive_integer("dimension", dimension)
    step = positive_number("rate", rate) / n
    memory = float(non_negative("momentum", momentum, ndim=0))
    if memory >= 1:
        raise reject("momentum", "be below 1", momentum)
    noise = variance_of_labels(label_noise)
    state = np.array([float(non_negative("distance", distance, ndim=0)), 0.0, 0.0, noise])
    if not state.any():
        return np.zeros(wanted.size)
    with np.errstate(over="ignore", invalid="ignore"):
        speed = np.array([step * step * (n + 2), -2 * memory * step, memory**2, step * step * n])
        cross = speed + np.array([-step, memory, 0, 0])
        error = speed + np.array([1 - 2 * step, 2 * memory, 0, 0])
        update = np.stack([error, cross, speed, [0, 0, 0, 1]])
        errors = np.empty(wanted.size)
        for i, more in enumerate(np.diff(wanted, prepend=0).tolist()):
            state = np.linalg.matrix_power(update, more) @ state
            errors[i] = state[0]
    return np.where(np.isnan(errors), np.inf, errors)
