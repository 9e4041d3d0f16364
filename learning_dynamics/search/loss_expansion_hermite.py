"""Hermite route to the expansion of the loss, and averages at zero overlap."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from math import factorial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.hermite import hermite, trapezoid
from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.limit.linear_latents import without_linear_latents
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import expectation_nodes, fewest_points
from learning_dynamics.model.problem import Problem, Sample, free_block, mixing_matrix
from learning_dynamics.search.field_averages import (
    MOST_LABELS,
    FieldAverages,
    field_averages,
    multi_indices,
)
from learning_dynamics.search.forms import Form
from learning_dynamics.search.loss_expansion import zero_overlap
from learning_dynamics.search.polynomials import positions, powers_of, product
from learning_dynamics.validation import positive_integer, reject

__all__ = ["hermite_forms", "latent_averages", "noise_factor", "obstacle"]

Array = NDArray[np.float64]
_CHUNK = 2**23  # coefficients at a time: nodes times monomials times multi-indices


def hermite_forms(population: Population, *, highest: int = 4) -> tuple[Form, ...]:
    """L_1 .. L_highest of neurons of norm one, as polynomials in their overlaps.

    With x = B^-1 F the fields in independent coordinates and v = B^-1 (C m), Mehler's expansion of
    the law of x around that at m = 0 gives for one neuron

        L_k(m) = sum_(|a| = k) E[ prod_i He_(a_i)(v_i; |m|^2) / a_i!  E_g[ l(B g) prod_i He_(a_i)(g_i) ] ],

    He_k(v; s) = s^(k/2) He_k(v / sqrt s). For several neurons the product runs over the coordinates
    of all, and l is expanded in the norms Q_kl = m_k.m_l between them as well. Kinks of the loss do no
    harm. Derived here; for one vector and a label it is the Hermite expansion of Ben Arous, Gheissari
    and Jagannath (2021).
    """  # noqa: E501
    positive_integer("highest", highest)
    problem = population.problem
    reason = obstacle(problem)
    if reason is not None:
        raise reject("problem", "suit the Hermite expansion", reason)
    block = free_block(problem.inputs)
    assert block is not None  # or there is an obstacle
    variance = float(np.asarray(block.variances)[0])
    mixing = noise_factor(problem, variance)
    if problem.learner.neurons > 1:  # as it is: its columns may have declared nodes
        mixing = np.asarray(problem.inputs.mixing(), np.float64) * variance**0.5
    parameters = zero_overlap(population).parameters
    centred, factor = without_linear_latents(problem)
    neurons, r = problem.learner.neurons, problem.inputs.directions
    powers = [powers_of(neurons * r, k) for k in range(1, highest + 1)]
    names = [f"L_{k}" for k in range(1, highest + 1)]
    field_errors = {name: np.zeros(len(p)) for name, p in zip(names, powers, strict=True)}
    known = None
    if neurons > 1:
        known = field_averages(population, mixing, _labels(centred), parameters, highest)

    def coefficients(rule: Nodes) -> dict[str, Array]:
        forms = _forms(centred, rule, mixing, parameters, factor, highest, known)
        for name, form in zip(names, forms, strict=True):
            field_errors[name] = np.maximum(field_errors[name], form.error)
        return {name: form.value for name, form in zip(names, forms, strict=True)}

    caller = "information_exponent"
    mean = population.average(coefficients, caller=caller, of=centred, fields=False)
    errors = {name: mean.error[name] + field_errors[name] for name in names}
    population.target.check(caller, replace(mean, error=errors), mean)
    return tuple(
        Form(k, p, mean.value[name], errors[name])
        for k, (name, p) in enumerate(zip(names, powers, strict=True), 1)
    )


def obstacle(problem: Problem) -> str | None:
    """What keeps a problem from the Hermite expansion; None if nothing does."""
    if problem.initial_norm is not None and float(problem.initial_norm) != 1:
        return f"rows of norm {float(problem.initial_norm):g}"
    if problem.learner.normaliser != "weights":
        return f"normaliser {problem.learner.normaliser!r}"
    if problem.learner.neurons == 1 and problem.inputs.vectors > 3:
        return f"{problem.inputs.vectors} vectors per sample"
    if free_block(problem.inputs) is None:
        return "several noise blocks, or an N that the inputs fix"
    gamma = noise_factor(problem) @ noise_factor(problem).T
    if np.linalg.eigvalsh(gamma).min() < 1e-12 * np.trace(gamma):
        return "dependent rows of B"
    if problem.learner.neurons > 1:
        if problem.label_noise is not None:
            return "several neurons and label noise"
        if problem.inputs.vectors != np.shape(problem.inputs.mixing())[1]:
            return "more noise vectors than vectors, for several neurons"
        if _label_count(_labels(without_linear_latents(problem)[0])) > MOST_LABELS:
            return "several neurons and a continuous label"
    return None


def _labels(problem: Problem) -> Any:
    """Different labels at random points (all there are, if few)."""
    points = 2048 * fewest_points(problem, fields=False)
    rule = expectation_nodes(problem, points=points, fields=False, method="sobol")[0][0]
    latents, weights = _merge(rule)
    with jax.enable_x64(True):
        _, labels = _signals(problem.cast(jnp.float64), latents)
        return _distinct(labels, weights.size)[0]


def _label_count(labels: Any) -> int:
    leaves = jax.tree.leaves(labels)
    return int(leaves[0].shape[0]) if leaves else 1


def _signals(cast: Problem, latents: dict[str, Array]) -> tuple[jax.Array, Any]:
    """C and labels for all values of the latents, leading axis nodes."""
    arrays: Any = {name: jnp.asarray(array) for name, array in latents.items()}
    if arrays:
        signals: tuple[jax.Array, Any] = jax.jit(jax.vmap(cast.signal))(arrays)
        return signals
    constant = cast.signal({})
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], constant)


def noise_factor(problem: Problem, variance: float = 1.0) -> Array:
    """Square B with B B^T the covariance of the noise fields of one neuron."""
    with jax.enable_x64(True):
        mixing = np.asarray(mixing_matrix(problem.cast(jnp.float64), jnp.float64))
    values, vectors = np.linalg.eigh(variance * mixing @ mixing.T)
    root: Array = np.asarray(np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0))).T, mode="r"))
    return root.T * np.where(np.diagonal(root) < 0, -1.0, 1.0)


def _merge(nodes: Nodes) -> tuple[dict[str, Array], Array]:
    """Distinct values of the latents with their weights, the fields' coordinates summed out."""
    flat = [array.reshape(array.shape[0], -1) for array in nodes.latents.values()]
    table = np.concatenate(flat, axis=1) if flat else np.zeros((nodes.weights.size, 0))
    distinct, first, index = np.unique(
        table.round(12), axis=0, return_index=True, return_inverse=True
    )
    weights = np.zeros(len(distinct))
    np.add.at(weights, index.ravel(), nodes.weights)
    return {name: array[first] for name, array in nodes.latents.items()}, weights


