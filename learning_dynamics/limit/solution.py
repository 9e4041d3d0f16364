"""Solutions of the limit's differential equation to a wanted accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics import short_text
from learning_dynamics.limit.accuracy import Estimate, Target, combine, excess
from learning_dynamics.limit.adaptive import best_method
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.nodes import Nodes, same_length
from learning_dynamics.limit.paths import Run, solve_path, solve_transformable
from learning_dynamics.limit.population import Population, Rules, chunked
from learning_dynamics.limit.quadrature import expectation_nodes
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.tracking import track

__all__ = ["IncompleteError", "Setting", "Solution", "solve_limit", "solve_traced"]

Array = NDArray[np.float64]
_FINE = 1e-8  # tolerance where the right-hand side is smooth
_LOOSER = 100.0  # tolerance ratio of the run behind the integrator's error
_JUMPS = 10.0  # the same where the right-hand side jumps: its tolerance is large as it is
_SHARE = 0.25  # error of the right-hand side over that of the solution that it leads to
_FIRST, _FIRST_LOOSER = 1e-4, 3.7e-4  # first time step over the last time, of both runs
_LARGE = 1e6  # order parameters that have grown by such a factor diverge


class IncompleteError(ArithmeticError):
    """The solution does not reach the last time; `result` holds it up to where it ends.

    Attributes:
        result: what the call returns with `allow_incomplete=True`.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.result)  # a process pool sends it on


class Setting(NamedTuple):
    """What the differential equation is made of.

    Attributes:
        population: problem, noise blocks and accuracy.
        starts: distinct starts, leading axis.
        again: index of every start among the distinct ones.
        held: fast parameters.
        watched: names and functions of the order parameters.
        max_steps: bound on the time steps per start.
    """

    population: Population
    starts: Overlaps
    again: NDArray[np.int64]
    held: frozenset[str]
    watched: Any
    max_steps: int


@dataclass(frozen=True, eq=False)
class Solution:
    """Observables along the solutions from all starts.

    Attributes:
        times: those up to which every solution exists.
        values: name -> mean over the starts, shape (times, ...).
        quadrature: name -> bound on the error of the expectations.
        integrator: name -> bound on the error of the time steps.
        paths: name -> shape (starts, times, ...).
        method: "tensor" or "sobol".
        nodes: quadrature nodes of an expectation.
        points: nodes that were asked for.
        steps: largest number of time steps.
        tolerance: of the solver.
        seconds: that one solution took, without the compilation of its program.
        end: what ended the solution early, and when; empty if it reached the last time.
        diverges: whether more points are of no use: it grew without bound, or met a NaN.
        last: order parameters at the last of the times, from the first start and rule.
        setting: the equation.
        rules: quadrature rules over whose solutions `at` averages.
    """

    times: Array
    values: Mapping[str, Array]
    quadrature: Mapping[str, Array]
    integrator: Mapping[str, Array]
    paths: Mapping[str, Array]
    method: str
    nodes: int
    points: int
    steps: int
    tolerance: float
    seconds: float
    end: str
    diverges: bool
    last: Overlaps
    setting: Setting
    rules: list[Nodes] = field(repr=False)

    __repr__ = short_text.represent

    @property
    def estimate(self) -> Estimate:
        """Values with the sum of both errors."""
        error = {name: self.quadrature[name] + self.integrator[name] for name in self.values}
        return Estimate(dict(self.values), error, self.method, self.points)

    def at(self, times: Array) -> Overlaps:
        """Order parameters at increasing times, leading axes (starts, times)."""
        # with what was observed: as many times as before need no new program
        with jax.enable_x64(True):
            runs = [
                _run(self.setting, rule, jnp.asarray(times), self.tolerance, _FIRST).overlaps
                for rule in self.rules
            ]
            again = self.setting.again
            return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0)[again], *runs)


