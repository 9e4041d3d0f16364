"""Numbers of theory with their errors, and how accurate they must be."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit

from learning_dynamics import short_text
from learning_dynamics.limit.quadrature import Method, fewest_points
from learning_dynamics.model.problem import Problem
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import between, one_of, positive_integer, reject

__all__ = ["Estimate", "InaccurateError", "Target", "combine", "excess", "student"]

_GROWTH = 4  # least factor between numbers of points: each number is compiled once more
_RATE = 0.65  # exponent of the error of Sobol points at jumps: what more points promise
_RARE = 1e-3  # how often a bound from independent sets may be exceeded


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

    def finer(self, accuracy: float) -> "Target":
        """The target with another accuracy, unless points are fixed by hand."""
        return self if self.points is not None else replace(self, accuracy=accuracy)

    def check(
        self, caller: str, estimate: "Estimate", result: Any = None, *, times: Any = None
    ) -> None:
        """Compare the errors of an estimate with what is allowed.

        Args:
            caller: name for messages.
            estimate: values and errors.
            result: what the error holds, if not the estimate.
            times: first axis of all arrays; the message names the first at which the accuracy is
                missed.

        Raises:
            InaccurateError: if they are larger, or not finite; with `allow_inaccurate` a warning.
        """
        size, worst = excess(estimate, self.demanded)
        if size <= 1:
            return
        since = ""
        if times is not None:
            since = f" (missed from tau = {times[self._missed(estimate)]:.4g} on)"
        message = (
            f"{caller}: the error of `{worst}` is {size:.2g} times what accuracy="
            f"{self.demanded:g} allows{since}, with {estimate.points} quadrature nodes "
            f"({estimate.method}). "
            "Ask for less with `accuracy`, allow more nodes with `max_points`, or pass "
            "allow_inaccurate=True."
        )
        if not np.isfinite(size):
            message = f"{caller}: `{worst}`, or its error, is not finite"
        if not self.allow_inaccurate:
            raise InaccurateError(message, estimate if result is None else result)
        warnings.warn(message, RuntimeWarning, stacklevel=5)

    def _missed(self, estimate: "Estimate") -> int:
        """First index along the leading axis at which an error exceeds what is allowed."""
        first, errors = [], jax.tree.leaves(estimate.error)
        for values, bounds in zip(jax.tree.leaves(estimate.value), errors, strict=True):
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
        error: bounds, same structure; see `combine`. One number bounds all entries of an array.
        method: "tensor" or "sobol"; empty where no single quadrature stands behind it.
        points: nodes that were asked for.
    """

    value: Any
    error: Any
    method: str = ""
    points: int = 0

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return f"{self.method}, {self.points} points" if self.method else "with its error", {
            "value": short_text.array_text(self.value),
            "error": short_text.array_text(self.error),
        }


def excess(estimate: Estimate, accuracy: float) -> tuple[float, str]:
    """Largest error over accuracy * max(1, largest absolute value), and of which array.

    Infinite where a value or an error is not finite.
    """
    ratios = {"the result": 0.0}
    errors = jax.tree.leaves(estimate.error)
    for (path, values), bounds in zip(
        jax.tree_util.tree_leaves_with_path(estimate.value), errors, strict=True
    ):
        if np.size(values):
            largest = float(np.max(np.abs(values)))
            ratio = float(np.max(bounds)) / max(1.0, largest)
            name = jax.tree_util.keystr(path, simple=True, separator=".") or "the result"
            ratios[name] = ratio if np.isfinite(largest + ratio) else np.inf
    worst = max(ratios, key=lambda name: ratios[name])
    return ratios[worst] / accuracy, worst


def combine(results: Sequence[Any], kind: str, points: int = 0) -> Estimate:
    """Value and bound on its error, of pytrees computed with each rule of `expectation_nodes`.

    Tensor rules: the finest, with twice the largest change from the others. With one node less
    the nodes lie between the old ones, so that at kinks and jumps the errors have opposite signs;
    the rule of 0.7 n nodes guards against coincidences, and three more where there are kinks.

    Sobol sets: mean, and standard error times the quantile of
    Student's t that is exceeded once in a thousand times (5.4 for 8 sets).
    """
    xp: Any = jnp if is_traced(results) else np
    if kind == "tensor":
        changes = [jax.tree.map(lambda a, b: xp.abs(a - b), results[0], x) for x in results[1:]]
        error = jax.tree.map(lambda *c: 2 * xp.max(xp.stack(c), axis=0), *changes)
        return Estimate(results[0], error, kind, points)
    mean = jax.tree.map(lambda *a: xp.mean(xp.stack(a), axis=0), *results)
    width = student(len(results)) / float(np.sqrt(len(results)))
    error = jax.tree.map(lambda *a: width * xp.std(xp.stack(a), axis=0, ddof=1), *results)
    return Estimate(mean, error, kind, points)


def student(sets: int) -> float:
    """Standard errors of a mean of so many sets that are exceeded once in a thousand times."""
    return -float(stdtrit(sets - 1, _RARE / 2))
