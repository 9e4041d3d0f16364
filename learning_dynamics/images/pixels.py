"""From an image to floats in [0, 1]: gray, smaller, and patches without mean or contrast."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.validation import channels_last, plain_array, positive_integer, reject

__all__ = ["block_mean", "contrast", "grayscale", "normalise", "unit_floats"]

Floats = NDArray[np.float64]

# Rec. 709, the weights with which scikit-image made its gray textures
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


def unit_floats(image: NDArray[Any]) -> Floats:
    """Return an image as float64 in [0, 1]: uint8 is divided by 255, floats are kept.

    Args:
        image: shape (height, width) or (height, width, channels).

    Raises:
        ValueError: if it has another rank or type, is empty, or leaves [0, 1].
    """
    array = plain_array("image", image)
    if array.ndim not in (2, 3) or not array.size:
        raise reject(
            "image", "have shape (height, width) or (height, width, channels)", array.shape
        )
    channels_last("image", array.shape)
    if array.dtype == np.uint8:
        return array / 255.0
    if not np.issubdtype(array.dtype, np.floating):
        raise reject("image", "be uint8 (0..255) or floats in [0, 1]", f"dtype {array.dtype}")
    if not (array.min() >= 0 and array.max() <= 1):  # a NaN fails both
        raise reject("image", "lie in [0, 1] when floats", f"{array.min()}..{array.max()}")
    return array.astype(np.float64)


def grayscale(image: NDArray[Any]) -> Floats:
    """Return the luminance of an image, float64 in [0, 1], shape (height, width).

    Y = 0.2125 R + 0.7154 G + 0.0721 B (Rec. 709), on the stored, gamma-encoded values.

    Args:
        image: uint8 or floats in [0, 1], shape (height, width), (height, width, 1) or
            (height, width, 3).

    Raises:
        ValueError: if the image has another shape or type, or leaves [0, 1].
    """
    floats = unit_floats(image)
    if floats.ndim == 2:
        return floats
    if floats.shape[2] == 1:
        return floats[:, :, 0]
    if floats.shape[2] != 3:
        raise reject("image", "have 1 or 3 channels", f"{floats.shape[2]}")
    return np.asarray(floats @ _LUMINANCE)


def block_mean(image: Floats, factor: int) -> Floats:
    """Shrink an image by a whole factor: each pixel is the mean of factor x factor pixels.

    Rows and columns that fill no block are dropped, at the bottom and on the right. A factor of
    two or more also removes most of the 8 x 8 blocking of JPEG.

    Args:
        image: shape (height, width) or (height, width, channels).
        factor: at least 1.

    Raises:
        ValueError: if the factor is no positive integer or larger than the image.
    """
    image, factor = plain_array("image", image), positive_integer("factor", factor)
    if factor == 1:
        return image
    height, width = (length // factor for length in image.shape[:2])
    if not height or not width:
        raise reject("factor", f"fit into an image of {image.shape[:2]} pixels", factor)
    cropped = image[: height * factor, : width * factor]
    blocks = cropped.reshape(height, factor, width, factor, *image.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)))


def contrast(patches: Floats) -> Floats:
    """Standard deviation of each patch about the mean of each of its channels, shape (n,).

    Args:
        patches: shape (n, height, width, channels).
    """
    return np.asarray(np.sqrt(patches.var(axis=(1, 2)).mean(axis=-1)))


def normalise(patches: Floats, *, unit_norm: bool) -> Floats:
    """Remove the mean of each channel of each patch; with `unit_norm`, also its contrast.

    x -> x - mean(x), and then x -> x / |x| if `unit_norm`, so that |x| = 1.

    Args:
        patches: shape (n, height, width, channels).
        unit_norm: whether to scale to norm 1; the patches must not be constant.
    """
    centred = patches - patches.mean(axis=(1, 2), keepdims=True)
    if not unit_norm:
        return centred
    norms = np.sqrt(np.sum(centred**2, axis=(1, 2, 3), keepdims=True))
    return np.asarray(centred / norms)
