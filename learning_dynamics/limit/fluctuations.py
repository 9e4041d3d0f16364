"""Around the limit: spread of order N^-1/2 and mean shift of order 1/N of the order parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.identity.session import sees_edits
from learning_dynamics.limit.accuracy import Estimate, Target, combine, excess
from learning_dynamics.limit.adaptive import best_method, evaluate_each
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.linear_noise import (
    MOST_STEPS,
    Fluctuations,
    LinearNoise,
    derivatives_agree,
    solve,
)
from learning_dynamics.limit.nodes import Nodes, joined, same_length
from learning_dynamics.limit.population import Population, chunked
from learning_dynamics.limit.quadrature import Method, expectation_nodes
from learning_dynamics.limit.sample_step import beyond_order_one
from learning_dynamics.limit.solution import IncompleteError
from learning_dynamics.model.overlaps import Overlaps, has_bare_rows
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import check_rates
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.observables import observables
from learning_dynamics.pytrees import checked_if_concrete, is_traced
from learning_dynamics.tracking import Tracking, tracked
from learning_dynamics.validation import increasing_times, one_of, reject

__all__ = ["fluctuations"]

Array = NDArray[np.float64]
Derivatives = Literal["auto", "fields", "law"]
_FIRST_POINTS = 2**12
_FINE = 1e-6  # tolerance where the right-hand side is smooth
_LARGE = 4000  # least N at which the 1/N part of the drift of one update is read off


@tracked
@sees_edits("problem", "observe")
def fluctuations(
    problem: Problem,
    *,
    times: ArrayLike,
    start: Overlaps,
    dimension: int | None = None,
    start_covariance: ArrayLike | None = None,
    observe: Mapping[str, Callable[[Overlaps], jax.Array]] | None = None,
    accuracy: float | None = None,
    tolerance: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    derivatives: Derivatives = "auto",
    allow_inaccurate: bool = False,
    allow_incomplete: bool = False,
    tracker: Tracking = "auto",
) -> Fluctuations:
    """Leading corrections to the limit, from the same loss.

    With x the limit, f its velocity, J = df/dx and u = N times the change in one update,

        d Sigma / d tau = J Sigma + Sigma J^T + Cov[u],

        d b / d tau     = J b + (1/2) d^2 f : Sigma + f_1 - (1/2) (J f + df/dtau),

    covariance = Sigma / N, mean = x + b / N. f_1 / N is what one update of finite N adds to the
    drift, read off from the update itself; the last term turns a map with steps 1/N into a flow
    (df/dtau is that of the rates).
    (van Kampen's expansion in the system size; f_1 for these learners: derived here.) Given the
    fields, the shares of the noise blocks in them fluctuate on; see `residual_noise`. A batch b
    divides Cov[u] by b.

    A function for `jax.jit`, `jax.vmap`, `jax.grad` and `jax.jacfwd`, as `integrate`.

    Equations: :eq:`eq:kernel-fluctuations`, :eq:`eq:kernel-residual`, :eq:`eq:kernel-batch`.

    Args:
        problem: definition, as in `simulate`.
        times: tau, increasing.
        start: one set of order parameters.
        dimension: N that fixes the noise blocks; a single block needs none.
        start_covariance: N times the covariance of the flattened start; zero if left out.
        observe: further functions of the order parameters.
        accuracy: the errors of spread and shift of each quantity must not exceed this times
            max(1, the largest value); 1e-3 by default, no demand by default where `points` are
            fixed.
        tolerance: of the adaptive solver; by default 1e-6, and a hundredth of `accuracy` where
            the right-hand side jumps.
        points: quadrature nodes, fixed by hand; by default they grow from 2^12 until the accuracy
            is met.
        max_points: bound on the nodes that are tried, 2^21 by default.
        method: quadrature, see `expectation_nodes`; "auto" takes the one whose error is smaller.
        derivatives: "fields" differentiates the gradient of the loss, "law" the Gaussian law of
            the fields, which is right for gradients with jumps or kinks (sign, ReLU) but less
            accurate for the same number of nodes; "auto" takes "law" where there may be a kink
            and the two disagree.
        allow_inaccurate: warn instead of raising where the accuracy is not reached.
        allow_incomplete: warn instead of raising where the solution ends early, and return the
            part before.
        tracker: progress bar, as of `simulate`.

    Raises:
        ValueError: with several starts, rows with R_kk = 0, or shapes that do not fit; with a
            momentum, or repeats of a batch of several samples.
        InaccurateError: if the accuracy is not reached; its `result` holds what was.
        IncompleteError: if the solution diverges or the steps do not suffice; it names the time,
            and its `result` is the part before.
    """
    if np.ndim(start.signal) != 2:
        raise reject("start.signal", "have shape (K, r)", f"shape {np.shape(start.signal)}")
    one_of("derivatives", derivatives, ("auto", "fields", "law"))
    obstacle = beyond_order_one(problem)
    if obstacle is not None:
        raise reject(*obstacle)
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    population = Population(problem, dimension, target, beside=(start, times, start_covariance))
    array: Any = times if is_traced(times) else increasing_times(times)
    if not is_traced(times):
        check_rates(problem, array[-1])
    several = population.noise.variances.shape[0] > 1
    large = dimension if several else problem.inputs.directions + _LARGE
    layout = layout_of(problem, int(large or 0), "overlaps")
    watched = observables(problem, layout, observe)
    held, first = population.complete_one(start)
    noisy = not population.traced and np.any(np.asarray(population.noise.variances) > 0)
    if noisy and has_bare_rows(first):
        demand = "give every row a component outside the signal directions, R_kk > 0"
        raise reject("start", demand, "R_kk = 0, where derivatives of the limit do not exist")
    if held:  # its spread is of the same order, and shifts the others
        demand = "be left out, or have order 2, for parameters that relax within a few updates"
        raise reject("problem.parameter_rates", demand, sorted(held))
    with jax.enable_x64(True):
        size = sum(leaf.size for leaf in jax.tree.leaves(first))
        given = np.zeros((size, size)) if start_covariance is None else start_covariance
        sigma = checked_if_concrete("start_covariance", given, ndim=2)
        if sigma.shape != (size, size):
            raise reject("start_covariance", f"have shape {(size, size)}", f"{sigma.shape}")
        equation = LinearNoise(population, first, sigma, held, watched, layout)
        if population.traced:
            return _traced(equation, jnp.asarray(array, jnp.float64), tolerance, derivatives)
        solved = _search(equation, array, tolerance, derivatives)
    if solved.end:
        if not allow_incomplete or solved.result.times.size == 0:
            raise IncompleteError(f"fluctuations: {solved.end}", solved.result)
        warnings.warn(f"fluctuations: {solved.end}", RuntimeWarning, stacklevel=4)
    target.check("fluctuations", solved.estimate, solved.result)
    return solved.result


class _Solved(NamedTuple):
    """Fluctuations up to the time at which they end, and what they were computed with."""

    result: Fluctuations
    end: str
    points: int
    method: str

    @property
    def estimate(self) -> Estimate:
        """Spread and shift with their errors."""
        value = {"spread": dict(self.result.spread), "shift": dict(self.result.shift)}
        error = {"spread": self.result.spread_error, "shift": self.result.shift_error}
        return Estimate(value, error, self.method, self.points)


def _search(
    equation: LinearNoise,
    times: Array,
    tolerance: float | None,
    derivatives: Derivatives,
) -> _Solved:
    """The solution of the smallest quadrature that meets the target, or the best within bounds."""
    problem, target = equation.population.problem, equation.population.target
    kinks = has_kinks(problem)
    best: _Solved | None = None
    best_size = np.inf
    points: int | None = target.first(problem, least=_FIRST_POINTS)
    while points is not None:
        method, error = _choose(equation, points, float(times[-1]), kinks)
        rules, kind = expectation_nodes(
            problem, points=points, method=method, kinks=kinks, squared=True
        )
        if kind == "tensor" and not kinks:
            rules = rules[:2]  # of n and n - 1 nodes
        if derivatives == "auto":
            pair = rules[:2]
            if kind == "sobol":
                pair = [joined(rules[::2]), joined(rules[1::2])]
            rule, other = same_length(pair)
            agree = not kinks or derivatives_agree(equation, rule, other, float(times[-1]))
            derivatives = "fields" if agree else "law"
        rough = kinks and (derivatives == "law" or error > 1e-3)
        used = (target.aim / 100 if rough else _FINE) if tolerance is None else tolerance
        solved = _with_rules(equation, times, rules, kind, points, used, derivatives, rough)
        size, _ = excess(solved.estimate, target.aim)
        if solved.end:
            size = max(size, 2.0)
        if best is None or size <= best_size or best.end:
            best, best_size = solved, size
        useless = solved.end and not kinks
        points = None if size <= 1 or useless else target.more(points, size)
    assert best is not None
    return best


def _traced(
    equation: LinearNoise,
    times: jax.Array,
    tolerance: float | None,
    derivatives: Derivatives,
) -> Fluctuations:
    """Fluctuations of traced numbers, by fixed rules; infinite after the end of a solution."""
    population = equation.population
    rules = population.rules(of=population.problem, least=_FIRST_POINTS, squared=True)
    kinks = has_kinks(population.problem, fields_only=True)
    if derivatives == "auto":
        derivatives = "law" if kinks else "fields"
    if tolerance is None:
        tolerance = Target().aim / 100 if kinks else _FINE

    def one(nodes: Nodes) -> Any:
        return solve(
            equation, nodes, times, jnp.float64(tolerance), law=derivatives == "law",
            derivatives="both",
        )[0]  # fmt: skip

    tau: Any = times
    return _result(tau, rules.combined(jax.lax.map(one, rules.nodes)), derivatives)


def _result(times: Array, mean: Estimate, derivatives: str) -> Fluctuations:
    """Fluctuations from the estimate of covariance, spread and shift."""
    covariance, spread, shift = mean.value
    return Fluctuations(times, covariance, spread, shift, mean.error[1], mean.error[2], derivatives)


def _choose(equation: LinearNoise, points: int, end: float, kinks: bool) -> tuple[Any, float]:
    """Method with the smaller error of the velocity, and this error over the target."""
    population = equation.population

    def rate(rule: Nodes) -> Overlaps:
        return population.velocity(rule, equation.start, equation.held, end)

    return best_method(
        population.problem, rate, population.target, points, kinks=kinks, squared=True
    )


def _with_rules(
    equation: LinearNoise,
    times: Array,
    rules: list[Nodes],
    kind: str,
    points: int,
    tolerance: float,
    derivatives: Derivatives,
    rough: bool,
) -> _Solved:
    """Solutions under all rules, with their spread as error; where it jumps, that of the steps."""
    tau, law = jnp.asarray(times), derivatives == "law"

    def run(rule: Nodes, tolerance: float) -> Any:
        outcome = solve(equation, chunked(rule), tau, jnp.float64(tolerance), law=law)
        return jax.tree.map(np.asarray, outcome)

    each = evaluate_each(lambda rule: run(rule, tolerance), rules)
    first = same_length(rules)[0]  # as long as before, to share compiled code
    loose = [run(first, 10 * tolerance)] if rough else []
    ends = [outcome for outcome in (*each, *loose) if not outcome[2]]
    kept, end = np.ones(times.size, bool), ""
    if ends:
        last = min(ends, key=lambda outcome: float(outcome[1]))
        kept = times <= last[1]
        diverges = not last[3] < 1e6
        why = "diverge" if diverges else f"need more than {MOST_STEPS} steps"
        end = f"they {why} at tau = {float(last[1]):.6g} of {times[-1]:g}"
    paths = [jax.tree.map(lambda leaf: leaf[kept], outcome[0]) for outcome in each]
    mean = combine(paths, kind)
    for outcome in loose:
        coarse = jax.tree.map(lambda leaf: leaf[kept], outcome[0])
        error = jax.tree.map(lambda e, a, b: e + np.abs(a - b), mean.error, coarse, paths[0])
        mean = Estimate(mean.value, error)
    return _Solved(_result(times[kept], mean, derivatives), end, points, kind)
