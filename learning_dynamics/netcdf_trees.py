"""Trees of arrays, numbers and text as netCDF: every bit comes back, under a checksum.

A file is netCDF 4 that any reader opens: one variable for each array, one group for each table or
part. The tree itself is JSON in the attribute `structure`. The file ends with 64 characters after
the netCDF content, the SHA-256 of all bytes before them.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.array_files import DIGEST, DamagedFileError, digest_of, is_narrow
from learning_dynamics.files import replacing
from learning_dynamics.netcdf import attribute_value
from learning_dynamics.validation import reject

__all__ = ["Part", "read_tree", "write_tree"]

_MAGIC = b"\x89HDF\r\n\x1a\n"


class Part:
    """A named group of fields.

    Attributes:
        kind: name of what it is.
        fields: field -> value.
        dimensions: field -> names of the leading axes of the arrays in it.
    """

    def __init__(
        self, kind: str, fields: Mapping[str, Any], dimensions: Mapping[str, tuple[str, ...]]
    ) -> None:
        self.kind, self.fields, self.dimensions = kind, fields, dimensions


def write_tree(path: Path, header: Mapping[str, Any], tree: Part) -> None:
    """Write a tree, whole or not at all; folders are made.

    Args:
        path: file.
        header: attributes of the file, text or numbers.
        tree: of `Part`, mappings, lists, tuples, arrays, numbers, text, truth values and None.

    Raises:
        ValueError: if it holds something else; it names where.
        OSError: if the file cannot be written.
    """
    import h5netcdf

    with replacing(path) as temporary:
        with h5netcdf.File(temporary, "w") as file:
            structure = _Writer(file).encode(tree, file, "result", ())
            for name, value in header.items():
                file.attrs[name] = value
            file.attrs["structure"] = json.dumps(structure, allow_nan=False)
        with temporary.open("r+b") as raw:
            digest = digest_of(raw, raw.seek(0, 2))
            raw.write(digest)


def read_tree(path: Path) -> tuple[dict[str, Any], Part]:
    """Read and verify what `write_tree` wrote: attributes of the file, and the tree.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it is no such file, or any byte of it has changed.
        OSError: if it cannot be read.
    """
    import h5netcdf

    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise DamagedFileError("is a folder" if path.is_dir() else "is no regular file")
    with path.open("rb") as raw:
        size = raw.seek(0, 2)
        raw.seek(0)
        if raw.read(len(_MAGIC)) != _MAGIC:
            raise DamagedFileError("is of another format" if size else "is empty")
        raw.seek(max(size - DIGEST, 0))
        end = raw.read()
        if len(end) < DIGEST or not set(end) <= set(b"0123456789abcdef"):
            raise DamagedFileError("is truncated, or was written by another program")
        if end != digest_of(raw, size - DIGEST):
            raise DamagedFileError("does not fit its checksum")
    try:
        with h5netcdf.File(path, "r") as file:
            header = dict(file.attrs)
            tree = _decode(json.loads(header.pop("structure")), file)
    except Exception as error:  # the checksum fits: a program made this
        raise DamagedFileError("is of another format") from error
    if not isinstance(tree, Part):
        raise DamagedFileError("is of another format")
    return header, tree


class _Writer:
    """Writes arrays as variables, and tells where they are."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.sizes: dict[str, int] = {}  # of the dimensions, which all lie in the root
        self.names: set[str] = set()  # of variables and groups, which no later dimension may have

    def encode(self, value: Any, group: Any, where: str, dims: tuple[str, ...]) -> Any:
        """What JSON can hold; arrays go into `group`, under the last name of `where`."""
        if value is None or (isinstance(value, bool | str | int) and not _is_numpy(value)):
            return value if not isinstance(value, str) else str(value)
        if isinstance(value, float) and not _is_numpy(value):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Part):
            inner = self._group(group, where)
            for name, entry in _attributes(value.fields):
                inner.attrs[name] = entry
            fields = {
                name: self.encode(entry, inner, f"{where}.{name}", value.dimensions.get(name, dims))
                for name, entry in value.fields.items()
            }
            return {"kind": value.kind, "fields": fields}
        if isinstance(value, Mapping):
            inner = self._group(group, where) if _has_parts(value.values()) else group
            entries = []
            for name, entry in value.items():
                key = self.encode(name, inner, f"{where}.key", ())
                entries.append([key, self.encode(entry, inner, f"{where}.{name}", dims)])
            return {"table": entries}
        if isinstance(value, list) or type(value) is tuple:
            inner = self._group(group, where) if _has_parts(value) else group
            entries = [self.encode(v, inner, f"{where}.{i}", dims) for i, v in enumerate(value)]
            return entries if isinstance(value, list) else {"tuple": entries}
        return self._array(value, group, where, dims)

    def _group(self, group: Any, where: str) -> Any:
        if where == "result":
            return group
        return group.create_group(self._name(group, where))

    @staticmethod
    def _plain_name(where: str) -> str:
        """The last name of `where`, or as near to it as netCDF allows."""
        name = where.rsplit(".", 1)[-1].replace("/", "_")
        if not name.isprintable() or not name.isascii() or not name.strip(" ."):
            name = "entry"
        return name.strip()

    def _name(self, group: Any, where: str, dims: tuple[str, ...] = ()) -> str:
        """A new name in a group, as near to the last one of `where` as netCDF allows."""
        name = plain = self._plain_name(where)
        number = 1
        # the name of a dimension belongs to its coordinate
        while name in group or (name in self.sizes and dims != (name,)):
            number += 1
            name = f"{plain}_{number}"
        self.names.add(name)
        return name

    def _dimensions(self, where: str, shape: tuple[int, ...], dims: tuple[str, ...]) -> list[str]:
        stem = self._plain_name(where)
        names: list[str] = []
        for axis, size in enumerate(shape):
            plain = name = dims[axis] if axis < len(dims) else f"{stem}_{axis}"
            number = 1
            while (
                name in names
                or self.sizes.get(name, size) != size
                or (name not in self.sizes and name in self.names)
            ):
                number += 1
                name = f"{plain}_{number}"
            if name not in self.sizes:
                self.sizes[name] = size
                self.file.dimensions[name] = size
            names.append(name)
        return names

    def _array(self, value: Any, group: Any, where: str, dims: tuple[str, ...]) -> dict[str, Any]:
        """Store an array: a description that `_decode` understands."""
        array, more = _numpy(value, where)
        told = {"type": array.dtype.str, "shape": list(array.shape), **more}
        if is_narrow(array.dtype):
            told["type"] = array.dtype.name
            array = np.asarray(array, order="C").view(f"u{array.dtype.itemsize}")
        elif array.dtype.kind == "b":
            array = array.astype(np.uint8)
        elif array.dtype.kind in "mM":
            array = array.astype(np.int64)
        if not array.size:  # netCDF would make its dimension unlimited
            return told
        if array.dtype.kind == "U":
            texts = [str(text) for text in array.ravel()]
            if any("\0" in text or _has_surrogates(text) for text in texts):
                return {**told, "texts": texts}
            import h5py  # type: ignore[import-untyped]

            kind: Any = h5py.string_dtype()
            array = array.astype(object)
        elif array.dtype.kind in "iufc" and array.dtype.char not in "gG":  # no long doubles
            kind = array.dtype
        else:
            raise reject("result", "hold numbers, text and times", f"{array.dtype} in `{where}`")
        axes = tuple(self._dimensions(where, array.shape, dims))
        variable = group.create_variable(self._name(group, where, axes), axes, dtype=kind)
        variable[...] = array if array.shape else array[()]
        return {**told, "array": variable.name}