def solve_limit(setting: Setting, times: Array, tolerance: float | None) -> Solution:
    """The solution of the smallest quadrature that meets the target, or the best within bounds.

    The method is the one whose right-hand side has the smaller error at the start and, where more
    points are needed, at the end of the solution before. Where the right-hand side jumps, its
    error at the start also tells how many points to begin with. A solution that ends early
    without diverging is tried again with the tolerance of jumps and, at kinks, with more points.
    """
    problem, target = setting.population.summed, setting.population.target
    kinks = has_kinks(problem)
    jumps = kinks
    coarse = target.aim / 100
    states = [jax.tree.map(lambda leaf: np.asarray(leaf)[0], setting.starts)]
    best: Solution | None = None
    best_size = np.inf
    points: int | None = target.first(problem)
    while points is not None:
        method, error = _choose(
            setting, points, states, float(times[-1]), kinks, always=jumps and best is None
        )
        jumps = jumps and error > 1e-3  # else the kinks are none, or resolved
        if jumps and best is None:
            points = target.more(points, error / _SHARE, least=0) or points
        used = (coarse if jumps else _FINE) if tolerance is None else tolerance
        solution = _solve_with(setting, times, points, method, used, kinks, jumps)
        if solution.end and not solution.diverges and tolerance is None and not jumps:
            jumps = True
            solution = _solve_with(setting, times, points, method, coarse, kinks, jumps)
        size, _ = excess(solution.estimate, target.aim)
        if solution.end:
            size = max(size, 2.0)
        length = 0 if best is None else best.times.size
        if best is None or (solution.times.size, -size) >= (length, -best_size):
            best, best_size = solution, size
        if size <= 1 or solution.diverges or (solution.end and not kinks):
            break  # more points would not help
        points = target.more(points, size)
        states = [states[0], solution.last]
    assert best is not None
    return best


def _choose(
    setting: Setting, points: int, states: list[Overlaps], end: float, kinks: bool, *, always: bool
) -> tuple[Any, float]:
    """Method with the smaller error of the right-hand side, and this error over the target."""
    population = setting.population

    def rates(rule: Nodes) -> Any:
        nodes = chunked(rule)
        return [population.velocity(nodes, state, setting.held, end) for state in states]

    with jax.enable_x64(True):
        return best_method(
            population.summed, rates, population.target, points,
            kinks=kinks, again=len(states) > 1, always=always,
        )  # fmt: skip


def _solve_with(
    setting: Setting, times: Array, points: int, method: Any, tolerance: float, kinks: bool,
    jumps: bool,
) -> Solution:  # fmt: skip
    """Solutions under all rules of one quadrature, their spread, and where they end."""
    summed = setting.population.summed
    rules, kind = expectation_nodes(summed, points=points, method=method, kinks=kinks)
    looser = _JUMPS if jumps else _LOOSER
    with jax.enable_x64(True):
        tau = jnp.asarray(times)
        nodes = [chunked(rule) for rule in same_length(rules)]
        work = [(rule, tolerance, _FIRST) for rule in nodes]
        work.append((nodes[0], looser * tolerance, _FIRST_LOOSER))
        told = f"limit with {rules[0].weights.size} nodes"
        # a run is there before the next begins, so that the bar tells the truth
        every, clocks = [], [perf_counter()]
        for rule, *accuracy in track(work, told):
            every.append(jax.block_until_ready(_run(setting, rule, tau, *accuracy)))
            clocks.append(perf_counter())
        *runs, loose = every
        done = np.array([np.all(np.asarray(run.success)) for run in every])
        reached = np.array([np.min(np.asarray(run.reached)) for run in every])
    kept = times <= (np.inf if np.all(done) else np.min(reached))
    steps = max(int(np.max(np.asarray(run.steps))) for run in runs)
    diverges, end = False, ""
    if not np.all(done):
        ended = every[int(np.argmin(np.where(done, np.inf, reached)))]
        diverges, end = _why(setting, ended, nodes[0], float(times[-1]), tolerance)

    def path_of(run: Run) -> dict[str, Array]:
        return {name: np.asarray(v)[setting.again][:, kept] for name, v in run.observed.items()}

    paths = [path_of(run) for run in runs]
    means = [{name: path[name].mean(axis=0) for name in path} for path in paths]
    mean = combine(means, kind)
    coarser = {name: path.mean(axis=0) for name, path in path_of(loose).items()}
    integrator = {name: np.abs(coarser[name] - means[0][name]) for name in means[0]}
    if kind == "sobol":
        paths = [{name: np.mean([p[name] for p in paths], axis=0) for name in paths[0]}]
    size = int(rules[0].weights.size)
    index = max(int(np.sum(kept)) - 1, 0)
    last = jax.tree.map(lambda leaf: np.asarray(leaf)[0, index], runs[0].overlaps)
    return Solution(
        times[kept], mean.value, mean.error, integrator, paths[0], kind,
        size * len(rules) if kind == "sobol" else size, points, steps, tolerance,
        min(np.diff(clocks).tolist()), end, diverges, last, setting,
        nodes if kind == "sobol" else nodes[:1],
    )  # fmt: skip


