"""Expectations over latents and Gaussian fields: tensor rules, or scrambled Sobol points."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from learning_dynamics.kernel.latents import Latent, Normal
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.validation import one_of, positive_integer, reject

__all__ = ["Method", "Nodes", "expectation_nodes"]

Array = NDArray[np.float64]
Method = Literal["auto", "tensor", "sobol"]
_FEWEST = 12  # tensor nodes per continuous variable below which Sobol points are better
_SCRAMBLES = 8


class Nodes(NamedTuple):
    """Quadrature nodes; an expectation is the sum of weights times values.

    Attributes:
        latents: name -> values, shape (nodes, *latent.shape).
        zeta: Gaussian coordinates of the noise fields, shape (nodes, K, q).
        weights: shape (nodes,).
    """

    latents: dict[str, Array]
    zeta: Array
    weights: Array


def expectation_nodes(
    problem: Problem,
    *,
    points: int = 2**14,
    method: Method = "auto",
    seed: int = 0,
    fields: bool = True,
) -> tuple[list[Nodes], str]:
    """Quadrature rules for the expectations of the limit.

    A tensor rule comes as [fine, coarse]; Sobol points come as 8 independently scrambled sets.
    Discrete latents are summed exactly in both.

    Args:
        problem: declares the latents; K q Gaussian coordinates are added.
        points: number of nodes to stay below (tensor) or to use (Sobol, all sets together).
        method: "auto" takes the tensor rule if it affords 12 nodes per continuous variable.
        seed: seed of the scrambling.
        fields: whether the Gaussian coordinates of the fields are wanted besides the latents.

    Returns:
        The rules and the method chosen, "tensor" or "sobol".

    Raises:
        ValueError: if `points` does not suffice for the discrete latents.
    """
    one_of("method", method, ("auto", "tensor", "sobol"))
    budget = positive_integer("points", points)
    shape = (problem.learner.neurons, int(np.shape(problem.inputs.mixing())[1]))
    variables: dict[str, Latent] = {**dict(sorted(problem.all_latents().items()))}
    if "" in variables:
        raise reject("inputs.latents", "not use an empty name", sorted(variables))
    variables[""] = Normal(shape if fields else (1, 0))
    single = [v for v in variables.values() for _ in range(math.prod(v.shape))]
    fixed = math.prod(v.nodes for v in single if v.nodes is not None)
    free = sum(v.nodes is None for v in single)
    if fixed > budget:
        raise reject("points", f"be at least {fixed}, the outcomes of discrete latents", budget)
    fine = 1 if free == 0 else int((budget / fixed) ** (1 / free) + 1e-9)
    if method == "tensor" or (method == "auto" and (fine >= _FEWEST or free == 0)):
        fine = max(2, min(fine, 120))
        coarse = max(1, int(0.75 * fine))
        return [_shaped(variables, *_tensor(single, n)) for n in (fine, coarse)], "tensor"
    outcomes = math.prod(v.outcomes for v in single if v.outcomes)
    each = max(3, int(math.log2(budget / outcomes / _SCRAMBLES)))
    seeds = np.random.SeedSequence(seed).spawn(_SCRAMBLES)
    rules = [_sobol(single, each, np.random.default_rng(s)) for s in seeds]
    return [_shaped(variables, *rule) for rule in rules], "sobol"


def _tensor(single: Sequence[Latent], nodes: int) -> tuple[Array, Array]:
    rules = [v.rule(v.nodes or nodes) for v in single]
    if not rules:
        return np.zeros((1, 0)), np.ones(1)
    grids = np.meshgrid(*[points for points, _ in rules], indexing="ij")
    values = np.stack([grid.ravel() for grid in grids], axis=-1)
    weights = np.ones(1)
    for _, weight in rules:
        weights = np.multiply.outer(weights, weight).ravel()
    keep = weights > 1e-18 * weights.max()  # corners of the grid that cannot matter
    return values[keep], weights[keep] / weights[keep].sum()


def _sobol(single: Sequence[Latent], power: int, rng: np.random.Generator) -> tuple[Array, Array]:
    discrete = [i for i, v in enumerate(single) if v.outcomes]
    continuous = [i for i, v in enumerate(single) if not v.outcomes]
    levels = qmc.Sobol(max(len(continuous), 1), scramble=True, rng=rng).random_base2(power)
    levels = np.clip(levels, 1e-15, 1 - 1e-15)
    outcomes = list(product(*[range(single[i].outcomes) for i in discrete]))
    count = levels.shape[0]
    values = np.empty((len(outcomes), count, len(single)))
    for column, i in enumerate(continuous):
        values[:, :, i] = single[i].quantile(levels[:, column])[None]
    weights = np.ones((len(outcomes), count)) / count
    for column, i in enumerate(discrete):
        support, probabilities = single[i].rule(single[i].outcomes)
        index = np.array([outcome[column] for outcome in outcomes])
        values[:, :, i] = support[index][:, None]
        weights *= probabilities[index][:, None]
    return values.reshape(-1, len(single)), weights.ravel()


def _shaped(variables: dict[str, Latent], values: Array, weights: Array) -> Nodes:
    arrays: dict[str, Any] = {}
    first = 0
    for name, variable in variables.items():
        size = math.prod(variable.shape)
        arrays[name] = values[:, first : first + size].reshape(values.shape[0], *variable.shape)
        first += size
    zeta = arrays.pop("")
    return Nodes(arrays, zeta, weights)


def same_length(rules: Sequence[Nodes]) -> list[Nodes]:
    """The same rules, filled up with nodes of weight zero, so that they share compiled code."""
    longest = max(rule.weights.size for rule in rules)

    def grow(leaf: Array) -> Array:
        missing = longest - leaf.shape[0]
        return np.concatenate([leaf, np.repeat(leaf[:1], missing, axis=0)])

    grown = []
    for rule in rules:
        weights = np.concatenate([rule.weights, np.zeros(longest - rule.weights.size)])
        latents = {name: grow(leaf) for name, leaf in rule.latents.items()}
        grown.append(Nodes(latents, grow(rule.zeta), weights))
    return grown
