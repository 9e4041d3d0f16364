"""Measures that worker processes can import."""

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import learning_dynamics as ld


class Moments(NamedTuple):
    mean: object
    spread: object


def moments(dimension, gamma, seed=0):
    """Plain NumPy; counts its calls through a file if one is named in the environment."""
    note(f"{dimension} {gamma} {seed}")
    draws = np.random.default_rng(seed).standard_normal(dimension) ** 2
    return {"mean": draws.mean() ** gamma, "first": draws[:3], "size": dimension}


def traceable(dimension, gamma, seed=0):
    """The same for JAX, for one compiled program."""
    draws = jax.random.normal(jax.random.key(seed), (dimension,)) ** 2
    return Moments(jnp.mean(draws) ** gamma, draws[:3])


def failing(x, folder, times):
    """Fails at x = 2, `times` times."""
    count(Path(folder), f"{x}")
    if x == 2 and counted(Path(folder), "2") <= times:
        raise RuntimeError("bad luck at 2")
    return x * 1.5


def killed(x, folder, times):
    """Its process dies at x = 2, `times` times."""
    count(Path(folder), f"{x}")
    if x == 2 and counted(Path(folder), "2") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * 1.5


def slow(x, folder):
    """Takes its time."""
    count(Path(folder), f"{x}")
    time.sleep(0.05)
    return np.float64(x)


def stopping(x, folder):
    """Its process stops itself at the x named in the environment."""
    count(Path(folder), f"{x}")
    if os.environ.get("STOP_AT") == f"{x}":
        count(Path(folder), "stopped")
        os.kill(os.getpid(), signal.SIGSTOP)
    return np.float64(x)


def process(x):
    """Where it runs, on how many cores."""
    return {"process": os.getpid(), "cores": len(os.sched_getaffinity(0))}


def labelled(dimension):
    """An array with labels and units."""
    times = np.array([1.0, 2.0])
    return xr.Dataset(
        {"loss": ("time", times / dimension, {"units": "nats"})},
        coords={"time": times, "updates": ("time", times * dimension)},
        attrs={"source": "here", "dimension was": dimension},
    )


def saving(x, checkpoint, folder):
    """Takes two steps, the first of which is not repeated after an interruption."""
    if not checkpoint.exists():
        count(Path(folder), f"{x}")
        np.savez(checkpoint, first=np.float64(x))
    if (Path(folder) / "stop").exists():
        raise KeyboardInterrupt
    with np.load(checkpoint) as saved:
        return saved["first"] * 2


def trajectory(dimension, seed, checkpoint):
    """A simulation that saves itself."""
    from diffusion_theory import MixedCumulant, TiedDenoiser  # workers start without them

    problem = ld.Problem(
        inputs=MixedCumulant(covariance=9.0), learner=TiedDenoiser("tanh"), learning_rate=0.2
    )
    assert Path(checkpoint).parent.is_dir()
    return ld.simulate(
        problem,
        dimension=dimension,
        times=[0.5, 1.0],
        replicas=3,
        key=jax.random.key(seed),
        level="overlaps",
        checkpoint=checkpoint,
    )


def note(line):
    file = os.environ.get("CALLS")
    if file:
        with open(file, "a") as out:
            out.write(line + "\n")


def count(folder, name):
    with (folder / name).open("a") as file:
        file.write(".")


def counted(folder, name):
    return (folder / name).stat().st_size if (folder / name).exists() else 0
