"""Latent variables of an input model: one declaration is both sampler and quadrature rule."""

from functools import partial
from inspect import signature
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics import random
from learning_dynamics.validation import integers, reject

__all__ = ["Latent", "check_shape", "draw_updates"]

Array = NDArray[np.float64]


class Latent(Protocol):
    """Independent, identically distributed real variables in an array of shape `shape`.

    Attributes:
        shape: shape of the array, () for one variable.
        outcomes: number of values of each variable when it is discrete, otherwise 0.
        nodes: quadrature nodes per variable that suffice, or None to let the rule choose.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        ...

    @property
    def outcomes(self) -> int:
        """Number of values, 0 if continuous."""
        ...

    @property
    def nodes(self) -> int | None:
        """Quadrature nodes that suffice."""
        ...

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Draw an array of shape (*shape, *self.shape).

        A function of the key and the shape. In a simulation it is called with a key for each
        update; if it takes a fourth argument `first`, once for many updates, in the order of
        `random.row_numbers`: their numbers must then depend on the key and the update alone, as
        those of `random.normal`.
        """
        ...

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Nodes and weights of a one-dimensional quadrature, float64 (host)."""
        ...

    def quantile(self, level: Array) -> Array:
        """Inverse of the distribution function, float64 (host)."""
        ...


def check_shape(value: Any) -> None:
    """Refuse a shape that is no tuple of whole numbers."""
    if not isinstance(value, tuple):
        raise reject("shape", "be a tuple of whole numbers", repr(value))
    if value:
        integers("shape", value, least=0)


def draw_updates(
    latent: Latent,
    key: jax.Array,
    first: jax.Array,
    updates: int,
    shape: tuple[int, ...],
    dtype: Any,
) -> jax.Array:
    """Variables of the updates with numbers first + `random.row_numbers(updates)`.

    Those of an update depend on the key and its number alone.

    Args:
        latent: law of the variables.
        key: typed random key.
        first: number of the first update, even, int32 scalar.
        updates: number of updates, even.
        shape: shape of the draw of one update.
        dtype: floating-point type.

    Returns:
        Array of shape (updates, *shape, *latent.shape).
    """
    draw: Any = latent.draw
    if "first" in signature(draw).parameters:
        drawn: jax.Array = draw(key, (updates, *shape), dtype, first=first)
        return drawn
    numbers = first + random.row_numbers(updates)
    keys = jax.vmap(partial(random.fold_in, key))(numbers)
    return jax.vmap(lambda own: draw(own, shape, dtype))(keys)
