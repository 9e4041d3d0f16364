"""The commands `learning-dynamics sweep` and `learning-dynamics show`."""

import argparse
import multiprocessing
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from learning_dynamics.files import check_writable
from learning_dynamics.importing import import_file
from learning_dynamics.netcdf import write_netcdf
from learning_dynamics.sweeps.run import MissingCells
from learning_dynamics.sweeps.run import sweep as run_sweep
from learning_dynamics.sweeps.show import State, states
from learning_dynamics.sweeps.store import Store, StoreError
from learning_dynamics.sweeps.worker import end_with_parent, share_compiled

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["show", "sweep"]

OPTIONS = ("fixed", "together", "batch_size", "attempts", "version", "code", "units")


def sweep(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Run the sweep of a file; 0: every cell is there; 1: some failed or cannot be stored."""
    if options.out is not None:
        _check_out(parser, options.out)
    try:
        module = _load(options.file)
        given = {name: getattr(module, name) for name in OPTIONS if hasattr(module, name)}
        store = Store(options.store)
    except ValueError as error:
        parser.error(str(error))
    with ExitStack() as stack, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", MissingCells)
        if options.workers:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(
                options.workers, mp_context=context, initializer=end_with_parent
            )
            given |= {"executor": stack.enter_context(pool), "cores": 1}
        else:
            share_compiled(store.folder / "compiled")
        try:
            check = None if options.out is None else partial(_check_cell, options.out)
            found = run_sweep(
                module.measure, module.over, store=options.store, check=check, **given
            )
        except ValueError as error:
            parser.error(str(error))
        except (StoreError, RuntimeError) as error:
            print(error, file=sys.stderr)
            return 1
    missing = [warning for warning in seen if issubclass(warning.category, MissingCells)]
    for warning in seen:
        print(warning.message, file=sys.stderr)
    print(found)
    if options.out is not None:
        try:
            write_netcdf(found, options.out)
        except (OSError, ValueError) as error:  # a full disk, or a cell unlike the first
            print(f"{options.out} cannot be written: {error}", file=sys.stderr)
            print("All cells are in the store: run the same command again.", file=sys.stderr)
            return 1
        print(f"wrote {options.out}")
    return int(bool(missing))


def _check_out(parser: argparse.ArgumentParser, out: Path) -> None:
    """See before any work that the file can be written."""
    if out.exists() and not out.is_file():
        parser.error(f"--out must name a file, but got {out}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        check_writable(out)
    except OSError as error:
        parser.error(f"--out {out} cannot be written: {error.strerror or error}")


def _check_cell(out: Path, cell: "xr.Dataset") -> None:
    """Write the first cell as netCDF, and remove it again.

    Raises:
        ValueError: if something in it has no place in netCDF.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_netcdf(cell, Path(folder) / "cell.nc")
        except ValueError as error:
            raise ValueError(f"--out {out} cannot be written: {error}") from error


def _load(file: Path) -> ModuleType:
    """Module of a file with `measure` and `over`.

    Raises:
        ValueError: as `import_file`, or if it defines no `measure` and `over`.
    """
    module = import_file("FILE.py", file)
    for name in ("measure", "over"):
        if not hasattr(module, name):
            raise ValueError(f"{file} must define `measure` and `over`, but has no `{name}`")
    return module


def show(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Print the state of a store; 0: every cell is there; 1: not yet."""
    try:
        found = states(options.store)
    except ValueError as error:
        parser.error(str(error))
    for state in found:
        _print(state)
    return int(any(state.done < state.cells for state in found))


def _print(state: State) -> None:
    manifest: dict[str, Any] = state.manifest
    axes = " × ".join(f"{len(labels)} {name}" for name, labels in manifest["axes"].items())
    print(f"{manifest['measure']} over {axes}")
    print(
        f"  {state.done} of {state.cells} cells done, {state.running} running, "
        f"{len(state.failed)} failed, {len(state.missing)} missing"
        + (f"; {state.left}" if state.left else "")
    )
    for label, reason in list(state.failed.items())[:10]:
        print(f"  failed   {label}: {reason}")
    for label in state.missing[:3]:
        print(f"  missing  {label}")
    if len(state.missing) > 3:
        print(f"  missing  … and {len(state.missing) - 3} more")
    if manifest["code"]:
        print(f"  code vouched for by the user: {manifest['code']!r}")
    if manifest["kept"]:
        print(f"  written by the code itself, not part of the key: {', '.join(manifest['kept'])}")
