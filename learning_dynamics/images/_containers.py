"""Files around other files: archives and compressed files, told by their first bytes."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from learning_dynamics.images._reading import starts_pickle, unfit

__all__ = ["check_no_container"]

_TAR = 512  # bytes of a header
_COMPRESSED: dict[bytes, tuple[str, Callable[..., Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\0": ("xz", lzma.open),
}
_OTHERS = {
    b"(\xb5/\xfd": "a zstd file",
    b"7z\xbc\xaf'\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
}
_TABLES = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"MATLAB 5.0": "a MATLAB file",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SIMPLE  =": "a FITS file",
}
_NO_PICKLES = "hold arrays without pickles, which can run code and are never loaded: use np.savez"
_UNPACKED = "be unpacked first, and then name the files or their folder"


def check_no_container(file: Path, argument: str = "path") -> None:
    """Refuse archives, compressed files other than gzipped idx, and files of other libraries.

    Raises:
        ValueError: that says what the file is and what to do with it.
    """
    with file.open("rb") as stream:
        start = stream.read(_TAR)
    if starts_pickle(start):
        raise unfit(file, _NO_PICKLES, "a pickle", argument)
    for magic, (name, opened) in _COMPRESSED.items():
        if start.startswith(magic):
            _check_inside(file, name, opened, argument)
    if start.startswith(b"PK"):
        _check_zip(file, argument)
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise unfit(file, _UNPACKED, name, argument)
    for magic, name in _TABLES.items():
        if start.startswith(magic):
            raise unfit(file, "hold its images as .npy or .npz: use np.savez", name, argument)
    if _is_tar(start):
        raise unfit(file, _UNPACKED, "a tar archive", argument)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def _check_inside(file: Path, name: str, opened: Callable[..., Any], argument: str) -> None:
    try:
        with opened(file, "rb") as stream:
            inside = stream.read(_TAR)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        if name == "gzip":  # its reader has more to say
            return
        raise unfit(file, f"be a whole {name} file", f"{error}", argument) from error
    if starts_pickle(inside):
        raise unfit(file, _NO_PICKLES, f"a pickle in a {name} file", argument)
    if _is_tar(inside) or (len(inside) == _TAR and not any(inside)):  # without members: zeros
        raise unfit(file, _UNPACKED, f"a tar archive in a {name} file", argument)
    if name != "gzip" or not inside.startswith(b"\0\0"):
        got = f"a {name} file whose content begins with {inside[:6].hex(' ') or 'nothing'}"
        raise unfit(file, _UNPACKED, got, argument)


def _check_zip(file: Path, argument: str) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # a broken archive: the reader of arrays says how
        return
    if any(name.endswith(".npy") for name in names):
        return
    if any(name.endswith(".pkl") for name in names):
        raise unfit(file, _NO_PICKLES, "a PyTorch archive, which is a pickle", argument)
    raise unfit(file, _UNPACKED, f"a zip archive of {len(names)} files, none .npy", argument)
