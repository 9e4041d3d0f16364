"""Files of named arrays with a header: npz that `numpy.load` reads, under a checksum of every byte.

The members of the archive are stored uncompressed, so that no file unpacks to more than its own
size. The archive ends with a comment of 64 characters, the SHA-256 of all bytes before it.
"""

import hashlib
import json
import math
import os
import stat
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["DIGEST", "DamagedFileError", "digest_of", "is_narrow", "read_arrays", "write_arrays"]

DIGEST = 64  # characters of a SHA-256
_END = 22  # bytes of the record that ends an archive, before its comment
_LARGEST_HEADER = 1 << 26  # bytes


class DamagedFileError(Exception):
    """A file is truncated, changed or of another kind; the text says which, as in "it {text}"."""


def write_arrays(
    file: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a header and arrays; equal content gives equal bytes.

    Args:
        file: opened as "w+b".
        header: of what JSON can hold.
        arrays: of numbers, text or times, or of the narrow types of `ml_dtypes` (bfloat16, float8,
            int4), which are stored as unsigned integers with their names in the header. None is
            called "header".
    """
    types = {k: a.dtype.name for k, a in arrays.items() if is_narrow(a.dtype)}
    text = json.dumps({**header, "types": types}).encode()
    members = {"header": np.frombuffer(text, np.uint8)}
    for name, array in arrays.items():
        array = np.asarray(array)
        if name in types:
            array = np.asarray(array, order="C").view(f"u{array.dtype.itemsize}")
        members[name] = array
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(f"{_member(name)}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
        archive.comment = b"0" * DIGEST
    digest = digest_of(file, file.seek(0, os.SEEK_END) - DIGEST)
    file.seek(-DIGEST, os.SEEK_END)
    file.write(digest)


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read and verify what `write_arrays` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: if it is no such file, or any byte of it has changed.
        OSError: if it cannot be read.
    """
    if path.is_dir():
        raise DamagedFileError("is a folder")
    # without waiting for the writer of a pipe
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise DamagedFileError("is no regular file")
        if status.st_size < DIGEST + _END:
            raise DamagedFileError("is empty" if not status.st_size else "is truncated")
        file.seek(-DIGEST - _END, os.SEEK_END)
        end = file.read(_END)
        if end[:4] != b"PK\5\6" or int.from_bytes(end[20:], "little") != DIGEST:
            raise DamagedFileError("is truncated or of another format")
        if file.read() != digest_of(file, status.st_size - DIGEST):
            raise DamagedFileError("does not fit its checksum")
        try:
            return _parse(file, status.st_size)
        except DamagedFileError:
            raise
        except Exception as error:  # the checksum fits: a program made this
            raise DamagedFileError("is of another format") from error


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of `ml_dtypes`, which NumPy cannot store: bfloat16, float8, int4."""
    return dtype.type.__module__.split(".")[0] == "ml_dtypes"


def digest_of(file: IO[bytes], length: int) -> bytes:
    """SHA-256 of the first bytes of a file."""
    sha = hashlib.sha256()
    file.seek(0)
    while length > 0:
        block = file.read(min(length, 1 << 20))
        if not block:
            break
        sha.update(block)
        length -= len(block)
    return sha.hexdigest().encode()


def _member(name: str) -> str:
    """Name in the archive: as it is, with signs that cannot be printed escaped."""
    plain = name.isprintable() and "\\" not in name
    return name if plain else name.encode("unicode_escape").decode("ascii")


def _parse(file: IO[bytes], size: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        stored = all(
            info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
            for info in members.values()
        )
        # members that share bytes could add up to more than the file
        if not stored or sum(info.file_size for info in members.values()) > size:
            raise DamagedFileError("unpacks to more than its size")
        first = members.pop("header.npy")
        if first.file_size > _LARGEST_HEADER:
            raise DamagedFileError("is of another format")
        header = json.loads(_array(archive.read(first)).tobytes())
        types = header.pop("types")
        arrays = {}
        for filename, info in members.items():
            escaped = filename.removesuffix(".npy")
            name = escaped.encode("ascii").decode("unicode_escape") if "\\" in escaped else escaped
            array = _array(archive.read(info))
            arrays[name] = array.view(getattr(ml_dtypes, types[name])) if name in types else array
        return header, arrays


def _array(content: bytes) -> NDArray[Any]:
    """An array in the format npy, which may not claim to be longer than it is."""
    stream = BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise DamagedFileError("is of another format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    count = math.prod(shape)
    left = len(content) - stream.tell()
    if dtype.kind not in "biufcUSMm" or min(shape, default=0) < 0 or count * dtype.itemsize != left:
        raise DamagedFileError("is of another format")
    if not left:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(content, dtype, count, stream.tell()).copy()
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)
