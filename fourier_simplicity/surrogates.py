"""Surrogates of images: amplitudes without phases, phases without amplitudes, swaps, class means.

Images come as batches of shape (n, height, width) or (n, height, width, channels); X is their discrete
Fourier transform over height and width. A surrogate is periodic on its frame. Make surrogates of whole
images and cut patches afterwards: randomising a patch by itself makes it periodic on the patch, which the
real patches are not, and a quadratic classifier sees the difference. For the same reason the smooth
component that carries the jumps across the image's borders is removed first (Moisan 2011).

All of them work inside `jit`, `vmap` and `grad`, where shapes are checked and values are not.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.pytrees import is_traced
from learning_dynamics.random import threefry_key
from learning_dynamics.validation import (
    channels_last,
    finite_array,
    non_negative,
    plain_array,
    reject,
)

__all__ = [
    "amplitude_only",
    "class_mean_only",
    "class_mean_removed",
    "mean_amplitude",
    "periodic_component",
    "phase_only",
    "spectrum_sweep",
    "swap",
]


def _checked(check: Callable[[str, Any], Any], argument: str, value: Any) -> Any:
    """Values after a check, which those inside compiled functions cannot have."""
    return value if is_traced(value) else check(argument, value)


def _batch(argument: str, images: Any) -> jax.Array:
    """Images as a float32 array of rank 3 or 4."""
    array = images if is_traced(images) else plain_array(argument, images)
    if array.ndim not in (3, 4) or not array.size:
        demand = "have shape (n, height, width) or (n, height, width, channels)"
        raise reject(argument, demand, f"shape {array.shape}")
    if np.issubdtype(array.dtype, np.complexfloating):  # inside compiled functions
        raise reject(argument, "be real", array.dtype)
    channels_last(argument, array.shape[1:])
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    return jnp.asarray(_checked(finite_array, argument, array), jnp.float32) / scale


def _along(plane: jax.Array, like: jax.Array) -> jax.Array:
    """A (height, width) array with the axes of a batch."""
    grown = plane[None] if like.ndim == 3 else plane[None, :, :, None]
    return jnp.broadcast_to(grown, like.shape)


def _fft(images: jax.Array) -> jax.Array:
    return jnp.fft.fft2(images, axes=(1, 2))


def _real(spectrum: jax.Array) -> jax.Array:
    return jnp.fft.ifft2(spectrum, axes=(1, 2)).real


def _scaled(spectrum: jax.Array, factor: jax.Array) -> jax.Array:
    """Complex times real, without promotion of types."""
    return jax.lax.complex(spectrum.real * factor, spectrum.imag * factor)


def _phase(spectrum: jax.Array) -> jax.Array:
    """X / |X|, and 1 where X = 0."""
    size = jnp.abs(spectrum)
    safe = jnp.where(size > 0, size, jnp.ones_like(size))
    return jnp.where(size > 0, _scaled(spectrum, 1 / safe), jnp.ones_like(spectrum))


def _frequencies(height: int, width: int) -> NDArray[np.float64]:
    """|k| in cycles per pixel, shape (height, width)."""
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])


@jax.jit
def _periodic(images: jax.Array) -> jax.Array:
    height, width = images.shape[1:3]
    jump_y = images[:, -1] - images[:, 0]
    jump_x = images[:, :, -1] - images[:, :, 0]
    edge = jnp.zeros_like(images).at[:, 0].add(jump_y).at[:, -1].add(-jump_y)
    edge = edge.at[:, :, 0].add(jump_x).at[:, :, -1].add(-jump_x)
    y, x = 2 * np.pi * np.arange(height) / height, 2 * np.pi * np.arange(width) / width
    laplacian = 2 * np.cos(y)[:, None] + 2 * np.cos(x)[None] - 4
    laplacian[0, 0] = 1  # the uniform mode of the edge image is zero
    inverse = jnp.asarray(1 / laplacian, images.dtype)
    return images - _real(_scaled(_fft(edge), _along(inverse, images)))


def periodic_component(images: ArrayLike) -> jax.Array:
    """Periodic component p = u - s: the image without the jumps across its borders, same mean.

    The smooth component s solves a Poisson equation with the jumps as sources, so that the
    Laplacian of p on the torus equals that of u inside the frame.

    Args:
        images: shape (n, height, width) or (n, height, width, channels); uint8 is divided by 255.

    Raises:
        ValueError: on another shape or values that are not finite.

    Source: Moisan, "Periodic plus smooth image decomposition" (2011), section 2.
    """
    component: jax.Array = _periodic(_batch("images", images))
    return component


def _prepared(argument: str, images: ArrayLike, periodic: bool) -> jax.Array:
    batch = _batch(argument, images)
    return _periodic(batch) if periodic else batch


@jax.jit
def _randomised(images: jax.Array, key: jax.Array) -> jax.Array:
    numbers = jnp.arange(images.shape[0], dtype=jnp.int32)
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
    noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:3], images.dtype))(keys)
    turn = _phase(_fft(noise)).at[:, 0, 0].set(1)  # the mean stays
    turn = turn if images.ndim == 3 else turn[..., None]
    return _real(_fft(images) * jnp.broadcast_to(turn, images.shape))


def amplitude_only(images: ArrayLike, *, key: jax.Array, periodic: bool = True) -> jax.Array:
    """Random phases, amplitudes kept: inverse FFT of X exp(i xi).

    xi has the symmetry of a real field and is the same for all channels, so that their cross
    spectra, and with them the covariance of the colours at any distance, are those of the image.

    Equation: :eq:`eq:phases-surrogate`.

    Args:
        images: shape (n, height, width) or (n, height, width, channels); uint8 is divided by 255.
        key: typed random key; image i uses `fold_in(key, i)`.
        periodic: whether to take the periodic component first.

    Raises:
        ValueError: on another shape or values that are not finite.
    """
    independent = threefry_key(key)
    randomised: jax.Array = _randomised(_prepared("images", images, periodic), independent)
    return randomised


def mean_amplitude(images: ArrayLike, *, periodic: bool = True) -> jax.Array:
    """Mean of |X| over the images, of all classes together: shape (height, width[, channels]).

    Raises:
        ValueError: on another shape or values that are not finite.
    """
    return jnp.abs(_fft(_prepared("images", images, periodic))).mean(axis=0)


@jax.jit
def _phases_with(images: jax.Array, amplitude: jax.Array) -> jax.Array:
    return _real(_scaled(_phase(_fft(images)), jnp.broadcast_to(amplitude, images.shape)))


def phase_only(images: ArrayLike, amplitude: ArrayLike, *, periodic: bool = True) -> jax.Array:
    """Phases kept, one amplitude for all: inverse FFT of Abar exp(i arg X).

    Equation: :eq:`eq:phases-surrogate`.

    Args:
        images: shape (n, height, width) or (n, height, width, channels); uint8 is divided by 255.
        amplitude: Abar, shape (height, width[, channels]), such as `mean_amplitude` of the
            training images.
        periodic: whether to take the periodic component first.

    Raises:
        ValueError: on shapes that do not fit, negative amplitudes or amplitudes that differ
            between k and -k.
    """
    batch = _prepared("images", images, periodic)
    level = _checked(non_negative, "amplitude", amplitude)
    if level.shape != batch.shape[1:]:
        raise reject("amplitude", f"have shape {batch.shape[1:]}", f"shape {level.shape}")
    if not is_traced(amplitude):
        mirrored = np.roll(level[::-1, ::-1], (1, 1), axis=(0, 1))
        if not np.allclose(level, mirrored, rtol=1e-3, atol=1e-5 * level.max()):
            raise reject("amplitude", "be equal at k and -k", "one that is not")
    levelled: jax.Array = _phases_with(batch, jnp.asarray(level, jnp.float32)[None])
    return levelled


@jax.jit
def _swept(images: jax.Array, exponent: jax.Array) -> jax.Array:
    k = _frequencies(*images.shape[1:3])
    k[0, 0] = 1
    power = jnp.exp(-exponent * jnp.asarray(np.log(k), images.dtype)).at[0, 0].set(0)
    mean = images.mean(axis=(1, 2), keepdims=True)
    flat = _real(_scaled(_phase(_fft(images - mean)), _along(power, images)))
    before, after = images.std(axis=(1, 2), keepdims=True), flat.std(axis=(1, 2), keepdims=True)
    return mean + flat * before / jnp.where(after > 0, after, jnp.ones_like(after))


def spectrum_sweep(images: ArrayLike, exponents: ArrayLike, *, periodic: bool = True) -> jax.Array:
    """Phases kept, amplitudes |k|^-beta, one batch per beta; mean and pixel variance kept.

    Every channel keeps its own mean and variance. beta = 0 whitens, beta = 1 is the amplitude
    spectrum of natural images (power |k|^-2).

    Equation: :eq:`eq:phases-surrogate`.

    Args:
        images: shape (n, height, width) or (n, height, width, channels); uint8 is divided by 255.
        exponents: beta >= 0, shape (exponents,).
        periodic: whether to take the periodic component first.

    Returns:
        Shape (exponents, *images.shape).

    Raises:
        ValueError: on another shape or negative exponents.
    """
    given = _checked(non_negative, "exponents", exponents)
    betas = jnp.atleast_1d(jnp.asarray(given, jnp.float32))
    if betas.ndim != 1 or not betas.size:
        raise reject("exponents", "be a list", f"shape {betas.shape}")
    batch = _prepared("images", images, periodic)
    return jnp.stack([_swept(batch, beta) for beta in betas])


@jax.jit
def _swapped(amplitudes: jax.Array, phases: jax.Array) -> jax.Array:
    return _real(_scaled(_phase(_fft(phases)), jnp.abs(_fft(amplitudes))))


def swap(amplitudes: ArrayLike, phases: ArrayLike, *, periodic: bool = True) -> jax.Array:
    """Cue conflict: the amplitudes of one image with the phases of another, pair by pair.

    Equation: :eq:`eq:phases-surrogate`.

    Args:
        amplitudes: images of shape (n, height, width[, channels]) that give |X|.
        phases: images of the same shape that give arg X.
        periodic: whether to take periodic components first.

    Raises:
        ValueError: on shapes that differ or values that are not finite.
    """
    first, second = _prepared("amplitudes", amplitudes, periodic), _batch("phases", phases)
    if first.shape != second.shape:
        raise reject("phases", f"have shape {first.shape}", f"shape {second.shape}")
    swapped: jax.Array = _swapped(first, _periodic(second) if periodic else second)
    return swapped


def _labelled(images: ArrayLike, labels: ArrayLike, fewest: int) -> tuple[jax.Array, jax.Array]:
    """Images, and labels that count the classes from zero on."""
    batch = _batch("images", images)
    given: Any = labels if is_traced(labels) else plain_array("labels", labels)
    if given.shape != batch.shape[:1] or not np.issubdtype(given.dtype, np.integer):
        got = f"{given.dtype} of shape {given.shape}"
        raise reject("labels", f"be {batch.shape[0]} integers, one for each image", got)
    if not is_traced(given):
        counts = np.unique(given, return_counts=True)[1]
        if counts.min() < fewest:
            demand = f"hold at least {fewest} images of every class"
            raise reject("labels", demand, f"{counts.min()} of one")
        return batch, jnp.asarray(np.unique(given, return_inverse=True)[1], jnp.int32)
    places = jnp.unique(given, return_inverse=True, size=batch.shape[0])[1]
    return batch, places.astype(jnp.int32)


def _class_means(rows: jax.Array, places: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean of its class for each row, images of that class, and the mean over the classes."""
    n = rows.shape[0]
    counts = jax.ops.segment_sum(jnp.ones(n, rows.dtype), places, n)
    sums = jax.ops.segment_sum(rows, places, n)
    means = sums / jnp.maximum(counts, 1)[:, None]
    classes = jnp.sum(counts > 0, dtype=rows.dtype)
    return means[places], counts[places], means.sum(axis=0) / classes


