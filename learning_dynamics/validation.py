"""Checks at the public boundary: messages name the argument, the demand and the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "between",
    "channels_last",
    "finite_array",
    "fractions",
    "increasing_integers",
    "increasing_times",
    "integers",
    "non_negative",
    "one_of",
    "plain_array",
    "positive_integer",
    "positive_number",
    "real_array",
    "reject",
    "spectrum_array",
    "traced",
    "unit_roundoff",
]

_EXACT = 2**53  # from here on double precision leaves out whole numbers
_UNITLESS = ("", "None", "dimensionless")
_FEW_CHANNELS = 4  # red, green, blue and transparency
_NO_NUMBERS = str | bytes | bool | np.bool | np.complexfloating | None


def reject(argument: str, demand: str, got: object) -> ValueError:
    """Build the error that names the argument, what it must satisfy and what it got."""
    return ValueError(f"Argument `{argument}` must {demand}, but got {got}.")


def traced(argument: str) -> ValueError:
    """Build the error about a traced value where a program takes its structure from it."""
    demand = (
        "be known when the program is traced (a Python number or a NumPy array, closed over or "
        "named in `static_argnames`)"
    )
    return reject(argument, demand, "a traced value")


def real_array(argument: str, value: Any, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a float64 array that holds all of it; NaN and infinities stay.

    What the conversion would cut off is refused: imaginary parts, masks, units, names of fields,
    digits beyond double precision. So is what is no number: text, dates, a single truth value.

    Raises:
        ValueError: if it is not numeric, would lose something, or is not of rank `ndim`.
    """
    array = plain_array(argument, value)
    if ndim is not None and array.ndim != ndim:
        raise reject(argument, f"have {ndim} dimension(s)", f"shape {array.shape}")
    if array.dtype.kind == "b" and not array.ndim:
        raise reject(argument, "be a number", f"the truth value {array}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and differs
        try:
            doubles = array.astype(np.float64, copy=False)
        except Exception as error:  # objects raise anything when asked for a float
            raise reject(argument, "be an array of real numbers", _shortly(value)) from error
    _check_exact(argument, array, doubles, value)
    return doubles


def finite_array(argument: str, value: Any, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a finite float64 array.

    Raises:
        ValueError: if it is not numeric, not finite, not of rank `ndim`, or would lose something
            (see `real_array`).
    """
    array = real_array(argument, value, ndim=ndim)
    if not np.all(np.isfinite(array)):
        raise reject(argument, "be finite", f"{array[~np.isfinite(array)].ravel()[:3]}")
    return array


def _shortly(value: Any) -> str:
    text = " ".join(repr(value).split())  # arrays are printed on several lines
    return text if len(text) <= 200 else f"{text[:200]}..."


def plain_array(argument: str, value: Any) -> NDArray[Any]:
    """Return `value` as a plain array of real numbers or truth values, in the type it came in.

    Raises:
        ValueError: if it is not numeric, or has imaginary parts, masks, units or named fields.
    """
    array = _array(argument, value)
    if isinstance(array, np.ma.MaskedArray):
        masked = np.ma.count_masked(array)
        if masked:
            raise reject(argument, "have no masked entries", f"{masked} of {array.size}")
        array = array.data
    array, dtype = np.asarray(array), array.dtype
    if dtype.kind == "c":
        raise reject(argument, "be real", f"complex numbers ({dtype})")
    if dtype.names is not None:
        raise reject(argument, "be an array of real numbers", f"fields {dtype.names}")
    # the narrow types of machine learning, such as bfloat16, are neither of these kinds
    if dtype.kind not in "biufO" and not np.can_cast(dtype, np.float64):
        raise reject(argument, "be an array of real numbers", _shortly(value))
    if dtype.kind == "O":
        for entry in array.ravel():
            if isinstance(entry, _NO_NUMBERS) or np.ndim(entry):
                raise reject(argument, "be an array of real numbers", _shortly(value))
    return array


def _array(argument: str, value: Any) -> NDArray[Any]:
    if type(value) in (np.ndarray, float, int):
        return np.asarray(value)
    if isinstance(value, list | tuple):
        _check_parts(argument, value)
    if any(kind.__name__ == "Tracer" for kind in type(value).__mro__):  # without importing JAX
        raise traced(argument)
    for holder in (value, getattr(value, "data", None)):  # xarray wraps arrays with units
        for name in ("unit", "units"):
            if hasattr(type(holder), name) and str(getattr(holder, name)) not in _UNITLESS:
                raise reject(argument, "be free of units", _shortly(value))
    try:
        return np.asanyarray(value)
    except Exception as error:  # ragged lists, tracers, tensors that want to be detached
        raise reject(argument, "be an array of real numbers", _shortly(value)) from error


def _check_parts(argument: str, parts: Sequence[Any]) -> None:
    """Refuse arrays in a list that NumPy would strip of masks or units when it stacks them."""
    for part in parts:
        if isinstance(part, list | tuple):
            _check_parts(argument, part)
        elif hasattr(part, "__array__") and not isinstance(part, np.generic):
            plain_array(argument, part)


def _check_exact(
    argument: str, array: NDArray[Any], doubles: NDArray[np.float64], value: Any
) -> None:
    """Refuse what changed when it became float64."""
    if array.dtype == np.float64 and not isinstance(value, list | tuple):
        return
    if array.dtype.kind in "fV" and array.dtype.itemsize < 8:
        return
    if array.dtype.kind == "O" or array.dtype.itemsize > 8:
        suspects = ~np.isnan(doubles)
    else:
        suspects = np.abs(doubles) >= _EXACT
    if not np.any(suspects):
        return
    if array.dtype == np.float64:  # a list: NumPy has rounded its whole numbers already
        array = np.asarray(value, dtype=object)
    exact = array.astype(object) if array.dtype.kind in "iu" else array
    differs = suspects & np.asarray(doubles != exact, bool)
    if np.any(differs):
        got = f"{exact[differs].ravel()[0]!r} ({array.dtype})"
        raise reject(argument, "be exact in double precision", got)


def non_negative(argument: str, value: Any, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a float64 array without negative entries.

    Raises:
        ValueError: if an entry is negative or not finite, or the array is not of rank `ndim`.
    """
    array = finite_array(argument, value, ndim=ndim)
    if np.any(array < 0):
        raise reject(argument, "not be negative", f"{array.min()}")
    return array


def positive_number(argument: str, value: Any) -> float:
    """Return `value` as a float above zero.

    Raises:
        ValueError: if it is no single finite number or not positive.
    """
    number = float(finite_array(argument, value, ndim=0))
    if not number > 0:
        raise reject(argument, "be positive", value)
    return number


def between(argument: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float inside the open interval (`low`, `high`).

    Raises:
        ValueError: if it is no single number or lies outside.
    """
    number = float(finite_array(argument, value, ndim=0))
    if not low < number < high:
        raise reject(argument, f"lie strictly between {low} and {high}", value)
    return number


def fractions(argument: str, value: Any, *, ndim: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a float64 array inside the open interval (0, 1).

    Raises:
        ValueError: if an entry lies outside or is not finite, or the array is not of rank `ndim`.
    """
    array = finite_array(argument, value, ndim=ndim)
    outside = (array <= 0) | (array >= 1)
    if np.any(outside):
        raise reject(argument, "lie strictly between 0 and 1", array[outside][0])
    return array


def integers(argument: str, value: Any, *, least: int) -> NDArray[np.int64]:
    """Return `value` as an int64 array with entries of at least `least`.

    Raises:
        ValueError: if an entry is no whole number, too small, or too large for 64 bits.
    """
    array = plain_array(argument, value)
    if array.dtype.kind == "b":
        raise reject(argument, "be whole numbers", f"truth values ({_shortly(value)})")
    if array.dtype.kind not in "iu":
        array = finite_array(argument, value)
        if np.any(array != np.rint(array)):
            raise reject(
                argument, "be whole numbers", f"{array[array != np.rint(array)].ravel()[0]}"
            )
    if array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise reject(argument, "be below 2^63", f"{array.max()}")
    if np.any(array < least):
        raise reject(argument, f"be at least {least}", f"{array.min()}")
    return array.astype(np.int64)


def increasing_integers(argument: str, value: Any) -> NDArray[np.int64]:
    """Return `value` as a list of positive whole numbers that increase strictly.

    Raises:
        ValueError: if it is none, or empty.
    """
    array = integers(argument, value, least=1)
    if array.ndim != 1 or array.size == 0 or np.any(np.diff(array) <= 0):
        raise reject(argument, "be a list that increases strictly", array.tolist())
    return array


def increasing_times(times: Any) -> NDArray[np.float64]:
    """Return times as a float64 array that increases strictly from zero or later.

    Raises:
        ValueError: if they do not.
    """
    array = finite_array("times", times, ndim=1)
    if array.size == 0 or array[0] < 0 or np.any(np.diff(array) <= 0):
        raise reject("times", "be non-negative and increase strictly", array.tolist())
    return array


def positive_integer(argument: str, value: Any, *, least: int = 1) -> int:
    """Return `value` as a Python integer of at least `least`.

    Raises:
        ValueError: if it is no whole number or smaller.
    """
    array = integers(argument, value, least=least)
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


def unit_roundoff(argument: str, dtype: DTypeLike) -> float:
    """Relative spacing of a floating-point type, also of the narrow ones; 0 for whole numbers.

    Raises:
        ValueError: if it is no type of real numbers.
    """
    from jax.numpy import finfo  # not at the top: the command line must start fast

    kind = np.dtype(dtype)
    if kind.kind in "iub":
        return 0.0
    try:
        return float(finfo(kind).eps)
    except ValueError as error:
        raise reject(argument, "be a real number type", kind) from error


def one_of(argument: str, value: str, options: tuple[str, ...]) -> str:
    """Return `value` if it is one of `options`.

    Raises:
        ValueError: if it is not.
    """
    if value not in options:
        raise reject(argument, "be one of " + ", ".join(map(repr, options)), repr(value))
    return value


def channels_last(argument: str, shape: tuple[int, ...]) -> None:
    """Refuse the shape of one image, (height, width[, channels]), if its channels come first.

    One to four rows of other numbers of columns with more than four channels are taken for
    channels in front, as torch keeps them.

    Raises:
        ValueError: if the channels come first.
    """
    if len(shape) != 3 or not shape[0] <= _FEW_CHANNELS < shape[2] or shape[0] == shape[1]:
        return
    demand = "have the channels last, (height, width, channels): move them with np.moveaxis"
    raise reject(argument, demand, f"an image of shape {shape}")
