"""Static shapes of a run: blocks and random numbers per update."""

from typing import NamedTuple

import jax.numpy as jnp

from learning_dynamics.model.problem import Problem, noise_blocks
from learning_dynamics.process.reduced_noise import is_reduced
from learning_dynamics.validation import reject

__all__ = ["Layout", "layout_of", "mixing_shape"]

MOST_DRAWN = 2**31  # random numbers per update: arrays are indexed with 32 bits


class Layout(NamedTuple):
    """Static structure of a simulation (hashable).

    Attributes:
        dimension: N.
        level: "ambient" or "overlaps".
        sizes: dimension N_b of the blocks of each group.
        counts: number of blocks of each group.
        reduced: per group, whether a factor of R_b stands for the weights.
        columns: rows that span the frame of the noise: K, or 2 K with a momentum.
        rows: rows of the Wishart factors that stand for the noise outside the weights.
        drawn: random numbers per update.
        norms: whether the loss reads the norms.
        gram: whether the loss reads the gram.
    """

    dimension: int
    level: str
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    reduced: tuple[bool, ...]
    columns: int
    rows: int
    drawn: int
    norms: bool
    gram: bool


def layout_of(problem: Problem, dimension: int, level: str) -> Layout:
    """Sizes of everything that a run holds."""
    groups = noise_blocks(problem, dimension)
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
        dimension, level, sizes, counts, reduced, columns, rows, drawn, reads["norms"],
        reads["gram"],
    )  # fmt: skip


def mixing_shape(problem: Problem) -> tuple[int, int]:
    """Numbers (p, q) of vectors and noise vectors per sample."""
    p, q = jnp.shape(problem.inputs.mixing())
    return int(p), int(q)
