"""Universal rounding of a spike's recovery at its threshold, for real data.

Near the threshold the leading eigenvalue of a sample covariance and the weight of its eigenvector
on the spike follow the stochastic Airy operator on the half line with f'(0) = -w f(0): the scaled
eigenvalue is Lambda(w), the scaled weight f(0)^2 = dLambda/dw, and w is the scaled distance of the
spike from its threshold. The distribution function P(x, w) = Prob(Lambda(w) <= x) obeys the linear
equation of Bloemendal and Virag (2013), here with the sign of w that makes a strong spike positive.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_banded
from scipy.special import ndtr

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import finite_array

__all__ = ["critical_weight"]

Array = NDArray[np.float64]
WIDEST = 10.0  # w from -10 to 10
HIGHEST, LOWEST = 40.0, -12.0  # x, over which P falls from one to zero for w < 5
ABOVE, BELOW = 4.5, -8.0  # the asymptotic forms begin here


class _Table(NamedTuple):
    w: Array
    weight: Array
    error: float


def _weights(points: int, steps: int) -> tuple[Array, Array]:
    """Solve the equation for P by Crank and Nicolson, from large x down; E Lambda by its sum."""
    w = np.linspace(-WIDEST, WIDEST, points)
    h, dx = w[1] - w[0], (HIGHEST - LOWEST) / steps
    root = np.sqrt(HIGHEST)
    # At large x the weight of the spike decides: Lambda is w^2 with variance 4 w.
    P = ndtr((root - w) * np.sqrt(root))
    below = np.zeros(points)
    for step in range(steps):
        x = HIGHEST - (step + 0.5) * dx
        drift = (w**2 - x) / (2 * h)
        left, centre, right = 2 / h**2 - drift, -4 / h**2, 2 / h**2 + drift
        bands = np.zeros((3, points))
        bands[0, 1:] = -dx / 2 * right[:-1]
        bands[1] = 1 - dx / 2 * centre
        bands[2, :-1] = -dx / 2 * left[1:]
        known = P.copy()
        known[1:-1] += dx / 2 * (left * np.roll(P, 1) + centre * P + right * np.roll(P, -1))[1:-1]
        # no change with w without a spike, and nothing below x for a strong one
        bands[1, 0], bands[0, 1], known[0] = 1.0, -1.0, 0.0
        bands[1, -1], bands[2, -2], known[-1] = 1.0, 0.0, 0.0
        following = solve_banded((1, 1), bands, known)
        below += dx * (P + following) / 2
        P = following
    return w, -np.gradient(below, h)  # E Lambda = HIGHEST - int P dx


@lru_cache(maxsize=1)
def _table() -> _Table:
    w, weight = _weights(1201, 1600)
    coarse_w, coarse = _weights(601, 800)
    inside = (w > BELOW) & (w < ABOVE)
    error = np.abs(np.interp(w[inside], coarse_w, coarse) - weight[inside]).max()
    return _Table(w, weight, float(error))


def critical_weight(distance: ArrayLike) -> Prediction:
    """Mean scaled weight Phi(w) of the leading eigenvector on a spike near its threshold.

        Phi(w) = d/dw E Lambda(w) = -d/dw int dx P(x, w),
        dP/dx + 2 d^2P/dw^2 + (w^2 - x) dP/dw = 0,

    with P = 1 at large x for every w and 0 at large w for every x. It tends to 2 w - 1/(2 w^2)
    for strong spikes, and to 1/w^2 for weak ones.

    Args:
        distance: w, any shape; positive above the threshold.

    Returns:
        Phi(w); the numerical error is the distance to a grid of half the resolution.

    Raises:
        ValueError: if a distance is not finite.

    Equations: :eq:`eq:linear-airy`, :eq:`eq:linear-critical`.

    Source: the equation of Bloemendal and Virag, Limits of spiked random matrices I (2013); the
    weight as its derivative is derived here.
    """
    w = finite_array("distance", distance)
    table = _table()
    value = np.interp(w, table.w, table.weight)
    far = np.maximum(w, ABOVE)
    value = np.where(w > ABOVE, 2 * far - 1 / (2 * far**2), value)
    # f(0)^2 = 1/(w^2 + constant), once Lambda has forgotten the boundary
    shift = 1 / np.interp(BELOW, table.w, table.weight) - BELOW**2
    value = np.where(w < BELOW, 1 / (np.minimum(w, BELOW) ** 2 + shift), value)
    return Prediction(value, np.full(value.shape, table.error), label="critical")
