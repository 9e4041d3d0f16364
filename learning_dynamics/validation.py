"""Checks at the public boundary: every message names the argument, the demand and what came."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "finite_array",
    "increasing_integers",
    "integers",
    "non_negative",
    "one_of",
    "positive_integer",
    "reject",
    "spectrum_array",
]


def reject(argument: str, demand: str, got: object) -> ValueError:
    """Build the error that names the argument, what it must satisfy and what it got."""
    return ValueError(f"Argument `{argument}` must {demand}, but got {got}.")


def finite_array(argument: str, value: Any, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a finite float64 array.

    Raises:
        ValueError: if it is not numeric, not finite or not of rank `ndim`.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise reject(argument, "be an array of real numbers", repr(value)) from error
    if ndim is not None and array.ndim != ndim:
        raise reject(argument, f"have {ndim} dimension(s)", f"shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise reject(argument, "be finite", f"{array[~np.isfinite(array)].ravel()[:3]}")
    return array


def non_negative(argument: str, value: Any) -> NDArray[np.float64]:
    """Return `value` as a float64 array without negative entries.

    Raises:
        ValueError: if an entry is negative or not finite.
    """
    array = finite_array(argument, value)
    if np.any(array < 0):
        raise reject(argument, "not be negative", f"{array.min()}")
    return array


def integers(argument: str, value: Any, *, least: int) -> NDArray[np.int64]:
    """Return `value` as an int64 array with entries of at least `least`.

    Raises:
        ValueError: if an entry is no whole number or too small.
    """
    array = finite_array(argument, value)
    if np.any(np.abs(array) >= 2.0**63):
        raise reject(argument, "be below 2^63", f"{array[np.abs(array) >= 2.0**63].ravel()[0]:g}")
    whole = np.asarray(np.rint(array), dtype=np.int64)
    if not np.array_equal(whole, array):
        raise reject(argument, "be whole numbers", f"{array[whole != array].ravel()[0]}")
    if np.any(whole < least):
        raise reject(argument, f"be at least {least}", f"{whole.min()}")
    return whole


def increasing_integers(argument: str, value: Any) -> NDArray[np.int64]:
    """Return `value` as a list of positive whole numbers that increase strictly.

    Raises:
        ValueError: if it is none, or empty.
    """
    array = integers(argument, value, least=1)
    if array.ndim != 1 or array.size == 0 or np.any(np.diff(array) <= 0):
        raise reject(argument, "be a list that increases strictly", array.tolist())
    return array


def positive_integer(argument: str, value: Any) -> int:
    """Return `value` as a Python integer of at least one.

    Raises:
        ValueError: if it is no whole number or smaller than one.
    """
    array = integers(argument, value, least=1)
    if array.ndim:
        raise reject(argument, "be a single whole number", f"shape {array.shape}")
    return int(array)


def spectrum_array(argument: str, value: Any) -> NDArray[np.float64]:
    """Return eigenvalues of a covariance as a float64 array of shape (d,), largest first.

    Raises:
        ValueError: if the array is empty, not one-dimensional, not positive or not sorted from
            the largest to the smallest eigenvalue.
    """
    array = finite_array(argument, value, ndim=1)
    if array.size == 0:
        raise reject(argument, "hold at least one eigenvalue", "none")
    if np.any(array <= 0):
        raise reject(argument, "be positive", f"{array.min()}")
    if np.any(np.diff(array) > 0):
        raise reject(
            argument,
            "be sorted, largest first",
            f"{array[np.argmax(np.diff(array) > 0)]} before a larger value",
        )
    return array


def one_of(argument: str, value: str, options: tuple[str, ...]) -> str:
    """Return `value` if it is one of `options`.

    Raises:
        ValueError: if it is not.
    """
    if value not in options:
        raise reject(argument, "be one of " + ", ".join(map(repr, options)), repr(value))
    return value
