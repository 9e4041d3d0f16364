"""The arithmetic of a run inside `jax.jit`, `jax.vmap` and the derivatives: traced numbers only."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.loop import scheduled_chunks
from learning_dynamics.model.overlaps import Overlaps, overlaps_of
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.groups import pad
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.motion import Particle, motion_of, replica_keys, split
from learning_dynamics.process.pace import Pace, pace_of
from learning_dynamics.process.replicas import (
    memory_of,
    observed,
    start_particles,
)
from learning_dynamics.process.run import Run
from learning_dynamics.process.starts import place, place_moving, random_start
from learning_dynamics.process.stopping import Stop
from learning_dynamics.process.trajectory import Trajectory
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

__all__ = ["is_transformed", "transformed", "transformed_starts"]


def is_transformed(
    problem: Any, start: Any, key: Any, observe: Any = None, stop: Any = None, optimiser: Any = None
) -> bool:
    """Whether a transformation of JAX has replaced some number of a run by a tracer."""
    functions = [*observe.values()] if isinstance(observe, Mapping) else []
    functions += [getattr(optimiser, name, None) for name in ("init", "update")]
    if isinstance(stop, Stop):
        functions.append(stop.quantity)
    return is_traced((problem, start, key, stop)) or any(_holds_tracer(f, set()) for f in functions)


def _holds_tracer(thing: Any, known: set[int]) -> bool:
    """Whether a value is traced, or a function that keeps a traced value."""
    if id(thing) in known:
        return False
    known.add(id(thing))
    if is_traced(thing):
        return True
    parts = [getattr(thing, "__self__", None), *(getattr(thing, "__defaults__", None) or ())]
    if isinstance(thing, partial):
        parts += [thing.func, *thing.args, *thing.keywords.values()]
    for cell in getattr(thing, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a name without a value yet
            parts.append(cell.cell_contents)
    leaves = jax.tree.leaves(parts)
    return is_traced(leaves) or any(_holds_tracer(part, known) for part in leaves if callable(part))


def transformed(
    problem: Problem,
    run: Run,
    key: jax.Array,
    start: Overlaps | Trajectory | None,
    begins: float = 0.0,
) -> Trajectory:
    """A run whose numbers may be traced, as arithmetic alone.

    Replicas are advanced by the same code as those of a compiled run, in groups one after another.

    Raises:
        ValueError: if the precision cannot be had inside the trace, or the generator draws other
            numbers in a batch.
    """
    dtype = jax.dtypes.canonicalize_dtype(np.dtype(run.precision))
    if dtype != run.precision:
        raise reject(
            "precision",
            "be 'float32' under jax.jit, jax.vmap and jax.grad unless 64-bit numbers are enabled "
            "around the whole of it (`with jax.enable_x64(True):`)",
            repr(run.precision),
        )
    layout, cast = run.layout, problem.cast(dtype)
    keys = _keys_of(key, run.replicas)
    velocity = None
    if start is None:
        states = jax.vmap(lambda key: random_start(cast, layout, split(key)[0], dtype))(keys)
    elif isinstance(start, Trajectory):
        states, velocity = place_moving(problem, layout, start, run.replicas, dtype)
    else:
        states = place(problem, layout, start, run.replicas, dtype)
    first = jax.vmap(overlaps_of)(states)
    particles = start_particles(cast, layout, states, run.stop, run.optimiser, velocity)
    pace = pace_of(layout, jax.default_backend(), run.replicas)
    together = partial(_together, cast, run, dtype, pace)
    last, memory, seen, watch = _in_groups(together, particles, keys, pace.group)
    values = jax.vmap(lambda overlaps: jax.lax.map(partial(observed, run.observables), overlaps))(
        seen
    )
    return Trajectory(
        layout.level,
        layout.dimension,
        run.updates / layout.dimension,
        run.updates,
        run.complete(problem, values),
        first,
        last,
        None if watch is None else watch.stopped,
        {
            "precision": run.precision,
            **({"begins": begins} if begins else {}),
            **({"samples": run.samples} if run.samples else {}),
        },
        memory,
    )


def transformed_starts(
    problem: Problem, layout: Layout, replicas: int, key: jax.Array, dtype: Any
) -> Overlaps:
    """Order parameters of random weights, whose numbers may be traced; leading axis replicas."""
    cast = problem.cast(dtype)

    def one(key: jax.Array) -> Overlaps:
        return overlaps_of(random_start(cast, layout, split(key)[0], dtype))

    starts: Overlaps = jax.vmap(one)(_keys_of(key, replicas))
    return starts


def _keys_of(key: jax.Array, replicas: int) -> jax.Array:
    kind = str(jax.random.key_impl(key))
    if kind != "threefry2x32":
        demand = "be a threefry2x32 key under jax.jit, jax.vmap and jax.grad"
        raise reject("key", demand, f"one of {kind}, whose numbers depend on the batch around it")
    return replica_keys(key, jnp.arange(replicas))


def _together(
    problem: Problem, run: Run, dtype: Any, pace: Pace, particles: Particle, keys: jax.Array
) -> tuple[Overlaps, Overlaps | None, Overlaps, Any]:
    """Last order parameters and memory, observed ones, and watches of replicas run together."""
    pace = pace._replace(registers=None)
    motion = motion_of(problem, run.layout, run.stop, pace, dtype, run.optimiser, run.samples)
    observe = jax.vmap(lambda particle: overlaps_of(particle.state))

    def running(particles: Particle) -> jax.Array:
        return jnp.any(particles.watch.stopped == -1)

    particles, seen = scheduled_chunks(
        motion.inputs_of(keys), motion.step, observe, particles, run.updates, pace.chunk,
        None if run.stop is None else running,
    )  # fmt: skip
    seen = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), seen)
    return observe(particles), memory_of(particles), seen, particles.watch


def _in_groups(
    function: Callable[[Particle, jax.Array], Any],
    particles: Particle,
    keys: jax.Array,
    group: int,
) -> Any:
    """Apply a function of some replicas to all of them, in groups of nearly equal size."""
    count = keys.shape[0]
    groups = -(-count // group)
    size = -(-count // groups)
    if groups == 1:
        return function(particles, keys)
    apart = jax.tree.map(
        lambda a: a.reshape(groups, size, *a.shape[1:]), pad((particles, keys), groups * size)
    )
    results = jax.lax.map(lambda group: function(*group), apart)
    return jax.tree.map(lambda a: a.reshape(groups * size, *a.shape[2:])[:count], results)
