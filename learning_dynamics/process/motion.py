"""Random inputs and updates of a group of replicas: the code of every run."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics import random
from learning_dynamics.model.overlaps import State
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_update
from learning_dynamics.process.draws import draw_samples, noise_key
from learning_dynamics.process.fixed_samples import draw_again
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.one_kernel import advance_in_registers
from learning_dynamics.process.optimiser import Optimiser, descend
from learning_dynamics.process.pace import Pace
from learning_dynamics.process.stopping import Stop, watch
from learning_dynamics.process.update import update
from learning_dynamics.pytrees import is_traced

__all__ = ["Motion", "Particle", "motion_of", "replica_keys", "split"]

MOST_ON_HOST = 2**20  # replicas whose keys are worked out without a compiled program


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


class Motion(NamedTuple):
    """How a group of replicas is advanced.

    Attributes:
        inputs_of: of the keys of the group: a function of the number of an update, which gives the
            inputs of a chunk of updates from there on with leading axes (updates, replicas).
        step: of the particles, one row of the inputs and the number of the update.
        whole_of: of the keys of the group: all updates of a chunk in one kernel, as
            `loop.advance_chunks` takes them, or None.
    """

    inputs_of: Callable[[jax.Array], Callable[[jax.Array], Any]]
    step: Callable[[Any, Any, jax.Array], Any]
    whole_of: Callable[[jax.Array], Any]


def replica_keys(key: jax.Array, replicas: ArrayLike) -> jax.Array:
    """Key of each replica: `fold_in(key, replica)`."""
    threefry = str(jax.random.key_impl(key)) == "threefry2x32"
    if is_traced((key, replicas)) or not threefry or np.size(replicas) > MOST_ON_HOST:
        return jax.vmap(partial(random.fold_in, key))(replicas)
    # without a program, which would be compiled for every number of replicas
    words, low = np.asarray(jax.random.key_data(key)), np.asarray(replicas, np.uint32)
    both = random.threefry2x32((words[:1], words[1:]), (np.zeros_like(low), low))
    return jax.random.wrap_key_data(jnp.asarray(np.stack(both, axis=-1)), impl="threefry2x32")


def split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys of the start and of the path of a replica."""
    return random.fold_in(key, 0), random.fold_in(key, 1)


def motion_of(
    problem: Problem,
    layout: Layout,
    stop: Stop | None,
    pace: Pace,
    dtype: Any,
    optimiser: Optimiser | None = None,
    samples: int | None = None,
) -> Motion:
    """Random inputs and updates of a group of replicas.

    Kernels are used where the pace has `registers`, and interpreted on a CPU, for tests.
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

    def paths(keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: split(key)[1])(keys)

    def whole_of(keys: jax.Array) -> Any:
        registers = pace.registers
        if registers is None:
            return None
        without_noise = layout._replace(sizes=(), counts=(), reduced=())
        keys = paths(keys)
        words = [
            jax.random.key_data(jax.vmap(partial(noise_key, group=i))(keys))
            for i in range(len(layout.sizes))
        ]

        def whole(particles: Particle, *bounds: jax.Array) -> Any:
            first = bounds[0]
            inputs = jax.vmap(
                lambda key: draw_samples(
                    problem, without_noise, key, dtype, first, pace.chunk, pace.tries
                )
            )(keys)
            running = None if stop is None else lambda one: one.watch.stopped == -1
            return advance_in_registers(
                step, particles, inputs, words, bounds, layout, registers, running,
                interpret=jax.default_backend() == "cpu",
            )  # fmt: skip

        return whole

    return Motion(lambda keys: partial(draw, paths(keys)), jax.vmap(step, (0, 0, None)), whole_of)
