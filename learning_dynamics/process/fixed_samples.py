"""Inputs of updates that use a fixed set of samples again and again."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from learning_dynamics import random
from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.model.rates import at_update
from learning_dynamics.process.draws import Draw, draw_samples
from learning_dynamics.process.layout import Layout
from learning_dynamics.validation import integers, reject

__all__ = ["checked_samples", "draw_again"]

_MOST = 2**30  # samples are numbered like updates


def checked_samples(problem: Problem, level: str, samples: Any) -> int | None:
    """The number of samples of a fixed set, or None for fresh ones.

    Raises:
        ValueError: if it is no whole number from the batch to 2^30, or at the overlaps level.
    """
    if samples is None:
        return None
    if level != "ambient":
        demand = (
            "be left out unless level='ambient': weights that have met a sample before depend on "
            "it, and M and Q do not say how"
        )
        raise reject("samples", demand, f"level={level!r}")
    count = int(integers("samples", samples, least=problem.batch))
    if count > _MOST:
        raise reject("samples", "be at most 2^30", samples)
    return count


def draw_again(
    problem: Problem,
    layout: Layout,
    key: jax.Array,
    dtype: Any,
    first: jax.Array,
    updates: int,
    samples: int,
) -> Draw:
    """Inputs of updates of one replica, drawn with replacement from its `samples` samples.

    Sample s is a function of the key and s and is made anew whenever it is used: a set takes no
    memory. Arguments and result as of `draw_samples`.
    """
    data, choice = random.fold_in(key, 0), random.fold_in(key, 1)
    single = changed(problem, batch=1)
    numbers = first + random.row_numbers(updates)

    def chosen(number: jax.Array) -> jax.Array:
        own = random.fold_in(choice, number)
        return jax.random.randint(own, (problem.batch,), 0, samples, dtype=jnp.int32)

    def sample(now: Problem, number: jax.Array) -> Draw:
        pair = draw_samples(now, layout, data, dtype, number // 2 * 2, 2)
        return jax.tree.map(lambda leaf: leaf[number % 2], pair)

    def of_update(number: jax.Array) -> Draw:
        """A protocol reads the number of the update; the sample has one of its own."""
        now = at_update(single, number, layout.dimension, dtype) if problem.protocol else single
        return jax.vmap(partial(sample, now))(chosen(number))

    each = jax.vmap(of_update)(numbers)
    signal, label = jax.tree.map(partial(jnp.squeeze, axis=2), (each.signal, each.label))
    noise = tuple(
        jnp.moveaxis(part, 1, 2).reshape(updates, part.shape[2], -1, part.shape[-1])
        for part in each.noise
    )
    rest = tuple(part[:, 0] for part in each.rest)
    return Draw(signal, label, noise, rest)
