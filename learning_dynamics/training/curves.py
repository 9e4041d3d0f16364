"""Recovery times of learning curves: the step from which on a level is exceeded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.validation import finite_array, integers, real_array, reject

__all__ = ["recovery_steps"]


def recovery_steps(steps: ArrayLike, curves: ArrayLike, level: float) -> NDArray[np.float64]:
    """Step from which on each curve stays above `level`.

    Interpolated linearly in log(1 + step) between the last observation that is not above and the
    next one; 0 if a curve is above from the start, infinite if it is not above at the end (a NaN
    is not above).

    Args:
        steps: numbers of updates, increasing, shape (observations,).
        curves: shape (..., observations).
        level: to be exceeded; negate curves for one to stay below.

    Returns:
        Shape (...).

    Raises:
        ValueError: if the steps do not increase or the shapes do not fit.
    """
    at = integers("steps", steps, least=0)
    if at.ndim != 1 or np.any(np.diff(at) <= 0):
        raise reject("steps", "increase strictly", at)
    rows = real_array("curves", curves)
    level = float(finite_array("level", level, ndim=0))
    if rows.ndim == 0 or rows.shape[-1] != at.size:
        raise reject("curves", f"have {at.size} observations on the last axis", rows.shape)
    place = np.log1p(at)
    logarithms = [_crossing(place, row, level) for row in rows.reshape(-1, at.size)]
    return np.expm1(np.array(logarithms)).reshape(rows.shape[:-1])


def _crossing(place: NDArray[Any], values: NDArray[Any], level: float) -> float:
    below = np.flatnonzero(~(values > level))
    if below.size == 0:
        return float(place[0])
    last = int(below[-1])
    if last == len(values) - 1:
        return np.inf
    start = values[last] if np.isfinite(values[last]) else level
    share = (level - start) / (values[last + 1] - start)
    return float(place[last] + share * (place[last + 1] - place[last]))
