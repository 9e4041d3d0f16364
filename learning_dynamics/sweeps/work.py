"""Computing one unit, wherever that happens: return if its results exist, else compute and publish.

Every engine only runs `ensure`, which may be called any number of times, by any process.
"""

import os
import platform
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from learning_dynamics.identity.session import (
    Footprint,
    forget_with,
    notice_edits,
    require_unedited,
)
from learning_dynamics.sweeps.plan import Unit, lanes
from learning_dynamics.sweeps.results import (
    Record,
    Schema,
    axis_names,
    normalise,
    storable,
    variables_of,
)
from learning_dynamics.sweeps.store import Store, StoreError
from learning_dynamics.validation import reject

__all__ = ["Report", "ensure", "program_of", "run_batch"]

Measure = Callable[..., Any]
ARRAYS = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
LASTING = (ValueError, TypeError)  # the same arguments would raise them again


@dataclass(frozen=True)
class Report:
    """What became of a unit: "done", "busy" elsewhere, or "failed" with the reason.

    A failure is `lasting` if it would come again, and `unusable` if the measure returned something
    that cannot be kept.
    """

    state: str
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    lasting: bool = False
    unusable: bool = False


class UnusableResultError(TypeError):
    """What a measure returned cannot be kept."""


def ensure(
    measure: Measure,
    unit: Unit,
    store: Store,
    device: jax.Device | None = None,
    *,
    even_if_taken: bool = False,
) -> Report:
    """Compute a unit, unless the store already holds its results.

    Errors of the measure are reported, errors of the store raised. A batch runs on `device`. With
    `even_if_taken` it is also computed if another process has locked it, which gives equal results.

    Raises:
        StoreError: if the store cannot be written.
    """
    if _done(unit, store):
        return Report("done")
    with store.claim(unit.keys) as free:
        if free:
            return _run(measure, unit, store, device)
        if not even_if_taken:
            return Report("busy")
        with store.take_over(unit.keys):
            return _run(measure, unit, store, device)


def _done(unit: Unit, store: Store) -> bool:
    return all(store.has(key) for key in unit.keys)


def _run(measure: Measure, unit: Unit, store: Store, device: jax.Device | None) -> Report:
    if _done(unit, store):
        return Report("done")
    resumed = store.checkpoint(unit.keys[0]).exists()
    start = time.perf_counter()
    try:
        records = _compute(measure, unit, store, device)
    except StoreError:
        raise
    except (Exception, SystemExit) as error:
        if _done(unit, store):  # by another process meanwhile
            return Report("done")
        store.drop_checkpoint(unit.keys[0])  # it may be the reason
        return _failed(unit, store, error, lasting=isinstance(error, LASTING) and not resumed)
    seconds = time.perf_counter() - start
    about = _about(seconds / len(unit.keys))
    missing = {}
    for key, record in zip(unit.keys, records, strict=True):
        if store.has(key):
            store.forget(key)
        else:
            missing[key] = replace(record, about=about)
    store.publish(missing)
    return Report("done", seconds)


_expected: OrderedDict[str, tuple[Footprint, ...]] = OrderedDict()
MOST_EXPECTED = 64
_AGAIN = "run the sweep again, or vouch for the code with `code=`"


def expect_code(code: str, measure: Measure) -> None:
    """Note what a measure reaches by name while its code has this hash."""
    _expected[code] = notice_edits(measure)
    while len(_expected) > MOST_EXPECTED:
        _expected.popitem(last=False)


def _code_now(measure: Measure, unit: Unit) -> tuple[Footprint, ...]:
    """What the measure and the arguments of a unit reach by name.

    Raises:
        ValueError: if the measure is no longer the one that the keys of the unit belong to.
    """
    now = notice_edits(measure)
    if unit.code:
        require_unedited(_expected.get(unit.code, now), now, "the keys of this sweep", _AGAIN)
    return (*now, *notice_edits(dict(unit.arguments)))


def _failed(unit: Unit, store: Store, error: Exception | SystemExit, *, lasting: bool) -> Report:
    message = "".join(traceback.format_exception_only(error)).strip()
    trace = "".join(traceback.format_exception(error))
    description = {"error": message, "traceback": trace, "cells": unit.labels, **_about(0.0)}
    store.fail(unit.keys, description)
    return Report("failed", 0.0, message, trace, lasting, isinstance(error, UnusableResultError))


def _about(seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "finished": time.time(),
        "host": platform.node(),
        "process": os.getpid(),
        "backend": jax.default_backend(),
    }


