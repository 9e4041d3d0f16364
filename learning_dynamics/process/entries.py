"""Arrays by their entries, and arrays with one long axis by pieces of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

__all__ = ["NARROW", "Array", "UnsupportedError", "Wide", "add", "arranged", "entries_of"]
__all__ += ["is_narrow", "long_axis_last", "made", "pieces", "spread", "sum_of_pieces"]

NARROW = 64  # entries of an array that is kept entry by entry


class UnsupportedError(Exception):
    """The function holds something that is not done entry by entry."""


@dataclass(frozen=True)
class Wide:
    """An array whose last axis is cut into pieces.

    Attributes:
        parts: shape (*lead, pieces), each a vector of `lanes` numbers, or one number that stands
            for a constant vector.
        length: of the last axis; lanes beyond it are padding.
        lanes: numbers in a piece.
        axis: place of the long axis; None for the last. Products alone take others.
    """

    parts: NDArray[Any]
    length: int
    lanes: int
    axis: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        lead = [*self.parts.shape[:-1]]
        lead.insert(len(lead) if self.axis is None else self.axis, self.length)
        return tuple(lead)


Array = NDArray[Any] | Wide  # entries, or pieces


def pieces(length: int, lanes: int) -> int:
    """Number of pieces of a long axis."""
    return -(-length // lanes)


def is_narrow(shape: Sequence[int]) -> bool:
    """Whether an array is kept entry by entry.

    Raises:
        UnsupportedError: if it has two long axes, or too many entries.
    """
    entries, longest = int(np.prod(shape, dtype=np.int64)), max(shape, default=1)
    if entries <= NARROW:
        return True
    if longest > NARROW and entries // longest <= NARROW:
        return False
    raise UnsupportedError(f"an array of shape {tuple(shape)}")


def entries_of(shape: Sequence[int], entry: Callable[[tuple[int, ...]], Any]) -> NDArray[Any]:
    """Array of objects, each made from its index."""
    return arranged([entry(index) for index in np.ndindex(*shape)], shape)


def arranged(entries: Sequence[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Array of objects, which NumPy is not to look into."""
    return np.fromiter(entries, object, len(entries)).reshape(tuple(shape))


def made(function: Callable[..., Any], *entries: Any) -> Any:
    """An operation on numbers or vectors; on constants alone it is done at once.

    Compilers of kernels stumble over operations on constants.
    """
    if any(isinstance(entry, jax.Array) for entry in entries):
        return function(*entries)
    with jax.ensure_compile_time_eval():
        return np.asarray(function(*entries))[()]


def spread(entry: Any, lanes: int) -> Any:
    """A vector, of one number repeated where the entry is a number."""
    return entry if jnp.ndim(entry) else lax.broadcast(entry, (lanes,))


def add(a: Any, b: Any) -> Any:
    """The sum of two numbers or vectors."""
    return made(lax.add, a, b)


def sum_of_pieces(row: list[Any], of: Wide) -> Any:
    """Sum of the pieces of the long axis of an array, padding left out."""
    row = [spread(piece, of.lanes) for piece in row]
    inside = of.length - (len(row) - 1) * of.lanes
    if inside < of.lanes:
        lane = lax.broadcasted_iota(np.int32, (of.lanes,), 0)
        row[-1] = jnp.where(lane < inside, row[-1], jnp.zeros_like(row[-1]))
    return jnp.sum(reduce(add, row))


def long_axis_last(array: Array, *axes: Sequence[int]) -> tuple[Array, list[list[int]]]:
    """The array with its long axis last, and some of its axes by their new numbers."""
    if not isinstance(array, Wide) or array.axis is None:
        return array, [[*some] for some in axes]
    order = [axis for axis in range(len(array.shape)) if axis != array.axis] + [array.axis]
    last = Wide(array.parts, array.length, array.lanes)
    return last, [[order.index(axis) for axis in some] for some in axes]
