"""Precision of the products in networks: full, or that of matrix units of accelerators."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from learning_dynamics.validation import one_of

__all__ = ["Products", "dense_layers", "factor", "multiply", "precision_of"]

Products = Literal["float32", "tf32", "bfloat16"]
_PRECISIONS = {
    "float32": lax.Precision.HIGHEST,
    "tf32": lax.Precision.DEFAULT,  # that of the device; a CPU rounds nothing
    "bfloat16": lax.Precision.DEFAULT,
}


def precision_of(products: Products) -> lax.Precision:
    """What XLA may round of float32 factors.

    Raises:
        ValueError: on an unknown name.
    """
    return _PRECISIONS[one_of("products", products, tuple(_PRECISIONS))]


def factor(array: jax.Array, products: Products) -> jax.Array:
    """A factor of a product, rounded to bfloat16 where it says so."""
    return array.astype(jnp.bfloat16) if products == "bfloat16" else array


def multiply(
    left: jax.Array, right: jax.Array, products: Products, sums: DTypeLike | None = None
) -> jax.Array:
    """Product of matrices, shape (n, k) with (k, m), summed in the type of `left` or in `sums`."""
    found: jax.Array = jnp.matmul(
        factor(left, products),
        factor(right, products),
        precision=precision_of(products),
        preferred_element_type=left.dtype if sums is None else sums,
    )
    return found


@jax.custom_vjp
def _rounded(left: jax.Array, right: jax.Array) -> jax.Array:
    return multiply(left, right, "bfloat16")


def _rounded_forward(left: jax.Array, right: jax.Array) -> Any:
    return _rounded(left, right), (left, right)


def _rounded_backward(kept: tuple[jax.Array, jax.Array], change: jax.Array) -> Any:
    left, right = kept
    return multiply(change, right.T, "bfloat16"), multiply(left.T, change, "bfloat16")


_rounded.defvjp(_rounded_forward, _rounded_backward)


def _rounded_dense(inputs: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """The product of a dense layer, as `dot_general` of `flax.nnx.Linear`."""
    rows = _rounded(inputs.reshape(-1, inputs.shape[-1]), kernel)
    return rows.reshape(*inputs.shape[:-1], kernel.shape[1])


def dense_layers(products: Products, rngs: nnx.Rngs) -> Callable[..., nnx.Linear]:
    """`flax.nnx.Linear` with products of a precision; gradients have the same.

    Raises:
        ValueError: on an unknown name.
    """
    options: dict[str, Any] = {"precision": precision_of(products), "rngs": rngs}
    if products == "bfloat16":
        options["dot_general"] = _rounded_dense
    return partial(nnx.Linear, **options)
