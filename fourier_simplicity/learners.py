"""Learners that tell structured inputs from noise, as span losses of the kernel."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

import learning_dynamics as ld
from learning_dynamics import configuration, static
from learning_dynamics.validation import one_of, reject

__all__ = ["ACTIVATIONS", "Activation", "SingleNeuron", "activation_function"]

Function = Callable[[jax.Array], jax.Array]
Activation = str | Function


def _he3(u: jax.Array) -> jax.Array:
    return (u**3 - 3 * u) / 6**0.5


def _he4(u: jax.Array) -> jax.Array:
    return (u**4 - 6 * u**2 + 3) / 24**0.5


def _erf(u: jax.Array) -> jax.Array:
    return erf(u / 2**0.5)


ACTIVATIONS: Mapping[str, Function] = {
    "he3": _he3,
    "he4": _he4,
    "relu": jax.nn.relu,
    "erf": _erf,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
}


def activation_function(activation: Activation) -> Function:
    """The function sigma of a name, or the callable itself.

    "he3", "he4": Hermite polynomials He_k / sqrt(k!); "relu"; "erf": erf(u / sqrt 2); "tanh";
    "softplus": log(1 + e^u). A bias or a shift makes another callable.

    Raises:
        ValueError: on an unknown name.
    """
    if callable(activation):
        return activation
    if not isinstance(activation, str):
        raise reject("activation", "be a name or a callable", repr(activation))
    return ACTIVATIONS[one_of("activation", activation, tuple(ACTIVATIONS))]


@configuration
class SingleNeuron(ld.Learner):
    """One neuron with the correlation loss l = 1 - y sigma(u), u = w.x.

    With `normalised` the preactivation is u = w.x / sqrt(w' Sigma w), so that an anisotropic input
    covariance Sigma cannot change its variance.

    Attributes:
        activation: name (see `activation_function`) or elementwise JAX function.
        normalised: whether to normalise the preactivation.

    Raises:
        ValueError: on an unknown activation.
    """

    activation: Any = static(default="he4")
    normalised: bool = static(default=False)

    def __post_init__(self) -> None:
        activation_function(self.activation)

    @property
    def normaliser(self) -> Any:  # type: ignore[override]
        """Whether the loss is given |w|^2 or w' Sigma w."""
        return "inputs" if self.normalised else "weights"

    @property
    def neurons(self) -> int:
        """One."""
        return 1

    def loss(
        self,
        fields: jax.Array,
        norms: jax.Array,
        parameters: Mapping[str, jax.Array],
        sample: ld.Sample,
    ) -> jax.Array:
        """1 - y sigma(u)."""
        u = fields[0, 0]
        if self.normalised:
            u = u / jnp.sqrt(norms[0, 0])
        return 1 - sample.label * activation_function(self.activation)(u)