def _forms(
    problem: Problem,
    rule: Nodes,
    mixing: Array,
    parameters: dict[str, Any],
    factor: Array,
    highest: int,
    known: FieldAverages | None,
) -> list[Estimate]:
    """Coefficients of L_1 .. L_highest from one rule for the latents."""
    p, neurons = problem.inputs.vectors, problem.learner.neurons
    if known is not None:
        weights, signal, index = _by_label(problem, rule, known.labels)
        averages = [Estimate(e.value[index], e.error[index]) for e in known.orders]
    else:
        indices = multi_indices(p, highest)

        def projector(grid: Array, mass: Array) -> Array:
            columns = [[hermite(i, grid[:, axis]) for axis, i in enumerate(a)] for a in indices]
            return np.stack([np.prod(column, axis=0) for column in columns]) * mass

        weights, signal, mean = latent_averages(problem, rule, mixing, projector, parameters)
        averages = [Estimate(mean.value[:, None], mean.error[:, None])]
    v: Array = np.asarray(np.linalg.solve(mixing, signal), np.float64)
    w = np.einsum("pq,qrg->prg", np.linalg.inv(mixing), factor)
    spread = np.einsum("prg,qsg->pqrs", w, w)
    return _contract(v, spread, weights, averages, neurons, highest)


