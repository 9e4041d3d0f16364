"""Sweeps: what a cell costs beyond its work, and cells together beside cells one by one.

Run as `python -m benchmarks.sweep`. Targets: less than 5 ms per cell in process, less than 50 ms
on dask (two workers on loopback; needs the extra `dask`). The measure of the first table does
nothing. That of the second one is online SGD of one tanh unit on N inputs, compiled in both cases.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import learning_dynamics as ld
from benchmarks.harness import show, write

Row = dict[str, Any]
CELLS, ROUNDS = 400, 3
SEEDS, STEPS = 64, 4000


def nothing(x: int, y: int) -> dict[str, float]:
    return {"x_plus_y": float(x + y)}


def online(dimension: int, seed: Any) -> jax.Array:
    """Overlap with the teacher after online SGD."""
    key = jax.random.key(seed)

    def update(step: jax.Array, w: jax.Array) -> jax.Array:
        x = jax.random.normal(jax.random.fold_in(key, step), (dimension,))
        error = jnp.tanh(jnp.sum(w * x)) - jnp.tanh(x[0])
        return w - 0.5 / dimension * error * x

    start = jax.random.normal(key, (dimension,)) / np.sqrt(dimension).astype(np.float32)
    return lax.fori_loop(0, STEPS, update, start)[0]


compiled = partial(jax.jit, static_argnums=0)(online)


def one_by_one(dimension: int, seed: int) -> jax.Array:
    return compiled(dimension, seed)


@contextmanager
def in_process() -> Iterator[None]:
    yield None


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def dask() -> Iterator[Executor]:
    import distributed

    loopback = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **loopback) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


def overhead(name: str, engine: Any) -> Row:
    """Milliseconds per cell of a measure that does nothing, and per cell that is only read."""
    grid = {"x": range(CELLS // 20), "y": range(20)}
    fresh, again = [], []
    with engine() as executor, tempfile.TemporaryDirectory() as folder:
        options = {"executor": executor, "store": folder}
        ld.sweep(nothing, {"x": [0, 1], "y": [0, 1, 2]}, **options)  # workers start
        for round_ in range(ROUNDS):
            for times in (fresh, again):
                start = time.perf_counter()
                ld.sweep(nothing, grid, version=str(round_), **options)
                times.append(time.perf_counter() - start)
    return {
        "engine": name,
        "cells": CELLS,
        "ms_per_cell": 1e3 * float(np.median(fresh)) / CELLS,
        "ms_per_cell_read_again": 1e3 * float(np.median(again)) / CELLS,
    }


def vectorised(dimension: int) -> Row:
    """Seconds of the same cells together and one by one; compiled by an earlier sweep."""
    seconds: dict[str, list[float]] = {"one by one": [], "together": []}
    first: dict[str, float] = {}
    for round_ in range(ROUNDS + 1):
        for name in seconds:
            together = name == "together"
            start = time.perf_counter()
            ld.sweep(
                online if together else one_by_one,
                {"seed": range(SEEDS * round_, SEEDS * (round_ + 1))},
                fixed={"dimension": dimension},
                together="seed" if together else (),
            )
            spent = time.perf_counter() - start
            if round_:
                seconds[name].append(spent)
            else:
                first[name] = spent
    one, all_ = (float(np.median(seconds[name])) for name in seconds)
    return {
        "dimension": dimension,
        "seeds": SEEDS,
        "updates": STEPS,
        "one_by_one_s": one,
        "together_s": all_,
        "gain": one / all_,
        "compiling_one_s": first["one by one"] - one,
        "compiling_together_s": first["together"] - all_,
    }


def main() -> None:
    engines = {"in process": in_process, "2 processes": processes, "dask, 2 workers": dask}
    rows = [overhead(name, engine) for name, engine in engines.items()]
    show("Cost of a cell", rows)
    lanes = [vectorised(dimension) for dimension in (8, 64, 512)]
    show("Cells together", lanes)
    write("sweep", rows, together=lanes)


if __name__ == "__main__":
    main()
