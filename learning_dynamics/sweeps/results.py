"""What a measure returns, brought to one form, and many of them as one labelled dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.array_files import is_narrow
from learning_dynamics.validation import reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Record",
    "Schema",
    "assemble",
    "axis_names",
    "check_names",
    "check_schema",
    "normalise",
    "record_of",
    "schema_of",
    "storable",
    "variables_of",
]

Labelled = tuple[tuple[str, ...], NDArray[Any]]  # names of the axes, and values
Schema = dict[str, tuple[tuple[str, ...], tuple[int, ...], np.dtype[Any]]]  # axes, shape, type


@dataclass(frozen=True, eq=False)
class Record:
    """One result.

    Attributes:
        variables: name -> axes and values.
        coordinates: name -> axes and values.
        units: of variables and coordinates, where the measure gave them.
        attributes: what the measure tells about the run, for the provenance.
        about: when, where and in how many seconds it was computed.
    """

    variables: Mapping[str, Labelled]
    coordinates: Mapping[str, Labelled] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def variables_of(value: Any) -> dict[str, Any]:
    """Named parts of a result that is no labelled array: "value" for a bare number or array.

    Raises:
        TypeError: if a mapping has other keys than text.
    """
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if not isinstance(value, Mapping):
        return {"value": value}
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"A measure must return names that are text, but returned {name!r}.")
    return dict(value)


def normalise(value: Any) -> Record:
    """Bring what a measure returned to the form of a record.

    Args:
        value: number, array, mapping or NamedTuple of them, `xarray` object, or a result with a
            method `to_xarray`.

    Raises:
        TypeError: if a part of it is no array of numbers or text.
    """
    if hasattr(value, "to_xarray"):
        value = value.to_xarray()
    if hasattr(value, "to_dataset") and hasattr(value, "dims"):
        value = value.to_dataset(name=value.name or "value")
    if hasattr(value, "data_vars"):
        arrays = {**value.data_vars, **value.coords}
        units = {str(k): str(v.attrs["units"]) for k, v in arrays.items() if "units" in v.attrs}
        return Record(
            {str(k): _labelled(str(k), v) for k, v in value.data_vars.items()},
            {str(k): _labelled(str(k), v) for k, v in value.coords.items()},
            units,
            {str(k): v for k, v in value.attrs.items()},
        )
    parts = {name: _array(name, part) for name, part in variables_of(value).items()}
    return Record({name: (axis_names(name, array.ndim), array) for name, array in parts.items()})


def axis_names(name: str, rank: int) -> tuple[str, ...]:
    """Names of the axes of an array without labels."""
    return tuple(f"{name}_{axis}" for axis in range(rank))


def _labelled(name: str, array: Any) -> Labelled:
    return tuple(map(str, array.dims)), _array(name, array.values)


def _array(name: str, value: Any) -> NDArray[Any]:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if np.ma.count_masked(value) if isinstance(value, np.ma.MaskedArray) else False:
        raise TypeError(f"{name} has masked entries, which no file keeps: fill them first")
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.empty(0, object)
    array = array.astype(storable(array.dtype), copy=False)
    if array.dtype.kind not in "biufcUSMm":
        raise TypeError(
            f"A measure must return numbers, arrays, mappings of them or a labelled result, but "
            f"`{name}` is {type(value).__module__}.{type(value).__qualname__}"
            + (f" of type {value.dtype}." if hasattr(value, "dtype") else ".")
        )
    return array


def storable(dtype: Any) -> np.dtype[Any]:
    """The type in which numbers of a type are kept: itself, but for those of `ml_dtypes`.

    bfloat16 and the types of eight and fewer bits, which neither NumPy nor netCDF can store, become
    float32, int8 or uint8, which hold all their numbers.
    """
    dtype = np.dtype(dtype)
    if not is_narrow(dtype):
        return dtype
    try:
        integers = ml_dtypes.iinfo(dtype)
    except ValueError:
        return np.dtype(np.float32)
    return np.dtype(np.int8 if integers.min < 0 else np.uint8)


def schema_of(record: Record) -> Schema:
    """Axes, shapes and types of the variables."""
    return {
        name: (axes, values.shape, values.dtype)
        for name, (axes, values) in record.variables.items()
    }


def record_of(schema: Schema) -> Record:
    """A record of zeros."""
    return Record({name: (axes, np.zeros(shape, d)) for name, (axes, shape, d) in schema.items()})


def check_schema(first: Schema, where: str, other: Schema, elsewhere: str) -> None:
    """Check that two cells returned the same variables with the same shapes.

    Raises:
        ValueError: naming the variable and both cells.
    """
    if first.keys() != other.keys():
        raise reject(
            "measure",
            "return the same variables in every cell",
            f"{sorted(first)} at {where} and {sorted(other)} at {elsewhere}",
        )
    for name, (axes, shape, dtype) in first.items():
        if other[name][:2] != (axes, shape):
            raise reject(
                "measure",
                "return one shape per variable",
                f"`{name}` of shape {shape} at {where} and {other[name][1]} at {elsewhere}",
            )
        if (dtype.kind in "biufc") != (other[name][2].kind in "biufc"):
            raise reject(
                "measure",
                "return one type per variable",
                f"`{name}` as number and as text, at {where} and at {elsewhere}",
            )


def check_names(schema: Schema, axes: Sequence[str]) -> None:
    """Check that variables have names, and do not collide with the axes of the sweep.

    Raises:
        ValueError: if a variable or one of its axes has the name of an axis of the sweep, or a name
            that is empty or cannot be printed.
    """
    taken = {name for name, (inner, _, _) in schema.items() for name in (name, *inner)}
    for name in taken:
        if not name or not name.isprintable():
            raise reject("measure", "return names of printable signs", ascii(name))
    for name in axes:
        if name in taken:
            raise reject("measure", "return other names than those of the axes", repr(name))


def assemble(
    axes: Mapping[str, NDArray[Any]],
    records: Mapping[int, Record],
    *,
    units: Mapping[str, str],
    attributes: Mapping[str, Any],
) -> "xr.Dataset":
    """Lay the records out over the grid.

    Args:
        axes: name -> labels; the grid is their product, the last axis fastest.
        records: place in the grid -> record; places without one become NaN ("" for text).
        units: name of a variable or axis -> unit.
        attributes: provenance.

    Raises:
        ValueError: if a unit names no variable or axis, or the variables fit into no dataset.
    """
    import xarray as xr

    shape = tuple(len(labels) for labels in axes.values())
    first = records[min(records)]
    variables: dict[str, tuple[tuple[str, ...], NDArray[Any]]] = {}
    for name, (inner, _) in first.variables.items():
        stacked = _spread(shape, {place: r.variables[name][1] for place, r in records.items()})
        variables[name] = ((*axes, *inner), stacked)
    coordinates: dict[str, Any] = {name: (name, labels) for name, labels in axes.items()}
    for name, (inner, values) in first.coordinates.items():
        everywhere = {
            place: record.coordinates[name][1]
            for place, record in records.items()
            if name in record.coordinates
        }
        if name in axes or name in variables:
            continue
        if all(np.array_equal(values, other) for other in everywhere.values()):
            coordinates[name] = (inner, values)
        elif all(values.shape == other.shape for other in everywhere.values()):
            # an index cannot depend on the cell
            label = f"{name}_of_cell" if name in inner else name
            coordinates[label] = ((*axes, *inner), _spread(shape, everywhere))
    shared = dict(first.attributes)
    for record in records.values():
        shared = {k: v for k, v in shared.items() if _same(record.attributes.get(k), v)}
    try:
        dataset = xr.Dataset(variables, coords=coordinates, attrs={**shared, **attributes})
    except ValueError as error:
        raise reject("measure", "return variables that fit into one dataset", error) from error
    known = {**first.units, **units}
    for name in units:
        if name not in dataset.variables:
            raise reject("units", f"name some of {sorted(map(str, dataset.variables))}", repr(name))
    for name, unit in known.items():
        if name in dataset.variables:
            dataset[name].attrs["units"] = unit
    return dataset


def _same(first: Any, second: Any) -> bool:
    return type(first) is type(second) and repr(first) == repr(second)


def _spread(shape: tuple[int, ...], found: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
    """Stack arrays of equal shape over the grid."""
    cells = int(np.prod(shape))
    kind = np.result_type(*{array.dtype for array in found.values()})
    if len(found) < cells and kind.kind in "biu":
        kind = np.dtype(np.float64)  # integers know no NaN
    inner = next(iter(found.values())).shape
    gap: Any = {"f": np.nan, "c": np.nan, "M": "NaT", "m": "NaT"}.get(kind.kind, "")
    stacked = np.full((cells, *inner), gap if len(found) < cells else np.zeros((), kind), kind)
    for place, array in found.items():
        stacked[place] = array
    return stacked.reshape(*shape, *inner)