def _contract(
    v: Array,
    spread: Array,
    weights: Array,
    averages: list[Estimate],
    neurons: int,
    highest: int,
) -> list[Estimate]:
    """Coefficients of L_1 .. L_highest from averages over the fields at every node."""
    nodes, p, r = v.shape
    n = neurons * r
    total = [np.zeros(len(powers_of(n, k))) for k in range(highest + 1)]
    bounds = [np.zeros_like(values) for values in total]
    indices = multi_indices(neurons * p, highest)
    size = max(1, _CHUNK // (len(total[-1]) * len(indices)))
    for first in range(0, nodes, size):
        some = slice(first, first + size)
        polynomials, mass = _mehler(v[some], spread, neurons, highest), weights[some, None]
        for j, average in enumerate(averages):
            products = _norm_products(neurons, r, j)
            for column, a in enumerate(multi_indices(neurons * p, highest - 2 * j)):
                order, table = sum(a) + 2 * j, polynomials[a]
                if not order:
                    continue
                scale = 1 / np.prod([float(factorial(i)) for i in a])
                value = scale * (mass * average.value[some, :, column]).T @ table
                error = scale * (mass * average.error[some, :, column]).T @ np.abs(table)
                for pairs, terms in enumerate(products):
                    for row, factor in terms:  # to different places for a fixed row
                        at = positions(powers_of(n, sum(a)) + row, order)
                        total[order][at] += factor * value[pairs]
                        bounds[order][at] += factor * error[pairs]
    return [Estimate(*pair) for pair in zip(total[1:], bounds[1:], strict=True)]


def _mehler(v: Array, spread: Array, neurons: int, highest: int) -> dict[tuple[int, ...], Array]:
    """E prod He_(a_i)(x_i; |m|^2) as polynomials in the overlaps, for every multi-index a.

    x_i = (v_j + W_j g).m_k for i = (k, j), g ~ N(0, 1) the latents that enter linearly and
    W_j W_j'^T the `spread`. The generating function exp(sum_i t_i v_j.m_k + t M t / 2) with
    M_ii' = m_k W_j W_j'^T m_k' - delta_ii' |m_k|^2 gives

        h_(a + e_i) = (v_j.m_k) h_a + sum_i' M_ii' a_i' h_(a - e_i').
    """
    nodes, p, r = v.shape
    n, width = neurons * r, neurons * p
    linear, matrices = [], {}
    for i, (k, j) in enumerate(itertools.product(range(neurons), range(p))):
        row = np.zeros((nodes, n))
        row[:, k * r : (k + 1) * r] = v[:, j]
        linear.append(row)
        for other, (k2, j2) in enumerate(itertools.product(range(neurons), range(p))):
            matrix = np.zeros((n, n))
            matrix[k * r : (k + 1) * r, k2 * r : (k2 + 1) * r] = spread[j, j2]
            if i == other:
                matrix[k * r : (k + 1) * r, k * r : (k + 1) * r] -= np.eye(r)
            both = matrix + matrix.T - np.diag(np.diagonal(matrix))
            matrices[i, other] = both[np.triu_indices(n)][None]
    table = {(0,) * width: np.ones((nodes, 1))}
    for a in multi_indices(width, highest)[1:]:
        i, order = next(i for i, count in enumerate(a) if count), sum(a) - 1
        lower = _lowered(a, i)
        value = product(table[lower], order, linear[i], 1, n)
        for other, count in enumerate(lower):
            if count:
                part = product(table[_lowered(lower, other)], order - 1, matrices[i, other], 2, n)
                value = value + count * part
        table[a] = value
    return table


def _lowered(a: tuple[int, ...], i: int) -> tuple[int, ...]:
    return (*a[:i], a[i] - 1, *a[i + 1 :])


@lru_cache(maxsize=64)
def _norm_products(
    neurons: int, r: int, derivatives: int
) -> list[list[tuple[NDArray[np.int64], float]]]:
    """Products of Q_kl = m_k.m_l over j-tuples of pairs k < l, over j!: monomials and factors."""
    unit = np.eye(neurons * r, dtype=np.int64)
    pairs = list(itertools.combinations(range(neurons), 2))
    results = []
    for chosen in itertools.product(pairs, repeat=derivatives):
        terms: dict[tuple[int, ...], float] = {}
        for places in itertools.product(range(r), repeat=derivatives):
            row = np.zeros(neurons * r, np.int64)
            for (first, second), i in zip(chosen, places, strict=True):
                row = row + unit[first * r + i] + unit[second * r + i]
            key = tuple(row.tolist())
            terms[key] = terms.get(key, 0.0) + 1 / factorial(derivatives)
        results.append([(np.array(key, np.int64), factor) for key, factor in terms.items()])
    return results


def _by_label(problem: Problem, rule: Nodes, labels: Any) -> tuple[Array, Array, NDArray[np.int64]]:
    """Weights, C, and which of the labels belongs to it, for every value of the latents."""
    latents, weights = _merge(rule)
    with jax.enable_x64(True):
        signal, own = _signals(problem.cast(jnp.float64), latents)
    index = np.zeros(weights.size, np.int64)
    if jax.tree.leaves(own):  # else all averages are those of one label
        given, known = _label_table(own, weights.size), _label_table(labels, _label_count(labels))
        distance = np.max(np.abs(given[:, None] - known[None]), axis=2)
        index = np.argmin(distance, axis=1)
        if np.max(distance[np.arange(len(index)), index]) > 1e-9 * (1 + np.abs(known).max()):
            raise reject("route", "be 'law' for a continuous label and several neurons", "hermite")
    return weights, np.asarray(signal), index


def latent_averages(
    problem: Problem,
    rule: Nodes,
    mixing: Array,
    projector: Callable[[Array, Array], Array],
    parameters: dict[str, Any],
    of: Literal["loss", "gradient"] = "loss",
    norms: float = 1.0,
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
        of: the loss, or the products A_a A_b of its derivatives (p * p columns).
        norms: second argument of the loss.

    Returns:
        Weights of the distinct latents, shape (nodes,); C, (nodes, p, r); the averages, (nodes,
        projections) or (nodes, projections * p * p), with their errors: twice the largest change
        from steps 1.4 and 2 times as long.
    """
    latents, weights = _merge(rule)
    p = mixing.shape[0]
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        given = jax.tree.map(jnp.asarray, parameters)
        signal, labels = _signals(cast, latents)
        distinct, index = _distinct(labels, weights.size)
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


@partial(jax.jit, static_argnames=("of", "batch", "labelled"))
def _field_averages(
    problem: Problem,
    parameters: Any,
    norms: jax.Array,
    fields: jax.Array,
    matrix: jax.Array,
    labels: Any,
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
        slope = jax.grad(loss)(field, label)
        return (slope[:, None] * slope[None, :]).ravel()

    def one(label: Any) -> jax.Array:
        values = jax.vmap(integrand, (0, None))(fields, label)
        return jnp.matmul(matrix, values, precision=jax.lax.Precision.HIGHEST).ravel()

    averages: jax.Array = jax.lax.map(one, labels, batch_size=batch)
    return averages


def _distinct(labels: Any, count: int) -> tuple[Any, NDArray[np.int64]]:
    """Different labels only, and where each node's label is among them."""
    leaves, structure = jax.tree.flatten(labels)
    if not leaves:
        return jnp.zeros(1), np.zeros(count, np.int64)
    _, first, index = np.unique(
        _label_table(labels, count), axis=0, return_index=True, return_inverse=True
    )
    chosen = [jnp.asarray(np.asarray(x)[first]) for x in leaves]
    return jax.tree.unflatten(structure, chosen), index.ravel()


def _label_table(labels: Any, count: int) -> Array:
    """All numbers of the labels, shape (count, numbers)."""
    leaves = jax.tree.leaves(labels)
    return np.concatenate([np.asarray(x, np.float64).reshape(count, -1) for x in leaves], axis=1)
