"""The limit N -> infinity: an ordinary differential equation for the order parameters."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.identity.session import WhileUnedited, sees_edits
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.limit import Limit
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.limit.sample_step import beyond_order_one
from learning_dynamics.limit.solution import IncompleteError, Setting, solve_limit, solve_traced
from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.overlaps import Overlaps, checked_overlaps, has_bare_rows
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time, check_rates, from_time
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.observables import observables, whole_updates
from learning_dynamics.process.trajectory import Trajectory
from learning_dynamics.pytrees import is_traced
from learning_dynamics.tracking import Tracking, tracked
from learning_dynamics.validation import (
    increasing_times,
    non_negative,
    positive_integer,
    reject,
)

__all__ = ["expected_loss", "integrate", "right_hand_side"]

Array = NDArray[np.float64]


@tracked
@sees_edits("problem", "observe")
def integrate(
    problem: Problem,
    *,
    times: ArrayLike | None = None,
    start: Overlaps | Trajectory,
    dimension: int | None = None,
    observe: Mapping[str, Callable[[Overlaps], jax.Array]] | None = None,
    accuracy: float | None = None,
    tolerance: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    max_steps: int = 4096,
    finite_size: bool | None = None,
    allow_inaccurate: bool = False,
    allow_incomplete: bool = False,
    tracker: Tracking = "auto",
) -> Limit:
    """Integrate the limit N -> infinity of a problem.

    Equations: :eq:`eq:kernel-limit-signal`, :eq:`eq:kernel-limit-blocks`.

    Args:
        problem: the definition that `simulate` takes.
        times: tau, increasing; rounded to whole updates as in `simulate` if `start` is one, whose
            times are taken if left out.
        start: order parameters (one set, or several along a leading axis), or a simulation, whose
            replicas' starts are then all integrated and averaged; rates that depend on the time
            are read from when it began.
        dimension: N that fixes the noise blocks; the simulation's when `start` is one. A single
            noise block needs none.
        observe: further functions of the order parameters.
        accuracy: the errors of each quantity must not exceed this times max(1, its largest
            value); 1e-3 by default, no demand by default where `points` are fixed.
        tolerance: relative and absolute tolerance of the adaptive solver (Tsitouras 5/4). By
            default 1e-8, and a hundredth of `accuracy` where the right-hand side jumps.
        points: quadrature nodes per expectation, fixed by hand; by default they grow from 2^14
            until the accuracy is met.
        max_points: bound on the nodes that are tried, 2^21 by default.
        method: quadrature, see `expectation_nodes`; "auto" takes the one whose error is smaller.
        max_steps: bound on the time steps per start.
        finite_size: whether comparisons allow 1.5 times the shift b / N of `fluctuations` as
            bias of the limit; it is worked out when a comparison asks for it, and takes a
            simulation with equal replicas as start. By default, whenever that is given, there are
            at most 8 noise blocks and `fluctuations` accepts the problem.
        allow_inaccurate: warn instead of raising where the accuracy is not reached.
        allow_incomplete: warn instead of raising where the solution ends early, and return the
            part before.
        tracker: progress bar, as of `simulate`.

    Returns:
        Means over the starts. The quadrature error is the bound of `combine` on the spread of the
        solutions under different rules; the integrator error is the change under a larger
        tolerance and 3.7 times the first step (it bounds the error of the finer run).

    Raises:
        ValueError: on values that make no sense; if a parameter has no limit at its order.
        InaccurateError: if the accuracy is not reached; its `result` is the limit.
        IncompleteError: if the solution diverges or the steps do not suffice; it names the time,
            and its `result` is the limit up to there.
    """
    clock = time.perf_counter()
    if tolerance is not None and not 0 < tolerance < 1e-2:
        raise reject("tolerance", "lie between 0 and 0.01", tolerance)
    positive_integer("max_steps", max_steps)
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    simulated = start if isinstance(start, Trajectory) else None
    if isinstance(start, Trajectory):
        dimension = start.dimension if dimension is None else dimension
        if start.begins and isinstance(problem.momentum, HeavyBall):
            demand = "have begun at rest: a run that goes on does not hold its first velocities"
            raise reject("start", demand, f"one that began at tau = {start.begins:g}")
        problem = from_time(problem, start.begins) if start.begins else problem
        start = start.start
    if times is None:
        if simulated is None:
            raise reject("times", "be given unless `start` is a simulation", None)
        times = simulated.times
    traced = is_traced((problem, start, times))
    array: Any = times if is_traced(times) else increasing_times(times)
    if simulated is not None and not is_traced(times):
        array = whole_updates(times, simulated.dimension) / simulated.dimension
    if not is_traced(times):
        check_rates(problem, array[-1])
    population = Population(problem, dimension, target, beside=(start, times))
    corrected = False if traced else finite_size
    obstacle = beyond_order_one(problem)
    if finite_size and obstacle is not None:
        raise reject(*obstacle)
    if corrected is None:
        corrected = obstacle is None and _has_shift(simulated, 8)
    if (corrected or finite_size) and (traced or not _has_shift(simulated)):
        demand = "be left out unless a simulation with equal starts, R_kk > 0, is given"
        raise reject("finite_size", demand, finite_size)
    layout = layout_of(problem, dimension or problem.inputs.directions + 10**6, "overlaps")
    watched = observables(problem, layout, observe)
    held, starts = population.complete(start)
    if held and finite_size:
        demand = "be left out: `fluctuations` does not follow fast parameters"
        raise reject("finite_size", demand, sorted(held))
    if traced:
        again = np.arange(starts.signal.shape[0])
        setting = Setting(population, starts, again, held, watched, max_steps)
        tau: Any = jnp.asarray(array, jnp.float64)
        arrays: Any = solve_traced(setting, population.rules(), tau, tolerance)
        return Limit(tau, *arrays)
    distinct, again = _distinct(starts)
    setting = Setting(population, distinct, again, held, watched, max_steps)
    solved = solve_limit(setting, array, tolerance)
    attributes = {
        "quadrature": solved.method,
        "nodes": solved.nodes,
        "steps": solved.steps,
        "reached_the_end": not solved.end,
        "tolerance": solved.tolerance,
        "seconds": time.perf_counter() - clock,
        "seconds_again": solved.seconds * len(solved.rules),
        "jax": jax.__version__,
        "diffrax": diffrax.__version__,
    }
    if dimension is not None:
        attributes["dimension"] = dimension
    later: Callable[[], dict[str, Array]] | None = None
    if corrected and simulated is not None and not held:
        work_out = partial(_bias, problem, simulated, solved.times, observe)
        later = WhileUnedited(work_out, "this limit", (problem, observe))
    at = WhileUnedited(solved.at, "this limit", (problem, observe))
    limit = Limit(
        solved.times, solved.values, solved.quadrature, solved.integrator, solved.paths,
        attributes, at, later,
    )  # fmt: skip
    if solved.end:
        if not allow_incomplete or solved.times.size == 0:
            raise IncompleteError(f"integrate: {solved.end}", limit)
        warnings.warn(f"integrate: {solved.end}", RuntimeWarning, stacklevel=4)
    target.check("integrate", solved.estimate, limit, times=solved.times)
    return limit


def _distinct(starts: Overlaps) -> tuple[Overlaps, NDArray[np.int64]]:
    """Starts without repetition, and which of them each start is."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(starts)]
    rows = np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[first], starts), place.ravel()


