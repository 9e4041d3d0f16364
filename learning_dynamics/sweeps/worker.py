"""What runs in a process of an executor: settle in, then `ensure` the units of a task."""

import multiprocessing
import os
import pickle
import platform
import re
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from learning_dynamics.identity import code_of
from learning_dynamics.identity.settings import flagged, flags, settings
from learning_dynamics.sweeps.plan import Plan, Unit
from learning_dynamics.sweeps.store import Store
from learning_dynamics.sweeps.work import Report, ensure, expect_code

__all__ = [
    "end_with_parent",
    "forget_marks",
    "keep_to",
    "limit_threads",
    "marks",
    "package",
    "run_remote",
    "share_compiled",
]

_settled: list[Any] = []  # what this process holds as long as it lives
_watched: list[bool] = []


def package(
    plan: Plan,
    units: Sequence[Unit],
    store: Store,
    cores: int | None,
    *,
    even_if_taken: bool = False,
) -> bytes:
    """A task as bytes, so that nothing touches JAX before `run_remote` has settled in."""
    task = (
        plan.measure, tuple(units), even_if_taken, flags(), settings(), dict(plan.code.parts)
    )  # fmt: skip
    module = plan.measure.__module__ if hasattr(plan.measure, "__module__") else ""
    dumps = pickle.dumps
    if module == "__main__" and "cloudpickle" in sys.modules:
        dumps = sys.modules["cloudpickle"].dumps  # an executor that is here cannot find a script
    return pickle.dumps((str(store.folder), cores, os.getpid(), list(sys.path), dumps(task)))


def run_remote(payload: bytes) -> list[Report]:
    """Run the units of a task.

    Raises:
        RuntimeError: if this process has other versions, settings or code than the one that asked.
        StoreError: if the store cannot be written.
    """
    folder, cores, parent, path, task = pickle.loads(payload)
    store = Store(folder)
    if os.getpid() != parent and not _settled:
        sys.path.extend(entry for entry in path if entry not in sys.path)
        settle(store, cores)
    measure, units, even_if_taken, known, expected, parts = pickle.loads(task)
    with flagged(known):
        found = settings()
        if found != expected:
            differing = {k: (v, found.get(k)) for k, v in expected.items() if found.get(k) != v}
            raise RuntimeError(f"this worker differs from the process that asked: {differing}")
        if parts:
            _check_code(measure, parts)
            expect_code(units[0].code, measure)
        reports = []
        for unit in units:
            _mark(store, unit.keys[0])
            reports.append(ensure(measure, unit, store, even_if_taken=even_if_taken))
            forget_marks(store, [unit.keys[0]])
    return reports


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that happened.

    A worker that waits for work holds both ends of the pipe that it reads, and would wait for ever.
    Results are written whole, so that a worker may end anywhere.
    """
    parent = multiprocessing.parent_process()
    if parent is None or _watched:
        return
    _watched.append(True)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _check_code(measure: Any, parts: Mapping[str, str]) -> None:
    """Check that the measure reaches the same code and values here as where it comes from.

    Raises:
        RuntimeError: naming what differs.
    """
    here = dict(code_of(measure).parts)
    script = "source of the script"
    if script not in here or script not in parts:  # sent along by value
        here.pop(script, None)
        parts = {name: text for name, text in parts.items() if name != script}
    differing = sorted(n for n in {*here, *parts} if here.get(n) != parts.get(n))
    if differing:
        raise RuntimeError(
            f"this worker has other code than the process that asked: {', '.join(differing[:10])} "
            "(a file was edited meanwhile, or a name was changed in that process only)"
        )


def settle(store: Store, cores: int | None) -> None:
    """Watch the parent, take processor cores and a compilation cache, before JAX starts."""
    _settled.append(True)
    end_with_parent()
    if cores is not None:
        take_cores(store, cores)
    share_compiled(store.folder / "compiled")


def take_cores(store: Store, cores: int) -> None:
    """Bind this process to cores that no other worker on this host has taken.

    XLA sizes its threads by the cores it may use; two workers on two cores would otherwise fight.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        return
    import fcntl

    allowed = sorted(os.sched_getaffinity(0))
    file = (store.folder / f"cores-{platform.node()}").open("ab")
    taken: list[int] = []
    for core in allowed:
        if len(taken) == cores:
            break
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, core)
            taken.append(core)
    if len(taken) == cores:
        _settled.append(file)  # the locks last as long as the file is open
        keep_to(taken)
    else:
        file.close()


def keep_to(cores: Sequence[int]) -> None:
    """Bind this process to some cores, and the threads of linear algebra to their number."""
    if hasattr(os, "sched_setaffinity"):  # not on macOS and Windows
        os.sched_setaffinity(0, cores)
    limit_threads(len(cores))


def limit_threads(count: int) -> None:
    """Give linear algebra so many threads in this process.

    The libraries of NumPy and SciPy count their threads when they are loaded, on all cores; more of
    them than cores wait for each other in busy loops (measured: 4 to 5 times the time).
    """
    import_module("scipy.linalg")  # a library that is loaded later has all its threads
    threadpool_limits(count)


def share_compiled(folder: Path) -> None:
    """Let JAX keep compiled programs in a folder, unless it keeps them elsewhere.

    Programs are found again by what they compute, the version of XLA and the processor.
    """
    import jax

    if getattr(jax.config, "jax_compilation_cache_dir", None):
        return
    model = re.sub(r"\W+", "-", _processor())
    place = folder / f"jaxlib-{version('jaxlib')}-{model}"
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _mark_file(store: Store, key: str) -> Path:
    return store.folder / "failed" / f"{key}.started"


def _mark(store: Store, key: str) -> None:
    with suppress(OSError), _mark_file(store, key).open("ab") as file:
        file.write(b".")


def marks(store: Store, key: str) -> int:
    """How often a unit was started and neither finished nor failed."""
    try:
        return _mark_file(store, key).stat().st_size
    except OSError:
        return 0


def forget_marks(store: Store, keys: Iterable[str]) -> None:
    """Forget earlier starts of units."""
    for key in keys:
        with suppress(OSError):
            _mark_file(store, key).unlink(missing_ok=True)
