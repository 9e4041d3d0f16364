"""Learners that tell structured inputs from noise, as span losses of the kernel."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld
from learning_dynamics import configuration, static
from learning_dynamics.validation import finite_array, one_of, positive_integer, reject

__all__ = ["ACTIVATIONS", "Activation", "SingleNeuron", "TwoLayer", "activation_function"]

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

    Equation: :eq:`eq:phases-learner`.

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


@configuration
class TwoLayer(ld.Learner):
    """Two-layer network f = sum_k a_k sigma(u_k) + b with the logistic loss log(1 + exp(-y f)).

    As softplus(-x) + x/2 is even, l = -y f / 2 + (an even function of f): the label enters
    linearly, so that it acts on the weights at the order at which single neurons see the phases.
    The even part holds f in check and knows no label. Derived here.

    Parameters "readout" (a) and "bias" (b) learn at the rates given to the problem.

    Equation: :eq:`eq:phases-network`.

    Attributes:
        width: number K of neurons.
        activation: name (see `activation_function`) or elementwise JAX function.
        normalised: whether u_k = w_k.x / sqrt(w_k' Sigma w_k) instead of w_k.x.
        readout: initial a, shape (K,); 1/K with alternating signs if None.

    Raises:
        ValueError: on an unknown activation, a width below one, or a readout of another shape.
    """

    width: int = static()
    activation: Any = static(default="relu")
    normalised: bool = static(default=False)
    readout: Any = None

    def __post_init__(self) -> None:
        activation_function(self.activation)
        count = positive_integer("width", self.width)
        if self.readout is None:
            signs = 1.0 - 2.0 * (np.arange(count) % 2)
            object.__setattr__(self, "readout", signs / count)
        elif not isinstance(self.readout, jax.core.Tracer):
            readout = finite_array("readout", self.readout)
            if readout.shape != (count,):
                raise reject("readout", f"have shape ({count},)", f"shape {readout.shape}")
            object.__setattr__(self, "readout", readout)

    @property
    def normaliser(self) -> Any:  # type: ignore[override]
        """Whether the loss is given W W^T or W Sigma W^T."""
        return "inputs" if self.normalised else "weights"

    @property
    def neurons(self) -> int:
        """K."""
        return self.width

    def parameters(self) -> Mapping[str, Any]:
        """Readout and bias."""
        return {"readout": self.readout, "bias": np.zeros(())}

    def output(
        self, fields: jax.Array, norms: jax.Array, parameters: Mapping[str, jax.Array]
    ) -> jax.Array:
        """F for fields w_k.x, shape (K, p), and the matrix that normalises them, shape (K, K)."""
        u = fields[:, 0]
        if self.normalised:
            u = u * jax.lax.rsqrt(jnp.diagonal(norms))
        hidden = activation_function(self.activation)(u)
        return jnp.sum(parameters["readout"] * hidden) + parameters["bias"]

    def loss(
        self,
        fields: jax.Array,
        norms: jax.Array,
        parameters: Mapping[str, jax.Array],
        sample: ld.Sample,
    ) -> jax.Array:
        """log(1 + exp(-y f))."""
        return jax.nn.softplus(-sample.label * self.output(fields, norms, parameters))