def _has_shift(simulated: Trajectory | None, blocks: float = np.inf) -> bool:
    """Whether the 1/N shift of the limit can be worked out for a simulation with so many blocks."""
    if simulated is None or simulated.start.blocks.shape[1] > blocks:
        return False
    if has_bare_rows(simulated.start) and simulated.dimension > simulated.start.signal.shape[-1]:
        return False
    spread = [np.ptp(leaf, axis=0).max(initial=0.0) for leaf in jax.tree.leaves(simulated.start)]
    return max(spread) < 1e-9


def _bias(problem: Problem, simulated: Trajectory, times: Array, observe: Any) -> dict[str, Array]:
    """1.5 |b| / N, b to about a per cent: few nodes and a loose tolerance do.

    Raises:
        IncompleteError: if the shift diverges, and says how to compare without.
    """
    from learning_dynamics.limit.fluctuations import fluctuations

    first = jax.tree.map(lambda leaf: leaf[0], simulated.start)
    try:
        found = fluctuations(
            problem, times=times, start=first, dimension=simulated.dimension, observe=observe,
            tolerance=1e-4, points=2**11,
        )  # fmt: skip
    except IncompleteError as error:
        advice = (
            f"the shift of order 1/N that a comparison allows: {error}; the limit may not describe "
            f"N = {simulated.dimension} there. `finite_size=False` compares without a shift"
        )
        raise IncompleteError(advice, error.result) from None
    return {name: 1.5 * np.abs(b) / simulated.dimension for name, b in found.shift.items()}