@jax.jit
def _mean_removed(images: jax.Array, places: jax.Array) -> jax.Array:
    rows = images.reshape(images.shape[0], -1)
    mean, _, middle = _class_means(rows, places)
    return (rows - mean + middle[None]).reshape(images.shape)


def class_mean_removed(images: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Class means taken out: x - mean of its class + mean of all class means.

    All classes have the same mean, exactly. Every cumulant of order two and more of every class,
    hence its covariance, is that of the images.

    Equation: :eq:`eq:phases-mean-surrogates`.

    Args:
        images: shape (n, height, width) or (n, height, width, channels); uint8 is divided by 255.
        labels: class of each image, integers of shape (n,).

    Raises:
        ValueError: on another shape, values that are not finite, or labels that do not fit.
    """
    removed: jax.Array = _mean_removed(*_labelled(images, labels, 1))
    return removed


@jax.jit
def _mean_only(images: jax.Array, places: jax.Array, key: jax.Array) -> jax.Array:
    n = images.shape[0]
    rows = images.reshape(n, -1)
    mean, counts, _ = _class_means(rows, places)
    classes = jnp.sum(1 / counts)
    factor = jnp.linalg.qr(rows - mean, mode="r")  # R'R = sum of the squares within classes
    numbers = jnp.arange(n, dtype=jnp.int32)
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
    normal = jax.vmap(lambda k: jax.random.normal(k, factor.shape[:1], rows.dtype))(keys)
    noise = jnp.matmul(normal, factor, precision="highest") / jnp.sqrt(n - classes)
    noise = (noise - _class_means(noise, places)[0]) * jnp.sqrt(counts / (counts - 1))[:, None]
    return (mean + noise).reshape(images.shape)


def class_mean_only(images: ArrayLike, labels: ArrayLike, *, key: jax.Array) -> jax.Array:
    """Class means in Gaussian noise that is the same for all classes.

    Each class keeps its mean, exactly. About it the images are Gaussian with the covariance within
    classes, pooled over the classes: nothing but the mean tells classes apart.

    Equation: :eq:`eq:phases-mean-surrogates`.

    Args:
        images: shape (n, height, width) or (n, height, width, channels); uint8 is divided by 255.
        labels: class of each image, integers of shape (n,), at least two images of every class.
        key: typed random key; the noise of image i uses `fold_in(key, i)`.

    Raises:
        ValueError: on another shape, values that are not finite, labels that do not fit or a class
            with a single image.
    """
    independent = threefry_key(key)
    kept: jax.Array = _mean_only(*_labelled(images, labels, 2), independent)
    return kept
