"""Runs of the scripts in `docs/examples`, kept in `docs/_build/examples`; for pages and tests.

A script runs in a fresh process, and again only when it, a script that it imports, a package or the
version of JAX or NumPy changed.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from docstrings import PACKAGES

DOCS = Path(__file__).parents[1]
SCRIPTS = DOCS / "examples"
RESULTS = DOCS / "_build" / "examples"
LIMIT = 600  # seconds for one script, on a busy machine


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


def run(script: Path) -> str:
    """Run one script unless its result is there; return what went wrong."""
    if folder_of(script):
        return ""
    folder, stamp = RESULTS / script.stem, _stamp(script)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "PYTHONWARNINGS": "error",
        "JAX_COMPILATION_CACHE_DIR": str(DOCS / "_build" / "compiled"),
    }
    try:
        done = subprocess.run(
            [sys.executable, str(script)], cwd=folder, env=environment, timeout=LIMIT,
            capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"longer than {LIMIT} seconds"
    if done.returncode:
        return done.stderr[-2000:]
    (folder / "output.txt").write_text(done.stdout, "utf-8")
    (folder / "stamp").write_text(stamp)
    return ""
