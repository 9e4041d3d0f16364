"""A random walk with drift at a threshold: overshoot, and the wait for a sustained crossing."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["overshoot", "sustained_delay"]

Array = NDArray[np.float64]
_SIEGMUND = 0.5825971579390107  # -zeta(1/2) / sqrt(2 pi)
_TERMS = 4000


def overshoot(drift: float, deviation: float) -> float:
    """Mean overshoot, over a far threshold, of a walk of normal steps with positive drift.

        (v^2 + s^2) / (2 v) - sum_n E[S_n^-] / n

    for steps N(v, s^2), by Spitzer's identity; 0.5826 s as v -> 0 (Siegmund 1979), v / 2 as s -> 0.
    """
    ratio = drift / deviation
    if ratio < 0.05:  # next order of the same series, Siegmund (1985): r / 4
        return deviation * (_SIEGMUND + max(ratio, 0.0) / 4)
    n = np.arange(1, _TERMS + 1)
    x = ratio * np.sqrt(n)
    negative = np.sqrt(n) * (np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) - x * ndtr(-x))
    return float(deviation * ((1 + ratio**2) / (2 * ratio) - np.sum(negative / n)))


def sustained_delay(drift: float, deviation: float, updates: int, points: int = 160) -> float:
    """Mean time from a first crossing to the start of the first that lasts, in updates.

    A walk of steps N(v, s^2), v > 0, stays above its threshold for `updates` updates in a row, the
    crossing among them. With positions above (x > 0) and below (y < 0), one step K, and returns
    R = (1 - K_bb)^-1 K_ba that take the mean time (1 - K_bb)^-1 1, the delay of a crossing at x is

        h = sum_(j < updates) K_aa^(j-1) K_ab ( j + (1 - K_bb)^-1 1 + R h ),

    solved on midpoints and averaged over the overshoot of a walk from far below.
    """
    if updates == 1:
        return 0.0
    v = drift / deviation
    reach = 6.0 + min(updates, 60) ** 0.5 * 3
    deep = min(reach, 6.0 + 12.0 / max(v, 0.05))  # below: e^(-2 v y) of excursions get so far
    above = (np.arange(points) + 0.5) * reach / points
    below = -(np.arange(points) + 0.5) * deep / points

    def step(start: Array, end: Array, width: float) -> Array:
        half = width / 2
        move = end[None] - start[:, None] - v
        return np.asarray(ndtr(move + half) - ndtr(move - half))

    up, down = reach / points, deep / points
    aa, ab = step(above, above, up), step(above, below, down)
    bb, ba = step(below, below, down), step(below, above, up)
    rest = np.linalg.inv(np.eye(points) - bb)
    back = rest @ ba
    back /= back.sum(axis=1, keepdims=True)
    wait = rest @ np.ones(points)
    matrix, cost, survive = np.zeros((points, points)), np.zeros(points), np.eye(points)
    for j in range(1, updates):
        fall = survive @ ab
        cost += fall.sum(axis=1) * j + fall @ wait
        matrix += fall @ back
        survive = survive @ aa
        if survive.max() < 1e-14:
            break
    delay = np.linalg.solve(np.eye(points) - matrix, cost)
    return float(back[-1] @ delay)