def _why(
    setting: Setting, run: Run, nodes: Nodes, end: float, tolerance: float
) -> tuple[bool, str]:
    """Whether a solution diverges, and a sentence that says how and when it ends."""
    times = np.where(np.asarray(run.success), np.inf, np.asarray(run.reached))
    which = int(np.argmin(times))
    state = jax.tree.map(lambda leaf: leaf[which], run.final)
    start = jax.tree.map(lambda leaf: leaf[which], setting.starts)
    size, before = (
        max(float(np.max(np.abs(leaf), initial=0.0)) for leaf in jax.tree.leaves(tree))
        for tree in (state, start)
    )
    where = f"at tau = {times[which]:.6g} of {end:g}"
    if not size < _LARGE * (1 + before):
        return True, f"the limit diverges {where}, where it has grown by a factor {_LARGE:g}"
    with jax.enable_x64(True):
        rate = setting.population.velocity(nodes, state, setting.held, end)
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(rate)):
        return True, f"the limit ends {where}: its right-hand side is not finite there"
    few = f"its {setting.max_steps} steps at tolerance {tolerance:g} do not suffice"
    return False, f"the limit ends {where}: {few}"


def _run(
    setting: Setting, nodes: Nodes, times: jax.Array, tolerance: float, first_step: float
) -> Run:
    population = setting.population
    return solve_path(
        nodes, setting.starts, population.moving, population.noise, times, jnp.float64(tolerance),
        jnp.float64(first_step), held=setting.held, watched=setting.watched,
        max_steps=setting.max_steps,
    )  # fmt: skip


def solve_traced(
    setting: Setting, rules: Rules, times: jax.Array, tolerance: float | None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array], dict[str, jax.Array], dict[str, jax.Array]]:
    """Means over the starts, quadrature errors, integrator errors and paths, for traced numbers.

    All runs, that of the looser tolerance among them, are one compiled loop over the rules; times
    after the end of a solution hold infinities. Where the loss has kinks in the fields,
    derivatives are those of the law of the fields, see `samples`.
    """
    population = setting.population
    law = has_kinks(population.summed, fields_only=True)
    looser = _JUMPS if law else _LOOSER
    if tolerance is None:
        tolerance = Target().aim / 100 if law else _FINE
    nodes = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), rules.nodes)
    count = rules.nodes.weights.shape[0]
    tolerances = np.append(np.full(count, tolerance), looser * tolerance)
    first_steps = np.append(np.full(count, _FIRST), _FIRST_LOOSER)
    paths = solve_transformable(
        nodes, setting.starts, population.moving, population.noise, times,
        jnp.asarray(tolerances), jnp.asarray(first_steps),
        held=setting.held, watched=setting.watched, max_steps=setting.max_steps, law=law,
    )  # fmt: skip
    means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=1), paths)
    mean = rules.combined(jax.tree.map(lambda leaf: leaf[:-1], means))
    integrator = jax.tree.map(lambda leaf: jnp.abs(leaf[-1] - leaf[0]), means)
    if rules.kind == "sobol":
        first = jax.tree.map(lambda leaf: jnp.mean(leaf[:-1], axis=0), paths)
    else:
        first = jax.tree.map(lambda leaf: leaf[0], paths)
    return mean.value, mean.error, integrator, first
