"""Optimal protocols: numbers and schedules of a problem that minimise an observable."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from learning_dynamics.compilation import compiled
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.limit.integrate import integrate
from learning_dynamics.limit.limit import Limit
from learning_dynamics.limit.paths import forward_mode
from learning_dynamics.limit.population_loss import loss
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import held_constant, schedule_paths
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.observables import abstract_overlaps
from learning_dynamics.protocols.optimum import Optimum
from learning_dynamics.pytrees import number_path, require_concrete
from learning_dynamics.schedules import is_table
from learning_dynamics.tracking import Tracking, track, tracked
from learning_dynamics.validation import non_negative, positive_integer, positive_number, reject

__all__ = ["optimise"]

Array = NDArray[np.float64]
Bounds = Mapping[str, tuple[float | None, float | None]]
_RATES = ("learning_rate", "weight_decay", "parameter_rates")
_SPREAD = 0.5  # standard deviation of the logarithm of the factors that later tries begin with
_FORWARD = 8  # numbers up to which forward mode, which compiles in a third of the time, is taken


@tracked
@sees_edits("problem", "objective")
def optimise(
    problem: Problem,
    *,
    start: Overlaps,
    until: float,
    over: str | Sequence[str] = "learning_rate",
    objective: Any = loss,
    integrated: bool = False,
    bounds: Bounds | None = None,
    smoothness: float = 0.0,
    tries: int = 1,
    dimension: int | None = None,
    points: int = 2**11,
    method: Method = "auto",
    tolerance: float = 1e-6,
    moments: int = 65,
    accuracy: float = 1e-5,
    most: int = 200,
    tracker: Tracking = "auto",
) -> Optimum:
    """Minimise an observable of the limit over numbers and schedules of a problem.

    J(x) = objective at tau = `until`, or its mean over [0, until]; x are the numbers that `over`
    names. The gradient goes through the solver of `integrate`, the method is L-BFGS-B of scipy in
    units of the numbers to begin with. A schedule is the best one of its form: for any rate take
    `ld.schedules.piecewise_linear` with enough times.

    Args:
        problem: definition, with the numbers to begin with.
        start: order parameters at time zero; the mean counts if there are several.
        until: last time tau.
        over: what may change: fields of the problem, or parts of them such as
            "learning_rate.start", "parameter_rates.v", "inputs.strength",
            "protocol.inputs.strength". Of a table of times and values the values change, unless
            "learning_rate.times" is named.
        objective: function of the order parameters that returns one number, or `ld.loss`.
        integrated: whether the mean over the time counts (trapezoidal rule on `moments` times)
            instead of the last value.
        bounds: name in `over` -> least and largest value, None for none; left out, rates must not
            be negative and all else is free.
        smoothness: lambda of a penalty lambda sum_i (x_(i+1) - x_i)^2 on neighbouring values of
            tables, no part of the value that is returned.
        tries: how many beginnings are tried: the numbers of `problem`, then others at random
            factors of them.
        dimension: N that fixes several noise blocks.
        points: quadrature nodes on the way; the value that is returned has the accuracy of
            `integrate`.
        method: quadrature, see `integrate`.
        tolerance: of the solver on the way.
        moments: times of the trapezoidal rule.
        accuracy: residual at which a try ends, see `Optimum`.
        most: largest number of evaluations of a try.
        tracker: progress bar, as of `simulate`.

    Returns:
        The best problem and its value; beside the best constants in place of the schedules that
        change, if any do. They are one of the beginnings where these schedules are tables of
        values, in place of the numbers of `problem` where those are constants as well.

    Raises:
        ValueError: if `over` names no number, the objective does not return a single one, bounds
            exclude what they begin with, or the limit ends before `until` from all beginnings.
    """
    require_concrete(problem=problem, start=start, until=until)
    if not isinstance(problem, Problem):
        raise reject("problem", "be a Problem", repr(problem))
    end = positive_number("until", until)
    penalty = float(non_negative("smoothness", smoothness, ndim=0))
    positive_integer("moments", moments, least=2)
    _check_scalar(problem, objective, dimension)
    times = np.linspace(0, end, moments) if integrated else np.array([end])
    goal = _Goal(objective, integrated, dimension, points, method, positive_number(
        "tolerance", tolerance))  # fmt: skip
    stop = positive_number("accuracy", accuracy), positive_integer("most", most)
    names = [over] if isinstance(over, str) else list(over)
    search = _Search(problem, names, bounds or {}, start, times, goal, penalty)

    begins = [search.first]
    rng = np.random.default_rng(12)
    for _ in range(positive_integer("tries", tries) - 1):
        begins.append(search.inside(search.first * np.exp(_SPREAD * rng.normal(size=search.size))))
    constant = None
    if search.moving:
        constant = search.constant(*stop) if search.tied else _constant(search, names, stop)
    if constant is not None and search.tied:  # in place of other constants
        begins = [constant.numbers, *begins[1 if search.is_constant(search.first) else 0 :]]
    best: _Minimum | None = None
    for begin in track(begins, "optimal protocol"):
        minimum = search.minimise(begin, *stop)
        if np.isfinite(minimum.score) and (best is None or minimum.score < best.score):
            best = minimum
    if best is None:
        demand = "have a limit up to `until` at the numbers to begin with"
        raise reject("problem", demand, "one that ends before")
    optimum = search.problem_at(best.numbers)
    limit, value = search.exact(optimum)
    steady = None if constant is None else constant.problem
    return Optimum(
        search.shown(best.numbers), value, search.error(limit),
        None if steady is None else search.exact(steady)[1],
        {} if steady is None else {name: _value_of(steady, name) for name in search.moving},
        search.residual(best.numbers), best.evaluations, np.asarray(best.history), start, limit,
        search.at_bounds(best.numbers), optimum, steady, objective,
    )  # fmt: skip


class _Goal(NamedTuple):
    """What is minimised, and how its limit is computed (hashable)."""

    objective: Any
    integrated: bool
    dimension: int | None
    points: int
    method: Method
    tolerance: float


class _Minimum(NamedTuple):
    """End of a try: numbers, value with the penalty, evaluations, values on the way."""

    numbers: Array
    score: float
    evaluations: int
    history: list[float]
    problem: Problem


class _Search:
    """Objective and gradient as functions of the flattened numbers that may change."""

    def __init__(
        self,
        problem: Problem,
        names: list[str],
        bounds: Bounds,
        start: Overlaps,
        times: Array,
        goal: _Goal,
        penalty: float,
    ) -> None:
        self.problem, self.bounds, self.start, self.times = problem, bounds, start, times
        self.goal, self.penalty = goal, penalty
        self.where = {name: _indices(problem, name) for name in names}
        self.indices = tuple(dict.fromkeys(i for part in self.where.values() for i in part))
        leaves = jax.tree.leaves(problem)
        parts = [np.asarray(leaves[i], np.float64) for i in self.indices]
        self.shapes = tuple(part.shape for part in parts)
        ends = np.cumsum([part.size for part in parts]).tolist()
        self.places = {
            i: slice(end - part.size, end)
            for i, part, end in zip(self.indices, parts, ends, strict=True)
        }
        self.first = np.concatenate([part.ravel() for part in parts])
        self.size = self.first.size
        self.scale = np.where(self.first == 0, 1.0, np.abs(self.first))
        self.low, self.high = self._limits(names)
        self.moving = {
            name: places
            for name in schedule_paths(problem)
            if (places := set(_indices(problem, name, every=True)) & set(self.indices))
        }
        tables = {i for name in self.moving for i in _table_values(problem, name)}
        self.tied = all(places <= tables for places in self.moving.values())

    def _limits(self, names: list[str]) -> tuple[Array, Array]:
        unknown = set(self.bounds) - set(names)
        if unknown:
            raise reject("bounds", f"name some of {names}", sorted(unknown))
        low, high = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        for name, part in self.where.items():
            given = self.bounds.get(name, (0.0 if name.partition(".")[0] in _RATES else None, None))
            try:
                least, most = given
                least = -np.inf if least is None else float(least)
                most = np.inf if most is None else float(most)
            except (TypeError, ValueError):
                raise reject(f"bounds[{name!r}]", "be a pair of numbers or None", given) from None
            for i in part:
                place = self.places[i]
                values = self.first[place]
                if not (least < most and np.all(values >= least) and np.all(values <= most)):
                    demand = f"be increasing and hold {name} = {values.tolist()}"
                    raise reject(f"bounds[{name!r}]", demand, given)
                low[place], high[place] = least, most
        return low, high

    def inside(self, x: Array) -> Array:
        """The numbers, moved to the bounds where they are beyond."""
        return np.clip(x, self.low, self.high)

    def problem_at(self, x: Array) -> Problem:
        """The problem with other numbers."""
        return _with_numbers(self.problem, x, self.indices, self.shapes)

    def shown(self, x: Array) -> dict[str, Array]:
        """Name -> its numbers."""
        leaves = jax.tree.leaves(self.problem_at(x))
        parts = {
            name: [np.asarray(leaves[i], np.float64) for i in part]
            for name, part in self.where.items()
        }
        return {
            name: part[0] if len(part) == 1 else np.concatenate([each.ravel() for each in part])
            for name, part in parts.items()
        }

    def evaluate(self, x: Array) -> tuple[float, Array]:
        """Objective with the penalty, and its gradient."""
        with jax.enable_x64(True):
            value, slope = _value_and_slope(
                jnp.asarray(x), self.problem.cast(jnp.float64), self.start,
                jnp.asarray(self.times), self.indices, self.shapes, self.goal,
            )  # fmt: skip
        total, gradient = float(value), np.array(slope, np.float64)
        for place in self.places.values():
            steps = np.diff(x[place])
            total += self.penalty * float(np.sum(steps**2))
            gradient[place] += 2 * self.penalty * -np.diff(steps, prepend=0, append=0)
        return total, gradient

    def minimise(
        self, begin: Array, accuracy: float, most: int, ties: Array | None = None
    ) -> _Minimum:
        """A local minimum from one beginning, over y with x = ties y where these are given."""
        spread = np.eye(self.size) if ties is None else ties
        back = np.linalg.pinv(spread)
        scale = self.scale if ties is None else np.abs(back) @ self.scale
        low, high = _edges(spread, self.low, np.max), _edges(spread, self.high, np.min)
        best, history = (np.inf, begin), []
        unit: list[float] = []

        def function(y: Array) -> tuple[float, Array]:
            nonlocal best
            x = self.inside(spread @ (y * scale))
            value, slope = self.evaluate(x)
            if not (np.isfinite(value) and np.all(np.isfinite(slope))):
                # too far: a limit that ends early; the line search turns back
                return 1e6, np.zeros(y.size)
            if value < best[0]:
                best = value, x
            history.append(best[0])
            unit.append(abs(value) or 1.0)
            return value / unit[0], spread.T @ slope * scale / unit[0]

        ends = list(zip(low / scale, high / scale, strict=True))
        result = optimize.minimize(
            function, back @ begin / scale, jac=True, method="L-BFGS-B", bounds=ends,
            options={"gtol": accuracy, "ftol": 1e-13, "maxfun": most, "maxiter": most},
        )  # fmt: skip
        return _Minimum(best[1], best[0], int(result.nfev), history, self.problem_at(best[1]))

    def constant(self, accuracy: float, most: int) -> _Minimum:
        """The best numbers with all values of a table equal, for each table that moves."""
        ties = self._ties()
        return self.minimise(ties @ np.linalg.pinv(ties) @ self.first, accuracy, most, ties)

    def is_constant(self, x: Array) -> bool:
        """Whether the numbers have all values of a table equal, for each table that moves."""
        ties = self._ties()
        return bool(np.allclose(ties @ np.linalg.pinv(ties) @ x, x, rtol=1e-12, atol=0))

    def _ties(self) -> Array:
        """Columns: the values of all tables that move, which are one number, and each other one."""
        columns = []
        for places in self.moving.values():
            columns.append(np.zeros(self.size))
            for i in places:
                columns[-1][self.places[i]] = 1.0
        tied = np.sum(columns, axis=0)
        columns += [row for row, known in zip(np.eye(self.size), tied, strict=True) if not known]
        return np.stack(columns, axis=1)

    def residual(self, x: Array) -> float:
        """Largest relative change of J per relative change of a number that no bound holds."""
        value, slope = self.evaluate(x)
        low, high = self._touched(x)
        held = (low & (slope > 0)) | (high & (slope < 0))
        return float(
            np.max(np.abs(np.where(held, 0, slope * self.scale)), initial=0.0) / abs(value)
        )

    def _touched(self, x: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which numbers lie on their lower and on their upper bound."""
        near = 1e-9 * self.scale
        return x <= self.low + near, x >= self.high - near

    def at_bounds(self, x: Array) -> dict[str, int]:
        """Name -> how many of its numbers lie on a bound."""
        touched = np.logical_or(*self._touched(x))
        return {
            name: sum(int(np.sum(touched[self.places[i]])) for i in part)
            for name, part in self.where.items()
        }

    def exact(self, problem: Problem) -> tuple[Limit, float]:
        """The limit at the accuracy of `integrate`, and the objective."""
        limit = integrate(
            problem, times=self.times, start=self.start, dimension=self.goal.dimension,
            observe={"objective": self.goal.objective},
        )  # fmt: skip
        return limit, float(_reduced(limit.values["objective"], self.times, self.goal.integrated))

    def error(self, limit: Limit) -> float:
        """Bound on the numerical error of the objective."""
        errors = [e["objective"] for e in (limit.quadrature_error, limit.integrator_error)]
        return float(_reduced(sum(errors), self.times, self.goal.integrated))


