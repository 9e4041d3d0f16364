"""Activations by name or as functions, checked to be vectorised and differentiable."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.validation import one_of, reject

__all__ = ["ACTIVATIONS", "activation_function", "activation_values", "check_activation"]

Array = NDArray[np.float64]
Activation = Callable[[jax.Array], jax.Array]


def _erf(x: jax.Array) -> jax.Array:
    return jax.scipy.special.erf(x * jnp.asarray(0.5**0.5, x.dtype))


def _softplus(x: jax.Array) -> jax.Array:
    return jax.nn.softplus(x)


ACTIVATIONS: dict[str, Activation] = {
    "tanh": jnp.tanh,
    "erf": _erf,  # erf(x / sqrt 2)
    "relu": lambda x: jnp.maximum(x, jnp.zeros_like(x)),
    "softplus": _softplus,
    "linear": lambda x: x,
}


def activation_function(activation: Any) -> Activation:
    """The function behind a (checked) name; a function as it is."""
    function: Activation = ACTIVATIONS.get(activation, activation)
    return function


def check_activation(activation: Any) -> None:
    """Check a name or a function.

    Raises:
        ValueError: on an unknown name, on functions that do not act on arrays elementwise, are
            not finite or have no derivative (zero almost everywhere, or not traceable by JAX).
    """
    if isinstance(activation, str):
        one_of("activation", activation, tuple(ACTIVATIONS))
        return
    if not callable(activation):
        raise reject("activation", "be a name or a function of arrays", repr(activation))
    probe = np.linspace(-2.3, 2.9, 7)
    try:
        whole = np.asarray(activation(jnp.asarray(probe, jnp.float32)))
    except Exception as error:
        raise reject("activation", "be vectorised, in jax.numpy", repr(error)) from error
    if whole.shape != probe.shape:
        raise reject("activation", f"be vectorised (shape {probe.shape} kept)", whole.shape)
    try:
        slope = jax.vmap(jax.grad(lambda x: activation(x[None])[0]))(
            jnp.asarray(probe, jnp.float32)
        )
    except Exception as error:
        raise reject("activation", "be differentiable by JAX", repr(error)) from error
    alone = np.array([float(activation(jnp.asarray([x], jnp.float32))[0]) for x in probe])
    if not np.allclose(alone, whole, rtol=1e-5, atol=1e-6, equal_nan=True):
        raise reject("activation", "act elementwise", "values that depend on their neighbours")
    if not np.all(np.isfinite(whole)) or not np.all(np.isfinite(np.asarray(slope))):
        raise reject("activation", "be finite with a finite derivative", whole.tolist())
    if not np.any(np.asarray(slope)):
        raise reject("activation", "have a derivative", "zero at all points tried")


def activation_values(activation: Any, x: Array) -> tuple[Array, Array]:
    """Values and derivatives at points of any shape, float64 on the host."""
    function = activation_function(activation)
    with jax.enable_x64(True):
        points = jnp.asarray(np.asarray(x, np.float64))
        value, slope = jax.jvp(function, (points,), (jnp.ones_like(points),))
        return np.asarray(value, np.float64), np.asarray(slope, np.float64)
