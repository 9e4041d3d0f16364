"""Runs of the scripts in `docs/examples`, kept in `docs/_build/examples`; for pages and tests.

A script runs in a process of its own, and again only when it, a script that it imports, a package
or the version of JAX or NumPy changed. All that are left: `python docs/_ext/example_runs.py`.
"""

import hashlib
import multiprocessing
import os
import re
import runpy
import shutil
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue

from docstrings import PACKAGES

from learning_dynamics.report.workers import available_cores
from learning_dynamics.sweeps.worker import keep_to, share_compiled

DOCS = Path(__file__).parents[1]
SCRIPTS = DOCS / "examples"
RESULTS = DOCS / "_build" / "examples"
COMPILED = (DOCS / "_build" if sys.prefix == sys.base_prefix else Path(sys.prefix)) / "compiled"
LIMIT = 600  # seconds for one script, on a busy machine
# The longest run first, so that none of them is left over at the end.
LONG = (
    "noise_levels", "ten_lines", "falling_rate", "attention_head", "independent_components",
    "optimal_rate", "own_model", "committee_plateau", "best_rate", "time_to_recovery",
)  # fmt: skip
# Imported once, before the processes of the scripts branch off.
IMPORTS = [
    *PACKAGES, "matplotlib.figure", "learning_dynamics.evidence.figures",
    *(f"learning_dynamics.{name}" for name in ("process.simulate", "limit.integrate")),
]  # fmt: skip


def _stamp(script: Path) -> str:
    digest = hashlib.sha256(f"jax {version('jax')}, numpy {version('numpy')}".encode())
    for path in (script, *_imported(script)):
        digest.update(path.read_bytes())
    for package in PACKAGES:
        for path in sorted((DOCS.parent / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _imported(script: Path) -> list[Path]:
    """Other examples that a script imports."""
    names = re.findall(r"^(?:from|import) (\w+)", script.read_text("utf-8"), re.M)
    return [path for name in names if (path := script.parent / f"{name}.py").exists()]


def folder_of(script: Path) -> Path | None:
    """Folder with `output.txt` and the figures of a run of this very code, if there is one."""
    mark = RESULTS / script.stem / "stamp"
    return mark.parent if mark.exists() and mark.read_text() == _stamp(script) else None


def run(scripts: Iterable[Path]) -> dict[str, str]:
    """Run the scripts whose results are missing, one on each core; name -> what went wrong."""
    waiting = [script for script in scripts if folder_of(script) is None]
    waiting.sort(key=lambda script: (*LONG, script.stem).index(script.stem))
    os.environ["MPLBACKEND"] = "Agg"
    branching = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if branching else "spawn")
    if branching:
        context.set_forkserver_preload(IMPORTS)
    cores: SimpleQueue[int] = SimpleQueue()
    for core in available_cores():
        cores.put(core)

    def in_a_process(script: Path) -> str:
        folder, stamp, core = RESULTS / script.stem, _stamp(script), cores.get()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        process = context.Process(target=_execute, args=(script, folder, core))
        process.start()
        process.join(LIMIT)
        cores.put(core)
        if process.is_alive():
            process.kill()
            return f"longer than {LIMIT} seconds"
        if process.exitcode:
            return (folder / "errors.txt").read_text("utf-8")[-2000:]
        (folder / "stamp").write_text(stamp)
        return ""

    with ThreadPoolExecutor(len(available_cores())) as pool:
        errors = zip(waiting, pool.map(in_a_process, waiting), strict=True)
        return {script.stem: error for script, error in errors if error}


def _execute(script: Path, folder: Path, core: int) -> None:
    """Run a script on one core, in its folder; what it prints goes to files."""
    keep_to([core])
    share_compiled(COMPILED)
    for stream, name in ((1, "output.txt"), (2, "errors.txt")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    sys.argv, sys.path[:0] = [str(script)], [str(script.parent)]
    warnings.simplefilter("error")
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    failed = run(SCRIPTS.glob("*.py"))
    print("\n".join(f"{name}.py: {error}" for name, error in failed.items()) or "all examples ran")
    sys.exit(bool(failed))
