"""Hermite route to the expansion of the loss: forms of neurons of norm one."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.hermite import hermite
from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.limit.linear_latents import without_linear_latents
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import expectation_nodes, fewest_points
from learning_dynamics.limit.sample_step import follows_gradient
from learning_dynamics.model.problem import Problem, free_block
from learning_dynamics.search.field_averages import (
    MOST_LABELS,
    FieldAverages,
    field_averages,
    multi_indices,
)
from learning_dynamics.search.forms import Form
from learning_dynamics.search.latent_averages import (
    distinct_labels,
    label_table,
    latent_averages,
    merge,
    noise_factor,
    signals,
)
from learning_dynamics.search.loss_expansion import zero_overlap
from learning_dynamics.search.mehler import contract
from learning_dynamics.search.polynomials import powers_of
from learning_dynamics.validation import positive_integer, reject

__all__ = ["hermite_forms", "obstacle"]

Array = NDArray[np.float64]


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
    if not follows_gradient(problem):
        return "steps that do not follow the gradient of the loss"
    if problem.update == "orthogonal" and problem.learner.neurons > 1:
        return "orthonormal rows"
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
    latents, weights = merge(rule)
    with jax.enable_x64(True):
        _, labels = signals(problem.cast(jnp.float64), latents)
        return distinct_labels(labels, weights.size)[0]


def _label_count(labels: Any) -> int:
    leaves = jax.tree.leaves(labels)
    return int(leaves[0].shape[0]) if leaves else 1


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
    return contract(v, spread, weights, averages, neurons, highest)


def _by_label(problem: Problem, rule: Nodes, labels: Any) -> tuple[Array, Array, NDArray[np.int64]]:
    """Weights, C, and which of the labels belongs to it, for every value of the latents."""
    latents, weights = merge(rule)
    with jax.enable_x64(True):
        signal, own = signals(problem.cast(jnp.float64), latents)
    index = np.zeros(weights.size, np.int64)
    if jax.tree.leaves(own):  # else all averages are those of one label
        given, known = label_table(own, weights.size), label_table(labels, _label_count(labels))
        distance = np.max(np.abs(given[:, None] - known[None]), axis=2)
        index = np.argmin(distance, axis=1)
        if np.max(distance[np.arange(len(index)), index]) > 1e-9 * (1 + np.abs(known).max()):
            raise reject("route", "be 'law' for a continuous label and several neurons", "hermite")
    return weights, np.asarray(signal), index
