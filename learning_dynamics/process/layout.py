"""Shapes of a run: blocks and random numbers per update; and what a program reads of N."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.model.problem import Problem, noise_blocks
from learning_dynamics.model.protocol import check_fixed
from learning_dynamics.model.rates import schedules_of
from learning_dynamics.process.reduced_noise import is_reduced, reduced_freedoms
from learning_dynamics.validation import reject

__all__ = ["Layout", "Numbers", "layout_of", "mixing_shape", "of_any_dimension"]

MOST_DRAWN = 2**31  # random numbers per update: arrays are indexed with 32 bits


class Numbers(NamedTuple):
    """What a program reads of N, as arrays: one program serves every N.

    Attributes:
        dimension: N, scalar.
        sizes: dimension N_b of the blocks of each group, shape (groups,).
        variances: of the blocks of each group, shape (blocks,).
    """

    dimension: Any
    sizes: Any
    variances: tuple[Any, ...]


class Layout(NamedTuple):
    """Static structure of a simulation (hashable, where `numbers` is None).

    Attributes:
        dimension: N.
        level: "ambient" or "overlaps".
        sizes: dimension N_b of the blocks of each group.
        counts: number of blocks of each group.
        reduced: per group, whether a factor of R_b stands for the weights.
        columns: rows that span the frame of the noise: K, or 2 K with a momentum.
        vectors: noise vectors per update.
        rows: rows of the Wishart factors that stand for the noise outside the weights.
        drawn: random numbers per update.
        norms: whether the loss reads the norms.
        gram: whether the loss reads the gram.
        numbers: what stands for `dimension` and `sizes` inside a program of any N.
    """

    dimension: int
    level: str
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    reduced: tuple[bool, ...]
    columns: int
    vectors: int
    rows: int
    drawn: int
    norms: bool
    gram: bool
    numbers: Numbers | None = None

    def size(self, dtype: Any) -> Any:
        """N, to divide by."""
        if self.numbers is None:
            return float(self.dimension)
        return jnp.asarray(self.numbers.dimension, dtype)

    def variances(self, problem: Problem, dtype: Any) -> list[jax.Array]:
        """Variances of the blocks of each group, shape (blocks,)."""
        if self.numbers is None:
            variances = [group.variances for group in noise_blocks(problem, self.dimension)]
        else:
            variances = [*self.numbers.variances]
        return [jnp.asarray(of_group, dtype) for of_group in variances]

    def freedoms(self, columns: int, rows: int) -> Any:
        """Degrees of freedom of the chi variables of all reduced noise."""
        chosen = [i for i, small in enumerate(self.reduced) if small]
        sizes: Any = self.sizes if self.numbers is None else self.numbers.sizes
        return reduced_freedoms(
            [sizes[i] for i in chosen], [self.sizes[i] for i in chosen],
            [self.counts[i] for i in chosen], columns, rows,
        )  # fmt: skip


def layout_of(problem: Problem, dimension: int, level: str) -> Layout:
    """Sizes of everything that a run holds."""
    groups = noise_blocks(problem, dimension)
    check_fixed(problem, dimension)
    neurons = problem.learner.neurons
    if problem.update == "orthogonal" and neurons > dimension:
        raise reject("dimension", f"be at least K = {neurons} for orthonormal rows", dimension)
    vectors = problem.batch * mixing_shape(problem)[1]
    reads = problem.depends_on()
    columns = neurons if problem.momentum is None else 2 * neurons
    # the gradient is A Z with A independent of the noise outside the weights, so that K rows with
    # the Gram matrix of A Z stand for it; a gram, and further steps with Z, need every vector
    rows = vectors if reads["gram"] or problem.repeats > 1 else min(vectors, neurons)
    sizes = tuple(int(group.size) for group in groups)
    counts = tuple(int(jnp.shape(group.variances)[0]) for group in groups)
    reduced = tuple(level == "overlaps" and is_reduced(n, columns, rows) for n in sizes)
    drawn = problem.batch * problem.inputs.vectors * problem.inputs.directions
    for n, count, small in zip(sizes, counts, reduced, strict=True):
        drawn += count * (
            vectors * columns + rows * min(rows, n - columns) if small else vectors * n
        )
    if drawn >= MOST_DRAWN:
        demand = f"leave fewer than 2^31 random numbers per update (batch {problem.batch})"
        raise reject("problem.batch", demand, f"{drawn:.3g} at N = {dimension}")
    return Layout(
        dimension, level, sizes, counts, reduced, columns, vectors, rows, drawn, reads["norms"],
        reads["gram"],
    )  # fmt: skip


def mixing_shape(problem: Problem) -> tuple[int, int]:
    """Numbers (p, q) of vectors and noise vectors per sample."""
    p, q = jnp.shape(problem.inputs.mixing())
    return int(p), int(q)


def of_any_dimension(problem: Problem, layout: Layout) -> tuple[Layout, Numbers | None]:
    """The layout of the same run at a small N, and the numbers that make up for it.

    Where factors of R_b stand for all weights, arrays have the same shapes at every N, and one
    program serves all. Elsewhere the layout itself, and None.
    """
    least = layout.columns + layout.rows + 3  # more than two degrees of freedom everywhere
    fixed = not layout.sizes or not all(layout.reduced) or min(layout.sizes) < least
    if fixed or schedules_of(problem):
        return layout, None
    groups = noise_blocks(problem, layout.dimension)
    signal = layout.dimension - sum(np.multiply(layout.sizes, layout.counts).tolist())
    numbers = Numbers(
        np.float64(layout.dimension),
        np.asarray(layout.sizes, np.float64),
        tuple(group.variances for group in groups),
    )
    dimension = signal + least * sum(layout.counts)
    return layout._replace(dimension=dimension, sizes=(least,) * len(layout.sizes)), numbers
