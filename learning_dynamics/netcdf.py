"""Labelled datasets as netCDF, with names and attributes that every reader takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learning_dynamics.files import plain_text, replacing
from learning_dynamics.validation import reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["attribute_value", "attributes_of", "write_netcdf"]


def write_netcdf(dataset: "xr.Dataset", path: Path) -> None:
    """Write a dataset as netCDF, whole or not at all.

    netCDF has no "/" in names: "loss/train" is written as "loss_train", with the attribute
    `name = "loss/train"`. Attributes that are neither numbers nor text are written as text.

    Raises:
        ValueError: if two names become one, or something in the dataset has no place in netCDF.
        OSError: if the file cannot be written.
    """
    names = {str(name): _written(str(name)) for name in (*dataset.variables, *dataset.dims)}
    twins = sorted(name for name in names if list(names.values()).count(names[name]) > 1)
    if twins:
        raise reject(
            "dataset", 'have names that differ when "/" becomes "_"', ", ".join(map(repr, twins))
        )
    changed = {name: written for name, written in names.items() if name != written}
    plain = dataset.rename({name: changed[name] for name in changed}).copy()
    for name, written in changed.items():
        if written in plain.variables:
            plain[written].attrs["name"] = name
    for attributes in (plain.attrs, *(plain[name].attrs for name in plain.variables)):
        for name, value in list(attributes.items()):
            attributes[name] = attribute_value(value)
    with replacing(path) as temporary:
        try:
            plain.to_netcdf(temporary, engine="h5netcdf")
        except OSError:
            raise
        except Exception as error:
            raise reject(
                "dataset", "hold what netCDF can", f"{type(error).__name__}: {error}"
            ) from error


def _written(name: str) -> str:
    """A name as it stands in the file.

    Raises:
        ValueError: if it is empty or cannot be printed.
    """
    if not name or not name.isprintable():
        raise reject("dataset", "have names of printable signs", ascii(name))
    written = name.replace("/", "_")
    return "_" if written == "." else written


def attributes_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance as attributes of a dataset that xarray itself can write.

    Numbers, text, arrays and lists of numbers stay as they are, all else becomes text.
    """
    return {
        name: value
        if isinstance(value, list) and all(type(entry) in (int, float) for entry in value)
        else attribute_value(value)
        for name, value in provenance.items()
    }


def attribute_value(value: Any) -> Any:
    """What netCDF can hold: numbers and text; all else as text."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    if isinstance(value, float | np.integer | np.floating):
        return value
    return plain_text(str(value)).replace("\0", "\\0")
