"""Numbers of theory to a wanted accuracy: the rule chosen by its measured error."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from learning_dynamics import short_text
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.quadrature import (
    Kind,
    Method,
    Nodes,
    combine,
    expectation_nodes,
    fewest_points,
    methods_for,
    same_length,
)
from learning_dynamics.model.problem import Problem
from learning_dynamics.tracking import track
from learning_dynamics.validation import between, one_of, positive_integer, reject

__all__ = [
    "Estimate",
    "InaccurateError",
    "Target",
    "estimate",
    "evaluate_each",
    "excess",
    "first_rule",
]

_GROWTH = 4  # least factor between numbers of points: each number is compiled once more
_RATE = 0.65  # exponent of the error of Sobol points at jumps: what more points promise
_SETTLED = 3.0  # a method that is so many times worse than another is not tried again


class InaccurateError(ArithmeticError):
    """The wanted accuracy is not reached; `result` holds what was.

    Attributes:
        result: value with its error, as the call returns it with `allow_inaccurate=True`.
    """

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.result)  # a process pool sends it on


@dataclass(frozen=True)
class Target:
    """How accurate a number of theory must be, and what may be spent on it.

    The error must not exceed accuracy * max(1, s), where s is the largest absolute value among the
    entries of the same array.

    Attributes:
        accuracy: the wanted accuracy; None demands 1e-3, and nothing where `points` are fixed.
        points: quadrature nodes, fixed by hand; None lets them grow.
        max_points: bound on the nodes that are tried, 2^21 by default.
        method: quadrature, see `expectation_nodes`; "auto" takes the one with the smaller error.
        allow_inaccurate: warn instead of raising where the accuracy is not reached.

    Raises:
        ValueError: on values out of range, or `max_points` that would be ignored.
    """

    accuracy: float | None = None
    points: int | None = None
    max_points: int | None = None
    method: Method = "auto"
    allow_inaccurate: bool = False

    def __post_init__(self) -> None:
        one_of("method", self.method, ("auto", "tensor", "sobol"))
        if self.accuracy is not None:
            object.__setattr__(self, "accuracy", between("accuracy", self.accuracy, 0, 1))
        if self.points is not None:
            positive_integer("points", self.points)
            if self.max_points is not None:
                demand = "be left out where points are fixed by hand"
                raise reject("max_points", demand, self.max_points)
        if self.max_points is not None:
            positive_integer("max_points", self.max_points)

    @property
    def demanded(self) -> float:
        """The accuracy that a result must have; infinite if none is asked for."""
        if self.accuracy is None:
            return 1e-3 if self.points is None else np.inf
        return self.accuracy

    @property
    def aim(self) -> float:
        """The accuracy that choices of tolerances go by."""
        return 1e-3 if self.accuracy is None else self.accuracy

    def first(self, problem: Problem, *, fields: bool = True, least: int = 2**14) -> int:
        """Points to begin with: fixed by hand, or `least` and what discrete latents ask for."""
        if self.points is not None:
            return self.points
        needed = 2 ** math.ceil(math.log2(fewest_points(problem, fields=fields)))
        return min(max(least, needed), self.most)

    @property
    def most(self) -> int:
        """Bound on the points."""
        if self.points is not None:
            return self.points
        return 2**21 if self.max_points is None else self.max_points

    def more(self, points: int, excess: float, *, least: int = 1) -> int | None:
        """Points to try next, after an error of so many times the target; None if none are left.

        A power of 4 times the points before (at least `least`), which few numbers share: each is
        compiled anew.
        """
        if points >= self.most or not np.isfinite(excess):
            return None
        power = math.log(float(np.clip(excess, 1.0, 1e3)), _GROWTH) / _RATE
        return int(min(points * _GROWTH ** max(least, round(power)), self.most))

    def check(
        self,
        caller: str,
        value: Any,
        error: Any,
        points: int,
        method: str,
        result: Any,
        *,
        times: Any = None,
    ) -> None:
        """Compare the errors with what is allowed.

        With `times`, the first axis of all arrays, the message names the first at which the
        accuracy is missed.

        Raises:
            InaccurateError: if they are larger, or not finite; with `allow_inaccurate` a warning.
        """
        size, worst = excess(value, error, self.demanded)
        if size <= 1:
            return
        since = ""
        if times is not None:
            since = f" (missed from tau = {times[self._missed(value, error)]:.4g} on)"
        message = (
            f"{caller}: the error of `{worst}` is {size:.2g} times what accuracy="
            f"{self.demanded:g} allows{since}, with {points} quadrature nodes ({method}). "
            "Ask for less with `accuracy`, allow more nodes with `max_points`, or pass "
            "allow_inaccurate=True."
        )
        if not np.isfinite(size):
            message = f"{caller}: `{worst}`, or its error, is not finite"
        if not self.allow_inaccurate:
            raise InaccurateError(message, result)
        warnings.warn(message, RuntimeWarning, stacklevel=5)

    def _missed(self, value: Any, error: Any) -> int:
        """First index along the leading axis at which an error exceeds what is allowed."""
        first = []
        for values, bounds in zip(jax.tree.leaves(value), jax.tree.leaves(error), strict=True):
            if np.size(values):
                allowed = self.demanded * max(1.0, float(np.max(np.abs(values))))
                late = ~(np.max(np.reshape(bounds, (len(bounds), -1)), axis=1) <= allowed)
                first += [int(np.argmax(late))] if np.any(late) else []
        return min(first, default=0)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number of theory, or a pytree of arrays, with a bound on its numerical error.

    Attributes:
        value: pytree of arrays.
        error: bounds, same structure; see `combine`.
        method: "tensor" or "sobol".
        points: nodes that were asked for.
    """

    value: Any
    error: Any
    method: str
    points: int

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return f"{self.method}, {self.points} points", {
            "value": short_text.array_text(self.value),
            "error": short_text.array_text(self.error),
        }


