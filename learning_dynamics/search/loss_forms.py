"""Leading forms L_1 .. L_k of the population loss, by the route that suits the problem."""

from dataclasses import replace
from itertools import combinations
from typing import Literal

import numpy as np

from learning_dynamics.limit.population import Population
from learning_dynamics.limit.sample_step import follows_gradient
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.search.forms import Form
from learning_dynamics.search.loss_expansion import expanded_forms, settled, zero_overlap
from learning_dynamics.search.loss_expansion_hermite import hermite_forms, obstacle
from learning_dynamics.search.polynomials import positions, powers_of
from learning_dynamics.search.single_neuron import alike, some_neurons, sum_over_pairs
from learning_dynamics.validation import one_of, positive_integer, reject

__all__ = ["Route", "loss_forms"]

Route = Literal["auto", "hermite", "law"]
_ROUNDING = 1e-13  # of sums over thousands of nodes, in float64


def loss_forms(
    population: Population,
    *,
    around: Overlaps | None = None,
    highest: int = 4,
    route: Route = "auto",
) -> tuple[Form, ...]:
    """L_1 .. L_highest as polynomials in the overlaps; arguments as in `information_exponent`."""
    positive_integer("highest", highest)
    one_of("route", route, ("auto", "hermite", "law"))
    if around is not None and np.ndim(around.signal) != 2:
        raise reject("around.signal", "have shape (K, r)", f"shape {np.shape(around.signal)}")
    problem = population.problem
    if follows_gradient(problem) and sum_over_pairs(problem):
        return _pairs(population, around, highest, route)
    reason = "expand around other overlaps" if around is not None else obstacle(problem)
    if route == "hermite" and reason is not None:
        raise reject("route", "be 'law' where the Hermite route does not apply", reason)
    if route != "law" and reason is None:
        return _with_rounding(hermite_forms(population, highest=highest))
    state = zero_overlap(population) if around is None else settled(population, around)
    return _with_rounding(expanded_forms(population, state, highest=highest))


def _with_rounding(forms: tuple[Form, ...]) -> tuple[Form, ...]:
    """The forms with the rounding of their sums, relative to the largest coefficient of all."""
    largest = max((np.abs(form.coefficients).max(initial=0.0) for form in forms), default=0.0)
    return tuple(replace(form, errors=form.errors + _ROUNDING * largest) for form in forms)


def _pairs(
    population: Population, around: Overlaps | None, highest: int, route: Route
) -> tuple[Form, ...]:
    """Forms of a loss that is a sum over pairs of neurons, from those of two neurons and of one.

    L = sum_(k<l) L_kl - (K - 2) sum_k L_k, see `sum_over_pairs`. Neurons that are alike, at zero
    overlap, share one L_kl and one L_k.
    """
    problem = population.problem
    neurons, r = problem.learner.neurons, problem.inputs.directions
    same = around is None and alike(problem)
    parts: dict[tuple[int, ...], tuple[Form, ...]] = {}

    def forms_of(chosen: tuple[int, ...]) -> tuple[Form, ...]:
        key = tuple(range(len(chosen))) if same else chosen
        if key not in parts:
            part, rows = around, np.asarray(key)
            if around is not None:
                blocks = np.asarray(around.blocks)[:, rows][:, :, rows]
                part = Overlaps(np.asarray(around.signal)[rows], blocks, around.parameters)
            few = Population(some_neurons(problem, key), population.dimension, population.target)
            parts[key] = loss_forms(few, around=part, highest=highest, route=route)
        return parts[key]

    powers = [powers_of(neurons * r, k) for k in range(1, highest + 1)]
    values = [np.zeros(len(p)) for p in powers]
    errors = [np.zeros(len(p)) for p in powers]
    for size, factor in ((2, 1.0), (1, 2.0 - neurons)):
        for chosen in combinations(range(neurons), size):
            columns = np.concatenate([np.arange(k * r, (k + 1) * r) for k in chosen])
            for form in forms_of(chosen):
                rows = np.zeros((len(form.powers), neurons * r), np.int64)
                rows[:, columns] = form.powers
                at = positions(rows, form.order)
                values[form.order - 1][at] += factor * form.coefficients
                errors[form.order - 1][at] += abs(factor) * form.errors
    return tuple(Form(k, *row) for k, row in enumerate(zip(powers, values, errors, strict=True), 1))
