"""Compiled runs of many replicas: groups of a fixed size, shared out over devices."""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from learning_dynamics.compilation import compiled
from learning_dynamics.loop import observed_chunks
from learning_dynamics.model.overlaps import Overlaps, State, overlaps_of
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.entries import UnsupportedError
from learning_dynamics.process.groups import each_group, in_rounds
from learning_dynamics.process.layout import Layout, Numbers
from learning_dynamics.process.motion import Particle, motion_of, split
from learning_dynamics.process.optimiser import Optimiser, fresh_memory
from learning_dynamics.process.pace import Pace
from learning_dynamics.process.short_sums import with_short_sums_added
from learning_dynamics.process.starts import random_start
from learning_dynamics.process.steps import at_rest
from learning_dynamics.process.stopping import Stop, start_watch

__all__ = ["Observables", "advance", "begin", "memory_of", "observed", "replica_mesh"]
__all__ += ["start_particles"]


IN_REGISTERS = 64  # updates of one call of a kernel

Observables = tuple[tuple[str, Callable[[Overlaps], jax.Array]], ...]


def start_particles(
    problem: Problem,
    layout: Layout,
    states: State,
    stop: Stop | None,
    optimiser: Optimiser | None,
    velocity: State | None = None,
) -> Particle:
    """Particles before the first update, from states with a leading replica axis."""
    fresh = None if stop is None else start_watch(states.signal.shape[0])
    if velocity is None:
        states, velocity = at_rest(problem, layout, states)
    memory = velocity if optimiser is None else fresh_memory(optimiser, problem, states)
    return Particle(states, fresh, memory)


def memory_of(particles: Particle) -> Overlaps | None:
    """Order parameters of the rows of W and of the memory V of a momentum, leading axis replicas.

    The parameters are the velocities of those that move.
    """
    state, velocity = particles.state, particles.memory
    if not isinstance(velocity, State):
        return None
    signal, noise = jax.tree.map(
        lambda w, v: jnp.concatenate([w, v], axis=-2),
        (state.signal, state.noise),
        (velocity.signal, velocity.noise),
    )
    joint: Overlaps = jax.vmap(overlaps_of)(State(signal, noise, velocity.parameters))
    return joint


@lru_cache(maxsize=64)
def begin(layout: Layout, dtype: Any, mesh: Mesh) -> Callable[..., State]:
    """Compiled random starts: (problem, numbers, keys) -> states with a leading replica axis."""

    def start(problem: Problem, numbers: Numbers | None, keys: jax.Array) -> State:
        problem, at = problem.cast(dtype), layout._replace(numbers=numbers)
        return jax.vmap(lambda key: random_start(problem, at, split(key)[0], dtype))(keys)

    return compiled(start, out_shardings=NamedSharding(mesh, PartitionSpec("replicas")))


def observed(observables: Observables, overlaps: Overlaps) -> dict[str, jax.Array]:
    """What is recorded of one replica."""
    return {name: function(overlaps) for name, function in observables}


@lru_cache(maxsize=64)
def advance(
    layout: Layout,
    observables: Observables,
    pace: Pace,
    dtype: Any,
    mesh: Mesh,
    optimiser: Optimiser | None = None,
    samples: int | None = None,
) -> Callable[..., tuple[Particle, dict[str, jax.Array]]]:
    """Compiled evolution: particles and observations.

    Its arguments are (problem, numbers, stop, particles, keys, targets, start). Leading axes:
    replicas for particles and keys; (replicas, observations) for the observations.
    """

    def groups(
        problem: Problem,
        numbers: Numbers | None,
        stop: Stop | None,
        particles: Particle,
        keys: jax.Array,
        targets: Any,
        start: Any,
    ) -> Any:
        problem, at = problem.cast(dtype), layout._replace(numbers=numbers)
        arguments = stop, particles, keys, targets, start
        if pace.registers is not None and optimiser is None and samples is None:
            everything = pace._replace(group=keys.shape[0], chunk=IN_REGISTERS)
            with suppress(UnsupportedError):
                return run(problem, at, everything, *arguments)
        return run(problem, at, pace._replace(registers=None), *arguments)

    def run(
        problem: Problem, layout: Layout, pace: Pace, stop: Stop | None, particles: Particle,
        keys: jax.Array, targets: Any, start: Any,
    ) -> Any:  # fmt: skip
        motion = motion_of(problem, layout, stop, pace, dtype, optimiser, samples)
        if pace.added:
            motion = motion._replace(step=with_short_sums_added(motion.step))

        def observe(particle: Particle) -> dict[str, jax.Array]:
            return observed(observables, overlaps_of(particle.state))

        if stop is not None:
            return in_rounds(motion, jax.vmap(observe), particles, keys, targets, start, pace)

        def together(batch: tuple[Particle, jax.Array]) -> Any:
            particles, keys = batch
            return observed_chunks(
                motion.inputs_of(keys), motion.step, jax.vmap(observe), particles, targets, start,
                pace.chunk, pace.unrolled, motion.whole_of(keys),
            )  # fmt: skip

        last, seen = each_group(together, (particles, keys), pace, start)
        count = keys.shape[0]  # by name: an array may be empty
        last = jax.tree.map(lambda a: a.reshape(count, *a.shape[2:]), last)
        seen = jax.tree.map(
            lambda a: jnp.moveaxis(a, 1, 2).reshape(count, a.shape[1], *a.shape[3:]), seen
        )
        return last, seen

    shared, own = PartitionSpec(), PartitionSpec("replicas")
    parallel = jax.shard_map(
        groups,
        mesh=mesh,
        in_specs=(shared, shared, shared, own, own, shared, shared),
        out_specs=(own, own),
        check_vma=False,
    )
    return compiled(parallel)


def replica_mesh(devices: Any) -> Mesh:
    """One-dimensional mesh of devices."""
    return Mesh(np.asarray(devices), ("replicas",))