def _with_numbers(
    problem: Problem, x: Any, indices: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
) -> Problem:
    """The problem with other numbers in some of its leaves; single known ones as floats."""
    leaves, structure = jax.tree.flatten(problem)
    first = 0
    for i, shape in zip(indices, shapes, strict=True):
        size = int(np.prod(shape))
        part = x[first : first + size].reshape(shape)
        leaves[i] = float(part) if isinstance(part, np.ndarray) and not shape else part
        first += size
    changed_problem: Problem = jax.tree.unflatten(structure, leaves)
    return changed_problem


@partial(compiled, static_argnums=(4, 5, 6))
def _value_and_slope(
    x: jax.Array,
    problem: Problem,
    start: Overlaps,
    times: jax.Array,
    indices: tuple[int, ...],
    shapes: tuple[tuple[int, ...], ...],
    goal: _Goal,
) -> tuple[jax.Array, jax.Array]:
    """J and its gradient; one program for all numbers."""

    def value(x: jax.Array) -> jax.Array:
        limit = integrate(
            _with_numbers(problem, x, indices, shapes), times=times, start=start,
            dimension=goal.dimension, observe={"objective": goal.objective}, points=goal.points,
            method=goal.method, tolerance=goal.tolerance,
        )  # fmt: skip
        reduced: jax.Array = _reduced(limit.values["objective"], times, goal.integrated)
        return reduced

    if x.size > _FORWARD:
        return jax.value_and_grad(value)(x)
    with forward_mode():
        directions = jnp.eye(x.size, dtype=x.dtype)
        along = jax.vmap(lambda direction: jax.jvp(value, (x,), (direction,)), out_axes=(None, 0))
        return along(directions)


