"""One entry for simulations: all N weights, or the overlap process that is exact at finite N."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from learning_dynamics.compilation import compiled
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.model.overlaps import Overlaps, State, overlaps_of
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import check_rates, from_time, schedules_of
from learning_dynamics.process import checkpoint as saved
from learning_dynamics.process.groups import pad
from learning_dynamics.process.layout import layout_of, of_any_dimension
from learning_dynamics.process.motion import Particle, replica_keys
from learning_dynamics.process.observables import (
    Observable,
    blocks,
)
from learning_dynamics.process.one_kernel import kernels_allowed, kernels_run
from learning_dynamics.process.pace import check_memory, checked_devices, pace_of
from learning_dynamics.process.replicas import (
    advance,
    begin,
    memory_of,
    replica_mesh,
    start_particles,
)
from learning_dynamics.process.run import Level, Run, checked_run
from learning_dynamics.process.starts import place, place_moving
from learning_dynamics.process.stopping import Stop
from learning_dynamics.process.trajectory import Trajectory
from learning_dynamics.process.transformed import (
    is_transformed,
    transformed,
    transformed_starts,
)
from learning_dynamics.pytrees import require_concrete
from learning_dynamics.random import check_key
from learning_dynamics.tracking import Tracking, track, tracked
from learning_dynamics.validation import positive_integer, reject

__all__ = ["random_starts", "simulate"]


@tracked
@sees_edits("problem", "observe", "stop", "optimiser")
def simulate(
    problem: Problem,
    *,
    dimension: int,
    times: ArrayLike,
    replicas: int,
    key: jax.Array,
    level: Level = "ambient",
    start: Overlaps | Trajectory | None = None,
    observe: Mapping[str, Observable] | None = None,
    samples: int | None = None,
    stop: Stop | None = None,
    optimiser: optax.GradientTransformation | None = None,
    precision: Literal["float32", "float64"] = "float32",
    devices: Sequence[jax.Device] | None = None,
    checkpoint: str | Path | None = None,
    code: str | None = None,
    tracker: Tracking = "auto",
) -> Trajectory:
    """Train independent replicas and observe their order parameters.

    A function for `jax.jit`, `jax.vmap`, `jax.grad` and `jax.jacfwd` in the numbers of `problem`
    and `start` and in `key`: there it takes traced numbers as they come and returns arrays without
    provenance.

    Args:
        problem: inputs, learner, rates.
        dimension: N, at least the number of signal directions; at most 2^20 in float32 and 2^49
            in float64, beyond which rounding swallows more than a thousandth of an update.
        times: tau = updates / N, increasing, each rounded to a whole update; at most 2^31 updates.
        replicas: number of independent runs, as many as four fifths of the memory of the devices
            hold. Replica i depends on `key` and i alone.
        key: typed random key; its implementation is the random generator of the run.
        level: "ambient" holds all K N weights, O(K N) per update; "overlaps" draws the process
            of M and Q, equal in law at every N, O(K^2 + K r) per update.
        start: order parameters at time zero, one set or one per replica, or a trajectory, whose
            last ones are taken, with the memory of a momentum (with another key: an equal one
            draws equal samples again); random weights if None. After a trajectory the clock of
            rates that depend on the time goes on.
        observe: name -> function of `Overlaps`, recorded besides "signal", "norms", parameters;
            `ld.loss` is the population loss.
        samples: size n of a fixed set of samples, from which every update draws its batch with
            replacement, at level "ambient" only; n / batch updates are an epoch. Each replica has
            a set of its own. Fresh samples in every update if None.
        stop: condition under which a replica is frozen.
        optimiser: transformation of optax in place of the plain step, at level "ambient" only: it
            is given {"weights": G, "parameters": g}, G = dl/dW + weight_decay W of shape (K, N) and
            g the derivatives of the parameters that have a rate, means over the batch. What it
            returns is multiplied by learning_rate / N and rate / N^order and added, so that
            `optax.sgd(1.0)` is the plain step: rates of an optimiser are factors of those of
            `problem`. With learning_rate = N they are changes of a weight per update.
        precision: floating-point type of the simulation.
        devices: devices to share the replicas; all local ones if None.
        checkpoint: file to save to after every tenth of the run and to resume from; a resumed
            run equals an uninterrupted one bit for bit on the same machine.
        code: text that stands for the code behind a checkpoint, such as "v3": you vouch that it
            changes whenever results do. None follows the code, and refuses what it cannot follow.
        tracker: progress bar, called as `tracker(iterable, description)`; "auto" shows one on
            terminals and in notebooks after two seconds, None is quiet.

    Raises:
        ValueError: on values that make no sense, naming the argument.
    """
    require_concrete(dimension=dimension, times=times, replicas=replicas)
    run = checked_run(
        problem, dimension, times, replicas, key, level, observe, stop, optimiser, precision,
        samples,
    )  # fmt: skip
    begins = 0.0
    if isinstance(start, Trajectory):
        if run.samples or start.attributes.get("samples"):
            demand = (
                "be order parameters: a trajectory does not hold what weights and samples share"
            )
            raise reject("start", demand, "one beside `samples`")
        begins = start.begins + float(start.times[-1])
        if start.stopped is not None and schedules_of(problem):
            demand = "be a run without `stop`, or order parameters, where rates depend on the time"
            raise reject("start", demand, "one whose replicas ended at times of their own")
        problem = from_time(problem, begins)
    check_rates(problem, run.updates[-1] / run.layout.dimension)
    if not is_transformed(problem, start, key, observe, stop, optimiser):
        return _simulate(problem, run, key, start, begins, devices, checkpoint, code)
    shown = tracker if callable(tracker) else None
    for name, value in (
        ("checkpoint", checkpoint), ("code", code), ("tracker", shown), ("devices", devices),
    ):  # fmt: skip
        if value is not None:
            raise reject(name, "be left out under jax.jit, jax.vmap and jax.grad", repr(value))
    return transformed(problem, run, key, start, begins)


def _simulate(
    problem: Problem,
    run: Run,
    key: jax.Array,
    start: Overlaps | Trajectory | None,
    begins: float,
    devices: Sequence[jax.Device] | None,
    checkpoint: str | Path | None,
    code: str | None,
) -> Trajectory:
    """A run with concrete numbers."""
    layout, updates, count, own, stop, precision, later, optimiser, samples = run
    size, level = layout.dimension, layout.level
    checkpoint = saved.checkpoint_file(checkpoint)
    clock = time.perf_counter()
    chosen = checked_devices(devices, precision)
    wide = jax.enable_x64(True) if precision == "float64" else contextlib.nullcontext()
    with wide:
        dtype = jnp.dtype(precision)
        mesh = replica_mesh(chosen)
        each = -(-count // mesh.size)
        shared, numbers = of_any_dimension(problem, layout)
        pace = pace_of(layout, chosen[0].platform, each)
        if pace.registers and (precision != "float32" or not kernels_run(chosen[0])):
            pace = pace._replace(registers=None)
        check_memory(layout, pace, each, dtype.itemsize, chosen)
        full = -(-count // (pace.group * mesh.size)) * pace.group * mesh.size
        apart = NamedSharding(mesh, PartitionSpec("replicas"))
        keys = jax.device_put(replica_keys(key, np.arange(full, dtype=np.uint32)), apart)
        velocity: State | None = None
        whence: Any = start
        if isinstance(start, Trajectory):
            whence = start.last if start.memory is None else (start.last, start.memory)
        if start is None:
            states = begin(shared, dtype, mesh)(problem, numbers, keys)
        elif isinstance(start, Trajectory):
            states, velocity = pad(place_moving(problem, layout, start, count, dtype), full)
        else:
            states = pad(place(problem, layout, start, count, dtype), full)
        cast = problem.cast(dtype)
        particles = start_particles(cast, layout, states, stop, optimiser, velocity)
        particles = jax.device_put(particles, apart)
        first = order_parameters_of(particles, count)

        def go(*arguments: Any) -> Any:
            evolve = advance(shared, own, pace, dtype, mesh, optimiser, samples)
            # filters of warnings are those of all threads: they are left alone where no kernel is
            with kernels_allowed() if pace.registers else contextlib.nullcontext():
                return evolve(problem, numbers, stop, *arguments)

        go(particles, keys, np.zeros(blocks(updates).shape[1], np.int32), np.int32(0))
        first_call = time.perf_counter() - clock
        identity = saved.fingerprint(
            checkpoint, code, simulate=simulate, problem=problem, dimension=layout, times=updates,
            replicas=(count, full), key=key, observe=(own, later), stop=stop, precision=precision,
            start=whence, optimiser=optimiser, samples=samples,
        )  # fmt: skip
        done, particles, parts = saved.restore(checkpoint, identity, particles, apart)
        made = int(blocks(updates)[done - 1, -1]) if done else 0
        for index in track(range(done, len(blocks(updates))), f"{level}, N = {size}"):
            targets = blocks(updates)[index]
            particles, seen = go(particles, keys, targets, np.int32(made))
            parts.append(jax.tree.map(lambda a: np.asarray(a)[:count], seen))
            made = int(targets[-1])
            saved.save(checkpoint, identity, index + 1, particles, parts)
        values = {
            name: np.concatenate([p[name] for p in parts], axis=1)[:, : updates.size]
            for name in parts[0]
        }
        last = order_parameters_of(particles, count)
        memory = None
        if isinstance(particles.memory, State):
            memory = jax.tree.map(
                lambda a: np.asarray(a, np.float64)[:count], _batched_memory(particles)
            )
        stopped = None if stop is None else np.asarray(particles.watch.stopped, np.int64)[:count]
    attributes = {
        **saved.provenance(problem, key),
        "replicas": count,
        "precision": precision,
        **({"begins": begins} if begins else {}),
        **({"optimiser": optimiser.name} if optimiser else {}),
        **({"samples": samples} if samples else {}),
        "devices": mesh.size,
        "wall_seconds": time.perf_counter() - clock,
        "compile_seconds": first_call,
    }
    return Trajectory(
        level,
        size,
        updates / size,
        updates,
        run.complete(problem, {n: np.asarray(a, np.float64) for n, a in values.items()}),
        first,
        last,
        stopped,
        attributes,
        memory,
    )


@sees_edits("problem")
def random_starts(problem: Problem, *, dimension: int, replicas: int, key: jax.Array) -> Overlaps:
    """Order parameters of random weights at N = `dimension`, leading axis replicas.

    The law is that of the starts of `simulate`; give them to `integrate` to average the limit over
    the ensemble, or, scaled, to `simulate` at several N.

    Raises:
        ValueError: as `simulate`.
    """
    require_concrete(dimension=dimension, replicas=replicas)
    check_key(key)
    count = positive_integer("replicas", replicas)
    if count >= 2**31:
        raise reject("replicas", "be fewer than 2^31", count)
    size, dtype = positive_integer("dimension", dimension), jnp.dtype("float32")
    layout = layout_of(problem, size, "overlaps")
    if is_transformed(problem, None, key):
        return transformed_starts(problem, layout, count, key, dtype)
    mesh = replica_mesh(jax.local_devices()[:1])
    shared, numbers = of_any_dimension(problem, layout)
    states = begin(shared, dtype, mesh)(problem, numbers, replica_keys(key, jnp.arange(count)))
    return order_parameters_of(Particle(states), count)


@compiled
def _batched_overlaps(particles: Particle) -> Overlaps:
    return jax.vmap(overlaps_of)(particles.state)


_batched_memory = compiled(memory_of)


def order_parameters_of(particles: Particle, count: int) -> Overlaps:
    """Order parameters of the first `count` replicas as float64 arrays on the host."""
    batched = _batched_overlaps(particles)
    host: Overlaps = jax.tree.map(lambda a: np.asarray(a, np.float64)[:count], batched)
    return host