@sees_edits("problem")
def right_hand_side(
    problem: Problem,
    overlaps: Overlaps,
    *,
    time: Any = 0.0,
    dimension: int | None = None,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
) -> tuple[Overlaps, Overlaps]:
    """Time derivatives of the order parameters in the limit, and bounds on their error.

    Shapes as in `Overlaps` without leading axes. Rates that depend on the time have their values at
    `time`. Accuracy and points are those of `integrate`.

    Raises:
        ValueError: on shapes that do not fit, or if a parameter has no limit at its order.
        InaccurateError: if the accuracy is not reached; its `result` holds what was.
    """
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    if isinstance(problem.momentum, HeavyBall):
        demand = (
            "be a number or left out: beside a heavy ball the velocity is a variable of its own"
        )
        raise reject("problem.momentum", demand, problem.momentum)
    if not is_traced(time):
        time = float(non_negative("time", time, ndim=0))
        check_rates(problem, time)
    with jax.enable_x64(True):
        problem = at_time(problem, time)
    population = Population(problem, dimension, target, beside=overlaps)
    held, state = population.complete_one(overlaps)

    def rate(nodes: Nodes) -> Overlaps:
        return population.velocity(nodes, state, held)

    mean = population.average(rate, caller="right_hand_side")
    return mean.value, mean.error


@sees_edits("problem")
def expected_loss(
    problem: Problem,
    overlaps: Overlaps,
    *,
    dimension: int | None = None,
    time: Any = 0.0,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
) -> tuple[Array, Array]:
    """Population loss E l at given order parameters (leading axes kept), and its error.

    A part of the loss linear in the gram is left out: it does not depend on W. Numbers that depend
    on the time have their values at `time`. Accuracy and points
    are those of `integrate`. Traced single precision, such as the order parameters of an observable
    of `simulate`, gives a result in single precision, computed in double.

    Raises:
        InaccurateError: if the accuracy is not reached; its `result` holds what was.
    """
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    with jax.enable_x64(True):
        problem = at_time(problem, time)
    population = Population(problem, dimension, target, beside=overlaps, narrow=True)
    blocks = population.noise.variances.shape[0]
    whole = checked_overlaps(population.cast, overlaps, blocks, moving=False)
    lead, wide = whole.signal.shape[:-2], jnp.result_type(float) == jnp.float64

    def losses(nodes: Nodes) -> jax.Array:
        return population.losses(nodes, flat).reshape(lead)

    with jax.enable_x64(True):
        flat = jax.tree.map(
            lambda a: jnp.asarray(a.reshape(-1, *a.shape[len(lead) :]), jnp.float64), whole
        )
        mean = population.average(losses, caller="expected_loss")
        if population.traced and not wide:
            return mean.value.astype(jnp.float32), mean.error.astype(jnp.float32)
    return mean.value, mean.error
