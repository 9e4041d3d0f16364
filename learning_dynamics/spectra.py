"""Spectra of covariances: power laws, spectra of data, effective dimensions."""

from __future__ import annotations

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
    "PowerLawFit",
    "degrees_of_freedom",
    "fit_power_law",
    "from_data",
    "participation_ratio",
    "power_law",
    "radial_spectrum",
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
        data: one row per sample, shape (samples, d).
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


def radial_spectrum(images: ArrayLike) -> tuple[Array, Array]:
    """Power spectrum of gray images, averaged over images and over rings of equal |k|.

    Power is |X|^2 / (height width) of the image without its mean; ring j = 1 .. side / 2 holds
    wave numbers within 1/2 of j cycles per shorter side. Jumps across the borders of an image that
    is not periodic add a cross of power |k|^-2: remove them first where that matters. Within a ring
    a steep spectrum is not straight: fitted exponents are too large (by 0.02 for k^-3, side 64).

    Args:
        images: shape (n, height, width).

    Returns:
        Mean |k| of each ring in cycles per shorter side, and its mean power; shape (side // 2,).

    Raises:
        ValueError: on another shape or images smaller than 4 x 4.
    """
    array = finite_array("images", images, ndim=3)
    height, width = array.shape[1:]
    side = min(height, width)
    if side < 4 or not len(array):
        raise reject("images", "have shape (n, height, width), sides from 4", array.shape)
    centred = array - array.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred)) ** 2).mean(axis=0) / (height * width)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]) * side
    ring = np.rint(frequency).astype(np.int64).ravel()
    count = np.bincount(ring)
    sums = [np.bincount(ring, each.ravel()) for each in (frequency, power)]
    mean = [each[1 : side // 2 + 1] / count[1 : side // 2 + 1] for each in sums]
    return mean[0], mean[1]


class PowerLawFit(NamedTuple):
    """Least-squares fit of log power = log amplitude - exponent log k."""

    exponent: float
    standard_error: float  # of the exponent, from the scatter about the line
    amplitude: float


def fit_power_law(k: ArrayLike, power: ArrayLike) -> PowerLawFit:
    """Fit power = amplitude k^-exponent on logarithmic axes, all points with equal weight.

    Args:
        k: positive, shape (points,), at least three.
        power: positive, same shape.

    Raises:
        ValueError: on shapes that differ, fewer than three points, equal k, or values that are not
            positive.
    """
    x, y = finite_array("k", k, ndim=1), finite_array("power", power, ndim=1)
    if x.size < 3 or x.shape != y.shape:
        raise reject("power", "have the shape of k, at least (3,)", f"{y.shape} for {x.shape}")
    for name, array in (("k", x), ("power", y)):
        if np.any(array <= 0):
            raise reject(name, "be positive", array.min())
    if np.ptp(x) == 0:
        raise reject("k", "hold more than one value", x[0])
    u, v = np.log(x) - np.log(x).mean(), np.log(y)
    slope = float(u @ v / (u @ u))
    residual = v - v.mean() - slope * u
    error = float(np.sqrt(residual @ residual / (x.size - 2) / (u @ u)))
    return PowerLawFit(-slope, error, float(np.exp(v.mean() - slope * np.log(x).mean())))
