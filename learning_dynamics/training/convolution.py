"""Convolution that is fast inside a compiled loop on every device."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from learning_dynamics.training.products import Products, factor, multiply, precision_of
from learning_dynamics.training.shifts import Padding, returned, side_by_side, summed, taken
from learning_dynamics.validation import one_of, positive_integer, reject

__all__ = ["Convolution", "convolve"]

_MODES = {"zero": "constant", "circular": "wrap"}


def _padded(images: jax.Array, size: int, padding: Padding) -> jax.Array:
    half = size // 2
    return jnp.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), mode=_MODES[padding])


def _split(kernel: tuple[int, ...], stride: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes whose pixels become columns before the product, and whose results are summed after it.

    The fewest numbers are copied: k per channel and k per feature for each axis of k pixels. With
    a stride all come before, so that no product is made for pixels that are left out.
    """
    size, _, channels, features = kernel
    ways = (((1, 2), ()), ((2,), (1,)), ((), (1, 2)))[: 3 if stride == 1 else 1]
    return min(
        ways, key=lambda way: channels * size ** len(way[0]) + features * size ** len(way[1])
    )


def _matrix(kernel: jax.Array, before: Sequence[int], after: Sequence[int]) -> jax.Array:
    """Kernel with rows for (axes before, channels) and columns for (axes after, features)."""
    size, channels, features = kernel.shape[1:]
    order = (*(a - 1 for a in before), 2, *(a - 1 for a in after), 3)
    shape = channels * size ** len(before), features * size ** len(after)
    return kernel.transpose(order).reshape(shape)


def _sums(array: jax.Array) -> Any:
    """Type in which parts of a result are added: narrow ones are rounded once, at the end."""
    narrow = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize < 4
    return jnp.dtype(jnp.float32) if narrow else array.dtype


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _as_product(
    images: jax.Array, kernel: jax.Array, stride: int, padding: Padding, products: Products
) -> jax.Array:
    """The convolution as one product with a matrix, of moved images, summed over moved results."""
    size, (before, after) = kernel.shape[0], _split(kernel.shape, stride)
    take = partial(taken, stride=stride, padding=padding)
    columns = side_by_side(images, size, before, take)
    matrix = _matrix(kernel, before, after)
    fields = summed(multiply(columns, matrix, products, _sums(images)), size, after, take)
    return fields.astype(images.dtype)


