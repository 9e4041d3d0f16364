"""Convolution that is fast inside a compiled loop on every device."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from learning_dynamics.training.products import Products, factor, multiply, precision_of
from learning_dynamics.validation import one_of, positive_integer

__all__ = ["Convolution", "convolve"]

Padding = Literal["zero", "circular"]
_MODES = {"zero": "constant", "circular": "wrap"}


def _padded(images: jax.Array, size: int, padding: Padding) -> jax.Array:
    half = size // 2
    return jnp.pad(images, ((0, 0), (half, half), (half, half), (0, 0)), mode=_MODES[padding])


def _patches(images: jax.Array, size: int, stride: int, padding: Padding) -> jax.Array:
    """All patches side by side, shape (n, height, width, size * size * channels)."""
    height, width = (1 + (n - 1) // stride for n in images.shape[1:3])
    down, across = stride * (height - 1) + 1, stride * (width - 1) + 1
    # rows after columns: half as many pieces, and half the time to compile them
    windows = _padded(images, size, padding)
    windows = jnp.concatenate(
        [windows[:, :, j : j + across : stride] for j in range(size)], axis=-1
    )
    return jnp.concatenate([windows[:, i : i + down : stride] for i in range(size)], axis=-1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _as_product(
    images: jax.Array, kernel: jax.Array, stride: int, padding: Padding, products: Products
) -> jax.Array:
    """The convolution as one product of patches with a matrix."""
    patches = _patches(images, kernel.shape[0], stride, padding)
    return multiply(patches, kernel.reshape(-1, kernel.shape[3]), products)


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
    """Gradients as products too: of patches made again, and with the kernel turned around."""
    images, kernel = kept
    patches = _patches(images, kernel.shape[0], stride, padding)
    features = kernel.shape[3]
    rows = change.reshape(-1, features)
    columns = patches.reshape(-1, patches.shape[3])
    if features == 1:
        # XLA fuses a product with one column into what makes the column, once for every weight
        rows = jnp.pad(rows, ((0, 0), (0, 1)))
    weights = multiply(columns.T, rows, products)[:, :features].reshape(kernel.shape)
    if stride > 1:  # outputs that were left out send nothing back
        spread = jnp.zeros((*images.shape[:3], kernel.shape[3]), change.dtype)
        change = spread.at[:, ::stride, ::stride].set(change)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return _as_product(change, turned, 1, padding, products), weights


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

    On a CPU it is written as a product of patches with a matrix: inside loops XLA falls back to a
    convolution that is tens of times slower, gradients above all. Elsewhere the device's own
    convolution is used.

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
