"""Random inputs of updates by their numbers, and their reduced noise."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics import random
from learning_dynamics.model.latent import draw_updates
from learning_dynamics.model.latents import Normal
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_update
from learning_dynamics.process.layout import Layout, mixing_shape
from learning_dynamics.process.reduced_noise import (
    ATTEMPT,
    chi,
    reduced_noise,
    reduced_normals,
)

__all__ = ["Draw", "draw_samples", "drawn_noise", "noise_key", "noise_normals"]


NOISE = 1  # stream of a replica that all noise comes from which is not in its pool of normals
FULL = 2**31  # first of the streams of full noise vectors in there


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


def draw_samples(
    problem: Problem,
    layout: Layout,
    key: jax.Array,
    dtype: Any,
    first: jax.Array,
    updates: int,
    tries: int = 1,
) -> Draw:
    """Inputs of the updates of one replica with numbers first + `random.row_numbers(updates)`.

    Those of an update depend on the key and its number alone. All normal variables but the full
    noise vectors come from one call of the generator.

    Args:
        problem: inputs and learner.
        layout: structure of the draws.
        key: typed random key of the replica.
        dtype: floating-point type.
        first: number of the first update, even, int32 scalar.
        updates: number of updates, even.
        tries: as in `chi`.

    Returns:
        Arrays as in `Draw` with a leading axis of length `updates`.
    """
    lead = (updates, problem.batch)
    q = mixing_shape(problem)[1]
    variables = sorted(problem.all_latents().items())
    normal = [(name, v) for name, v in variables if getattr(type(v), "draw", None) is Normal.draw]
    sizes = {name: math.prod(v.shape) for name, v in normal}
    along, freedoms = noise_normals(layout, layout.columns, problem.batch * q, layout.rows)
    own = problem.batch * sum(sizes.values())
    count = own + along + ATTEMPT * len(freedoms)
    others = [(2 + i, *each) for i, each in enumerate(variables) if each[0] not in sizes]
    numbers = [number for number, *_ in others]
    of_pool, of_noise, *of_latents = random.streams(key, [0, NOISE, *numbers])
    pool = random.normal(of_pool, (updates, count), dtype, first=first)
    latents, taken = {}, 0
    for name, v in normal:
        part = pool[:, taken : taken + problem.batch * sizes[name]]
        latents[name] = part.reshape(*lead, *v.shape)
        taken += part.shape[-1]
    for (_, name, latent), stream in zip(others, of_latents, strict=True):
        latents[name] = draw_updates(latent, stream, first, updates, lead[1:], dtype)
    if problem.protocol:

        def of_update(number: jax.Array, latents: Any) -> Any:
            now = at_update(problem, number, layout.dimension, dtype)
            return jax.vmap(now.signal, axis_size=problem.batch)(latents)

        signal, label = jax.vmap(of_update)(first + random.row_numbers(updates), latents)
    elif latents:
        signal, label = jax.vmap(jax.vmap(problem.signal))(latents)
    else:
        constant = problem.signal({})
        signal, label = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (*lead, *leaf.shape)), constant
        )
    sizes_of_frame = (layout.columns, problem.batch * q, layout.rows)
    noise, rest = drawn_noise(
        layout, of_noise, pool[:, own:], freedoms, *sizes_of_frame, first, tries
    )
    return Draw(signal, label, noise, rest)


def noise_key(key: jax.Array, group: int) -> jax.Array:
    """Key of the full noise vectors of a group of blocks of a replica.

    They are `random.normal(noise_key(key, group), (updates, blocks, vectors, size), first=first)`.
    """
    return random.fold_in(random.fold_in(key, NOISE), FULL + group)


def noise_normals(layout: Layout, columns: int, vectors: int, rows: int) -> tuple[int, Any]:
    """Number of normal variables per draw of the reduced noise, and freedoms of its chi's."""
    chosen = [i for i, small in enumerate(layout.reduced) if small]
    sizes, counts = [layout.sizes[i] for i in chosen], [layout.counts[i] for i in chosen]
    normals = reduced_normals(sizes, counts, columns, vectors, rows)
    return normals, layout.freedoms(columns, rows)


def drawn_noise(
    layout: Layout,
    key: jax.Array,
    normals: jax.Array,
    freedoms: Any,
    columns: int,
    vectors: int,
    rows: int,
    first: jax.Array | None = None,
    tries: int = 1,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Noise vectors per group of blocks, full or reduced, and `Draw.rest`; lead of `normals`.

    Args:
        layout: structure of the draws.
        key: typed random key of all that is not in `normals`.
        normals: those of `noise_normals`, then `ATTEMPT` for each chi variable.
        freedoms: of the chi variables.
        columns: components along the weights.
        vectors: noise vectors.
        rows: rows of the Wishart factors.
        first: number of the first row, as in `random.normal`.
        tries: as in `chi`.
    """
    lead, dtype = normals.shape[:-1], normals.dtype
    chosen = [i for i, small in enumerate(layout.reduced) if small]
    short: list[tuple[jax.Array, jax.Array]] = []
    if chosen:
        split = normals.shape[-1] - ATTEMPT * len(freedoms)
        attempts = normals[..., split:]
        chis = chi(key, freedoms, attempts, first, tries) if len(freedoms) else attempts
        sizes, counts = [layout.sizes[i] for i in chosen], [layout.counts[i] for i in chosen]
        short = reduced_noise(normals[..., :split], chis, sizes, counts, columns, vectors, rows)
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
            own = random.fold_in(key, FULL + i)
            part = random.normal(own, (*lead, count, vectors, size), dtype, first=first)
        noise.append(part)
        rest.append(beyond)
    return tuple(noise), tuple(rest)
