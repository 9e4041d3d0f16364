"""Compiled runs of many replicas: groups of a fixed size, shared out over devices."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import ArrayLike

from learning_dynamics import random
from learning_dynamics.compilation import compiled
from learning_dynamics.loop import observed_chunks
from learning_dynamics.model.overlaps import Overlaps, State, overlaps_of
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_update
from learning_dynamics.process.draws import draw_samples
from learning_dynamics.process.fixed_samples import draw_again
from learning_dynamics.process.groups import each_group, in_rounds
from learning_dynamics.process.layout import Layout, Numbers
from learning_dynamics.process.optimiser import Optimiser, descend, fresh_memory
from learning_dynamics.process.pace import Pace
from learning_dynamics.process.short_sums import with_short_sums_added
from learning_dynamics.process.starts import random_start
from learning_dynamics.process.steps import at_rest
from learning_dynamics.process.stopping import Stop, start_watch, watch
from learning_dynamics.process.update import update

__all__ = ["Observables", "Particle", "advance", "begin", "memory_of"]
__all__ += ["motion", "observed", "replica_keys", "split", "start_particles"]


Observables = tuple[tuple[str, Callable[[Overlaps], jax.Array]], ...]


class Particle(NamedTuple):
    """One replica.

    Attributes:
        state: weights and parameters.
        watch: what its stop condition has seen, None without one.
        memory: of its optimiser, or V of a momentum; None without one.
    """

    state: State
    watch: Any = None
    memory: Any = None


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


def replica_keys(key: jax.Array, replicas: ArrayLike) -> jax.Array:
    """Key of each replica: `fold_in(key, replica)`."""
    return jax.vmap(partial(random.fold_in, key))(replicas)


def split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys of the start and of the path of a replica."""
    return random.fold_in(key, 0), random.fold_in(key, 1)


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


def motion(
    problem: Problem,
    layout: Layout,
    stop: Stop | None,
    pace: Pace,
    dtype: Any,
    optimiser: Optimiser | None = None,
    samples: int | None = None,
) -> tuple[
    Callable[[jax.Array], Callable[[jax.Array], Any]],
    Callable[[Particle, Any, jax.Array], Particle],
]:
    """Random inputs and update of a group of replicas: the code of every run.

    Returns:
        Function of the keys of the group, giving one of the number of an update, giving the inputs
        of a chunk of updates from there on with leading axes (updates, replicas); and update of
        the particles with one row of them, given the number of the update.
    """

    def draw(keys: jax.Array, first: jax.Array) -> Any:
        def one(key: jax.Array) -> Any:
            if samples is not None:
                return draw_again(problem, layout, key, dtype, first, pace.chunk, samples)
            return draw_samples(problem, layout, key, dtype, first, pace.chunk, pace.tries)

        if keys.shape[0] == 1:  # spares a copy of all inputs
            return jax.tree.map(lambda leaf: leaf[:, None], one(keys[0]))
        return jax.vmap(one, out_axes=1)(keys)

    def step(particle: Particle, inputs: Any, number: jax.Array) -> Particle:
        before = particle.state, particle.memory
        now = at_update(problem, number, layout.dimension, dtype)
        if optimiser is None:
            after = update(now, layout, particle.state, inputs, particle.memory)
        else:
            after = descend(now, layout, optimiser, *before, inputs)
        if stop is None:
            return Particle(after[0], None, after[1])
        stopped = particle.watch.stopped != -1
        state, memory = jax.tree.map(partial(jnp.where, stopped), before, after)
        return Particle(state, watch(stop, particle.watch, state), memory)

    def inputs_of(keys: jax.Array) -> Callable[[jax.Array], Any]:
        return partial(draw, jax.vmap(lambda key: split(key)[1])(keys))

    return inputs_of, jax.vmap(step, (0, 0, None))


@lru_cache(maxsize=64)
def advance(
    layout: Layout,
    observables: Observables,
    stop: Any,
    pace: Pace,
    dtype: Any,
    mesh: Mesh,
    optimiser: Optimiser | None = None,
    samples: int | None = None,
) -> Callable[..., tuple[Particle, dict[str, jax.Array]]]:
    """Compiled evolution (problem, numbers, particles, keys, targets, start) -> (particles, seen).

    Leading axes: replicas for particles and keys; (replicas, observations) for what was seen.
    """

    def groups(
        problem: Problem,
        numbers: Numbers | None,
        particles: Particle,
        keys: jax.Array,
        targets: Any,
        start: Any,
    ) -> Any:
        problem, at = problem.cast(dtype), layout._replace(numbers=numbers)
        inputs_of, step = motion(problem, at, stop, pace, dtype, optimiser, samples)
        step = with_short_sums_added(step) if pace.added else step

        def observe(particle: Particle) -> dict[str, jax.Array]:
            return observed(observables, overlaps_of(particle.state))

        if stop is not None:
            return in_rounds(
                inputs_of, step, jax.vmap(observe), particles, keys, targets, start, pace
            )  # fmt: skip

        def together(batch: tuple[Particle, jax.Array]) -> Any:
            particles, keys = batch
            return observed_chunks(
                inputs_of(keys), step, jax.vmap(observe), particles, targets, start,
                pace.chunk, pace.unrolled,
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
        in_specs=(shared, shared, own, own, shared, shared),
        out_specs=(own, own),
        check_vma=False,
    )
    return compiled(parallel)


def replica_mesh(devices: Any) -> Mesh:
    """One-dimensional mesh of devices."""
    return Mesh(np.asarray(devices), ("replicas",))
