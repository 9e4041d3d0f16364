"""Many replicas: one group after the other, gathered anew where some have stopped."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from learning_dynamics.loop import advance_chunks
from learning_dynamics.process.motion import Motion
from learning_dynamics.process.pace import Pace
from learning_dynamics.pytrees import library_of

__all__ = ["each_group", "in_rounds", "pad"]

_ROUND = 64  # least updates between two sortings of stopped replicas


def each_group(function: Callable[[Any], Any], replicas: Any, pace: Pace, start: jax.Array) -> Any:
    """Apply a function to groups of replicas one after another; results stacked along an axis.

    A single group is held twice, and computed once: the compiler drops axes of length one and loops
    over one group and fuses what is left otherwise, so that the last bits of a replica would
    depend on its company. Wide groups of an accelerator, which are as large as the run, are not.

    Args:
        function: of a tree with leading axis `pace.group`.
        replicas: tree with leading axis replicas.
        pace: with the replicas of a group.
        start: any number that is not negative and not known to the compiler.
    """
    group = pace.group
    groups = jax.tree.map(lambda a: a.reshape(a.shape[0] // group, group, *a.shape[1:]), replicas)
    count = jax.tree.leaves(groups)[0].shape[0]
    if count == 1 and pace.unrolled:
        return jax.tree.map(lambda a: a[None], function(replicas))
    if count == 1:
        groups = jax.tree.map(lambda a: jnp.concatenate([a, a]), groups)
    one = jax.eval_shape(function, jax.tree.map(lambda a: a[0], groups))
    empty = jax.tree.map(lambda a: jnp.zeros((max(count, 2), *a.shape), a.dtype), one)

    def body(index: jax.Array, results: Any) -> Any:
        result = function(jax.tree.map(lambda a: a[index], groups))
        return jax.tree.map(lambda whole, part: whole.at[index].set(part), results, result)

    results = jax.lax.fori_loop(0, jnp.where(start >= 0, count, 0), body, empty)
    return jax.tree.map(lambda a: a[:count], results)


def in_rounds(
    motion: Motion,
    observe: Callable[[Any], Any],
    particles: Any,
    keys: jax.Array,
    targets: jax.Array,
    start: jax.Array,
    pace: Pace,
) -> tuple[Any, Any]:
    """Advance the replicas that still run; observe all of them at the targets.

    Recovery times are heavy-tailed: a fixed group would run until its slowest replica stops. After
    every round of at least `_ROUND` updates the running replicas are gathered into as few groups
    as hold them. The random inputs belong to the replica and its update, so nothing else changes.

    Returns:
        Final particles, and observations with leading axes (replicas, observations).
    """
    count, group, chunk = keys.shape[0], pace.group, pace.chunk
    length = chunk * -(-_ROUND // chunk)

    def running(particles: Any) -> jax.Array:
        going: jax.Array = particles.watch.stopped == -1
        return going

    def round_of(carry: tuple[Any, jax.Array], target: jax.Array) -> Any:
        particles, now = carry
        end = jnp.minimum(target, (now // length + 1) * length)
        going = running(particles)
        order = jnp.argsort(~going, stable=True)

        def advance(index: jax.Array, particles: Any) -> Any:
            lanes = jax.lax.dynamic_slice(order, (index * group,), (group,))
            part = jax.tree.map(lambda leaf: leaf[lanes], particles)
            part = advance_chunks(
                motion.inputs_of(keys[lanes]), motion.step, part, now, end, chunk,
                lambda part: jnp.any(running(part)), pace.unrolled, motion.whole_of(keys[lanes]),
            )  # fmt: skip
            return jax.tree.map(lambda leaf, moved: leaf.at[lanes].set(moved), particles, part)

        groups = -(-jnp.sum(going, dtype=jnp.int32) // group)
        return jax.lax.fori_loop(0, groups, advance, particles), end

    def observation(carry: tuple[Any, jax.Array], target: jax.Array) -> Any:
        particles, now = jax.lax.while_loop(
            lambda carry: (carry[1] < target) & jnp.any(running(carry[0])),
            partial(round_of, target=target),
            carry,
        )
        return (particles, jnp.maximum(now, target)), each_group(observe, particles, pace, start)

    (particles, _), seen = jax.lax.scan(observation, (particles, start), targets)
    return particles, jax.tree.map(
        lambda leaf: jnp.moveaxis(leaf.reshape(leaf.shape[0], count, *leaf.shape[3:]), 0, 1), seen
    )


def pad(tree: Any, count: int) -> Any:
    """Repeat the last entry along the leading axis until it has length `count`."""

    def grow(leaf: Any) -> Any:
        missing = count - leaf.shape[0]
        if missing == 0:
            return leaf
        return library_of(leaf).concatenate([leaf, *([leaf[-1:]] * missing)])

    return jax.tree.map(grow, tree)
