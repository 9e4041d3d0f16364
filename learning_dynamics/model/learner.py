"""Learners: a loss of fields and norms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax

__all__ = ["Learner", "Sample"]


class Sample(NamedTuple):
    """What a loss may read of a sample besides its fields.

    Attributes:
        label: whatever `InputModel.signal` returned as label.
        gram: inner products G = X X^T of the sample's vectors, shape (p, p).
    """

    label: Any
    gram: jax.Array


class Learner(ABC):
    """A two-layer learner with K weight vectors (rows of W) and O(1) parameters theta.

    Its loss sees W through the fields F = W X^T and the norms Q = W W^T alone. With
    `normaliser = "inputs"` the second argument is W Sigma W^T instead (the variances of the
    fields), Sigma being the diagonal covariance of the inputs; this needs p = 1.
    """

    normaliser: Literal["weights", "inputs"] = "weights"

    @property
    @abstractmethod
    def neurons(self) -> int:
        """Number K of weight vectors."""

    def parameters(self) -> Mapping[str, Any]:
        """Initial values of the parameters theta, by name; none here."""
        return {}

    @abstractmethod
    def loss(
        self,
        fields: jax.Array,
        norms: jax.Array,
        parameters: Mapping[str, jax.Array],
        sample: Sample,
    ) -> jax.Array:
        """Loss of one sample, a scalar.

        Args:
            fields: F, shape (K, p).
            norms: Q, shape (K, K).
            parameters: theta by name.
            sample: label and gram. A loss may depend on the gram at most linearly, and its
                derivative with respect to the fields not at all.
        """
