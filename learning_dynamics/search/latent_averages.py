"""Averages over the fields of one neuron at zero overlap, for every value of the latents."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.hermite import trapezoid
from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.sample_step import sample_step
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.problem import Problem, mixing_matrix

__all__ = [
    "distinct_labels",
    "label_table",
    "latent_averages",
    "merge",
    "noise_factor",
    "signals",
]

Array = NDArray[np.float64]


def noise_factor(problem: Problem, variance: float = 1.0) -> Array:
    """Square B with B B^T the covariance of the noise fields of one neuron."""
    with jax.enable_x64(True):
        mixing = np.asarray(mixing_matrix(problem.cast(jnp.float64), jnp.float64))
    values, vectors = np.linalg.eigh(variance * mixing @ mixing.T)
    root: Array = np.asarray(np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0))).T, mode="r"))
    return root.T * np.where(np.diagonal(root) < 0, -1.0, 1.0)


def signals(cast: Problem, latents: dict[str, Array]) -> tuple[jax.Array, Any]:
    """C and labels for all values of the latents, leading axis nodes."""
    arrays: Any = {name: jnp.asarray(array) for name, array in latents.items()}
    if arrays:
        return _signals(cast, arrays)
    constant = cast.signal({})
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], constant)


@compiled
def _signals(problem: Problem, latents: Any) -> tuple[jax.Array, Any]:
    values: tuple[jax.Array, Any] = jax.vmap(problem.signal)(latents)
    return values


def merge(nodes: Nodes) -> tuple[dict[str, Array], Array]:
    """Distinct values of the latents with their weights, the fields' coordinates summed out."""
    flat = [array.reshape(array.shape[0], -1) for array in nodes.latents.values()]
    table = np.concatenate(flat, axis=1) if flat else np.zeros((nodes.weights.size, 0))
    distinct, first, index = np.unique(
        table.round(12), axis=0, return_index=True, return_inverse=True
    )
    weights = np.zeros(len(distinct))
    np.add.at(weights, index.ravel(), nodes.weights)
    return {name: array[first] for name, array in nodes.latents.items()}, weights


def latent_averages(
    problem: Problem,
    rule: Nodes,
    mixing: Array,
    projector: Callable[[Array, Array], Array],
    parameters: dict[str, Any],
    of: Literal["loss", "gradient"] = "loss",
    norms: float = 1.0,
    gram: Array | None = None,
) -> tuple[Array, Array, Estimate]:
    """Averages over the fields at zero overlap, for every value of the latents.

    The trapezoidal rule in each of the p coordinates converges exponentially for smooth losses; its
    step is refined until the change is at the level of rounding, as far as the number of latents
    allows.

    Args:
        problem: with one neuron.
        rule: nodes for the latents.
        mixing: B, square; fields are B g.
        projector: grid for g, shape (points, p), and its weights -> weights of several averages,
            shape (projections, points).
        parameters: theta by name.
        of: the loss, or the products A_a A_b of what a step follows (p * p columns), see
            `sample_step`.
        norms: second argument of the loss.
        gram: Gamma times the mean variance of the noise, for the gradient.

    Returns:
        Weights of the distinct latents, shape (nodes,); C, (nodes, p, r); the averages, (nodes,
        projections) or (nodes, projections * p * p), with their errors: twice the largest change
        from steps 1.4 and 2 times as long.
    """
    latents, weights = merge(rule)
    p = mixing.shape[0]
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        given = jax.tree.map(jnp.asarray, parameters)
        signal, labels = signals(cast, latents)
        distinct, index = distinct_labels(labels, weights.size)
        size = jnp.full((1, 1), norms)
        given_label = bool(jax.tree.leaves(labels))
        count = int(index.max()) + 1

        def average(step: float) -> Array:
            grid, mass = trapezoid(step, p)
            matrix = projector(grid, mass)
            spare = 2 ** math.ceil(math.log2(len(grid))) - len(grid)  # sizes share compiled code
            fields = np.concatenate([grid @ mixing.T, np.zeros((spare, p))])
            matrix = np.concatenate([matrix, np.zeros((len(matrix), spare))], axis=1)
            batch = max(1, 2**21 // max(matrix.size, len(fields) * p * p))
            return np.asarray(
                _field_averages(
                    cast,
                    given,
                    size,
                    jnp.asarray(fields),
                    jnp.asarray(matrix),
                    distinct,
                    jnp.zeros((p, p)) if gram is None else jnp.asarray(gram),
                    of=of,
                    batch=min(batch, 128, count),
                    labelled=given_label,
                )
            )

        for step in (0.3, 0.15, 0.04, 0.01):
            fine = average(step)
            others = [np.abs(fine - average(factor * step)) for factor in (1.4, 2.0)]
            error = 2 * np.maximum(*others)
            finer = count * (19 / (step / 3)) ** p
            if np.max(error) <= 1e-10 * np.max(np.abs(fine)) or finer > 2**25:
                break
        error = error + 1e-13 * np.abs(fine) + 1e-15  # rounding of sums that cancel
        return weights, np.asarray(signal), Estimate(fine[index], error[index])


@partial(compiled, static_argnames=("of", "batch", "labelled"))
def _field_averages(
    problem: Problem,
    parameters: Any,
    norms: jax.Array,
    fields: jax.Array,
    matrix: jax.Array,
    labels: Any,
    gram: jax.Array,
    *,
    of: Literal["loss", "gradient"],
    batch: int,
    labelled: bool,
) -> jax.Array:
    p = fields.shape[1]

    def loss(field: jax.Array, label: Any) -> jax.Array:
        sample = Sample(label if labelled else None, jnp.zeros((p, p)))
        value: jax.Array = problem.learner.loss(field[:, None].T, norms, parameters, sample)
        return value

    def integrand(field: jax.Array, label: Any) -> jax.Array:
        if of == "loss":
            return loss(field, label)[None]
        given = label if labelled else None
        step = sample_step(problem, field[None], norms, parameters, given, gram)
        slope = step.fields[0]
        return (slope[:, None] * slope[None, :]).ravel()

    def one(label: Any) -> jax.Array:
        values = jax.vmap(integrand, (0, None))(fields, label)
        return jnp.matmul(matrix, values, precision=jax.lax.Precision.HIGHEST).ravel()

    averages: jax.Array = jax.lax.map(one, labels, batch_size=batch)
    return averages


def distinct_labels(labels: Any, count: int) -> tuple[Any, NDArray[np.int64]]:
    """Different labels only, and where each node's label is among them."""
    leaves, structure = jax.tree.flatten(labels)
    if not leaves:
        return jnp.zeros(1), np.zeros(count, np.int64)
    _, first, index = np.unique(
        label_table(labels, count), axis=0, return_index=True, return_inverse=True
    )
    chosen = [jnp.asarray(np.asarray(x)[first]) for x in leaves]
    return jax.tree.unflatten(structure, chosen), index.ravel()


def label_table(labels: Any, count: int) -> Array:
    """All numbers of the labels, shape (count, numbers)."""
    leaves = jax.tree.leaves(labels)
    return np.concatenate([np.asarray(x, np.float64).reshape(count, -1) for x in leaves], axis=1)