def _compute(measure: Measure, unit: Unit, store: Store, device: jax.Device | None) -> list[Record]:
    before = _code_now(measure, unit)
    if unit.width:
        records = run_batch(program_of(measure, unit), unit, device or jax.local_devices()[0])
    else:
        given = dict(unit.arguments)
        if unit.checkpoint:
            given["checkpoint"] = store.checkpoint(unit.keys[0])
        returned = measure(**given)
        try:
            records = [normalise(returned)]
        except TypeError as error:
            raise UnusableResultError(str(error)) from error
    if unit.code:  # nothing is filed under the key of other code
        require_unedited(before, _code_now(measure, unit), "this cell", _AGAIN)
    return records


class Program:
    """A measure over one batch of lanes, traced once, compiled once per device.

    Args:
        measure: traceable in the arguments that differ.
        arguments: common to all lanes.
    """

    def __init__(self, measure: Measure, arguments: Mapping[str, Any]) -> None:
        def one(varied: Mapping[str, Any]) -> dict[str, Any]:
            returned = variables_of(measure(**arguments, **varied))
            for name, value in returned.items():
                if not isinstance(value, ARRAYS):
                    raise TypeError(
                        "A measure that runs `together` must return arrays or mappings of arrays, "
                        f"but `{name}` is {type(value).__name__}."
                    )
            return jax.tree.map(jax.numpy.asarray, returned)

        self.traced = jax.jit(jax.vmap(one))
        self.compiled: dict[Any, Any] = {}

    def schema(self, batch: Any) -> Schema:
        """Axes, shapes and types of what a lane returns, without computing."""
        shapes = self.traced.eval_shape(batch)
        return {
            name: (axis_names(name, shape.ndim - 1), shape.shape[1:], storable(shape.dtype))
            for name, shape in shapes.items()
        }

    def __call__(self, batch: Any, device: jax.Device, where: str) -> dict[str, np.ndarray]:
        """Run a batch, if there is memory for it.

        Raises:
            ValueError: if the compiled program needs more memory than is free.
        """
        batch = jax.device_put(batch, device)
        if device not in self.compiled:
            compiled = self.traced.lower(batch).compile()
            check_memory(compiled, device, where, jax.tree.leaves(batch)[0].shape[0])
            self.compiled[device] = compiled
        found = {name: np.asarray(a) for name, a in self.compiled[device](batch).items()}
        return {name: a.astype(storable(a.dtype), copy=False) for name, a in found.items()}


def check_memory(compiled: Any, device: jax.Device, where: str, width: int) -> None:
    """Compare what a compiled program needs with what the device has left.

    Raises:
        ValueError: if it does not fit.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return
    need = (
        analysis.temp_size_in_bytes
        + analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.generated_code_size_in_bytes
    )
    free = free_memory(device)
    if free is not None and need > free:
        share = max(1, int(width * 0.8 * free / need))
        raise reject(
            "batch_size",
            f"leave {where} room in {free / 1e9:.2g} GB of free memory, as {share} may",
            f"{width} lanes that need {need / 1e9:.2g} GB",
        )


def free_memory(device: jax.Device) -> int | None:
    """Bytes left on a device; None if unknown."""
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if statistics and "bytes_limit" in statistics:
        return int(statistics["bytes_limit"] - statistics["bytes_in_use"])
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                found.append(int(line.split()[1]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit != "max":
            found.append(int(limit) - used)
    except (OSError, ValueError):
        pass
    return min(found) if found else None


_programs: OrderedDict[tuple[int, str], "Program"] = OrderedDict()
_keeping = threading.Lock()
forget_with(_programs.clear)
MOST_PROGRAMS = 64


def program_of(measure: Measure, unit: Unit) -> Program:
    """The program of a unit, kept for the units that share it."""
    identity = (id(measure), unit.program)
    with _keeping:
        if identity not in _programs:
            _programs[identity] = Program(measure, unit.arguments)
            while len(_programs) > MOST_PROGRAMS:
                _programs.popitem(last=False)
        _programs.move_to_end(identity)
        return _programs[identity]


def batch_of(unit: Unit) -> Any:
    """Stacked arguments of the lanes, filled up to the width of the program."""
    rows = [*unit.lanes, *[unit.lanes[0]] * (unit.width - len(unit.lanes))]
    return {name: lanes(name, [row[name] for row in rows]) for name in unit.lanes[0]}


def run_batch(program: Program, unit: Unit, device: jax.Device) -> list[Record]:
    """Results of all lanes of a unit."""
    found = program(batch_of(unit), device, unit.labels[0])
    return [
        Record({name: (axis_names(name, a.ndim - 1), a[i]) for name, a in found.items()})
        for i in range(len(unit.lanes))
    ]
