"""Random inputs of the updates of one chunk, and their reduced noise."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics import random
from learning_dynamics.model.latents import Normal
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.layout import Layout, mixing_shape
from learning_dynamics.process.reduced_noise import chi, reduced_counts, reduced_noise

__all__ = ["Draw", "draw_samples", "drawn_noise", "reduced_normals"]


class Draw(NamedTuple):
    """Random inputs of one update.

    Attributes:
        signal: C, shape (batch, p, r).
        label: pytree with leading axis batch.
        noise: per group of blocks, shape (blocks, batch * q, width).
        rest: per group of blocks, shape (blocks, rows, width'), what `noise` leaves out: K
            combinations of the vectors in axes beyond those of the weights; zero columns where
            `noise` holds them.
    """

    signal: jax.Array
    label: Any
    noise: tuple[jax.Array, ...]
    rest: tuple[jax.Array, ...]


def draw_samples(problem: Problem, layout: Layout, key: jax.Array, dtype: Any) -> Draw:
    """Inputs of one chunk of updates: arrays as in `Draw` with a leading axis `layout.chunk`.

    All normal variables but the full noise vectors come from one call of the generator.
    """
    lead = (layout.chunk, problem.batch)
    q = mixing_shape(problem)[1]
    variables = sorted(problem.all_latents().items())
    normal = [(name, v) for name, v in variables if isinstance(v, Normal)]
    sizes = {name: math.prod(v.shape) for name, v in normal}
    along, freedoms = reduced_normals(layout, layout.columns, problem.batch * q, layout.rows)
    own = problem.batch * sum(sizes.values())
    pool = random.normal(random.fold_in(key, 0), (layout.chunk, own + along), dtype)
    latents, first = {}, 0
    for name, v in normal:
        part = pool[:, first : first + problem.batch * sizes[name]]
        latents[name] = part.reshape(*lead, *v.shape)
        first += part.shape[-1]
    for i, (name, latent) in enumerate(variables):
        if name not in sizes:
            latents[name] = latent.draw(random.fold_in(key, 2 + i), lead, dtype)
    if latents:
        signal, label = jax.vmap(jax.vmap(problem.signal))(latents)
    else:
        constant = problem.signal({})
        signal, label = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (*lead, *leaf.shape)), constant
        )
    noise_key = random.fold_in(key, 1)
    sizes_of_frame = (layout.columns, problem.batch * q, layout.rows)
    noise, rest = drawn_noise(layout, noise_key, pool[:, own:], freedoms, *sizes_of_frame, dtype)
    return Draw(signal, label, noise, rest)


def reduced_normals(layout: Layout, neurons: int, vectors: int, rows: int) -> tuple[int, list[int]]:
    """Number of normal variables per draw of the reduced noise, and freedoms of its chi's."""
    chosen = [i for i, small in enumerate(layout.reduced) if small]
    sizes, counts = [layout.sizes[i] for i in chosen], [layout.counts[i] for i in chosen]
    return reduced_counts(sizes, counts, neurons, vectors, rows)


def drawn_noise(
    layout: Layout,
    key: jax.Array,
    normals: jax.Array,
    freedoms: list[int],
    columns: int,
    vectors: int,
    rows: int,
    dtype: Any,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Noise vectors per group of blocks, full or reduced, and `Draw.rest`; lead of `normals`."""
    lead = normals.shape[:-1]
    chosen = [i for i, small in enumerate(layout.reduced) if small]
    short: list[tuple[jax.Array, jax.Array]] = []
    if chosen:
        chis = chi(key, freedoms, lead, dtype) if freedoms else jnp.zeros((*lead, 0), dtype)
        sizes, counts = [layout.sizes[i] for i in chosen], [layout.counts[i] for i in chosen]
        short = reduced_noise(normals, chis, sizes, counts, columns, vectors, rows)
    noise, rest = [], []
    for i, (size, count, small) in enumerate(
        zip(layout.sizes, layout.counts, layout.reduced, strict=True)
    ):
        beyond = jnp.zeros((*lead, count, 0, 0), dtype)
        if small:
            part, factor = short[chosen.index(i)]
            if rows == vectors:
                part = jnp.concatenate([part, factor], axis=-1)
            else:
                beyond = factor
        else:
            own = random.fold_in(key, 2**31 + i)
            part = random.normal(own, (*lead, count, vectors, size), dtype)
        noise.append(part)
        rest.append(beyond)
    return tuple(noise), tuple(rest)
