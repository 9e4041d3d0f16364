"""Saving and resuming long runs: one file, written whole or not at all."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.array_files import DamagedFileError, read_arrays, write_arrays
from learning_dynamics.files import check_writable, remove_abandoned, write_files
from learning_dynamics.identity.key import Fingerprint
from learning_dynamics.identity.key import fingerprint as fingerprint_of
from learning_dynamics.validation import reject

__all__ = ["checkpoint_file", "fingerprint", "provenance", "restore", "save"]

FORMAT = "learning-dynamics checkpoint 2"
MOST_NAMED = 8  # differences that a message lists


def describe(problem: Any) -> str:
    """Structure and numbers of a configuration as text."""
    paths, structure = jax.tree_util.tree_flatten_with_path(problem)
    numbers = [f"{jax.tree_util.keystr(p)}={np.asarray(leaf).tolist()}" for p, leaf in paths]
    return f"{structure}; {'; '.join(numbers)}"


def provenance(problem: Any, key: jax.Array) -> dict[str, Any]:
    """What a result must carry to be repeated."""
    return {
        "configuration": describe(problem),
        "generator": str(jax.random.key_impl(key)),
        "key": jax.random.key_data(key).tolist(),
        "jax": jax.__version__,
        "learning_dynamics": version("learning-dynamics"),
        "machine": f"{platform.machine()}, {jax.default_backend()}",
    }


def fingerprint(path: str | Path | None, code: str | None, **parts: Any) -> Fingerprint:
    """Hash of everything that fixes a run, so that a file is only resumed by the same run.

    Args:
        path: of the checkpoint; None if there is none, and nothing to work out.
        code: text that the user vouches for instead of the code; None to follow it.
        parts: values and functions of the run by name, the one that runs it among them.

    Raises:
        ValueError: if `code` is given without a checkpoint, or the code cannot be followed.
    """
    if path is None:
        if code is not None:
            raise reject("code", "be left out without a checkpoint", repr(code))
        return Fingerprint("", {})
    return fingerprint_of("checkpoint", parts, code)


def checkpoint_file(path: str | Path | None) -> Path | None:
    """Check before any work that a checkpoint can be written, and remove what killed runs left.

    Raises:
        ValueError: if its folder is missing or cannot be written, or it is no regular file.
    """
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise reject("checkpoint", "name a file", repr(path))
    target = Path(path).absolute()
    try:
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "no regular file"
            raise reject("checkpoint", "name a file", f"{path}, which is {what}")
        if not target.parent.is_dir():
            raise reject("checkpoint", "lie in a folder that exists", str(path))
        remove_abandoned(target.parent)
        check_writable(target)
    except OSError as error:
        raise reject(
            "checkpoint", "name a file that can be written", f"{path} ({error.strerror or error})"
        ) from error
    return target


def save(
    path: str | Path | None,
    identity: Fingerprint,
    done: int,
    particles: Any,
    parts: list[dict[str, Any]],
) -> None:
    """Write the state of a run atomically (temporary file, flush to disk, rename)."""
    if path is None:
        return
    arrays = {f"particle{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(particles))}
    for index, part in enumerate(parts):
        arrays |= {f"seen{index}:{name}": np.asarray(array) for name, array in part.items()}
    header = {
        "format": FORMAT, "identity": identity.digest, "parts": dict(identity.parts), "done": done,
    }  # fmt: skip
    write_files({Path(path): lambda file: write_arrays(file, header, arrays)})


def restore(
    path: str | Path | None, identity: Fingerprint, particles: Any, sharding: Any
) -> tuple[int, Any, list[dict[str, Any]]]:
    """Blocks done, particles and observations of a saved run; a fresh start without a file.

    Raises:
        ValueError: if the file belongs to another run, is damaged or no checkpoint.
    """
    if path is None:
        return 0, particles, []
    try:
        header, arrays = read_arrays(Path(path))
        if header.get("format") != FORMAT:
            raise DamagedFileError("is of another format")
        if header.get("identity") != identity.digest:
            raise _of_another_run(path, identity, header.get("parts"))
        done = header.get("done")
        if not isinstance(done, int):
            raise DamagedFileError("is of another format")
        return _unpacked(done, arrays, particles, sharding)
    except FileNotFoundError:
        return 0, particles, []
    except (OSError, DamagedFileError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
        raise reject(
            "checkpoint",
            "be whole, as `simulate` or `train` wrote it (remove it to start anew)",
            f"{path}, which {reason}",
        ) from error


def _of_another_run(path: str | Path, identity: Fingerprint, saved: Any) -> ValueError:
    """Error that names the arguments and the code in which two runs differ."""
    names = identity.differences(saved if isinstance(saved, dict) else {})
    listed = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
    return reject(
        "checkpoint",
        "belong to this very run (give another file, or remove this one)",
        f"{path}, saved by another run; what differs: {listed}",
    )


def _unpacked(
    done: int, arrays: dict[str, NDArray[Any]], particles: Any, sharding: Any
) -> tuple[int, Any, list[dict[str, Any]]]:
    """Parts of a checkpoint.

    Raises:
        DamagedFileError: if some are missing, or do not fit the run.
    """
    leaves, structure = jax.tree.flatten(particles)
    saved = [arrays.pop(f"particle{i}", None) for i in range(len(leaves))]
    for leaf, array in zip(leaves, saved, strict=True):
        if array is None or (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
            raise DamagedFileError("lacks the state of the run")
    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        index, _, label = name.removeprefix("seen").partition(":")
        parts.setdefault(index, {})[label] = array
    observed = [parts.pop(str(index), {}) for index in range(done)]
    if parts or not observed or any(part.keys() != observed[0].keys() for part in observed):
        raise DamagedFileError("lacks observations")
    loaded = [jax.device_put(array, sharding) for array in saved]
    return done, jax.tree.unflatten(structure, loaded), observed
