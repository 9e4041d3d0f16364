"""Spectra of covariances: power laws, spectra of data, effective dimensions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.validation import (
    finite_array,
    non_negative,
    positive_integer,
    reject,
    spectrum_array,
)

__all__ = [
    "DataSpectrum",
    "degrees_of_freedom",
    "from_data",
    "participation_ratio",
    "power_law",
]

Array = NDArray[np.float64]


class DataSpectrum(NamedTuple):
    """Mean and eigendecomposition of the covariance of data, cov = basis diag(spectrum) basis'."""

    mean: Array  # (d,)
    spectrum: Array  # (d,), largest first
    basis: Array  # (d, d), eigenvectors as columns


def power_law(dimension: int, exponent: float, *, trace: float | None = None) -> Array:
    """Eigenvalues lambda_nu proportional to nu^-exponent, nu = 1..d, with a given trace.

    Args:
        dimension: d.
        exponent: k >= 0; k = 0 is the isotropic covariance.
        trace: sum of the eigenvalues, d if not given.

    Raises:
        ValueError: if the dimension is no positive whole number, the exponent negative or the
            trace not positive.
    """
    d = positive_integer("dimension", dimension)
    k = float(non_negative("exponent", exponent))
    total = float(d) if trace is None else float(finite_array("trace", trace))
    if total <= 0:
        raise reject("trace", "be positive", total)
    shape = np.arange(1, d + 1, dtype=np.float64) ** -k
    return total * shape / shape.sum()


def from_data(data: ArrayLike, *, floor: float = 1e-12) -> DataSpectrum:
    """Mean and spectrum of the maximum-likelihood covariance of `data`, shape (samples, d).

    Args:
        data: one row per sample.
        floor: eigenvalues below `floor` times the largest are refused, because a covariance that
            is singular in floating point has no inverse that could be trusted.

    Raises:
        ValueError: if there are fewer than two samples, a value is not finite, or the covariance
            is singular (pixels that never vary, or a mode that was projected out: remove such
            directions first).
    """
    array = finite_array("data", data, ndim=2)
    if array.shape[0] < 2:
        raise reject("data", "hold at least two samples", f"shape {array.shape}")
    mean = array.mean(axis=0)
    centred = array - mean
    spectrum, basis = np.linalg.eigh(centred.T @ centred / array.shape[0])
    spectrum, basis = spectrum[::-1], basis[:, ::-1]
    if spectrum[-1] <= floor * spectrum[0]:
        smallest = spectrum[-1] / spectrum[0] if spectrum[0] > 0 else 0.0
        raise reject(
            "data",
            f"have a covariance with all eigenvalues above {floor:g} of the largest",
            f"{smallest:.3g} ({array.shape[0]} samples, d = {array.shape[1]})",
        )
    return DataSpectrum(mean, np.ascontiguousarray(spectrum), np.ascontiguousarray(basis))


def degrees_of_freedom(spectrum: ArrayLike, kappa: ArrayLike) -> tuple[Array, Array]:
    """Effective dimensions df_1 = tr S (S + kappa)^-1 and df_2 = tr [S (S + kappa)^-1]^2.

    Args:
        spectrum: eigenvalues of S, shape (d,), largest first.
        kappa: any shape, not negative.

    Returns:
        df_1 and df_2, each with the shape of `kappa`; both equal d at kappa = 0.

    Raises:
        ValueError: on a bad spectrum or a negative kappa.
    """
    s = spectrum_array("spectrum", spectrum)
    k = non_negative("kappa", kappa)
    ratio = s / (s + k[..., None])
    return ratio.sum(axis=-1), (ratio**2).sum(axis=-1)


def participation_ratio(spectrum: ArrayLike) -> float:
    """Effective dimension (tr S)^2 / tr S^2, between 1 and d.

    Raises:
        ValueError: on a bad spectrum.
    """
    s = spectrum_array("spectrum", spectrum)
    return float(s.sum() ** 2 / (s**2).sum())
