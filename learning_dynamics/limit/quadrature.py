"""Expectations over latents and Gaussian fields: tensor rules, or scrambled Sobol points."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from learning_dynamics.identity.session import fixed_by_structure
from learning_dynamics.limit.degrees import degrees_of, single_precision
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.sample_step import follows_gradient
from learning_dynamics.model.latent import Latent
from learning_dynamics.model.latents import Normal
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.update import gradient
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import one_of, positive_integer, reject

__all__ = [
    "Kind",
    "Method",
    "expectation_nodes",
    "fewest_points",
    "methods_for",
]

Array = NDArray[np.float64]
Method = Literal["auto", "tensor", "sobol"]
Kind = Literal["tensor", "sobol"]
_CUT, _FINE_CUT = 1e-18, 1e-26  # corners of the grid; what the cut costs shows in the change
_FEWEST, _FEWEST_AT_KINKS = 6, 12  # tensor nodes per variable below which Sobol points are better
_PLENTY = 25  # and above which nothing is gained by asking
_MOST = 250  # nodes of a rule for one variable; two normal ones take as many as there may be
_SCRAMBLES = 8


def expectation_nodes(
    problem: Problem,
    *,
    points: int = 2**14,
    method: Method = "auto",
    seed: int = 0,
    fields: bool = True,
    kinks: bool | None = None,
    squared: bool = False,
) -> tuple[list[Nodes], str]:
    """Quadrature rules for the expectations of the limit.

    A tensor rule of n nodes per variable comes with coarser ones, see `combine`; Sobol points come
    as 8 independently scrambled sets. Discrete latents are summed exactly in both, and variables
    with declared nodes (`Latent.nodes`, `InputModel.noise_nodes`) use those in a tensor rule. Label
    noise needs three nodes where the slopes of the loss are linear in the label.

    Args:
        problem: declares the latents; K q Gaussian coordinates are added.
        points: number of nodes to stay below (tensor) or to use (Sobol, all sets together).
        method: "auto" takes the first of `methods_for`.
        seed: seed of the scrambling.
        fields: whether the Gaussian coordinates of the fields are wanted besides the latents.
        kinks: what `has_kinks` says, if that is known; else it is asked.
        squared: whether squares of what the limit averages are averaged, as in `fluctuations`:
            2 n - 1 nodes then suffice where n are declared.

    Returns:
        The rules and the method, "tensor" or "sobol".

    Raises:
        ValueError: if `points` does not suffice for the discrete latents.
    """
    one_of("method", method, ("auto", "tensor", "sobol"))
    budget = positive_integer("points", points)
    variables, single, declared = _variables(problem, fields, squared)
    fixed, fine, free = _tensor_size(declared, budget)
    outcomes = _outcomes(single)
    if outcomes > budget:
        raise reject("points", f"be at least {outcomes}, the outcomes of discrete latents", budget)
    if method == "auto":
        method = methods_for(problem, points=points, fields=fields, kinks=kinks, squared=squared)[0]
    if method == "tensor":
        if fixed > budget:
            raise reject("points", f"be at least {fixed}, the declared nodes", budget)
        free_ones = [v for v, count in zip(single, declared, strict=True) if count is None]
        normal = all(isinstance(v, Normal) for v in free_ones)
        most = max(_MOST, math.isqrt(budget)) if normal else _MOST
        fine = max(2, min(fine, most))
        counts: tuple[int, ...] = (fine, fine, fine)
        if free:
            counts = (fine, fine - 1, max(1, int(0.7 * fine)))
        if free and (
            has_kinks(problem) if kinks is None else kinks
        ):  # what a kink adds depends on where it lies between nodes
            counts = (*counts, *(max(1, n) for n in (fine - 2, fine - 3, int(0.6 * fine))))
        cuts = dict.fromkeys(counts, _CUT) | {fine: _FINE_CUT if free else 0.0}
        tensors = {
            n: _shaped(variables, *_tensor(single, [m or n for m in declared], cut))
            for n, cut in cuts.items()
        }
        return [tensors[n] for n in counts], "tensor"
    share = budget / outcomes / _SCRAMBLES
    seeds = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(_SCRAMBLES)]
    each = max(3, int(math.log2(share)))
    return [_shaped(variables, *_sobol(single, each, rng)) for rng in seeds], "sobol"


def fewest_points(problem: Problem, *, fields: bool = True) -> int:
    """Points that the discrete latents ask for."""
    return _outcomes(_variables(problem, fields)[1])


def methods_for(
    problem: Problem,
    *,
    points: int,
    fields: bool = True,
    kinks: bool | None = None,
    squared: bool = False,
) -> list[Kind]:
    """Methods worth trying at this number of points, most promising first.

    A tensor rule where it affords 6 nodes per continuous variable (12 where the loss or the label
    may have a kink or jump), with Sobol points beside it below 25, and wherever there may be a
    kink. Sobol points where the declared nodes alone are more.
    """
    _, single, declared = _variables(problem, fields, squared)
    fixed, fine, free = _tensor_size(declared, points)
    if fixed > points and _outcomes(single) < fixed:
        return ["sobol"]
    if free == 0:
        return ["tensor"]
    if fine < _FEWEST:
        return ["sobol"]
    kinks = has_kinks(problem) if kinks is None else kinks
    if kinks and fine < _FEWEST_AT_KINKS:
        return ["sobol"]
    if fine < _PLENTY or kinks:
        return ["tensor", "sobol"]
    return ["tensor"]


def _variables(
    problem: Problem, fields: bool, squared: bool = False
) -> tuple[dict[str, Latent], list[Latent], list[int | None]]:
    """Latents by name, those of the fields as "", all of them one by one, and their fixed nodes."""
    shape = (problem.learner.neurons, int(np.shape(problem.inputs.mixing())[1]))
    variables: dict[str, Latent] = {**dict(sorted(problem.all_latents().items()))}
    if "" in variables:
        raise reject("inputs.latents", "not use an empty name", sorted(variables))
    if problem.label_noise is not None and follows_gradient(problem) and _low_degree(problem):
        variables["label noise"] = Normal(nodes=3)
    variables[""] = Normal(shape if fields else (1, 0))
    single = [v for v in variables.values() for _ in range(math.prod(v.shape))]
    if fields:  # the last variables: zeta, neurons by noise vectors
        declared = noise_nodes(problem) * shape[0]
        single[len(single) - len(declared) :] = [Normal(nodes=count) for count in declared]
    noisy = variables.get("label noise")  # three nodes for four slopes already
    counts = [
        2 * v.nodes - 1 if squared and v.nodes and not v.outcomes and v is not noisy else v.nodes
        for v in single
    ]
    return variables, single, counts


@fixed_by_structure
def _low_degree(problem: Problem) -> bool:
    """Whether three nodes of the label noise are exact: what is averaged has degree five at most.

    The limit averages the loss and its slopes A and A^2, the fluctuations up to A^4. Seen by
    tracing the loss.
    """
    neurons, vectors = problem.learner.neurons, problem.inputs.vectors
    with jax.enable_x64(False):  # traced in single precision, whatever the caller's setting
        shapes = [(neurons, vectors), (neurons, neurons), (vectors, vectors)]
        fields, norms, gram = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
        latents = {
            name: jax.ShapeDtypeStruct(latent.shape, jnp.float32)
            for name, latent in problem.all_latents().items()
        }
        abstract = single_precision(problem)

        def averaged(label: Any, problem: Problem, gram: Any, fields: Any, norms: Any) -> Any:
            sample = Sample(label["label"], gram)
            parameters = problem.initial_parameters(jnp.float32)
            loss = problem.learner.loss(fields, norms, parameters, sample)
            return loss, gradient(problem, fields, norms, parameters, sample)

        label = {"label": jax.eval_shape(lambda p, x: p.signal(x)[1], abstract, latents)}
        loss, *slopes = degrees_of(averaged, label, abstract, gram, fields, norms)
    degrees = [slope.of.get("label", 0) for slope in slopes]
    return loss.of.get("label", 0) <= 5 and max(degrees) <= 1


def _outcomes(single: Sequence[Latent]) -> int:
    """Outcomes of the discrete variables together."""
    return math.prod(v.outcomes for v in single if v.outcomes)


def _tensor_size(declared: Sequence[int | None], budget: int) -> tuple[int, int, int]:
    """Nodes of the variables with declared nodes, nodes per other variable, number of those."""
    fixed = math.prod(count for count in declared if count is not None)
    free = sum(count is None for count in declared)
    fine = 1 if free == 0 else int((budget / fixed) ** (1 / free) + 1e-9)
    return fixed, fine, free


def noise_nodes(problem: Problem) -> tuple[int | None, ...]:
    """Declared nodes per noise vector, checked: q entries, None where the rule chooses.

    Raises:
        ValueError: if the input model declares another number of entries.
    """
    count = int(np.shape(problem.inputs.mixing())[1])
    declared = tuple(problem.inputs.noise_nodes() or (None,) * count)
    if len(declared) != count:
        raise reject("inputs.noise_nodes()", f"have {count} entries", declared)
    if not follows_gradient(problem):  # they are declared for the degree of the loss
        return (None,) * count
    return tuple(None if n is None else positive_integer("noise_nodes", n) for n in declared)


def _tensor(single: Sequence[Latent], counts: Sequence[int], cut: float) -> tuple[Array, Array]:
    """Values and weights of all nodes whose weight is above `cut` times the largest."""
    rules: Any = [v.rule(count) for v, count in zip(single, counts, strict=True)]
    if not rules:
        return np.zeros((1, 0)), np.ones(1)
    grids = np.meshgrid(*[np.arange(np.shape(points)[0]) for points, _ in rules], indexing="ij")
    places = [grid.ravel() for grid in grids]
    traced = is_traced(rules)
    xp: Any = jnp if traced else np
    values = xp.stack([_double(v)[i] for (v, _), i in zip(rules, places, strict=True)], axis=-1)
    weights: Any = xp.ones(places[0].size)
    for (_, weight), i in zip(rules, places, strict=True):
        weights = weights * _double(weight)[i]
    if traced:  # which weights are small is not known
        return values, weights / weights.sum()
    keep = weights > cut * weights.max()
    return values[keep], weights[keep] / weights[keep].sum()


def _double(value: Any) -> Any:
    """A float64 array, on the host unless it is traced."""
    return value.astype(jnp.float64) if is_traced(value) else np.asarray(value, np.float64)


def _sobol(single: Sequence[Latent], power: int, rng: np.random.Generator) -> tuple[Array, Array]:
    discrete = [i for i, v in enumerate(single) if v.outcomes]
    continuous = [i for i, v in enumerate(single) if not v.outcomes]
    levels = qmc.Sobol(max(len(continuous), 1), scramble=True, rng=rng).random_base2(power)
    levels = np.clip(levels, 1e-15, 1 - 1e-15)
    outcomes = list(product(*[range(single[i].outcomes) for i in discrete]))
    count = levels.shape[0]
    columns: list[Any] = [None] * len(single)
    for column, i in enumerate(continuous):
        values = _double(single[i].quantile(levels[:, column]))
        columns[i] = (jnp if is_traced(values) else np).tile(values, len(outcomes))
    weights: Any = np.ones(len(outcomes) * count) / count
    for column, i in enumerate(discrete):
        support, probabilities = single[i].rule(single[i].outcomes)
        index = np.repeat([outcome[column] for outcome in outcomes], count)
        columns[i] = _double(support)[index]
        weights = weights * _double(probabilities)[index]
    if not columns:
        return np.zeros((weights.size, 0)), weights
    xp: Any = jnp if is_traced(columns) else np
    return xp.stack(columns, axis=-1), weights


def _shaped(variables: dict[str, Latent], values: Array, weights: Array) -> Nodes:
    arrays: dict[str, Any] = {}
    first = 0
    for name, variable in variables.items():
        size = math.prod(variable.shape)
        arrays[name] = values[:, first : first + size].reshape(values.shape[0], *variable.shape)
        first += size
    zeta = arrays.pop("")
    return Nodes(arrays, zeta, weights)
