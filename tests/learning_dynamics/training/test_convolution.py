"""The matrix form of a convolution beside the device's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from learning_dynamics.training import Convolution, convolve


def reference(images, kernel, stride, padding):
    half = kernel.shape[0] // 2
    pad = ((0, 0), (half, half), (half, half), (0, 0))
    padded = jnp.pad(images, pad, mode="wrap" if padding == "circular" else "constant")
    return lax.conv_general_dilated(
        padded,
        kernel,
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )


@pytest.mark.parametrize(
    ("size", "stride", "side", "padding", "channels", "features"),
    [
        (3, 1, 5, "circular", 3, 4),  # moved along one axis before the product, one after it
        (3, 1, 5, "zero", 1, 8),  # both before
        (3, 1, 5, "circular", 8, 1),  # both after
        (3, 2, 8, "zero", 3, 4),
        (1, 1, 5, "zero", 3, 1),  # products with one column are computed with two
        pytest.param(5, 1, 5, "zero", 3, 4, marks=pytest.mark.slow),
        pytest.param(5, 1, 2, "circular", 2, 2, marks=pytest.mark.slow),  # beyond the image
        pytest.param(5, 1, 2, "zero", 2, 2, marks=pytest.mark.slow),
        pytest.param(3, 3, 8, "circular", 3, 4, marks=pytest.mark.slow),
        pytest.param(1, 2, 6, "zero", 3, 4, marks=pytest.mark.slow),
        pytest.param(7, 2, 9, "zero", 3, 1, marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_agree_with_the_library(
    key, size, stride, side, padding, channels, features
):
    images = jax.random.normal(key, (2, side, side + 1, channels))
    kernel = jax.random.normal(jax.random.fold_in(key, 1), (size, size, channels, features))

    def ours(images, kernel):
        return convolve(images, kernel, stride=stride, padding=padding)

    def theirs(images, kernel):
        return reference(images, kernel, stride, padding)

    np.testing.assert_allclose(ours(images, kernel), theirs(images, kernel), rtol=1e-4, atol=1e-4)
    seen = [
        jax.grad(lambda x, w, f=f: jnp.sum(jnp.sin(f(x, w))), argnums=(0, 1))(images, kernel)
        for f in (ours, theirs)
    ]
    for a, b in zip(*seen, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_circular_padding_commutes_with_translations(key):
    layer = Convolution(1, 2, padding="circular", rngs=nnx.Rngs(key))
    images = jax.random.normal(key, (2, 6, 6, 1))
    moved = jnp.roll(images, (2, 3), axis=(1, 2))
    np.testing.assert_allclose(
        layer(moved), jnp.roll(layer(images), (2, 3), axis=(1, 2)), atol=1e-5
    )


def test_an_unknown_padding_is_refused(key):
    layer = Convolution(1, 2, padding="mirror", rngs=nnx.Rngs(key))
    with pytest.raises(ValueError, match="padding"):
        layer(jnp.zeros((1, 4, 4, 1)))
