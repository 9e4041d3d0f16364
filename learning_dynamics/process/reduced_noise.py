"""Gaussian noise of a step: all N components, or only the few that the overlaps can see."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from learning_dynamics import random
from learning_dynamics.pytrees import library_of

UNROLLED = 6  # rows up to which Gram-Schmidt is unrolled
ATTEMPT = 3  # normal variables of one attempt at a chi variable

__all__ = ["bartlett", "chi", "compress", "gram_factor", "is_reduced", "reduced_freedoms"]
__all__ += ["reduced_noise", "reduced_normals"]


def chi(
    key: jax.Array,
    freedom: Sequence[int] | jax.Array,
    normals: jax.Array,
    first: jax.Array | None = None,
    tries: int = 1,
) -> jax.Array:
    """Norms of standard normal vectors, one number of components per column; exact.

    One component: |g|. Two: (g^2 + g'^2)^(1/2). More: Marsaglia and Tsang's (2000) rejection for
    the gamma law of shape freedom / 2, all variables at once; its acceptance exceeds 95 % and
    tends to one, so that a third round is rare.

    Args:
        key: typed random key of all attempts but the first one.
        freedom: numbers of components; an array stands for some that are larger than two.
        normals: standard normal variables of the first attempt, shape
            (*shape, ATTEMPT * len(freedom)).
        first: number of the first row of later attempts, as in `random.normal`.
        tries: attempts that are made before it is asked whether more are needed. Changes nothing
            but the speed.

    Returns:
        Array of shape (*shape, len(freedom)).
    """
    dtype = normals.dtype
    if isinstance(freedom, jax.Array):
        count, several = np.full(freedom.shape, 3.0), freedom.astype(dtype)
    else:
        count = np.asarray(freedom, np.float64)
        several = np.maximum(count, 3)
    full = (*normals.shape[:-1], count.size)
    large = np.broadcast_to(count > 2, full)
    shape = jnp.asarray(several / 2 - 1 / 3, dtype)
    d, c = (jnp.broadcast_to(part, full) for part in (shape, 1 / jnp.sqrt(9 * shape)))

    def parts(drawn: jax.Array) -> list[jax.Array]:
        return [drawn[..., i * count.size : (i + 1) * count.size] for i in range(ATTEMPT)]

    def attempt(value: jax.Array, done: jax.Array, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, g, h = parts(drawn)
        cube = (1 + c * x) ** 3
        positive = cube > 0
        logarithm = jnp.log(jnp.where(positive, cube, 1))
        # -log of a uniform variable is exponential: (g^2 + h^2) / 2
        accept = positive & (-(g * g + h * h) < x * x + 2 * d * (1 - cube + logarithm))
        return jnp.where(done, value, 2 * d * cube), done | accept

    def again(carry: Any) -> Any:
        value, done, attempts = carry
        own = random.fold_in(key, attempts)
        drawn = random.normal(own, normals.shape, dtype, first=first)
        return *attempt(value, done, drawn), attempts + 1

    if large.any():
        start = attempt(jnp.zeros(full, dtype), jnp.asarray(~large), normals)
        carry = (*start, jnp.int32(1))
        for _ in range(1, tries):
            carry = again(carry)
        square, _, _ = lax.while_loop(lambda carry: ~jnp.all(carry[1]), again, carry)
    if not large.all():
        x, g, _ = parts(normals)
        small = x * x + jnp.where(jnp.asarray(np.broadcast_to(count > 1, full)), g * g, 0)
        square = jnp.where(jnp.asarray(large), square, small) if large.any() else small
    return jnp.sqrt(square)


def reduced_freedoms(
    sizes: Sequence[Any], shapes: Sequence[int], counts: Sequence[int], columns: int, rows: int
) -> Any:
    """Degrees of freedom of the chi variables that `reduced_noise` consumes.

    Those on the diagonal of a Bartlett factor of each block: N_b - columns - i.

    Args:
        sizes: dimension N_b of the blocks of each reduced group; arrays in a program of any N.
        shapes: the same, or what stands for it where only the number of rows counts.
        counts: number of blocks of each group.
        columns: leading standard normal columns.
        rows: rows of the Wishart factor.

    Returns:
        A list, or an array if the sizes are arrays.
    """
    freedoms: list[Any] = []
    for size, shape, count in zip(sizes, shapes, counts, strict=True):
        freedoms += count * [size - columns - i for i in range(min(rows, shape - columns))]
    traced = any(isinstance(freedom, jax.Array) for freedom in freedoms)
    return jnp.stack(freedoms) if traced else freedoms


def bartlett_normals(rows: int, freedom: int) -> int:
    """Number of normal variables below its diagonal."""
    return sum(max(rows - 1 - i, 0) for i in range(min(rows, freedom)))


def bartlett(diagonal: jax.Array, below: jax.Array, rows: int) -> jax.Array:
    """Lower trapezoid T, shape (..., rows, columns), with T T^T ~ Wishart.

    T T^T has the law of Z Z^T, Z with `rows` rows of `freedom` standard normals, also when
    freedom < rows: the diagonal holds chi variables with freedom, freedom - 1, ... degrees of
    freedom, everything below is standard normal (Bartlett 1933).

    Args:
        diagonal: chi variables of `reduced_freedoms`, shape (..., columns).
        below: standard normal, shape (..., bartlett_normals(rows, freedom)).
        rows: number of rows.
    """
    columns = diagonal.shape[-1]
    index = np.full((rows, columns), diagonal.shape[-1] + below.shape[-1])  # the zero at the end
    index[np.arange(columns), np.arange(columns)] = np.arange(columns)
    lower = np.tril_indices(rows, -1, columns)
    index[lower] = columns + np.arange(lower[0].size)
    zero = jnp.zeros((*diagonal.shape[:-1], 1), diagonal.dtype)
    used = below[..., : lower[0].size]
    return jnp.concatenate([diagonal, used, zero], axis=-1)[..., index]


def is_reduced(size: int, neurons: int, rows: int) -> bool:
    """Whether a block of this dimension is cheaper by its overlaps than by its components."""
    return size > neurons + rows


def reduced_normals(
    sizes: Sequence[int], counts: Sequence[int], columns: int, vectors: int, rows: int
) -> int:
    """Normal variables that `reduced_noise` consumes; those of the chi variables not counted.

    Args:
        sizes: dimension of the blocks of each reduced group.
        counts: number of blocks of each group.
        columns: leading standard normal columns.
        vectors: noise vectors.
        rows: rows of the Wishart factor.
    """
    normals = 0
    for size, count in zip(sizes, counts, strict=True):
        normals += count * (vectors * columns + bartlett_normals(rows, size - columns))
    return normals


def reduced_noise(
    normals: jax.Array,
    chis: jax.Array,
    sizes: Sequence[int],
    counts: Sequence[int],
    columns: int,
    vectors: int,
    rows: int,
) -> list[tuple[jax.Array, jax.Array]]:
    """Noise vectors in a frame whose first axes span the weights of a block.

    Of the N_b components of the noise `vectors` z only those along the weights, K (`columns`) of
    them, are needed one by one: standard normal (zeta). A lower trapezoid T stands for the rest,

        T T^T ~ Wishart_rows(N_b - K).

    With as many rows as vectors T holds the vectors' components in the next axes. With fewer rows
    it is those of an orthonormal set of combinations of the vectors.

    Args:
        normals: standard normal, shape (..., normals), as many as `reduced_normals` says.
        chis: chi variables, shape (..., chis), of `reduced_freedoms`.
        sizes: dimension of the blocks of each group.
        counts: number of blocks of each group.
        columns: K.
        vectors: noise vectors.
        rows: rows of T.

    Returns:
        Per group zeta, shape (..., blocks, vectors, K), and T, (..., blocks, rows,
        min(rows, N_b - K)).
    """
    lead, drawn, n, x = normals.shape[:-1], [], 0, 0
    for size, count in zip(sizes, counts, strict=True):
        rest = size - columns
        along = normals[..., n : n + count * vectors * columns]
        n += count * vectors * columns
        below = normals[..., n : n + count * bartlett_normals(rows, rest)]
        n += below.shape[-1]
        diagonal = chis[..., x : x + count * min(rows, rest)]
        x += diagonal.shape[-1]
        factor = bartlett(
            diagonal.reshape(*lead, count, min(rows, rest)),
            below.reshape(*lead, count, bartlett_normals(rows, rest)),
            rows,
        )
        drawn.append((along.reshape(*lead, count, vectors, columns), factor))
    return drawn


def compress(rows: jax.Array) -> jax.Array:
    """Lower triangular L, shape (..., K, K), with L L^T = rows rows^T, for K <= width.

    Modified Gram-Schmidt on the rows: no products of small differences, L L^T is positive
    semidefinite by construction, also when rows are (nearly) dependent. Unrolled for few rows,
    which is fastest; a loop for many, whose compilation would take minutes.
    """
    return _unrolled(rows) if rows.shape[-2] <= UNROLLED else _looped(rows)


def gram_factor(gram: Any) -> Any:
    """Lower triangular L, shape (..., K, K), with L L^T = R and a diagonal that is not negative.

    Cholesky's factor, also of a singular R: a row that is a combination of earlier ones, to
    rounding, has a column of zeros. A smooth function of R while the rank stays, so that runs from
    neighbouring starts with equal random numbers stay neighbours.

    Args:
        gram: R, symmetric and positive semidefinite, of NumPy or JAX.
    """
    library = library_of(gram)
    neurons = gram.shape[-1]
    rounding = neurons * float(np.finfo(gram.dtype).eps)
    left, columns = gram, []
    for k in range(neurons):
        pivot = left[..., k, k]
        regular = pivot > rounding * gram[..., k, k]
        size = library.sqrt(library.where(regular, pivot, library.ones_like(pivot)))
        below = library.where(regular[..., None], left[..., k:, k] / size[..., None], 0)
        column = library.concatenate([library.zeros_like(left[..., :k, k]), below], axis=-1)
        left = left - column[..., :, None] * column[..., None, :]
        columns.append(column)
    return library.stack(columns, axis=-1)


@jax.custom_jvp
def root(square: jax.Array) -> jax.Array:
    """Square root whose derivative is zero, not infinite, where it is zero: rows without length."""
    return jnp.sqrt(square)


@root.defjvp
def _root_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    value = jnp.sqrt(primals[0])
    return value, tangents[0] * _inverse(value) / 2


def _inverse(size: jax.Array) -> jax.Array:
    return jnp.where(size > 0, 1 / jnp.where(size > 0, size, jnp.ones_like(size)), 0)


def _unrolled(rows: jax.Array) -> jax.Array:
    neurons = rows.shape[-2]
    unit: list[jax.Array] = []
    factor: list[list[jax.Array]] = []
    for k in range(neurons):
        row, line = rows[..., k, :], []
        for u in unit:
            along = jnp.sum(row * u, axis=-1)
            row = row - along[..., None] * u
            line.append(along)
        size = root(jnp.sum(row * row, axis=-1))
        unit.append(row * _inverse(size)[..., None])
        line.append(size)
        line += [jnp.zeros_like(size)] * (neurons - k - 1)
        factor.append(line)
    return jnp.stack([jnp.stack(line, axis=-1) for line in factor], axis=-2)


def _looped(rows: jax.Array) -> jax.Array:
    """Row by row, its direction is taken out of all later rows at once."""
    neurons = rows.shape[-2]
    later = jnp.arange(neurons)

    def column(left: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        row = lax.dynamic_index_in_dim(left, k, axis=-2, keepdims=False)
        size = root(jnp.sum(row * row, axis=-1))
        unit = row * _inverse(size)[..., None]
        # a matrix product: see `model.overlaps.overlaps_of`
        along = jnp.matmul(left, unit[..., None], precision=lax.Precision.HIGHEST)[..., 0]
        along = jnp.where(later > k, along, jnp.where(later == k, size[..., None], 0))
        return left - along[..., None] * unit[..., None, :], along

    _, columns = lax.scan(column, rows, later)
    return jnp.moveaxis(columns, 0, -1)
