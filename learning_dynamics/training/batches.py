"""Minibatches from data in memory, with augmentation that keeps the statistics in question."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.random import check_key
from learning_dynamics.validation import positive_integer, reject

__all__ = ["Minibatches", "flip", "flip_and_shift", "shift"]

Augmentation = Callable[[Any, jax.Array], Any]


@configuration
class Minibatches:
    """Rows of data in memory, drawn uniformly with replacement; called with a key.

    Args:
        data: pytree of arrays with equal leading axis n, such as (images, labels).
        size: rows per minibatch.
        augment: `augment(rows, key)` on the minibatch, such as `shift`; None leaves it alone.

    Raises:
        ValueError: if arrays differ in length, hold nothing, NaN, masks or whole numbers that JAX
            would cut, or `size` is not positive.
    """

    data: Any
    size: int = static(default=64)
    augment: Augmentation | None = static(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", positive_integer("size", self.size))
        leaves = jax.tree.leaves(self.data)
        if is_traced(leaves):
            return
        leaves = [_leaf(leaf) for leaf in leaves]
        lengths = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in leaves}
        if len(lengths) != 1 or 0 in lengths:
            raise reject("data", "hold arrays of one length, not zero", f"{sorted(lengths)}")
        for leaf in leaves:
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(jnp.isfinite(leaf).all()):
                raise reject("data", "be finite", "NaN or infinite entries")
        structure = jax.tree.structure(self.data)
        object.__setattr__(self, "data", jax.tree.unflatten(structure, leaves))

    def __call__(self, key: jax.Array) -> Any:
        """Draw one minibatch, the arrays of `data` with leading axis `size`."""
        check_key(key)
        draw, change = jax.random.split(key)
        rows = jax.tree.leaves(self.data)[0].shape[0]
        chosen = jax.random.randint(draw, (self.size,), 0, rows, jnp.int32)
        batch = jax.tree.map(lambda array: array[chosen], self.data)
        return batch if self.augment is None else self.augment(batch, change)


def _leaf(given: Any) -> jax.Array:
    """An array of the data in JAX's precision; whole numbers that do not fit are refused."""
    if isinstance(given, jax.Array):
        return given
    if np.ma.is_masked(given):
        raise reject("data", "have no masked entries", f"{np.ma.count_masked(given)}")
    array = np.asarray(given)
    if array.dtype.kind in "OSUTMmV" and not np.can_cast(array.dtype, np.float64):
        raise reject("data", "hold arrays of numbers", f"{array.dtype}")
    converted = jnp.asarray(array)
    if array.dtype.kind in "iu" and not np.array_equal(converted, array):
        raise reject("data", f"fit into {converted.dtype}", f"{array.dtype} up to {array.max()}")
    return converted


def _on_images(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Augmentation:
    """Apply to the images of a batch: the batch itself, or its first array."""

    def augment(batch: Any, key: jax.Array) -> Any:
        check_key(key)
        if isinstance(batch, tuple):
            return (function(batch[0], key), *batch[1:])
        return function(batch, key)

    return augment


def _shifted(images: jax.Array, key: jax.Array) -> jax.Array:
    height, width = images.shape[1:3]
    vertical, across = jax.random.split(key)
    down = jax.random.randint(vertical, (images.shape[0], 1), 0, height, jnp.int32)
    right = jax.random.randint(across, (images.shape[0], 1), 0, width, jnp.int32)
    rows = (jnp.arange(height, dtype=jnp.int32)[None] + down) % height
    columns = (jnp.arange(width, dtype=jnp.int32)[None] + right) % width
    each = jnp.arange(images.shape[0], dtype=jnp.int32)[:, None, None]
    return images[each, rows[:, :, None], columns[:, None, :]]


def _flipped(images: jax.Array, key: jax.Array) -> jax.Array:
    half = jnp.float32(0.5)  # its type is that of the draws
    turn = jax.random.bernoulli(key, half, (images.shape[0],) + (1,) * (images.ndim - 1))
    return jnp.where(turn, images[:, :, ::-1], images)


def shift(batch: Any, key: jax.Array) -> Any:
    """Shift every image circularly by a random amount.

    x(r) -> x(r + s), s uniform on the torus: amplitudes |X| and all translation-invariant relations
    between phases stay as they are. Meant for images that are periodic on their frame.

    Args:
        batch: images of shape (n, height, width[, channels]), or a tuple that begins with them.
        key: typed random key.
    """
    return _on_images(_shifted)(batch, key)


def flip(batch: Any, key: jax.Array) -> Any:
    """Mirror every second image, left to right: the mean of |X|^2 over (k, -k) across stays.

    Args:
        batch: images of shape (n, height, width[, channels]), or a tuple that begins with them.
        key: typed random key.
    """
    return _on_images(_flipped)(batch, key)


def flip_and_shift(batch: Any, key: jax.Array) -> Any:
    """Apply `flip`, then `shift`."""
    check_key(key)
    first, second = jax.random.split(key)
    return shift(flip(batch, first), second)
