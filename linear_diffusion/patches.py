"""Image patches as data of linear diffusion models: coordinates without the mean grey level.

The mean grey level (DC) of a patch carries most of its variance and little of its structure. The
remaining directions are spanned by the two-dimensional discrete cosine transform without its first
coefficient: d = size^2 - 1 orthonormal coordinates.
"""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from learning_dynamics.images import ImageSet, load_bundled, sample_patches
from learning_dynamics.validation import finite_array, reject
from linear_diffusion.data import EmpiricalLaw

__all__ = ["from_coordinates", "photograph_law", "side_of", "to_coordinates"]

Array = NDArray[np.float64]
FLAT = 0.02  # standard deviation below which a patch holds mostly quantisation noise


def to_coordinates(patches: ArrayLike) -> Array:
    """Orthonormal cosine coordinates without the mean, shape (n, size^2 - 1).

    Args:
        patches: grey patches, shape (n, size, size).

    Raises:
        ValueError: if the patches are not square or not finite.
    """
    array = finite_array("patches", patches, ndim=3)
    if array.shape[1] != array.shape[2]:
        raise reject("patches", "be square", f"shape {array.shape}")
    return fft.dctn(array, axes=(1, 2), norm="ortho").reshape(len(array), -1)[:, 1:]


def from_coordinates(coordinates: ArrayLike) -> Array:
    """Patches of zero mean from their cosine coordinates, inverse of `to_coordinates`.

    Args:
        coordinates: shape (n, size^2 - 1).

    Raises:
        ValueError: if the number of coordinates is not size^2 - 1.
    """
    array = finite_array("coordinates", coordinates, ndim=2)
    size = side_of("coordinates", array.shape[1])
    full = np.concatenate([np.zeros((len(array), 1)), array], axis=1)
    return fft.idctn(full.reshape(-1, size, size), axes=(1, 2), norm="ortho")


def side_of(argument: str, directions: int) -> int:
    """Pixels along one side of square patches with so many coordinates, size^2 - 1.

    Args:
        argument: what has the coordinates, for the error.
        directions: their number.

    Raises:
        ValueError: naming the argument, if no size fits.
    """
    size = round(np.sqrt(directions + 1))
    if size**2 != directions + 1:
        raise reject(argument, "have size^2 - 1 coordinates", directions)
    return size


def photograph_law(
    size: int,
    count: int,
    *,
    key: jax.Array,
    equal_contrast: bool = False,
    images: ImageSet | None = None,
) -> EmpiricalLaw:
    """Law of patches cut at random positions from photographs.

    Scaled so that the covariance has trace d = size^2 - 1.

    Args:
        size: pixels along one side.
        count: number of patches in the pool.
        key: typed random key for the positions.
        equal_contrast: scale every patch to the same norm; nearly flat patches are left out.
        images: photographs, such as those of `learning_dynamics.images.load_cifar`; by default the
            bundled ones. Of coloured ones the luminance is taken.

    Raises:
        ValueError: if the photographs do not hold that many patches.
    """
    patches = sample_patches(
        load_bundled("photographs") if images is None else images,
        size,
        count,
        key=key,
        remove_mean=True,
        unit_norm=equal_contrast,
        drop_flat=FLAT if equal_contrast else 0.0,
        dtype=np.float64,
    )
    coordinates = to_coordinates(np.asarray(patches.images).reshape(-1, size, size))
    variance = coordinates.var(axis=0).sum()
    return EmpiricalLaw.of(coordinates * np.sqrt(coordinates.shape[1] / variance))
