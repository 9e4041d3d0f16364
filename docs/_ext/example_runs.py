"""Runs of the scripts in `docs/examples`, kept in `docs/_build/examples`; for pages and tests.

A script runs in a process of its own, and again only when a file that it imported or the version
of JAX or NumPy changed. All that are left: `python docs/_ext/example_runs.py`.
"""

import hashlib
import json
import multiprocessing
import os
import runpy
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

from docstrings import PACKAGES

DOCS = Path(__file__).parents[1]
SCRIPTS = DOCS / "examples"
RESULTS = DOCS / "_build" / "examples"
COMPILED = (DOCS / "_build" if sys.prefix == sys.base_prefix else Path(sys.prefix)) / "compiled"
# The longest run first, so that none of them is left over at the end.
LONG = (
    "noise_levels", "ten_lines", "falling_rate", "attention_head", "independent_components",
    "optimal_rate", "own_model", "committee_plateau", "best_rate", "time_to_recovery",
)  # fmt: skip
# Imported once, before the processes of the scripts branch off; of this project nothing, so that
# each process knows what its script imports.
IMPORTS = ["jax", "diffrax", "flax.nnx", "matplotlib.figure", "optax", "scipy.stats", "xarray"]
_cores: Any = None  # queue of those that no process of a script has, in such a process
VERSIONS = {"jax": version("jax"), "numpy": version("numpy")}


def _digest(path: str) -> str:
    file = Path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "missing"


def folder_of(script: Path) -> Path | None:
    """Folder with `output.txt` and the figures of a run of this very code, if there is one."""
    stamp = RESULTS / script.stem / "stamp.json"
    if not stamp.exists():
        return None
    made_by = json.loads(stamp.read_text("utf-8"))
    unchanged = made_by["versions"] == VERSIONS and str(script) in made_by["files"]
    unchanged &= all(_digest(path) == digest for path, digest in made_by["files"].items())
    return stamp.parent if unchanged else None


def run(scripts: Iterable[Path]) -> dict[str, str]:
    """Run the scripts whose results are missing, one on each core; name -> what went wrong."""
    waiting = [script for script in scripts if folder_of(script) is None]
    if not waiting:
        return {}
    waiting.sort(key=lambda script: (*LONG, script.stem).index(script.stem))
    branching = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if branching else "spawn")
    if branching:
        context.set_forkserver_preload(IMPORTS)
    cores = context.SimpleQueue()
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    for core in usable:
        cores.put(core)
    errors = {}
    with (
        mock.patch.dict(os.environ, _settings_of_the_processes()),
        ProcessPoolExecutor(
            len(usable), context, initializer=_take, initargs=(cores,), max_tasks_per_child=1
        ) as pool,
    ):
        jobs = {pool.submit(_execute, script, RESULTS / script.stem): script for script in waiting}
        for job in as_completed(jobs):
            if error := job.exception():
                errors[jobs[job].stem] = "".join(traceback.format_exception(error))[-2000:]
    return errors


def _settings_of_the_processes() -> dict[str, str]:
    """Pictures to files, one thread of linear algebra, and compiled programs that are kept."""
    import jax

    from learning_dynamics.sweeps.worker import share_compiled

    share_compiled(COMPILED)
    return {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | {
        name.upper(): str(getattr(jax.config, name))
        for name in (
            "jax_compilation_cache_dir",
            "jax_persistent_cache_min_compile_time_secs",
            "jax_persistent_cache_min_entry_size_bytes",
        )
    }


def _take(cores: Any) -> None:
    global _cores
    _cores = cores


def _execute(script: Path, folder: Path) -> None:
    """Run a script in its folder, on one core: XLA starts a thread for each that it may use."""
    began, core = time.time(), _cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [core])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for stream, name in ((1, "output.txt"), (2, "errors.txt")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    sys.argv, sys.path[:0] = [str(script)], [str(script.parent)]
    try:
        with warnings.catch_warnings(action="error"):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.stdout.flush()
        _cores.put(core)
    homes = [script.parent, *(DOCS.parent / package for package in PACKAGES)]
    imported = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = [f for f in imported if f and any(Path(f).is_relative_to(home) for home in homes)]
    if all(Path(file).stat().st_mtime < began for file in files):  # not edited meanwhile
        digests = {file: _digest(file) for file in (str(script), *files)}
        made_by = {"versions": VERSIONS, "files": digests, "seconds": time.process_time()}
        (folder / "stamp.json").write_text(json.dumps(made_by), "utf-8")


if __name__ == "__main__":
    failed = run(SCRIPTS.glob("*.py"))
    print("\n".join(f"{name}.py: {error}" for name, error in failed.items()) or "all examples ran")
    sys.exit(bool(failed))