def _reduced(values: Any, times: Any, integrated: bool) -> Any:
    """The last value, or the mean over the time."""
    if not integrated:
        return values[-1]
    widths = times[1:] - times[:-1]
    return ((values[1:] + values[:-1]) * widths).sum() / (2 * (times[-1] - times[0]))


def _edges(ties: Array, edge: Array, pick: Callable[..., Any]) -> Array:
    """The tightest bound of the numbers that move together."""
    return np.array([pick(edge[column > 0]) for column in ties.T])


def _constant(search: _Search, names: list[str], stop: tuple[float, int]) -> _Minimum:
    """The best constants in place of the schedules that move, with all else that may change."""
    steady = held_constant(search.problem, search.moving, float(search.times[-1]))
    others = [n for n in names if not any(f"{n}.".startswith(f"{m}.") for m in search.moving)]
    wanted = [*search.moving, *others]
    bounds = {name: pair for name, pair in search.bounds.items() if name in wanted}
    other = _Search(
        steady, wanted, bounds, search.start, search.times, search.goal, search.penalty
    )  # fmt: skip
    return other.minimise(other.first, *stop)


def _value_of(problem: Problem, name: str) -> float:
    """The value of a constant schedule."""
    return float(schedule_paths(problem)[name](0.0))


def _indices(problem: Problem, name: str, *, every: bool = False) -> tuple[int, ...]:
    """Places of the leaves that a name means.

    Raises:
        ValueError: if there are none.
    """
    wanted = re.findall(r"\w+", name) if isinstance(name, str) else []
    paths = [
        number_path(path).split(".") for path, _ in jax.tree_util.tree_leaves_with_path(problem)
    ]
    places = [i for i, path in enumerate(paths) if wanted and path[: len(wanted)] == wanted]
    moving = [i for i in places if every or paths[i] == wanted or paths[i][-1] != "times"]
    if not moving and not every:
        known = sorted({".".join(path) for path in paths})
        raise reject("over", f"name numbers of the problem, such as {', '.join(known)}", repr(name))
    return tuple(moving)


def _table_values(problem: Problem, name: str) -> tuple[int, ...]:
    """Places of the values of a schedule that is a table of times and values."""
    if not is_table(schedule_paths(problem)[name]):
        return ()
    return _indices(problem, f"{name}.values")


def _check_scalar(problem: Problem, objective: Any, dimension: int | None) -> None:
    if hasattr(objective, "under"):
        return
    if not callable(objective):
        raise reject("objective", "be a function of Overlaps", repr(objective))
    layout = layout_of(problem, dimension or problem.inputs.directions + 10**6, "overlaps")
    shape = jax.eval_shape(objective, abstract_overlaps(problem, layout))
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise reject("objective", "return one floating-point number", shape)
