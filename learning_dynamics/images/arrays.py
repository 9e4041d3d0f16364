"""NumPy files, read without ever unpickling."""

import os
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.images._containers import check_no_container
from learning_dynamics.images._reading import (
    MAX_BYTES,
    check_bytes,
    existing_file,
    read_exactly,
    unfit,
)
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.validation import reject

__all__ = ["load_array", "read_arrays"]

_MOST_CLASSES = 2**16  # when there are no names to say how many
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # a compression or version that zipfile lacks
    RuntimeError,  # encrypted
)
_NPY = b"\x93NUMPY"


def load_array(
    path: str | os.PathLike[str],
    *,
    images_key: str | None = None,
    labels_key: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> ImageSet:
    """Read images from an .npy file, or images and labels from an .npz archive.

    Args:
        path: an .npy file with the images, or an .npz archive.
        images_key: array of the archive with the images; by default "images", or the only array.
        labels_key: array of the archive with the labels; by default "labels" if there is one. An
            archive with other arrays needs one of the two keys.
        max_bytes: bound on the declared size of each array.

    Returns:
        Images of shape (n, height, width) or (n, height, width, channels), uint8 or float32 in
        [0, 1] (float64 is rounded). An archive may name its classes in a string array
        "class_names"; otherwise they are called by their numbers.

    Raises:
        ValueError: if the file is missing, empty, broken or too large, holds Python objects, has
            another type or shape, or labels that do not fit, or a key does not apply.
    """
    file, arrays = read_arrays(path, images_key, labels_key, max_bytes)
    images, labels = arrays["images"], arrays.get("labels")
    names = _names(arrays.get("class_names"), file)
    if labels is not None and not names and labels.dtype.kind in "iu":
        classes = int(labels.max()) + 1
        if classes > _MOST_CLASSES:
            raise unfit(file, f"hold labels below {_MOST_CLASSES}", f"label {classes - 1}")
        names = tuple(str(i) for i in range(classes))
    try:
        return ImageSet(images, labels, names, f"array file {file.name}")
    except ValueError as error:  # the container does not know the file
        raise ValueError(f"{error} File: {file}.") from error


def read_arrays(
    path: str | os.PathLike[str],
    images_key: str | None = None,
    labels_key: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> tuple[Path, dict[str, NDArray[Any]]]:
    """The file and its arrays "images", "labels", "class_names" as they are; see `load_array`."""
    file = existing_file(path)
    check_no_container(file)
    with file.open("rb") as stream:
        start = stream.read(len(_NPY))
        if start == _NPY:
            for name, key in (("images_key", images_key), ("labels_key", labels_key)):
                if key is not None:
                    raise reject(name, "be left out for an .npy file", repr(key))
            stream.seek(0)
            arrays = {"images": _read(stream, file, file.name, max_bytes)}
    if start != _NPY:
        arrays = _archive(file, start, images_key, labels_key, max_bytes)
    return file, arrays


def _names(given: NDArray[Any] | None, file: Path) -> tuple[str, ...]:
    if given is None:
        return ()
    if given.dtype.kind == "S":
        try:
            given = np.char.decode(given, "utf-8")
        except UnicodeDecodeError as error:
            raise unfit(file, "name classes in UTF-8", f"{error}") from error
    return tuple(str(name) for name in given.ravel())


def _archive(
    file: Path, start: bytes, images_key: str | None, labels_key: str | None, max_bytes: int
) -> dict[str, NDArray[Any]]:
    if not start.startswith(b"PK"):
        raise unfit(file, "be an .npy or .npz file", f"first bytes {start.hex(' ')}")
    try:
        with zipfile.ZipFile(file) as archive:
            keys = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
            chosen = images_key is not None or labels_key is not None
            if images_key is None:
                images_key = keys[0] if len(keys) == 1 else "images"
            wanted = {"images": images_key, "labels": labels_key or "labels"}
            wanted["class_names"] = "class_names"
            others = sorted(set(keys) - set(wanted.values()))
            if others and images_key in keys and not chosen:
                demand = "hold `images`, `labels` and `class_names` only, or come with keys"
                raise unfit(file, f"{demand} that choose", f"also arrays {others}")
            required = {images_key, labels_key} - {None}
            arrays = {}
            for role, key in wanted.items():
                if key in keys:
                    with archive.open(f"{key}.npy") as stream:
                        member = f"{file}, array {key}"
                        arrays[role] = _read(cast(BinaryIO, stream), file, member, max_bytes)
                elif key in required:
                    raise unfit(file, f"hold an array {key!r}", f"arrays {keys}")
            return arrays
    except _BROKEN_ZIP as error:
        raise unfit(file, "be a whole .npz archive", f"{error}") from error


def _read(stream: BinaryIO, file: Path, member: str, max_bytes: int) -> NDArray[Any]:
    """Parse one .npy stream; the declared size is checked before it is read."""
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # later versions exist for the headers of structured types
            raise ValueError(f"version {version}")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # a broken header also raises SyntaxError and TokenError
        raise unfit(file, "be .npy data of version 1.0", f"{member}: {error}") from error
    if dtype.hasobject:
        raise unfit(file, "hold numbers, since pickled objects are never loaded", f"{dtype}")
    if not shape or min(shape) < 1:
        raise unfit(file, "have a positive shape", f"{shape}")
    size = prod(shape) * dtype.itemsize
    check_bytes(file, size, max_bytes)
    data = read_exactly(stream, size)
    if len(data) != size:
        got = "more" if len(data) > size else f"{len(data)} bytes"
        raise unfit(file, f"hold the {size} bytes that shape {shape} declares", got)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
