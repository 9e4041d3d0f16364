"""Noise blocks as the limit N -> infinity sees them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.model.problem import Problem, free_block
from learning_dynamics.model.protocol import check_fixed
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import positive_integer, reject

__all__ = ["LimitNoise", "limit_noise"]


class LimitNoise(NamedTuple):
    """Noise blocks as the limit sees them.

    Attributes:
        fractions: N_b / N of each block, shape (blocks,).
        variances: lambda_b, shape (blocks,).
        signal_weights: weights of the signal axes in the loss's second argument, shape (r,).
        block_weights: those of the blocks, shape (blocks,).
        step_sizes: (N_b / N) lambda_b / batch, what the noise of the steps is multiplied by.
    """

    fractions: jax.Array
    variances: jax.Array
    signal_weights: jax.Array
    block_weights: jax.Array
    step_sizes: jax.Array


def limit_noise(problem: Problem, dimension: int | None) -> LimitNoise:
    """Noise blocks of the limit.

    Raises:
        ValueError: if a model with several blocks, or of one N, is given no dimension, or if it
            has no noise; if a protocol changes the blocks.
    """
    if dimension is not None:
        positive_integer("dimension", dimension)
    if free_block(problem.inputs) is not None:
        return _noise_at(problem, None)
    if dimension is None:
        raise reject("dimension", "be given: the noise has several blocks, or its N is fixed", None)
    check_fixed(problem, dimension)
    return _noise_at(problem, dimension)


def _noise_at(problem: Problem, dimension: int | None, dtype: Any = np.float64) -> LimitNoise:
    """Blocks at N = `dimension`; one block that fills everything when N is infinite (None)."""
    r = problem.inputs.directions
    size = 10**9 if dimension is None else dimension
    groups = problem.inputs.blocks(10**9 + r if dimension is None else dimension)
    if not groups:
        raise reject("problem.inputs", "have noise: without it there is no limit", "no noise block")
    fractions = np.concatenate([np.full(np.shape(g.variances), g.size / size) for g in groups])
    weights: Any = np.ones(r)
    if problem.learner.normaliser != "weights":
        weights = problem.inputs.signal_variances()
    given: Any = [g.variances for g in groups]
    if is_traced((given, weights)):
        variances: Any = jnp.concatenate([jnp.asarray(v, dtype) for v in given])
    else:
        variances = np.concatenate([np.asarray(v, np.float64) for v in given])
    blocks = np.ones(fractions.shape)
    if problem.learner.normaliser != "weights":
        blocks = variances
    sizes = fractions * variances / problem.batch
    parts = (fractions, variances, weights, blocks, sizes)
    return LimitNoise(*(jnp.asarray(part, dtype) for part in parts))
