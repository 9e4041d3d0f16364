"""Expectations over latents and Gaussian fields: tensor rules, or scrambled Sobol points."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from learning_dynamics.kernel.latents import Latent, Normal
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.validation import one_of, positive_integer, reject

__all__ = ["Method", "Nodes", "combine", "combine_cautiously", "expectation_nodes"]

Array = NDArray[np.float64]
Method = Literal["auto", "tensor", "sobol"]
_FEWEST = 12  # tensor nodes per continuous variable below which Sobol points are better
_SCRAMBLES = 8
_STUDENT = 3.42  # 17.1 errors from 8 sets are as rare as 5 of a normal variable


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

    A tensor rule of n nodes per variable comes with those of n - 1 and 0.7 n, see `combine`; Sobol
    points come as 8 independently scrambled sets. Discrete latents are summed exactly in both, and
    variables with declared nodes (`Latent.nodes`, `InputModel.noise_nodes`) use those.

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
    if fields:  # the last variables: zeta, neurons by noise vectors
        declared = noise_nodes(problem) * shape[0]
        single[len(single) - len(declared) :] = [Normal(nodes=count) for count in declared]
    fixed = math.prod(v.nodes for v in single if v.nodes is not None)
    free = sum(v.nodes is None for v in single)
    if fixed > budget:
        raise reject("points", f"be at least {fixed}, the outcomes of discrete latents", budget)
    fine = 1 if free == 0 else int((budget / fixed) ** (1 / free) + 1e-9)
    if method == "tensor" or (method == "auto" and (fine >= _FEWEST or free == 0)):
        fine = max(2, min(fine, 120))
        counts = (fine, fine - 1, max(1, int(0.7 * fine))) if free else (fine,) * 3
        made = {n: _shaped(variables, *_tensor(single, n)) for n in set(counts)}
        return [made[n] for n in counts], "tensor"
    outcomes = math.prod(v.outcomes for v in single if v.outcomes)
    each = max(3, int(math.log2(budget / outcomes / _SCRAMBLES)))
    seeds = np.random.SeedSequence(seed).spawn(_SCRAMBLES)
    rules = [_sobol(single, each, np.random.default_rng(s)) for s in seeds]
    return [_shaped(variables, *rule) for rule in rules], "sobol"


def noise_nodes(problem: Problem) -> tuple[int | None, ...]:
    """Declared nodes per noise vector, checked: q entries, None where the rule chooses.

    Raises:
        ValueError: if the input model declares another number of entries.
    """
    count = int(np.shape(problem.inputs.mixing())[1])
    declared = tuple(problem.inputs.noise_nodes() or (None,) * count)
    if len(declared) != count:
        raise reject("inputs.noise_nodes()", f"have {count} entries", declared)
    return tuple(None if n is None else positive_integer("noise_nodes", n) for n in declared)


def combine(found: Sequence[Any], kind: str) -> tuple[Any, Any]:
    """Value and error of pytrees computed with each of the rules of `expectation_nodes`.

    Tensor rules: the finest, with twice the largest change from the two others. With one node less
    the nodes lie between the old ones, so that at kinks and jumps the errors have opposite signs;
    the rule of 0.7 n nodes guards against coincidences. Sobol sets: mean and standard error.
    """
    if kind == "tensor":
        changes = [jax.tree.map(lambda a, b: np.abs(a - b), found[0], x) for x in found[1:]]
        return found[0], jax.tree.map(lambda *c: 2 * np.max(c, axis=0), *changes)
    mean = jax.tree.map(lambda *a: np.mean(a, axis=0), *found)
    root = np.sqrt(len(found))
    return mean, jax.tree.map(lambda *a: np.std(a, axis=0, ddof=1) / root, *found)


def combine_cautiously(found: Sequence[Any], kind: str) -> tuple[Any, Any]:
    """`combine` with errors of which five exclude zero, as seldom wrong as with a normal variable.

    The standard error of 8 Sobol sets is itself uncertain: it is widened as Student's t asks for.
    """
    value, error = combine(found, kind)
    return value, (error if kind == "tensor" else jax.tree.map(lambda e: _STUDENT * e, error))


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
