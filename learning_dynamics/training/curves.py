"""Recovery times of learning curves, the order of two of them, and what to expect of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.measurement import Measurement, Prediction
from learning_dynamics.validation import between, finite_array, integers, real_array, reject

__all__ = ["comes_first", "order_of_steps", "recovery_steps"]


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


def _last_step(end: float) -> float:
    last = float(finite_array("end", end, ndim=0))
    if last < 2:
        raise reject("end", "be 2 at least", end)
    return last


def order_of_steps(first: ArrayLike, second: ArrayLike, end: float, name: str) -> Measurement:
    """log10 of (second step / first step) over seeds, both at least 1 and at most the end.

    Args:
        first: step of each seed, shape (seeds,), infinite where it never comes.
        second: likewise.
        end: last step of training.
        name: of the order, the only value of the coordinate "order".

    Raises:
        ValueError: with fewer than two seeds, where shapes differ, or if training ends before step
            2.
    """
    end = _last_step(end)
    early, late = (
        np.clip(real_array(name, step), 1, end)
        for name, step in (("first", first), ("second", second))
    )
    if early.shape != late.shape or early.ndim != 1:
        raise reject("second", "have the shape (seeds,) of `first`", (early.shape, late.shape))
    ratio = np.log10(late / early)[:, None]
    return Measurement.from_replicas(ratio, {"order": [name]}, label="network")


def comes_first(end: float, label: str, factor: float = 1.0) -> Prediction:
    """Any order in which the second step comes later, by a factor at least: log10(factor) and more.

    Args:
        end: last step of training.
        label: name for legends and tables.
        factor: between the two steps, below `end`.

    Raises:
        ValueError: on another factor, or if training ends before step 2.
    """
    end = _last_step(end)
    between("factor", factor, 0, end)
    return Prediction.between([np.log10(factor)], [np.log10(end)], label=label)
