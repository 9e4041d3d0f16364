"""The state of a store: what is done, running, failed and missing, and how long is left."""

import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learning_dynamics.array_files import DamagedFileError
from learning_dynamics.sweeps.estimate import remaining_seconds, time_left
from learning_dynamics.sweeps.store import Store
from learning_dynamics.validation import reject

__all__ = ["State", "states"]

READ = 200  # results that are opened for their seconds


@dataclass(frozen=True)
class State:
    """One grid in a store.

    Attributes:
        manifest: its description.
        done: number of cells with a result.
        running: number of cells locked by some process.
        failed: labels of cells that failed, with the last line of their error.
        missing: labels of cells that are neither.
        left: estimate of the time left, in words.
    """

    manifest: dict[str, Any]
    done: int
    running: int
    failed: dict[str, str]
    missing: list[str]
    left: str

    @property
    def cells(self) -> int:
        """Number of cells of the grid."""
        return len(self.manifest["keys"])


def states(folder: str | Path) -> list[State]:
    """The grids of a store, the latest first; results are counted, not verified.

    Raises:
        ValueError: if the folder is no store.
    """
    store = Store(folder)
    files = [file for file in (store.folder / "sweeps").glob("*.json") if file.name[0] != "."]
    if not files:
        raise reject("DIR", "be the store of a sweep", str(folder))
    files.sort(key=lambda file: -file.stat().st_mtime)
    manifests = [manifest for manifest in map(_manifest, files) if manifest]
    return [_state(store, manifest) for manifest in manifests]


def _manifest(file: Path) -> dict[str, Any] | None:
    """Description of a grid; one that is damaged is told and left out."""
    try:
        found = json.loads(file.read_text("utf-8"))
        cells = math.prod(len(labels) for labels in found["axes"].values())
        whole = cells == len(found["keys"]) and {"measure", "width", "kept"} <= found.keys()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        whole = False
    if whole:
        return dict(found)
    warnings.warn(f"{file.name} describes no sweep and is left out", stacklevel=2)
    return None


def _state(store: Store, manifest: dict[str, Any]) -> State:
    there, bad = store.keys(), store.failures()
    axes: dict[str, list[Any]] = manifest["axes"]
    done: dict[int, str] = {}
    failed, missing, running, todo = {}, [], 0, []
    for place, (key, label) in enumerate(zip(manifest["keys"], _labels(axes), strict=True)):
        if key in there:
            done[place] = key
            continue
        if key in bad:
            failed[label] = _reason(store, key)
            continue
        todo.append(place)
        if store.busy(key):
            running += 1
        else:
            missing.append(label)
    at_once = running / max(manifest["width"], 1)
    left = time_left(*remaining_seconds(axes, _seconds(store, done), todo), at_once=at_once)
    return State(manifest, len(done), running, failed, missing, left if todo else "")


def _labels(axes: dict[str, list[Any]]) -> Iterator[str]:
    for index in np.ndindex(*(len(labels) for labels in axes.values())):
        pairs = zip(axes.items(), index, strict=True)
        yield ", ".join(f"{name}={labels[i]}" for (name, labels), i in pairs)


def _reason(store: Store, key: str) -> str:
    try:
        return str(json.loads(store.failure(key).read_text("utf-8"))["error"])
    except (OSError, ValueError, KeyError):
        return "for an unknown reason"


def _seconds(store: Store, done: dict[int, str]) -> dict[int, float]:
    found = {}
    for place in list(done)[:: max(1, len(done) // READ)]:
        try:
            found[place] = float(store.read(done[place]).about["seconds"])
        except (OSError, DamagedFileError, KeyError):
            continue
    return found
