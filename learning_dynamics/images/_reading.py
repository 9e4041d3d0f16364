"""Bounded reading of untrusted files: sizes are checked before memory is allocated."""

import os
from pathlib import Path
from typing import BinaryIO

from learning_dynamics.validation import positive_integer, reject

__all__ = [
    "MAX_BYTES",
    "UnfitError",
    "check_bytes",
    "existing_directory",
    "existing_file",
    "looks_pickled",
    "read_exactly",
    "starts_pickle",
    "unfit",
]

MAX_BYTES = 2**32
"""Default bound on the decoded pixels of one call: 4 GiB."""

_CHUNK = 2**20


class UnfitError(ValueError):
    """An argument that names a file which cannot be used."""


def unfit(
    path: str | os.PathLike[str], demand: str, got: object, argument: str = "path"
) -> UnfitError:
    """Build the error about a file: what it must satisfy, what it holds and its name."""
    return UnfitError(reject(argument, demand, f"{got} in {os.fspath(path)}"))


def existing_file(path: str | os.PathLike[str], argument: str = "path") -> Path:
    """Return `path` if it is a non-empty file."""
    file = Path(path)
    if not file.is_file():
        got = "a directory" if file.is_dir() else "nothing"
        raise reject(argument, "name an existing file", f"{got} at {file}")
    if file.stat().st_size == 0:
        raise unfit(file, "name a file that is not empty", "0 bytes", argument)
    return file


def existing_directory(path: str | os.PathLike[str], argument: str = "path") -> Path:
    """Return `path` if it is a directory."""
    folder = Path(path)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing"
        raise reject(argument, "name an existing directory", f"{got} at {folder}")
    return folder


def check_bytes(
    path: str | os.PathLike[str], size: int, max_bytes: int, argument: str = "path"
) -> None:
    """Refuse pixels that would take more than `max_bytes`."""
    limit = positive_integer("max_bytes", max_bytes)
    if size > limit:
        raise unfit(
            path,
            f"decode to at most {limit} bytes (argument `max_bytes`)",
            f"{size} bytes declared",
            argument,
        )


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """Read up to `size + 1` bytes in pieces: the result is longer or shorter when the size lies.

    Memory grows with what is there, not with what a header claims; one byte more than declared
    is enough to notice a stream that would never end.
    """
    data = bytearray()
    while len(data) <= size:
        piece = stream.read(min(_CHUNK, size + 1 - len(data)))
        if not piece:
            break
        data += piece
    return data


def looks_pickled(file: Path) -> bool:
    """Tell a Python pickle of protocol 2 or later by its first two bytes, without loading it."""
    with file.open("rb") as stream:
        return starts_pickle(stream.read(2))


def starts_pickle(start: bytes) -> bool:
    """Whether these are the first bytes of a pickle of protocol 2 or later."""
    return len(start) >= 2 and start[0] == 0x80 and 2 <= start[1] <= 5
