"""Averages to a wanted accuracy: the quadrature rule is chosen by its measured error."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from learning_dynamics.limit.accuracy import Estimate, Target, combine, excess
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.nodes import Nodes, same_length
from learning_dynamics.limit.quadrature import Kind, expectation_nodes, methods_for
from learning_dynamics.model.problem import Problem
from learning_dynamics.tracking import track

__all__ = ["best_method", "estimate", "evaluate_each"]

_SETTLED = 3.0  # a method that is so many times worse than another is not tried again
_PARTLY = 8.0  # what an error counts for, over the target, where only some rules are finite


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
    best result is kept, and a method much worse than another is dropped. Results that are finite
    under some rules and not under others ask for more points: few of them may let a path diverge.

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
            results = evaluate_each(evaluate, rules)
            result = combine(results, kind, points)
            size, _ = excess(result, target.aim)
            if best is None or size < best_excess:
                best, best_excess = result, size
            some = size == np.inf and any(_finite(each) for each in results)
            trials[method] = _PARTLY if some else size
            if best_excess <= 1 and target.points is None:
                break
        smallest = min(trials.values())
        dropped |= {name for name, size in trials.items() if size > _SETTLED * smallest}
        points = None if best_excess <= 1 else target.more(points, smallest)
    assert best is not None
    target.check(caller, best)
    return best


def _finite(result: Any) -> bool:
    """Whether all arrays are finite."""
    return all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(result))


def best_method(
    problem: Problem,
    evaluate: Callable[[Nodes], Any],
    target: Target,
    points: int,
    *,
    kinks: bool,
    again: bool = False,
    always: bool = False,
    squared: bool = False,
) -> tuple[Kind, float]:
    """Method with the smallest error at a number of points, and this error over the target.

    Where only one method is worth trying it is evaluated only if `always`; else its error is taken
    as infinite. `squared` as of `expectation_nodes`.
    """
    methods = _candidates(problem, target, points, True, kinks, again, squared)
    if len(methods) == 1 and not always:
        return methods[0], np.inf
    sizes: dict[Kind, float] = {}
    for method in methods:
        rules, kind = expectation_nodes(
            problem, points=points, method=method, kinks=kinks, squared=squared
        )
        sizes[method], _ = excess(combine(evaluate_each(evaluate, rules), kind), target.aim)
    best = min(sizes, key=lambda name: sizes[name])
    return best, sizes[best]


def _candidates(
    problem: Problem, target: Target, points: int, fields: bool, kinks: bool, again: bool,
    squared: bool = False,
) -> list[Kind]:  # fmt: skip
    """Methods to try; beside a tensor rule that did not suffice, Sobol points."""
    if target.method != "auto":
        return [target.method]
    methods = methods_for(problem, points=points, fields=fields, kinks=kinks, squared=squared)
    return [*methods, "sobol"] if again and "sobol" not in methods else methods
