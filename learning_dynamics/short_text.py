"""Short texts in which results show themselves: what they are, shapes, ranges, errors."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "array_text", "concrete", "extent", "largest", "represent", "shapes", "span"]

Rows = Mapping[str, str]
MOST_LINES, WIDTH = 12, 100
FEW = 6  # numbers that are shown instead of their shape


def represent(result: Any) -> str:
    """Representation of a result: a headline, and one line for each row that says something.

    Those that its `_summary` returns, or else its fields. At most 12 lines of 100 characters.
    Placeholders that JAX puts in place of arrays do no harm.
    """
    name = type(result).__name__
    try:
        headline, rows = result._summary()
    except Exception:  # leaves that are no arrays: JAX prints such results in its error messages
        headline, rows = "", {key: array_text(value) for key, value in _fields(result)}
    rows = {key: text for key, text in rows.items() if text}
    width = max(map(len, rows), default=0)
    lines = [f"{name}: {headline}" if headline else name]
    lines += [f"  {key:{width}}  {text}" for key, text in rows.items()]
    return "\n".join(_cut(line) for line in lines[:MOST_LINES])


def _fields(result: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(result):
        return [(f.name, getattr(result, f.name, None)) for f in dataclasses.fields(result)]
    return list(result._asdict().items())


def _cut(line: str) -> str:
    line = " ".join(line.splitlines())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def concrete(value: Any) -> NDArray[Any] | None:
    """The numbers of an array; None where they are traced, deleted, or on other machines."""
    if isinstance(value, np.ndarray | np.generic | float | int):
        return np.asarray(value)
    jax = sys.modules.get("jax")  # not imported here: the command line must start fast
    if jax is None or not isinstance(value, jax.Array) or isinstance(value, jax.core.Tracer):
        return None
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        return None
    if value.is_deleted() or not value.is_fully_addressable:
        return None
    return np.asarray(value)


def array_text(value: Any) -> str:
    """A few numbers as they are, of arrays shape and type, of results and mappings a summary."""
    if isinstance(value, str) or value is None:
        return repr(value)
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {array_text(entry)}" for name, entry in value.items())
        return text if len(text) <= WIDTH - 30 else shapes(value)
    if hasattr(value, "_summary"):
        headline, rows = value._summary()
        return ", ".join(text for text in (headline, rows.get("values", "")) if text)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    numbers = concrete(value)
    if numbers is not None and numbers.size <= FEW and numbers.dtype.kind in "biuf":
        return np.array2string(numbers, precision=4, separator=", ").replace("\n", "")
    if shape is None or dtype is None:
        return _cut(f"{type(value).__name__}")
    traced = "" if numbers is not None or not hasattr(value, "aval") else ", traced"
    return f"{tuple(shape)} {dtype}{traced}"


def shapes(values: Mapping[str, Any]) -> str:
    """Names with shapes, as many as one line holds."""
    texts: list[str] = []
    room = WIDTH - 30
    for name, value in values.items():
        shape = getattr(value, "shape", None)
        text = f"{name} {type(value).__name__ if shape is None else tuple(shape)}"
        room -= len(text) + 2
        if room < 0 and texts:
            return ", ".join([*texts, f"and {len(values) - len(texts)} more"])
        texts.append(text)
    return ", ".join(texts)


def span(values: Any) -> str:
    """Number and range of times, steps or dimensions."""
    numbers = concrete(values)
    if numbers is None or numbers.dtype.kind not in "iuf" or numbers.ndim > 1:
        return extent(values)
    if numbers.size <= 3:
        return ", ".join(f"{x:.6g}" for x in numbers.ravel().tolist())
    return f"{numbers.size}, from {np.min(numbers):.6g} to {np.max(numbers):.6g}"


def largest(errors: Mapping[str, Any]) -> str:
    """Largest entry of named arrays, and in which it is."""
    sizes = {}
    for name, array in errors.items():
        numbers = concrete(array)
        if numbers is None:
            return "traced"
        if numbers.size:
            sizes[name] = float(np.max(np.abs(numbers)))
    if not sizes:
        return ""
    worst = max(sizes, key=lambda name: (np.isnan(sizes[name]), sizes[name]))
    return f"at most {sizes[worst]:.2g} ({worst})"


def extent(values: Any) -> str:
    """A few numbers as they are; of more, shape and range."""
    numbers = concrete(values)
    if numbers is None or numbers.size <= FEW or numbers.dtype.kind not in "iuf":
        return array_text(values)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return f"{numbers.shape}, none finite"
    text = f"{numbers.shape}, from {finite.min():.4g} to {finite.max():.4g}"
    return (
        text if finite.size == numbers.size else f"{text}, {numbers.size - finite.size} not finite"
    )
