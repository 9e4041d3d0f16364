"""Convolution that is fast inside a compiled loop on every device."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from learning_dynamics.training.products import Products, factor, multiply, precision_of
from learning_dynamics.training.shifts import Padding, returned, side_by_side, summed, taken
from learning_dynamics.validation import one_of, positive_integer

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
    size, channels = kernel.shape[1:3]
    order = (*(a - 1 for a in before), 2, *(a - 1 for a in after), 3)
    return kernel.transpose(order).reshape(channels * size ** len(before), -1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _as_product(
    images: jax.Array, kernel: jax.Array, stride: int, padding: Padding, products: Products
) -> jax.Array:
    """The convolution as one product with a matrix, of moved images, summed over moved results."""
    size, (before, after) = kernel.shape[0], _split(kernel.shape, stride)
    take = partial(taken, stride=stride, padding=padding)
    columns = side_by_side(images, size, before, take)
    return summed(multiply(columns, _matrix(kernel, before, after), products), size, after, take)


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
    matrix = _matrix(kernel, before, after)
    rows = changes.reshape(-1, matrix.shape[1])
    if matrix.shape[1] == 1:
        # XLA fuses a product with one column into what makes the column, once for every weight
        rows = jnp.pad(rows, ((0, 0), (0, 1)))
    weights = multiply(columns.reshape(-1, matrix.shape[0]).T, rows, products)
    by_axis = weights[:, : matrix.shape[1]].reshape(
        *[size] * len(before), kernel.shape[2], *[size] * len(after), kernel.shape[3]
    )
    order = [a - 1 for a in before] + [2] + [a - 1 for a in after] + [3]
    back = summed(multiply(changes, matrix.T, products), size, before, give)
    return back, by_axis.transpose([order.index(i) for i in range(4)])


_as_product.defvjp(_forward, _backward)


def _as_convolution(
    images: jax.Array, kernel: jax.Array, stride: int, padding: Padding, products: Products
) -> jax.Array:
    kind = images.dtype
    rounded: jax.Array = lax.conv_general_dilated(
        factor(_padded(images, kernel.shape[0], padding), products),
        factor(kernel, products),
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision_of(products),
    )
    return rounded.astype(kind)


def convolve(
    images: jax.Array,
    kernel: jax.Array,
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
        images: shape (n, height, width, channels).
        kernel: shape (size, size, channels, features), `size` odd.
        stride: distance of outputs in pixels.
        padding: "zero" or "circular" (translations of the torus then commute with it).
        products: "float32" at full precision on every device; "tf32", the precision in which the
            device multiplies float32 by itself (10 bits of mantissa on graphics cards, all on a
            CPU); "bfloat16", factors of 7 bits, also in the gradients.

    Raises:
        ValueError: on other names.
    """
    one_of("padding", padding, tuple(_MODES))
    precision_of(products)

    def product(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return _as_product(images, kernel, stride, padding, products)

    def convolution(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return _as_convolution(images, kernel, stride, padding, products)

    result: jax.Array = lax.platform_dependent(images, kernel, cpu=product, default=convolution)
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
        shape = (size, size, positive_integer("channels", channels), features)
        self.kernel = nnx.Param(initial(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((features,), jnp.float32)) if bias else None
        self.stride, self.padding, self.products = stride, padding, products

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map (n, height, width, channels) to (n, height / stride, width / stride, features)."""
        fields = convolve(
            images, self.kernel[...], stride=self.stride, padding=self.padding,
            products=self.products,
        )  # fmt: skip
        return fields if self.bias is None else fields + self.bias[...][None, None, None]
