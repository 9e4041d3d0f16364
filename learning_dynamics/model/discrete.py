"""Latent variables with finitely many values: quadrature is the exact sum over them."""

from abc import ABC, abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics import random
from learning_dynamics.model.latent import check_shape
from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.validation import finite_array, reject

__all__ = ["Atoms", "Discrete"]

Array = NDArray[np.float64]


@configuration
class Discrete:
    """Variables with finitely many values; quadrature is the exact sum over them.

    Attributes:
        values: shape (outcomes,).
        probabilities: shape (outcomes,), positive, summing to one; uniform when left out.
        shape: shape of the array of independent copies.
    """

    values: Any
    probabilities: Any = None
    shape: tuple[int, ...] = static(default=())

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if self.probabilities is None:
            count = np.size(self.values)
            object.__setattr__(self, "probabilities", np.full(count, 1.0 / max(count, 1)))
        if is_traced((self.values, self.probabilities)):
            return
        values = finite_array("values", self.values, ndim=1)
        weights = finite_array("probabilities", self.probabilities, ndim=1)
        if weights.shape != values.shape:
            raise reject("probabilities", f"have shape {values.shape}", f"shape {weights.shape}")
        if np.any(weights <= 0) or abs(weights.sum() - 1) > 1e-9:
            raise reject("probabilities", "be positive and sum to one", weights.tolist())
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "probabilities", weights)

    @property
    def outcomes(self) -> int:
        """Number of values."""
        return int(np.shape(self.values)[0])

    @property
    def nodes(self) -> int | None:
        """All values, always."""
        return self.outcomes

    def draw(
        self, key: jax.Array, shape: tuple[int, ...], dtype: Any, first: jax.Array | None = None
    ) -> jax.Array:
        """Invert the distribution function at a uniform variable."""
        uniform = random.uniform(key, (*shape, *self.shape), dtype, first=first)
        values = jnp.asarray(self.values, dtype)
        bounds = jnp.cumsum(jnp.asarray(self.probabilities, dtype))
        drawn = jnp.full(uniform.shape, values[0], dtype)
        for index in range(1, self.outcomes):
            drawn = jnp.where(uniform >= bounds[index - 1], values[index], drawn)
        return drawn

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """All values with their probabilities, traced ones as they are."""
        if is_traced((self.values, self.probabilities)):
            traced: Any = jnp.asarray(self.values), jnp.asarray(self.probabilities)
            return traced
        return np.asarray(self.values), np.asarray(self.probabilities)

    def quantile(self, level: Array) -> Array:
        """Smallest value whose distribution function exceeds the level."""
        bounds = np.cumsum(self.probabilities)[:-1]
        return np.asarray(self.values)[np.searchsorted(bounds, level, side="right")]

    def moments(self, highest: int = 6) -> Array:
        """E x^k for k = 0 .. highest: exact sums."""
        values, weights = (np.asarray(a, np.float64) for a in (self.values, self.probabilities))
        return np.array([weights @ values**k for k in range(highest + 1)])


class Atoms(ABC):
    """One variable with finitely many values that are functions of a parameter."""

    @abstractmethod
    def atoms(self) -> tuple[list[Any], list[Any]]:
        """Values in increasing order, and their probabilities."""

    def _discrete(self) -> Discrete:
        values, probabilities = self.atoms()
        if is_traced((values, probabilities)):
            return Discrete(jnp.stack(values), jnp.stack(probabilities))
        return Discrete(np.array(values), np.array(probabilities))

    @property
    def shape(self) -> tuple[int, ...]:
        """One variable."""
        return ()

    @property
    def outcomes(self) -> int:
        """Number of values."""
        return len(self.atoms()[0])

    @property
    def nodes(self) -> int | None:
        """All values, always."""
        return self.outcomes

    def draw(
        self, key: jax.Array, shape: tuple[int, ...], dtype: Any, first: jax.Array | None = None
    ) -> jax.Array:
        """As `Discrete`."""
        return self._discrete().draw(key, shape, dtype, first)

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """As `Discrete`."""
        return self._discrete().rule(nodes)

    def quantile(self, level: Array) -> Array:
        """As `Discrete`."""
        return self._discrete().quantile(level)

    def moments(self, highest: int = 6) -> Array:
        """As `Discrete`."""
        return self._discrete().moments(highest)
