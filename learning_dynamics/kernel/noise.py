"""Gaussian noise of a step: all N components, or only the few that the overlaps can see."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from learning_dynamics import random

__all__ = ["bartlett", "chi", "compress", "is_reduced", "reduced_counts", "reduced_noise"]


def chi(key: jax.Array, freedom: Sequence[int], shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Norms of standard normal vectors, one number of components per column; exact.

    One component: |g|. Two: (g^2 + g'^2)^(1/2). More: Marsaglia and Tsang's (2000) rejection for
    the gamma law of shape freedom / 2, all variables at once; its acceptance exceeds 95 % and
    tends to one, so that a second round is rare.

    Returns:
        Array of shape (*shape, len(freedom)).
    """
    count = np.asarray(freedom, np.float64)
    full = (*shape, count.size)
    large = np.broadcast_to(count > 2, full)
    d = jnp.asarray(np.broadcast_to(np.maximum(count, 3) / 2 - 1 / 3, full), dtype)
    c = 1 / jnp.sqrt(9 * d)

    def normals(attempts: jax.Array) -> tuple[jax.Array, ...]:
        drawn = random.normal(random.fold_in(key, attempts), (3, *full), dtype)
        return drawn[0], drawn[1], drawn[2]

    def attempt(carry: Any) -> Any:
        value, done, attempts = carry
        x, g, h = normals(attempts)
        cube = (1 + c * x) ** 3
        positive = cube > 0
        logarithm = jnp.log(jnp.where(positive, cube, 1))
        # -log of a uniform variable is exponential: (g^2 + h^2) / 2
        accept = positive & (-(g * g + h * h) < x * x + 2 * d * (1 - cube + logarithm))
        value = jnp.where(done, value, 2 * d * cube)
        return value, done | accept, attempts + 1

    if large.any():
        start = (jnp.zeros(full, dtype), jnp.asarray(~large), jnp.int32(0))
        square, _, _ = lax.while_loop(lambda carry: ~jnp.all(carry[1]), attempt, start)
    if not large.all():
        x, g, _ = normals(jnp.int32(-1))
        small = x * x + jnp.where(jnp.asarray(np.broadcast_to(count > 1, full)), g * g, 0)
        square = jnp.where(jnp.asarray(large), square, small) if large.any() else small
    return jnp.sqrt(square)


def bartlett_freedoms(rows: int, freedom: int) -> list[int]:
    """Degrees of freedom of the diagonal of a Bartlett factor."""
    return [freedom - i for i in range(min(rows, freedom))]


def bartlett_normals(rows: int, freedom: int) -> int:
    """Number of normal variables below its diagonal."""
    return sum(max(rows - 1 - i, 0) for i in range(min(rows, freedom)))


def bartlett(diagonal: jax.Array, below: jax.Array, rows: int) -> jax.Array:
    """Lower trapezoid T, shape (..., rows, columns), with T T^T ~ Wishart.

    T T^T has the law of Z Z^T, Z with `rows` rows of `freedom` standard normals, also when
    freedom < rows: the diagonal holds chi variables with freedom, freedom - 1, ... degrees of
    freedom, everything below is standard normal (Bartlett 1933).

    Args:
        diagonal: chi variables of `bartlett_freedoms`, shape (..., columns).
        below: standard normal, shape (..., bartlett_normals(rows, freedom)).
        rows: number of rows.
    """
    columns, zero = diagonal.shape[-1], jnp.zeros(diagonal.shape[:-1], diagonal.dtype)
    if columns == 0:
        return jnp.zeros((*diagonal.shape[:-1], rows, 0), diagonal.dtype)
    lines, used = [], 0
    for i in range(rows):
        line = []
        for j in range(columns):
            if i == j:
                line.append(diagonal[..., i])
            elif i > j:
                line.append(below[..., used])
                used += 1
            else:
                line.append(zero)
        lines.append(jnp.stack(line, axis=-1))
    return jnp.stack(lines, axis=-2)


def is_reduced(size: int, neurons: int, noise_vectors: int) -> bool:
    """Whether a block of this dimension is cheaper by its overlaps than by its components."""
    return size > neurons + noise_vectors


def reduced_counts(
    sizes: Sequence[int], counts: Sequence[int], columns: int, rows: int
) -> tuple[int, list[int]]:
    """Normals and chi variables (their degrees of freedom) that `reduced_noise` consumes.

    Args:
        sizes: dimension of the blocks of each reduced group.
        counts: number of blocks of each group.
        columns: leading standard normal columns.
        rows: noise vectors.
    """
    normals, freedoms = 0, []
    for size, count in zip(sizes, counts, strict=True):
        rest = size - columns
        normals += count * (rows * columns + bartlett_normals(rows, rest))
        freedoms += count * bartlett_freedoms(rows, rest)
    return normals, freedoms


def reduced_noise(
    normals: jax.Array,
    chis: jax.Array,
    sizes: Sequence[int],
    counts: Sequence[int],
    columns: int,
    rows: int,
) -> list[jax.Array]:
    """Noise vectors in a frame whose first axes span the weights of a block.

    Of the N_b components of q noise vectors (`rows`) only K + q are needed: the K (`columns`)
    along the weights, standard normal (zeta), and a lower trapezoid T that represents the rest,
    T T^T ~ Wishart_q(N_b - K).

    Args:
        normals: standard normal, shape (..., normals), as many as `reduced_counts` says.
        chis: chi variables, shape (..., chis), likewise.
        sizes: dimension of the blocks of each group.
        counts: number of blocks of each group.
        columns: K.
        rows: q.

    Returns:
        Per group an array of shape (..., blocks, q, K + min(q, N_b - K)).
    """
    lead, found, n, x = normals.shape[:-1], [], 0, 0
    for size, count in zip(sizes, counts, strict=True):
        rest = size - columns
        along = normals[..., n : n + count * rows * columns]
        n += count * rows * columns
        below = normals[..., n : n + count * bartlett_normals(rows, rest)]
        n += below.shape[-1]
        diagonal = chis[..., x : x + count * min(rows, rest)]
        x += diagonal.shape[-1]
        factor = bartlett(
            diagonal.reshape(*lead, count, min(rows, rest)),
            below.reshape(*lead, count, bartlett_normals(rows, rest)),
            rows,
        )
        along = along.reshape(*lead, count, rows, columns)
        found.append(jnp.concatenate([along, factor], axis=-1))
    return found


def compress(rows: jax.Array) -> jax.Array:
    """Lower triangular L, shape (..., K, K), with L L^T = rows rows^T, for K <= width.

    Modified Gram-Schmidt on the rows: no products of small differences, L L^T is positive
    semidefinite by construction, also when rows are (nearly) dependent.
    """
    neurons = rows.shape[-2]
    unit: list[jax.Array] = []
    factor: list[list[jax.Array]] = []
    for k in range(neurons):
        row, line = rows[..., k, :], []
        for u in unit:
            along = jnp.sum(row * u, axis=-1)
            row = row - along[..., None] * u
            line.append(along)
        size = jnp.sqrt(jnp.sum(row * row, axis=-1))
        inverse = jnp.where(size > 0, 1 / jnp.where(size > 0, size, jnp.ones_like(size)), 0)
        unit.append(row * inverse[..., None])
        line.append(size)
        line += [jnp.zeros_like(size)] * (neurons - k - 1)
        factor.append(line)
    return jnp.stack([jnp.stack(line, axis=-1) for line in factor], axis=-2)
