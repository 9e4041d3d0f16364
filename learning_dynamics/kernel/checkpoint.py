"""Saving and resuming long runs: one file, written whole or not at all."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from learning_dynamics.identity.key import fingerprint as hash_of
from learning_dynamics.validation import reject

__all__ = ["fingerprint", "provenance", "restore", "save"]


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


def fingerprint(path: str | Path | None, code: str | None, *parts: Any) -> str:
    """Hash of everything that fixes a run, so that a file is only resumed by the same run.

    Args:
        path: of the checkpoint; None if there is none, and nothing to work out.
        code: text that the user vouches for instead of the code; None to follow it.
        parts: values and functions of the run, the one that runs it among them.

    Raises:
        ValueError: if `code` is given without a checkpoint, or the code cannot be followed.
    """
    if path is None:
        if code is not None:
            raise reject("code", "be left out without a checkpoint", repr(code))
        return ""
    return hash_of("checkpoint", *parts, code=code)


def save(
    path: str | Path | None, identity: str, done: int, particles: Any, parts: list[dict[str, Any]]
) -> None:
    """Write the state of a run atomically (temporary file, flush to disk, rename)."""
    if path is None:
        return
    target = Path(path)
    arrays: dict[str, Any] = {
        f"particle{i}": np.asarray(a) for i, a in enumerate(jax.tree.leaves(particles))
    }
    for index, part in enumerate(parts):
        arrays |= {f"seen{index}:{name}": array for name, array in part.items()}
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, identity=np.asarray(identity), done=np.asarray(done), **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


def restore(
    path: str | Path | None, identity: str, particles: Any, sharding: Any
) -> tuple[int, Any, list[dict[str, Any]]]:
    """Blocks done, particles and observations of a saved run; a fresh start without a file.

    Raises:
        ValueError: if the file belongs to another run or is no checkpoint.
    """
    if path is None or not Path(path).exists():
        return 0, particles, []
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        found, done = str(arrays["identity"]), int(arrays["done"])
    except (OSError, KeyError, ValueError) as error:
        raise reject("checkpoint", "be a checkpoint written by simulate", str(path)) from error
    if found != identity:
        raise reject("checkpoint", "belong to this very run", f"{path}, saved by another one")
    leaves, structure = jax.tree.flatten(particles)
    loaded = [jax.device_put(arrays[f"particle{i}"], sharding) for i in range(len(leaves))]
    parts: list[dict[str, Any]] = [{} for _ in range(done)]
    for name, array in arrays.items():
        if name.startswith("seen"):
            index, label = name[4:].split(":", 1)
            parts[int(index)][label] = array
    return done, jax.tree.unflatten(structure, loaded), parts