def _has_parts(values: Iterable[Any]) -> bool:
    """Whether there is more than plain numbers and text, so that a group is wanted."""
    return any(not isinstance(value, str | int | float | None) for value in values)


def _is_numpy(value: Any) -> bool:
    """Whether a number is NumPy's, whose type is to be kept."""
    return isinstance(value, np.generic) and not isinstance(value, np.str_)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)


def _attributes(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Provenance and plain fields as attributes, for other readers."""
    table = {k: v for k, v in fields.items() if isinstance(v, str | int | float)}
    provenance = fields.get("attributes")
    if isinstance(provenance, Mapping):
        table = {**provenance, **table}
    for name, value in table.items():
        if isinstance(name, str) and name.isidentifier() and not isinstance(value, Mapping):
            yield name, attribute_value(value)


def _numpy(value: Any, where: str) -> tuple[NDArray[Any], dict[str, Any]]:
    """An array of the host, and what else has to be known to get `value` back.

    Raises:
        ValueError: if it is no array, or traced.
    """
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return value, {}
    if isinstance(value, np.generic):
        return np.asarray(value), {"scalar": True}
    import jax

    if isinstance(value, jax.core.Tracer):
        raise reject("result", "be outside of `jit`, `vmap` and `grad`", f"a traced `{where}`")
    if not isinstance(value, jax.Array):
        demand = "hold arrays, numbers, text, tables and results of this project"
        raise reject("result", demand, f"{type(value).__name__} in `{where}`")
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(value)), {"key": str(jax.random.key_impl(value))}
    return np.asarray(value), {"jax": True}


def _decode(told: Any, file: Any) -> Any:
    """The value that `_Writer.encode` described."""
    if isinstance(told, list):
        return [_decode(entry, file) for entry in told]
    if not isinstance(told, dict):
        return told
    if "float" in told:
        return float(told["float"])
    if "kind" in told:
        fields = {name: _decode(entry, file) for name, entry in told["fields"].items()}
        return Part(told["kind"], fields, {})
    if "table" in told:
        return {_decode(key, file): _decode(entry, file) for key, entry in told["table"]}
    if "tuple" in told:
        return tuple(_decode(entry, file) for entry in told["tuple"])
    return _decoded_array(told, file)


def _decoded_array(told: dict[str, Any], file: Any) -> Any:
    narrow = getattr(ml_dtypes, told["type"], None)
    dtype = np.dtype(told["type"] if narrow is None else narrow)
    shape = tuple(told["shape"])
    if "array" in told:
        stored = np.asarray(file[told["array"]][...])
        if dtype.kind == "U":
            texts = [t.decode() if isinstance(t, bytes) else str(t) for t in stored.ravel()]
            array = np.array(texts, dtype).reshape(shape)
        elif dtype.kind in "mM" or narrow is not None:
            array = np.ascontiguousarray(stored).reshape(shape).view(dtype)
        else:
            array = stored.astype(dtype, copy=False).reshape(shape)
    else:
        array = np.array(told.get("texts", []), dtype).reshape(shape)
    if told.get("scalar"):
        return array[()]
    if "key" in told or told.get("jax"):
        return _on_device(array, told.get("key"))
    return array


def _on_device(array: NDArray[Any], generator: str | None) -> Any:
    import jax

    if generator is not None:
        return jax.random.wrap_key_data(jax.numpy.asarray(array), impl=generator)
    with jax.enable_x64(True):  # 64 bits stay 64 bits
        return jax.numpy.asarray(array)
