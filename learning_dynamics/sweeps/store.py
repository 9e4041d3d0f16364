"""A folder of results: one file per cell, written whole or not at all, and locks between processes.

    cells/KEY.npz        a result, readable by `numpy.load`
    failed/KEY.json      why a cell failed, until it succeeds
    sweeps/ID.json       which cells make up a grid, for `show`
    checkpoints/KEY...   of cells that save themselves while they run
    rejected/            files found in the place of a result that were none
    lock                 byte ranges of it are locked by whoever works on a cell
    running/KEY          signs of life of those who work on a cell for long

An npz file per cell is written to a temporary name, flushed to the disk and renamed. Nothing is
held open, appended or shared, so that a process may be killed anywhere. (A netCDF or HDF5 file
that is written in place can be cut off and still open; a data base file cannot live on a network
file system.) A checksum over every byte shows what was damaged afterwards.
"""

import os
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.array_files import DamagedFileError, read_arrays, write_arrays
from learning_dynamics.files import (
    Write,
    flush_folder,
    folder_path,
    remove_abandoned,
    strict_json,
    write_files,
)
from learning_dynamics.sweeps.locks import Locks
from learning_dynamics.sweeps.results import Record

__all__ = ["Store", "StoreError"]

FORMAT = "learning-dynamics cell 2"


class StoreError(OSError):
    """The store cannot be written; what was finished before is kept."""


class Store:
    """The folder; see the module for its contents.

    Args:
        folder: made when something is written.

    Raises:
        ValueError: if `folder` is empty or a file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder_path("store", folder)
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
                remove_abandoned(self.folder / name)
            for key in self._names("running", ""):  # signs of life of processes that were killed
                if not self.busy(key):
                    (self.folder / "running" / key).unlink(missing_ok=True)

    def has(self, key: str) -> bool:
        """Whether there is a file for this cell."""
        return self.cell(key).is_file()

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
        return _record(*read_arrays(self.cell(key)), key)

    def load(self, key: str) -> Record | None:
        """Read a result; a damaged file is reported, moved aside and counts as missing."""
        try:
            return self.read(key)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error) from error
        except DamagedFileError as damage:
            place = self.folder / "rejected" / f"{key}-{uuid.uuid4().hex[:8]}.npz"
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

        Raises:
            StoreError: if the disk is full or the folder cannot be written.
        """
        with self._reported():
            write_files({self.cell(key): _content(key, r) for key, r in records.items()})
            self._flush_names(self.folder / "cells")
            for key in records:
                self.forget(key)

    def forget(self, key: str) -> None:
        """Remove the failure and the checkpoint of a cell that is finished."""
        self.failure(key).unlink(missing_ok=True)
        self.drop_checkpoint(key)

    def drop_checkpoint(self, key: str) -> None:
        """Remove the checkpoint of a cell, which a measure may have made a folder."""
        path = self.checkpoint(key)
        with self._reported():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _flush_names(self, folder: Path) -> None:
        """Flush the names of new files now and then; a name lost with the power costs its cell."""
        if time.monotonic() - self._flushed > 1.0:
            flush_folder(folder)
            self._flushed = time.monotonic()

    def fail(self, keys: Sequence[str], description: Mapping[str, Any]) -> None:
        """Note why cells failed."""
        for key in keys:
            self.write_json(self.failure(key), description)

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a small file whole or not at all."""
        text = strict_json(content).encode()
        with self._reported():
            write_files({path: lambda file: file.write(text)})

    @contextmanager
    def claim(self, keys: Sequence[str]) -> Iterator[bool]:
        """Lock cells against other processes and threads; yields False if one of them is taken.

        The operating system frees the locks of a process that dies, so that none can be stale.
        Where the file system has no locks, everything is granted: cells may then be computed
        twice, with equal results.
        """
        with self._reported():
            locks = _locks(self)
            free = locks.acquire(keys)
        if not free:
            yield False
            return
        try:
            with locks.working_on(keys):
                yield True
        finally:
            locks.release(keys)

    @contextmanager
    def take_over(self, keys: Sequence[str]) -> Iterator[None]:
        """Work on cells that a stopped process has locked, and show it."""
        with _locks(self).working_on(keys, at_once=True):
            yield

    def busy(self, key: str) -> bool:
        """Whether some process works on a cell."""
        if not (self.folder / "lock").exists():
            return False
        with self._reported():
            locks = _locks(self)
            free = locks.acquire([key])
        if free:
            locks.release([key])
        return not free

    def sign_of_life(self, key: str) -> bytes | None:
        """What the process that works on a cell wrote last; see `sweeps.locks`."""
        return _locks(self).sign(key)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StoreError:
        return StoreError(
            error.errno,
            f"the store {self.folder} cannot be used ({error.strerror or error}); the "
            "finished cells are kept, run the sweep again to go on",
        )


_known_locks: dict[tuple[int, str], Locks] = {}
_opening = threading.Lock()


def _locks(store: Store) -> Locks:
    identity = (os.getpid(), str(store.folder.resolve()))
    with _opening:
        known = Locks(store.folder / "lock", store.folder / "running")
        return _known_locks.setdefault(identity, known)


def _content(key: str, record: Record) -> Write:
    """What writes a result to an open file."""
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
    return lambda file: write_arrays(file, header, arrays)


def _record(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], key: str) -> Record:
    """A result as it was written.

    Raises:
        DamagedFileError: if it belongs to another cell, or is no result.
    """
    if (header.get("format"), header.get("key")) != (FORMAT, key):
        raise DamagedFileError("belongs to another cell or format")
    labelled: dict[str, dict[str, Any]] = {"variables": {}, "coordinates": {}}
    try:
        for kind, entries in labelled.items():
            for name, axes in header[kind].items():
                values = arrays[f"{kind[:-1]} {name}"]
                if not all(isinstance(axis, str) for axis in axes) or len(axes) != values.ndim:
                    raise DamagedFileError("is no result of a sweep")
                entries[name] = (tuple(axes), values)
        units, attributes, about = (dict(header[k]) for k in ("units", "attributes", "about"))
        seconds = about["seconds"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError("is no result of a sweep") from error
    texts = all(isinstance(unit, str) for unit in units.values())
    if not texts or not isinstance(seconds, int | float) or not seconds >= 0:
        raise DamagedFileError("is no result of a sweep")
    return Record(labelled["variables"], labelled["coordinates"], units, attributes, about)


def _attribute(value: Any) -> Any:
    """A value that JSON gives back unchanged; all else as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    return str(value)
