"""Remaining time of a sweep: an estimate from the finished cells, and where it extrapolates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.markup import duration

__all__ = ["remaining_seconds", "time_left"]


def remaining_seconds(
    axes: Mapping[str, Sequence[Any]], seconds: Mapping[int, float], missing: Sequence[int]
) -> tuple[float, int]:
    """Seconds of work that the missing cells need, and how many are of a kind not seen yet.

    log(seconds) is fitted by a sum of one term per axis, linear in the logarithm of positive
    numbers; other axes are taken not to matter. A cell counts as new if a positive number of it
    lies beyond twice the range of the finished cells, or a label has not occurred among them
    (for other numbers, such as seeds, while fewer than three have).

    Args:
        axes: name -> labels; the grid is their product, the last axis fastest.
        seconds: place of a finished cell -> seconds it took.
        missing: places of the cells still to be computed.

    Returns:
        Seconds, and number of the missing cells whose seconds are extrapolated.
    """
    if not seconds or not missing:
        return 0.0 if not missing else float("nan"), len(missing)
    shape = tuple(len(labels) for labels in axes.values())
    done = np.array(np.unravel_index(list(seconds), shape))
    todo = np.array(np.unravel_index(list(missing), shape))
    y = np.log(np.maximum(list(seconds.values()), 1e-6))
    columns, wanted = [np.ones(y.size)], [np.ones(len(missing))]
    new = np.zeros(len(missing), bool)
    for labels, had, want in zip(axes.values(), done, todo, strict=True):
        scale, seen = _scale(labels), len(set(had.tolist()))
        if scale is not None and seen > 1:
            columns.append(scale[had])
            wanted.append(scale[want])
            beyond = np.maximum(scale[had].min() - scale[want], scale[want] - scale[had].max())
            new |= beyond > np.log(2) + 1e-9
        elif seen < 3 or np.asarray(labels).dtype.kind not in "iuf":
            new |= ~np.isin(want, had)
    A, B = np.stack(columns, axis=1), np.stack(wanted, axis=1)
    coefficients, *_ = np.linalg.lstsq(A, y, rcond=None)
    # the mean of exp is above exp of the mean
    scatter = np.exp(y - A @ coefficients).mean()
    return float(np.exp(np.clip(B @ coefficients, -14, 30)).sum() * scatter), int(new.sum())


def _scale(labels: Sequence[Any]) -> NDArray[np.float64] | None:
    values = np.asarray(labels)
    if values.dtype.kind not in "iuf" or np.any(values <= 0):
        return None
    return np.log(values.astype(np.float64))


def time_left(seconds: float, new: int, *, at_once: float = 1.0) -> str:
    """The estimate in words, for work that `at_once` processes share."""
    if not np.isfinite(seconds):
        return "time left unknown"
    text = f"about {duration(seconds / max(at_once, 1.0))} left"
    return f"{text}, extrapolated for {new} cells unlike any finished one" if new else text
