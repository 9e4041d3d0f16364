"""The matrix form of a convolution beside the device's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from learning_dynamics.training import Convolution, convolve
from learning_dynamics.training.convolution import _as_convolution


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


@pytest.mark.parametrize(("channels", "features"), [(1, 8), (8, 1), (8, 8)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_types_are_rounded_once(dtype, channels, features):
    """Values and gradients within half a unit of the last place, also where parts are summed."""
    rng, unit = np.random.default_rng(0), float(jnp.finfo(dtype).eps)
    shapes = (2, 6, 7, channels), (3, 3, channels, features), (2, 6, 7, features)
    images, kernel, change = (jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)

    @jax.jit
    def all_three(images, kernel, change):
        value, pull = jax.vjp(convolve, images, kernel)
        return value, *pull(change)

    wide = [array.astype(jnp.float32) for array in (images, kernel, change)]
    for seen, exact in zip(all_three(images, kernel, change), all_three(*wide), strict=True):
        assert seen.dtype == dtype
        scale = float(jnp.max(jnp.abs(exact)))
        np.testing.assert_allclose(
            seen.astype(jnp.float32), exact, rtol=0.51 * unit, atol=1e-5 * scale
        )


@pytest.mark.parametrize("padding", ["zero", "circular"])
@pytest.mark.parametrize(
    ("images", "kernel", "stride"),
    [
        ((0, 4, 5, 2), (3, 3, 2, 3), 1),
        ((2, 0, 5, 2), (3, 3, 2, 3), 2),
        ((2, 4, 5, 0), (3, 3, 0, 3), 1),
        ((2, 4, 5, 2), (3, 3, 2, 0), 1),
    ],
)
def test_no_images_rows_channels_or_features_are_no_exception(images, kernel, stride, padding):
    call = partial(convolve, stride=stride, padding=padding)
    value, pull = jax.vjp(call, jnp.ones(images), jnp.ones(kernel))
    assert value.shape == (images[0], -(-images[1] // stride), -(-5 // stride), kernel[3])
    assert not np.any(value)
    back, weights = pull(value)
    assert (back.shape, weights.shape) == (images, kernel)


@pytest.mark.parametrize("padding", ["zero", "circular"])
def test_second_gradients_agree_with_the_library(key, padding):
    images = jax.random.normal(key, (2, 4, 3, 2))
    kernel = jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 2, 2))

    def second(call):
        def first(images, kernel):
            return jax.grad(lambda x: jnp.sum(jnp.sin(call(x, kernel))))(images)

        return jax.jit(jax.grad(lambda w: jnp.sum(first(images, w) ** 2)))(kernel)

    ours = second(partial(convolve, padding=padding))
    theirs = second(lambda x, w: reference(x, w, 1, padding))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_another_type_of_the_kernel_leaves_that_of_the_images(key):
    """On a CPU and with the device's own convolution."""
    images = jax.random.normal(key, (1, 3, 3, 2)).astype(jnp.bfloat16)
    kernel = jax.random.normal(key, (3, 3, 2, 2))
    ours = convolve(images, kernel)
    theirs = _as_convolution(images, kernel, 1, "zero", "float32")
    weights = jax.grad(lambda w: jnp.sum(convolve(images, w)))(kernel)
    assert ours.dtype == theirs.dtype == images.dtype
    assert weights.dtype == kernel.dtype
    ours, theirs = (array.astype(jnp.float32) for array in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=0.01)


@pytest.mark.parametrize(
    ("argument", "images", "kernel", "options"),
    [
        ("kernel", (1, 5, 5, 3), (2, 2, 3, 4), {}),  # even
        ("kernel", (1, 5, 5, 3), (3, 1, 9, 4), {}),  # a matrix of the right size
        ("kernel", (1, 5, 5, 3), (3, 5, 3, 4), {}),
        ("kernel", (1, 5, 5, 3), (0, 0, 3, 4), {}),
        ("kernel", (1, 5, 5, 3), (3, 3, 3), {}),
        ("images", (5, 5, 3), (3, 3, 3, 4), {}),
        ("images", (1, 1, 5, 5, 3), (3, 3, 3, 4), {}),
        ("images", (1, 5, 5, 3), (3, 3, 1, 4), {}),
        ("stride", (1, 5, 5, 3), (3, 3, 3, 4), {"stride": 0}),
        ("stride", (1, 5, 5, 3), (3, 3, 3, 4), {"stride": 1.5}),
        ("stride", (1, 5, 5, 3), (3, 3, 3, 4), {"stride": (1, 1)}),
        ("padding", (1, 5, 5, 3), (3, 3, 3, 4), {"padding": "mirror"}),
    ],
)
def test_shapes_and_options_that_do_not_fit_are_refused(argument, images, kernel, options):
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        convolve(jnp.ones(images), jnp.ones(kernel), **options)


@pytest.mark.parametrize(
    ("images", "kernel"), [("uint8", "float32"), ("bool", "float32"), ("float32", "complex64")]
)
def test_images_that_cannot_hold_the_result_are_refused(images, kernel):
    with pytest.raises(ValueError, match=r"Argument `images` must be (complex|floating)"):
        convolve(jnp.ones((1, 3, 3, 1), images), jnp.ones((3, 3, 1, 1), kernel))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("channels", 0), ("features", 0), ("features", 2.5), ("size", 2), ("size", -3),
        ("size", True), ("stride", 0), ("stride", "2"), ("padding", "mirror"),
    ],
)  # fmt: skip
def test_layers_that_make_no_sense_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        Convolution(**{"channels": 1, "features": 2, argument: value}, rngs=nnx.Rngs(0))
