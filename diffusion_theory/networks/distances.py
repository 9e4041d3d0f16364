"""How far generated images are from data, in second and in fourth cumulants."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.validation import finite_array, reject

__all__ = ["contracted_cumulant", "covariance_distance", "cumulant_distance"]

Array = NDArray[np.float64]


def _rows(argument: str, images: ArrayLike) -> Array:
    array = finite_array(argument, images)
    if array.ndim < 2 or len(array) < 2:
        raise reject(argument, "hold at least two images", f"shape {array.shape}")
    rows = array.reshape(len(array), -1)
    return np.asarray(rows - rows.mean(axis=0))


def _covariance(rows: Array) -> Array:
    return np.asarray(rows.T @ rows / len(rows))


def contracted_cumulant(images: ArrayLike) -> float:
    """Fourth cumulant summed over pairs of pixels, zero for Gaussian images.

        sum_ij kappa_4(x_i, x_i, x_j, x_j) = E|x|^4 - (tr C)^2 - 2 tr C^2,   x centred

    Args:
        images: shape (n, ...).

    Raises:
        ValueError: if there are fewer than two images, or values are not finite.
    """
    rows = _rows("images", images)
    covariance = _covariance(rows)
    fourth = np.mean(np.sum(rows**2, axis=1) ** 2)
    return float(fourth - np.trace(covariance) ** 2 - 2 * np.sum(covariance**2))


def covariance_distance(images: ArrayLike, data: ArrayLike) -> float:
    """Relative distance of covariances in the Frobenius norm, |C - C_data| / |C_data|.

    Raises:
        ValueError: as `contracted_cumulant`.
    """
    first, second = _covariance(_rows("images", images)), _covariance(_rows("data", data))
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def cumulant_distance(images: ArrayLike, data: ArrayLike) -> float:
    """Relative distance of `contracted_cumulant`, 1 for Gaussian images beside other data.

    Raises:
        ValueError: as `contracted_cumulant`.
    """
    cumulant, reference = contracted_cumulant(images), contracted_cumulant(data)
    return abs(cumulant - reference) / abs(reference)
