"""Latent variables of an input model: one declaration is both sampler and quadrature rule."""

from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.validation import integers, reject

__all__ = ["Latent", "check_shape"]

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
        """Draw an array of shape (*shape, *self.shape)."""
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