def excess(value: Any, error: Any, accuracy: float) -> tuple[float, str]:
    """Largest error over accuracy * max(1, largest absolute value), and of which array.

    Infinite where a value or an error is not finite.
    """
    ratios = {"the result": 0.0}
    errors = jax.tree.leaves(error)
    for (path, values), bounds in zip(
        jax.tree_util.tree_leaves_with_path(value), errors, strict=True
    ):
        if np.size(values):
            largest = float(np.max(np.abs(values)))
            ratio = float(np.max(bounds)) / max(1.0, largest)
            name = jax.tree_util.keystr(path, simple=True, separator=".") or "the result"
            ratios[name] = ratio if np.isfinite(largest + ratio) else np.inf
    worst = max(ratios, key=lambda name: ratios[name])
    return ratios[worst] / accuracy, worst


def first_rule(problem: Problem, target: Target) -> Nodes:
    """A small rule: enough to see which parameters are fast, and where they are held."""
    points = min(target.first(problem), max(2**8, fewest_points(problem)))
    return expectation_nodes(problem, points=points, method="sobol", kinks=False)[0][0]


def evaluate_each(evaluate: Callable[[Nodes], Any], rules: list[Nodes]) -> list[Any]:
    """Results of all rules, which share compiled code; one that occurs again is not repeated."""
    distinct = {id(rule): rule for rule in rules}
    filled = same_length(list(distinct.values()))
    work = list(zip(distinct, filled, strict=True))
    results = {
        key: jax.tree.map(np.asarray, evaluate(rule))
        for key, rule in track(work, f"averages over {filled[0].weights.size} nodes")
    }
    return [results[id(rule)] for rule in rules]


def estimate(
    problem: Problem,
    evaluate: Callable[[Nodes], Any],
    target: Target,
    *,
    caller: str,
    fields: bool = True,
) -> Estimate:
    """Evaluate on the rules of better and better quadratures until the target is met.

    Where more than one method is worth trying (`methods_for`) the error of each is measured, the
    best result is kept, and a method much worse than another is dropped.

    Args:
        problem: declares the latents.
        evaluate: rule -> pytree of arrays; called once per rule. What it compiles it compiles
            once per number of points and method.
        target: accuracy and bounds.
        caller: name for messages.
        fields: whether the Gaussian coordinates of the fields are wanted besides the latents.

    Raises:
        InaccurateError: if the accuracy is not reached (a warning with `allow_inaccurate`).
        ValueError: if the points do not suffice for the discrete latents.
    """
    best: Estimate | None = None
    best_excess, dropped, kinks = np.inf, set(), has_kinks(problem)
    points: int | None = target.first(problem, fields=fields)
    while points is not None:
        trials = {}
        for method in _candidates(problem, target, points, fields, kinks, best is not None):
            if method in dropped:
                continue
            rules, kind = expectation_nodes(
                problem, points=points, method=method, fields=fields, kinks=kinks
            )
            value, error = combine(evaluate_each(evaluate, rules), kind)
            trials[method], _ = excess(value, error, target.aim)
            if best is None or trials[method] < best_excess:
                best, best_excess = Estimate(value, error, kind, points), trials[method]
            if best_excess <= 1 and target.points is None:
                break
        smallest = min(trials.values())
        dropped |= {name for name, size in trials.items() if size > _SETTLED * smallest}
        points = None if best_excess <= 1 else target.more(points, smallest)
    assert best is not None
    target.check(caller, best.value, best.error, best.points, best.method, best)
    return best


def best_method(
    problem: Problem,
    evaluate: Callable[[Nodes], Any],
    target: Target,
    points: int,
    *,
    kinks: bool,
    again: bool = False,
    always: bool = False,
) -> tuple[Kind, float]:
    """Method with the smallest error at a number of points, and this error over the target.

    Where only one method is worth trying it is evaluated only if `always`; else its error is taken
    as infinite.
    """
    methods = _candidates(problem, target, points, True, kinks, again)
    if len(methods) == 1 and not always:
        return methods[0], np.inf
    sizes: dict[Kind, float] = {}
    for method in methods:
        rules, kind = expectation_nodes(problem, points=points, method=method, kinks=kinks)
        sizes[method], _ = excess(*combine(evaluate_each(evaluate, rules), kind), target.aim)
    best = min(sizes, key=lambda name: sizes[name])
    return best, sizes[best]


def _candidates(
    problem: Problem, target: Target, points: int, fields: bool, kinks: bool, again: bool
) -> list[Kind]:
    """Methods to try; beside a tensor rule that did not suffice, Sobol points."""
    if target.method != "auto":
        return [target.method]
    methods = methods_for(problem, points=points, fields=fields, kinks=kinks)
    return [*methods, "sobol"] if again and "sobol" not in methods else methods
