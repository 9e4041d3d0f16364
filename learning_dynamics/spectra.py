"""Spectra of covariances: power laws, spectra of data, effective dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.validation import (
    finite_array,
    non_negative,
    positive_integer,
    reject,
    spectrum_array,
    unit_roundoff,
)

__all__ = [
    "DataSpectrum",
    "PowerLawFit",
    "degrees_of_freedom",
    "fit_power_law",
    "from_covariance",
    "from_data",
    "participation_ratio",
    "power_law",
    "radial_spectrum",
]

Array = NDArray[np.float64]


class DataSpectrum(NamedTuple):
    """Mean and eigendecomposition of a covariance, cov = basis diag(spectrum) basis'.

    Directions without variance are left out: r <= d of them have some.
    """

    mean: Array  #: (d,)
    spectrum: Array  #: (r,), largest first
    basis: Array  #: (d, r), eigenvectors as columns

    def __repr__(self) -> str:
        return short_text.represent(self)


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

    Directions without variance are left out: pixels that never vary, a mode that was projected
    out, and all that fewer samples than dimensions cannot span.

    Args:
        data: one row per sample, shape (samples, d).
        floor: eigenvalues up to `floor` times the largest count as none, because a covariance that
            is singular in floating point has no inverse that could be trusted.

    Raises:
        ValueError: if there are fewer than two samples, a value is not finite, or nothing varies.
    """
    array = finite_array("data", data, ndim=2)
    samples, d = array.shape
    if samples < 2:
        raise reject("data", "hold at least two samples", f"shape {array.shape}")
    mean = array.mean(axis=0)
    centred = array - mean
    if samples < d:
        _, roots, rows = np.linalg.svd(centred, full_matrices=False)
        spectrum, basis = roots**2 / samples, rows.T
    else:
        spectrum, basis = np.linalg.eigh(centred.T @ centred / samples)
    # rounding of the mean leaves that much variance in data that do not vary
    constant = spectrum.max() <= (8 * np.finfo(np.float64).eps * np.abs(array).max()) ** 2
    return _with_variance("data", mean, spectrum, basis, floor, constant)


def from_covariance(
    covariance: ArrayLike, mean: ArrayLike | None = None, *, floor: float = 1e-12
) -> DataSpectrum:
    """Eigendecomposition of a covariance matrix; directions without variance are left out.

    Args:
        covariance: symmetric, shape (d, d).
        mean: shape (d,), zero if not given.
        floor: eigenvalues up to `floor` times the largest count as none; in a matrix of a shorter
            number type, those up to what its rounding may leave, d^(1/2) epsilon.

    Raises:
        ValueError: if the matrix is not square, symmetric, positive semi-definite and other than
            zero (up to rounding in its own number type), or the mean does not fit.
    """
    matrix = finite_array("covariance", covariance, ndim=2)
    d = matrix.shape[0]
    if matrix.shape != (d, d) or d == 0:
        raise reject("covariance", "be square", f"shape {matrix.shape}")
    rounding = float(np.sqrt(d)) * unit_roundoff("covariance", np.asarray(covariance).dtype)
    skew, tolerance = np.abs(matrix - matrix.T).max(), max(1e-9, rounding)
    if skew > tolerance * np.abs(matrix).max():
        raise reject("covariance", "be symmetric", f"entries that differ by up to {skew:.3g}")
    centre = np.zeros(d) if mean is None else finite_array("mean", mean, ndim=1)
    if centre.shape != (d,):
        raise reject("mean", f"have shape ({d},)", f"shape {centre.shape}")
    spectrum, basis = np.linalg.eigh((matrix + matrix.T) / 2)
    if spectrum[0] < -tolerance * np.abs(spectrum).max():
        raise reject("covariance", "have no negative eigenvalue", f"{spectrum[0]:.3g}")
    least = max(floor, rounding)
    return _with_variance("covariance", centre, spectrum, basis, least, not np.any(matrix))


def _with_variance(
    argument: str, mean: Array, spectrum: Array, basis: Array, floor: float, constant: bool
) -> DataSpectrum:
    """The directions whose variance exceeds the floor, largest first."""
    if constant:
        raise reject(argument, "vary", "no variance in any direction")
    order = np.argsort(spectrum)[::-1]
    kept = order[spectrum[order] > floor * spectrum.max()]
    return DataSpectrum(
        mean, np.ascontiguousarray(spectrum[kept]), np.ascontiguousarray(basis[:, kept])
    )


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
    standard_error: float  #: of the exponent, from the scatter about the line
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
