"""The idx format of MNIST and its relatives."""

import gzip
import os
import zlib
from collections.abc import Sequence
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

__all__ = ["idx_set", "load_idx"]

_UNSIGNED_BYTE = 0x08
# deflate cannot do better than 1 byte in 1032; rounded up for headers
_BEST_COMPRESSION = 1100


def load_idx(
    images_path: str | os.PathLike[str],
    labels_path: str | os.PathLike[str] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> ImageSet:
    """Read images, and labels if given, from idx files, gzipped or not.

    An idx file is two zero bytes, a type code (0x08, unsigned byte, is the one accepted), the
    number of dimensions, the dimensions as big-endian 32-bit integers, then the entries. Not
    more than the declared number of bytes is ever unpacked.

    Args:
        images_path: file with 3 dimensions (n, height, width) or 4 (..., channels).
        labels_path: file with 1 dimension (n,).
        class_names: names of the classes; by default their numbers up to the largest label.
        max_bytes: bound on the declared size.

    Returns:
        uint8 images of shape (n, height, width) or (n, height, width, channels).

    Raises:
        ValueError: if a file is missing, empty, no idx file, of another type or rank, too large,
            longer or shorter than it declares, or the labels do not fit the images or the names.

    Source: Y. LeCun, C. Cortes, C. J. C. Burges, the MNIST database. The data are not part of
    this package.
    """
    return idx_set(images_path, labels_path, class_names, max_bytes, ("images_path", "labels_path"))


def idx_set(
    images_path: str | os.PathLike[str],
    labels_path: str | os.PathLike[str] | None,
    class_names: Sequence[str] | None,
    max_bytes: int,
    arguments: tuple[str, str],
) -> ImageSet:
    """The same for callers whose arguments for images and labels have other names."""
    file = existing_file(images_path, arguments[0])
    images = _read(file, (3, 4), max_bytes, arguments[0])
    source = f"idx file {file.name}"
    if labels_path is None:
        return _image_set(file, arguments[0], images, source=source)
    labels_file = existing_file(labels_path, arguments[1])
    labels = _read(labels_file, (1,), max_bytes, arguments[1]).astype(np.int64)
    if len(labels) != len(images):
        raise unfit(
            labels_file,
            f"hold one label for each of the {len(images)} images of {file.name}",
            f"{len(labels)} labels",
            arguments[1],
        )
    largest = int(labels.max())
    names = tuple(str(i) for i in range(largest + 1)) if class_names is None else class_names
    if largest >= len(names):
        raise unfit(
            labels_file,
            f"hold labels below the number of classes {len(names)}",
            f"label {largest}",
            arguments[1],
        )
    return _image_set(file, arguments[0], images, labels, tuple(names), source)


def _image_set(file: Path, argument: str, *parts: Any, **more: Any) -> ImageSet:
    try:
        return ImageSet(*parts, **more)
    except ValueError as error:  # the container does not know the file
        raise unfit(file, "hold images", f"an array that is none ({error})", argument) from error


def _read(file: Path, ranks: tuple[int, ...], max_bytes: int, argument: str) -> NDArray[np.uint8]:
    check_no_container(file, argument)
    with file.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            return _parse(cast(BinaryIO, stream), file, ranks, max_bytes, argument, packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise unfit(file, "be a whole gzip file", f"{error}", argument) from error


def _parse(
    stream: BinaryIO,
    file: Path,
    ranks: tuple[int, ...],
    max_bytes: int,
    argument: str,
    packed: bool,
) -> NDArray[np.uint8]:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise unfit(file, "start like an idx file, 00 00", start.hex(" ") or "nothing", argument)
    if start[2] != _UNSIGNED_BYTE:
        raise unfit(file, "hold unsigned bytes (type code 0x08)", f"{start[2]:#04x}", argument)
    if start[3] not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise unfit(file, f"have {wanted} dimension(s)", f"{start[3]}", argument)
    header = stream.read(4 * start[3])
    if len(header) < 4 * start[3]:
        raise unfit(file, "hold a whole idx header", f"{4 + len(header)} bytes", argument)
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    if not all(shape):
        raise unfit(file, "not be empty in any dimension", f"dimensions {shape}", argument)
    size = prod(shape)
    check_bytes(file, size, max_bytes, argument)
    held = file.stat().st_size * (_BEST_COMPRESSION if packed else 1)
    data = read_exactly(stream, size) if held >= size else bytearray()
    if len(data) != size:
        got = "more" if len(data) > size else f"{len(data)} bytes" if data else "far fewer"
        raise unfit(
            file, f"hold the {size} bytes that its dimensions {shape} declare", got, argument
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
