"""Products of fields, sample by sample, whose means are the exact moments of `moments`.

Fields have shape (samples, *sides), on a ring (samples, N). Means over samples, with their errors,
come from `Measurement.from_replicas`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.modes import whole_vectors
from learning_dynamics.validation import finite_array, reject

__all__ = ["lagged_products", "mode_products", "site_products"]

Array = NDArray[np.float64]
Vector = int | tuple[int, ...]


def _fields(fields: ArrayLike) -> Array:
    array = finite_array("fields", fields)
    if array.ndim not in (2, 3):
        raise reject("fields", "have shape (samples, *sides)", f"shape {array.shape}")
    return array


def _some(argument: str, vectors: Sequence[Vector]) -> None:
    if not np.iterable(vectors) or not len(vectors):
        raise reject(argument, "be a list of vectors, one at least", repr(vectors))


def lagged_products(fields: ArrayLike, lags: Sequence[Vector]) -> Array:
    """Mean over sites of x(t) x(t + s), shape (samples, lags), of mean `autocovariance`.

    Args:
        fields: x, shape (samples, *sides).
        lags: s in sites.

    Raises:
        ValueError: on fields of another rank, without a lag, or on lags that are no whole vectors
            of the grid.
    """
    x = _fields(fields)
    axes = tuple(range(1, x.ndim))
    _some("lags", lags)
    shifts = whole_vectors("lags", lags, x.ndim - 1)
    return np.stack([_products(x, [lag]).mean(axis=axes) for lag in shifts], axis=1)


def mode_products(fields: ArrayLike, wave_vectors: Sequence[Vector]) -> Array:
    """Re Z(k_1) Z(k_2) .. of each sample, shape (samples,), of mean Re `mode_moment`.

    Z(k) = S^(-1/2) sum_t x(t) exp(-2 pi i k.t / side).

    Args:
        fields: x, shape (samples, *sides).
        wave_vectors: k, of any sign, repeated as often as wanted.

    Raises:
        ValueError: on fields of another rank, without a wave vector, or on one that is not whole.
    """
    x = _fields(fields)
    axes = tuple(range(1, x.ndim))
    z = np.fft.fftn(x, axes=axes) / np.sqrt(np.prod(x.shape[1:]))
    _some("wave_vectors", wave_vectors)
    vectors = whole_vectors("wave_vectors", wave_vectors, x.ndim - 1)
    places = [tuple(np.mod(k, x.shape[1:])) for k in vectors]
    return np.asarray(np.prod([z[:, *place] for place in places], axis=0).real)


def site_products(fields: ArrayLike, lags: Sequence[Vector]) -> Array:
    """Products x(t) x(t + a) x(t + b) .. at every site t, shape of the fields, mean `site_moment`.

    Args:
        fields: x, shape (samples, *sides).
        lags: a, b, .. in sites; 0 for a further power of x(t).

    Raises:
        ValueError: on fields of another rank, or lags that are no whole vectors of the grid.
    """
    x = _fields(fields)
    return _products(x, whole_vectors("lags", lags, x.ndim - 1))


def _products(x: Array, lags: Sequence[tuple[int, ...]]) -> Array:
    """The same of checked fields and lags."""
    product = x.copy()
    for lag in lags:
        product *= np.roll(x, [-step for step in lag], axis=tuple(range(1, x.ndim)))
    return product
