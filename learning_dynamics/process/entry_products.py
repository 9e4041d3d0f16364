"""Products of arrays by their entries."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.process.entries import (
    Array,
    UnsupportedError,
    Wide,
    add,
    entries_of,
    long_axis_last,
    spread,
    sum_of_pieces,
)

__all__ = ["product"]


def product(left: Array, right: Array, contracted: Any, batched: Any) -> Array:
    """A product of arrays with one contraction: sum over the contracted axes of all products."""
    (left_sum, right_sum), (left_batch, right_batch) = contracted, batched
    left, (left_sum, left_batch) = long_axis_last(left, left_sum, left_batch)
    right, (right_sum, right_batch) = long_axis_last(right, right_sum, right_batch)
    pairs = sorted(zip(left_sum, right_sum, strict=True), key=lambda pair: pair[0])
    left_sum, right_sum = [a for a, _ in pairs], [b for _, b in pairs]  # a long axis comes last
    wide = [isinstance(array, Wide) for array in (left, right)]
    axes = []
    for array, sums, batch in (
        (left, left_sum, left_batch), (right, right_sum, right_batch),
    ):  # fmt: skip
        ndim = len(array.shape)
        free = [axis for axis in range(ndim) if axis not in (*sums, *batch)]
        axes.append((ndim, [*batch], free, [*sums]))
    lengths = [array.shape for array in (left, right)]
    inner = [lengths[0][axis] for axis in left_sum]
    shape = [
        *(lengths[0][axis] for axis in left_batch),
        *(lengths[0][axis] for axis in axes[0][2]),
        *(lengths[1][axis] for axis in axes[1][2]),
    ]
    if not isinstance(left, Wide) and not isinstance(right, Wide):
        rows = [
            array.transpose([*batch, *free, *sums]).reshape(
                [array.shape[axis] for axis in (*batch, *free)] + [-1]
            )
            for array, (_, batch, free, sums) in zip((left, right), axes, strict=True)
        ]
        if not np.prod(inner, dtype=int):
            raise UnsupportedError("sums of no terms")
        first, second = len(left_batch), len(axes[0][2])

        def entry(index: tuple[int, ...]) -> Any:
            batch, rest = index[:first], index[first:]
            pairs = zip(
                rows[0][(*batch, *rest[:second])], rows[1][(*batch, *rest[second:])], strict=True
            )
            return reduce(add, [a * b for a, b in pairs])

        return entries_of(shape, entry)
    if all(wide) and left_sum[-1:] == [axes[0][0] - 1] and right_sum[-1:] == [axes[1][0] - 1]:
        return _inner(left, right, axes, shape)
    last = axes[1][0] - 1
    if not isinstance(left, Wide) and isinstance(right, Wide) and axes[1][2][-1:] == [last]:
        return _mixed(left, right, axes, shape)
    raise UnsupportedError("a product with a long axis in the middle")


def _inner(left: Any, right: Any, axes: Any, shape: Sequence[int]) -> NDArray[Any]:
    """A product summed over a long axis, and perhaps short ones."""
    parts = []
    for array, (_, batch, free, sums) in zip((left, right), axes, strict=True):
        order = [*batch, *free, *sums[:-1], array.parts.ndim - 1]
        moved = array.parts.transpose(order)
        parts.append(moved.reshape(*moved.shape[: len(batch) + len(free)], -1, moved.shape[-1]))
    first, second = len(axes[0][1]), len(axes[0][2])

    def entry(index: tuple[int, ...]) -> Any:
        batch, rest = index[:first], index[first:]
        a, b = parts[0][(*batch, *rest[:second])], parts[1][(*batch, *rest[second:])]
        products = entries_of(
            a.shape, lambda at: spread(a[at], left.lanes) * spread(b[at], left.lanes)
        )
        return reduce(add, [sum_of_pieces([*row], left) for row in products])

    return entries_of(shape, entry)


def _mixed(left: NDArray[Any], right: Wide, axes: Any, shape: Sequence[int]) -> Wide:
    """A small matrix times an array with a long axis."""
    (_, batch_l, free_l, sums_l), (_, batch_r, free_r, sums_r) = axes
    small = left.transpose([*batch_l, *free_l, *sums_l])
    small = small.reshape(*small.shape[: len(batch_l) + len(free_l)], -1)
    order = [*batch_r, *free_r[:-1], *sums_r, right.parts.ndim - 1]
    moved = right.parts.transpose(order)
    moved = moved.reshape(*moved.shape[: len(batch_r) + len(free_r) - 1], -1, right.parts.shape[-1])
    first, second = len(batch_l), len(free_l)
    count = right.parts.shape[-1]

    def entry(index: tuple[int, ...]) -> Any:
        *rest, piece = index
        batch, others = tuple(rest[:first]), tuple(rest[first:])
        row = small[(*batch, *others[:second])]
        column = moved[(*batch, *others[second:])]
        terms = [
            spread(a, right.lanes) * spread(b[piece], right.lanes)
            for a, b in zip(row, column, strict=True)
        ]
        return reduce(add, terms)

    return Wide(entries_of([*shape[:-1], count], entry), right.length, right.lanes)
