"""Images moved by some pixels along their axes, set side by side or summed."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Padding = Literal["zero", "circular"]


def _padded(images: jax.Array, axis: int, low: int, high: int, between: int = 0) -> jax.Array:
    zero = jnp.zeros((), images.dtype)
    ends = [(0, 0, 0)] * images.ndim
    ends[axis] = (low, high, between)
    return lax.pad(images, zero, ends)


def shifted(images: jax.Array, by: int, axis: int, padding: Padding) -> jax.Array:
    """x[r + by] at all r of an axis."""
    size = images.shape[axis]
    if padding == "zero" or size == 0:
        return _padded(images, axis, -by, by)
    parts = ((by % size, size), (0, by % size))
    return lax.concatenate([lax.slice_in_dim(images, *part, axis=axis) for part in parts], axis)


def taken(images: jax.Array, by: int, axis: int, *, stride: int, padding: Padding) -> jax.Array:
    """x[stride r + by] at all r of an axis."""
    moved = shifted(images, by, axis, padding)
    return moved if stride == 1 else lax.slice_in_dim(moved, 0, None, stride, axis)


def returned(
    change: jax.Array, by: int, axis: int, *, stride: int, padding: Padding, shape: tuple[int, ...]
) -> jax.Array:
    """Transpose of `taken` for images of a shape."""
    if stride > 1:  # outputs that were left out send nothing back
        covered = max(stride * (change.shape[axis] - 1) + 1, 0)
        change = _padded(change, axis, 0, shape[axis] - covered, stride - 1)
    return shifted(change, -by, axis, padding)


def side_by_side(
    images: jax.Array, size: int, axes: Sequence[int], move: Callable[..., jax.Array]
) -> jax.Array:
    """All moves along the axes as channels, the first axis slowest."""
    for axis in reversed(axes):
        moved = [move(images, i - size // 2, axis) for i in range(size)]
        images = lax.concatenate(moved, 3)
    return images


def summed(
    fields: jax.Array, size: int, axes: Sequence[int], move: Callable[..., jax.Array]
) -> jax.Array:
    """Sum over all moves along the axes, each of channels of its own: see `side_by_side`."""
    for axis in axes:
        features = fields.shape[3] // size
        parts = [
            lax.slice_in_dim(fields, i * features, (i + 1) * features, axis=3) for i in range(size)
        ]
        fields = reduce(jnp.add, [move(part, i - size // 2, axis) for i, part in enumerate(parts)])
    return fields