def _forward(
    images: jax.Array, kernel: jax.Array, stride: int, padding: Padding, products: Products
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _as_product(images, kernel, stride, padding, products), (images, kernel)


def _backward(
    stride: int,
    padding: Padding,
    products: Products,
    kept: tuple[jax.Array, jax.Array],
    change: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Gradients as products too, of the same columns with moved changes."""
    images, kernel = kept
    size, (before, after) = kernel.shape[0], _split(kernel.shape, stride)
    take = partial(taken, stride=stride, padding=padding)
    give = partial(returned, stride=stride, padding=padding, shape=images.shape)
    columns = side_by_side(images, size, before, take)
    changes = side_by_side(change, size, after, give)
    matrix, kernel_of = jax.vjp(lambda weights: _matrix(weights, before, after), kernel)
    rows = changes.reshape(math.prod(changes.shape[:3]), matrix.shape[1])
    if matrix.shape[1] == 1:
        # XLA fuses a product with one column into what makes the column, once for every weight
        rows = jnp.pad(rows, ((0, 0), (0, 1)))
    weights = multiply(columns.reshape(rows.shape[0], matrix.shape[0]).T, rows, products)
    back = summed(multiply(changes, matrix.T, products, _sums(images)), size, before, give)
    (turned,) = kernel_of(weights[:, : matrix.shape[1]].astype(kernel.dtype))
    return back.astype(images.dtype), turned


_as_product.defvjp(_forward, _backward)


def _as_convolution(
    images: jax.Array, kernel: jax.Array, stride: int, padding: Padding, products: Products
) -> jax.Array:
    padded = factor(_padded(images, kernel.shape[0], padding), products)
    weights = factor(kernel, products)
    with jax.numpy_dtype_promotion("standard"):  # as in the product, which takes two types
        common = jnp.promote_types(padded.dtype, weights.dtype)
    rounded: jax.Array = lax.conv_general_dilated(
        padded.astype(common),
        weights.astype(common),
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision_of(products),
    )
    return rounded.astype(images.dtype)


def _check(images: jax.Array, kernel: jax.Array) -> None:
    """Refuse shapes that do not fit, and types in which the result loses what the kernel holds."""
    shape = kernel.shape
    if len(shape) != 4 or shape[0] != shape[1] or shape[0] % 2 == 0:
        demand = "have shape (size, size, channels, features) with an odd size"
        raise reject("kernel", demand, f"shape {shape}")
    if images.ndim != 4 or images.shape[3] != shape[2]:
        demand = f"have shape (n, height, width, {shape[2]}), with the channels of the kernel"
        raise reject("images", demand, f"shape {images.shape}")
    for kind, name in ((jnp.complexfloating, "complex"), (jnp.inexact, "floating-point")):
        if jnp.issubdtype(kernel.dtype, kind) and not jnp.issubdtype(images.dtype, kind):
            raise reject("images", f"be {name} numbers, as the kernel is", images.dtype)


def convolve(
    images: Any,
    kernel: Any,
    *,
    stride: int = 1,
    padding: Padding = "zero",
    products: Products = "float32",
) -> jax.Array:
    """Convolution with `size // 2` pixels of padding on every side.

        y[r] = sum_s x[stride r + s - size // 2] W[s]

    On a CPU it is written as a product with a matrix: inside loops XLA falls back to a convolution
    that is tens of times slower, gradients above all. For a kernel of k x k pixels the images are
    moved along the rows by k pixels and set side by side, and the results of the product, moved
    along the columns, are added: this copies 2 k instead of k^2 + k numbers per pixel. Elsewhere
    the device's own convolution is used.

    Args:
        images: shape (n, height, width, channels). The result has their type.
        kernel: shape (size, size, channels, features), `size` odd.
        stride: distance of outputs in pixels.
        padding: "zero" or "circular" (translations of the torus then commute with it).
        products: "float32" at full precision on every device; "tf32", the precision in which the
            device multiplies float32 by itself (10 bits of mantissa on graphics cards, all on a
            CPU); "bfloat16", factors of 7 bits, also in the gradients.

    Raises:
        ValueError: on other names, shapes that do not fit, images of whole numbers with a kernel
            that is none.
    """
    one_of("padding", padding, tuple(_MODES))
    precision_of(products)
    stride = positive_integer("stride", stride)
    fields, weights = jnp.asarray(images), jnp.asarray(kernel)
    _check(fields, weights)

    def product(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return _as_product(images, kernel, stride, padding, products)

    def convolution(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return _as_convolution(images, kernel, stride, padding, products)

    result: jax.Array = lax.platform_dependent(fields, weights, cpu=product, default=convolution)
    return result


class Convolution(nnx.Module):
    """Convolutional layer, y = x * W + b; see `convolve`.

    Args:
        channels: of the input.
        features: channels of the output.
        size: side of the kernel, odd.
        stride: distance of outputs in pixels.
        padding: "zero" or "circular".
        bias: whether there is b.
        products: precision, as of `convolve`.
        initial: initial law of the kernel, by default of variance 1 / (inputs of an output).
        rngs: random streams.

    Raises:
        ValueError: on other names, numbers that are not whole and positive, or an even size.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        *,
        size: int = 3,
        stride: int = 1,
        padding: Padding = "zero",
        bias: bool = True,
        products: Products = "float32",
        initial: jax.nn.initializers.Initializer = jax.nn.initializers.lecun_normal(),  # noqa: B008
        rngs: nnx.Rngs,
    ) -> None:
        precision_of(products)
        one_of("padding", padding, tuple(_MODES))
        side, outputs = positive_integer("size", size), positive_integer("features", features)
        if side % 2 == 0:
            raise reject("size", "be odd", size)
        shape = (side, side, positive_integer("channels", channels), outputs)
        self.kernel = nnx.Param(initial(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32)) if bias else None
        self.stride = positive_integer("stride", stride)
        self.padding, self.products = padding, products

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map (n, height, width, channels) to (n, height / stride, width / stride, features)."""
        fields = convolve(
            images, self.kernel[...], stride=self.stride, padding=self.padding,
            products=self.products,
        )  # fmt: skip
        return fields if self.bias is None else fields + self.bias[...][None, None, None]
