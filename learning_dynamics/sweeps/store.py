"""A folder of results: one file per cell, written whole or not at all, and locks between processes.

    cells/KEY.npz        a result, readable by `numpy.load`
    failed/KEY.json      why a cell failed, until it succeeds
    sweeps/ID.json       which cells make up a grid, for `show`
    checkpoints/KEY...   of cells that save themselves while they run
    rejected/            files found in the place of a result that were none
    lock                 byte ranges of it are locked by whoever works on a cell

An npz file per cell is written to a temporary name, flushed to the disk and renamed. Nothing is
held open, appended or shared, so that a process may be killed anywhere. (A netCDF or HDF5 file
that is written in place can be cut off and still open; a data base file cannot live on a network
file system.) A checksum over everything shows what was damaged afterwards.
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from learning_dynamics.records import strict_json
from learning_dynamics.sweeps.results import Record
from learning_dynamics.validation import reject

__all__ = ["DamagedFileError", "Store", "StoreError"]

LEFT_BEHIND = 3600.0  # seconds after which a temporary file has no writer any more
FORMAT = "learning-dynamics cell 1"


class StoreError(OSError):
    """The store cannot be written; what was finished before is kept."""


class DamagedFileError(Exception):
    """A file in the place of a result is truncated, changed or of another origin."""


class Store:
    """The folder; see the module for its contents.

    Args:
        folder: made when something is written.

    Raises:
        ValueError: if `folder` is a file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        if self.folder.exists() and not self.folder.is_dir():
            raise reject("store", "be a folder", f"the file {self.folder}")
        self._flushed = 0.0

    def cell(self, key: str) -> Path:
        """File of a result."""
        return self.folder / "cells" / f"{key}.npz"

    def checkpoint(self, key: str) -> Path:
        """File for the checkpoint of a cell that is being computed."""
        return self.folder / "checkpoints" / f"{key}.npz"

    def failure(self, key: str) -> Path:
        """File that tells why a cell failed."""
        return self.folder / "failed" / f"{key}.json"

    def prepare(self) -> None:
        """Make the folders and see that they can be written.

        Raises:
            StoreError: if not.
        """
        with self._reported():
            for name in ("cells", "checkpoints", "failed", "sweeps"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            for left in (self.folder / "cells").glob(".*.tmp"):  # of processes that were killed
                with suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                        left.unlink()

    def has(self, key: str) -> bool:
        """Whether there is a file for this cell."""
        return self.cell(key).exists()

    def keys(self) -> set[str]:
        """Keys of all results, unread."""
        return self._names("cells", ".npz")

    def failures(self) -> set[str]:
        """Keys of the cells that failed."""
        return self._names("failed", ".json")

    def _names(self, folder: str, suffix: str) -> set[str]:
        try:
            names = os.listdir(self.folder / folder)
        except FileNotFoundError:
            return set()
        return {
            name.removesuffix(suffix) for name in names if name.endswith(suffix) and name[0] != "."
        }

    def read(self, key: str) -> Record:
        """Read and verify a result.

        Raises:
            FileNotFoundError: if there is none.
            DamagedFileError: if the file is no result of this very cell.
        """
        return _unpack(key, self.cell(key).read_bytes())

    def load(self, key: str) -> Record | None:
        """Read a result; a damaged file is reported, moved aside and counts as missing."""
        try:
            return self.read(key)
        except FileNotFoundError:
            return None
        except DamagedFileError as damage:
            place = self.folder / "rejected" / f"{key}.npz"
            warnings.warn(
                f"{self.cell(key)} {damage}; it was moved to {place.parent.name}/ and the cell "
                "counts as missing",
                stacklevel=2,
            )
            with self._reported():
                place.parent.mkdir(exist_ok=True)
                with suppress(FileNotFoundError):  # another process was faster
                    os.replace(self.cell(key), place)
            return None

    def publish(self, records: Mapping[str, Record]) -> None:
        """Write results, each whole or not at all, and forget their failures and checkpoints.

        All are flushed under temporary names before the first one is renamed, so that a batch is
        hardly ever cut in two.

        Raises:
            StoreError: if the disk is full or the folder cannot be written.
        """
        folder = self.folder / "cells"
        temporary = {key: _temporary(self.cell(key)) for key in records}
        with self._reported():
            try:
                for key, record in records.items():
                    _write_flushed(temporary[key], _pack(key, record))
                for key, path in temporary.items():
                    os.replace(path, self.cell(key))
            finally:
                for path in temporary.values():
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
            self._flush_names(folder)
            for key in records:
                self.failure(key).unlink(missing_ok=True)
                self.checkpoint(key).unlink(missing_ok=True)

    def _flush_names(self, folder: Path) -> None:
        """Flush the names of new files now and then; a name lost with the power costs its cell."""
        if time.monotonic() - self._flushed > 1.0:
            _flush_folder(folder)
            self._flushed = time.monotonic()

    def fail(self, keys: Sequence[str], description: Mapping[str, Any]) -> None:
        """Note why cells failed."""
        for key in keys:
            self.write_json(self.failure(key), description)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a small file whole or not at all."""
        temporary = _temporary(path)
        with self._reported():
            try:
                _write_flushed(temporary, strict_json(content).encode())
                os.replace(temporary, path)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)

    @contextmanager
    def claim(self, keys: Sequence[str]) -> Iterator[bool]:
        """Lock cells against other processes and threads; yields False if one of them is taken.

        The operating system frees the locks of a process that dies, so that none can be stale.
        Where the file system has no locks, everything is granted: cells may then be computed
        twice, with equal results.
        """
        places = [int(key[:15], 16) for key in keys]
        with self._reported():
            locks = _locks(self)
            taken = locks.acquire(places)
        try:
            yield taken
        finally:
            if taken:
                locks.release(places)

    def busy(self, key: str) -> bool:
        """Whether some process works on a cell."""
        if not (self.folder / "lock").exists():
            return False
        with self.claim([key]) as free:
            return not free

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                error.errno,
                f"the store {self.folder} cannot be written ({error.strerror or error}); the "
                "finished cells are kept, run the sweep again to go on",
            ) from error


class _Locks:
    """Byte-range locks (POSIX) on one file, which also hold on NFS and are freed on death.

    One open file per process and store: closing a second one would free all locks of the first.
    It is open only while something is locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[bytes] | None = None
        self.guard = threading.Lock()
        self.held: set[int] = set()  # POSIX locks do not keep threads of one process apart
        self.works = True

    def acquire(self, places: Sequence[int]) -> bool:
        with self.guard:
            if self.held.intersection(places):
                return False
            if self.file is None:
                self.file = self.path.open("ab")
            got: list[int] = []
            for place in dict.fromkeys(places):
                if not self._lock(place):
                    self._unlock(got)
                    return False
                got.append(place)
            self.held.update(got)
            return True

    def release(self, places: Sequence[int]) -> None:
        with self.guard:
            self.held.difference_update(places)
            self._unlock(places)

    def _lock(self, place: int) -> bool:
        if not self.works:
            return True
        try:
            fcntl.lockf(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            self.works = False
            warnings.warn(
                f"the file system of {self.path} has no locks ({error.strerror}): two "
                "processes on this store may compute the same cell",
                stacklevel=2,
            )
        return True

    def _unlock(self, places: Sequence[int]) -> None:
        file = self._open()
        if not self.held:
            file.close()  # which frees all
            self.file = None
        elif self.works:
            for place in places:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    def _open(self) -> IO[bytes]:
        if self.file is None:
            raise RuntimeError("the lock file is closed while it is in use")
        return self.file


_known_locks: dict[tuple[int, str], _Locks] = {}
_opening = threading.Lock()


def _locks(store: Store) -> _Locks:
    identity = (os.getpid(), str(store.folder.resolve()))
    with _opening:
        return _known_locks.setdefault(identity, _Locks(store.folder / "lock"))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse
            os.fsync(handle)
    finally:
        os.close(handle)


def _pack(key: str, record: Record) -> bytes:
    arrays = {f"variable {name}": values for name, (_, values) in record.variables.items()}
    arrays |= {f"coordinate {name}": values for name, (_, values) in record.coordinates.items()}
    header = {
        "format": FORMAT,
        "key": key,
        "variables": {name: list(axes) for name, (axes, _) in record.variables.items()},
        "coordinates": {name: list(axes) for name, (axes, _) in record.coordinates.items()},
        "units": dict(record.units),
        "attributes": {name: _attribute(value) for name, value in record.attributes.items()},
        "about": dict(record.about),
    }
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    checksum = np.frombuffer(_checksum(text, arrays), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=text, checksum=checksum, **arrays)
    return buffer.getvalue()


def _unpack(key: str, content: bytes) -> Record:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        text, checksum = arrays.pop("header"), arrays.pop("checksum")
        header = json.loads(text.tobytes())
        found = header["format"], header["key"]
        intact = checksum.tobytes() == _checksum(text, arrays)
    except Exception as error:  # bytes in memory: whatever goes wrong, they are damaged
        raise DamagedFileError("is truncated or no result of a sweep") from error
    if not intact:
        raise DamagedFileError("does not fit its checksum")
    if found != (FORMAT, key):
        raise DamagedFileError("belongs to another cell or format")
    return Record(
        {k: (tuple(axes), arrays[f"variable {k}"]) for k, axes in header["variables"].items()},
        {k: (tuple(axes), arrays[f"coordinate {k}"]) for k, axes in header["coordinates"].items()},
        header["units"],
        header["attributes"],
        header["about"],
    )


def _checksum(header: np.ndarray, arrays: Mapping[str, np.ndarray]) -> bytes:
    sha = hashlib.sha256(header.tobytes())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        sha.update(f"{name}\0{array.dtype.str}\0{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.digest()


def _attribute(value: Any) -> Any:
    """A value that JSON gives back unchanged; all else as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    return str(value)
