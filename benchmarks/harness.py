"""What every benchmark needs: interleaved timing, the environment, a table and a JSON file."""

import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

__all__ = [
    "compile_seconds",
    "cores",
    "environment",
    "first_call",
    "interleave",
    "show",
    "step_seconds",
    "write",
]

Name = TypeVar("Name", bound=Hashable)
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "torch", "numba", "learning-dynamics")


_compiled = [0.0]


@jax.monitoring.register_event_duration_secs_listener
def _count_compilation(event: str, seconds: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled[0] += seconds


def compile_seconds() -> float:
    """Seconds that JAX has spent compiling since this module was imported."""
    return _compiled[0]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clock() -> float:
    """Seconds: processor time when pinned to one core, else wall time.

    On one core both are the same but for what other programs take, which is left out.
    """
    return time.process_time() if cores() == 1 else time.perf_counter()


def first_call(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, compilation included, and what it returned."""
    start = clock()
    value = jax.block_until_ready(function())
    return clock() - start, value


def interleave(functions: Mapping[Name, Callable[[], Any]], runs: int) -> dict[Name, float]:
    """Median seconds of each function over `runs` rounds that call each of them once.

    Turns taken one after the other spread a disturbance of the machine over all. Every second
    round goes backwards, so that nobody always runs in the wake of the same neighbour. Compile
    before with `first_call`.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    for run in range(runs):
        names = list(functions) if run % 2 == 0 else list(reversed(functions))
        for name in names:
            seconds[name].append(first_call(functions[name])[0])
    return {name: float(np.median(values)) for name, values in seconds.items()}


def step_seconds(
    runs_of: Mapping[str, Callable[[int], Callable[[], Any]]], few: int, many: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """Seconds of one step and of a call of `few` steps, from runs of two lengths in turns.

    Args:
        runs_of: name -> function of a number of steps that returns a run of so many.
        few: steps of the short run.
        many: steps of the long run.
        rounds: of `interleave`; everything is compiled before.
    """
    functions = {(name, n): make(n) for name, make in runs_of.items() for n in (few, many)}
    for function in functions.values():
        first_call(function)
    taken = interleave(functions, rounds)
    return {
        name: ((taken[name, many] - taken[name, few]) / (many - few), taken[name, few])
        for name in runs_of
    }


def environment() -> dict[str, Any]:
    """Versions, processor, cores, load and date."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_used": cores(),
        "clock": "processor time" if cores() == 1 else "wall time",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "device": jax.devices()[0].device_kind,
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def write(
    name: str, rows: Sequence[Mapping[str, Any]], folder: Path = RESULTS, **more: Any
) -> Path:
    """Write `FOLDER/NAME.json`: the environment, whatever else is given, and rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {"name": name, "environment": environment(), **more, "rows": list(rows)}
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; columns are all keys that occur, in the order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 150).print(table)
