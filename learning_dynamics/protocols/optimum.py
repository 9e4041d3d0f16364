"""The result of `optimise`: a protocol, what it attains, and what it does at finite N."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Comparison, Prediction, compare
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.limit.integrate import integrate
from learning_dynamics.limit.limit import Limit
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.run import Level
from learning_dynamics.process.simulate import simulate
from learning_dynamics.process.trajectory import Trajectory
from learning_dynamics.validation import reject

__all__ = ["Optimum"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best protocol of a family.

    Attributes:
        numbers: name of what was optimised -> its best values.
        value: objective in the limit, at the accuracy of `integrate`.
        error: bound on its numerical error.
        constant_value: the same under the best constants in place of all schedules that were
            optimised; None if there were none.
        constants: name of such a schedule, as in `over` -> its best constant.
        residual: relative change of the objective per relative change of a number, the largest over
            the numbers that no bound holds; a change is relative to the number at the beginning.
        evaluations: of the objective and its gradient, by the best try.
        history: least value so far at each of them, with the penalty.
        initial: order parameters at time zero.
        limit: limit under the best protocol, which holds "objective".
        at_bounds: name -> how many of its numbers lie on a bound.
        problem: with the best numbers; None in a loaded result, since a file holds no code.
        constant_problem: with the best constants, or None likewise.
        objective: function of the order parameters, or None likewise.
    """

    numbers: Mapping[str, Array]
    value: float
    error: float
    constant_value: float | None
    constants: Mapping[str, float]
    residual: float
    evaluations: int
    history: Array
    initial: Overlaps
    limit: Limit
    at_bounds: Mapping[str, int]
    problem: Problem | None = field(default=None, repr=False)
    constant_problem: Problem | None = field(default=None, repr=False)
    objective: Any = field(default=None, repr=False)

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        rows = {name: _shortly(array) for name, array in self.numbers.items()}
        touched = {name: count for name, count in self.at_bounds.items() if count}
        rows["on a bound"] = ", ".join(
            f"{count} of {np.size(self.numbers[name])} in {name}" for name, count in touched.items()
        )
        rows["value"] = f"{self.value:.5g} (numerical error {self.error:.1g})"
        if self.constant_value is not None:
            at = ", ".join(f"{value:.4g}" for value in self.constants.values())
            rows["best constant"] = f"{self.constant_value:.5g} at {at}"
        rows["residual"] = f"{self.residual:.1g}"
        rows["evaluations"] = f"{self.evaluations}"
        return f"until tau = {self.limit.times[-1]:g}", rows

    def simulate(
        self,
        *,
        dimension: int,
        replicas: int,
        key: jax.Array,
        level: Level = "overlaps",
        constant: bool = False,
    ) -> Trajectory:
        """Replicas at finite N up to the last time, which hold "objective".

        Args:
            dimension: N.
            replicas: number of runs.
            key: typed random key.
            level: of the simulation.
            constant: whether to run with the best constants instead of the best schedules.

        Raises:
            ValueError: on a loaded result, which has no problem; if `constant` is asked for and no
                schedule was optimised.
        """
        return simulate(
            self._problem(constant), dimension=dimension, times=self.limit.times[-1:],
            replicas=replicas, key=key, level=level, start=self.initial,
            observe={"objective": self.objective},
        )  # fmt: skip

    def _problem(self, constant: bool) -> Problem:
        if self.problem is None:
            raise reject("optimum", "hold its problem, which no file does", "a loaded one")
        if not constant:
            return self.problem
        if self.constant_problem is None:
            raise reject("constant", "be False where no schedule was optimised", constant)
        return self.constant_problem

    def compare(
        self,
        *,
        dimension: int,
        replicas: int,
        key: jax.Array,
        level: Level = "overlaps",
        constant: bool = False,
        finite_size: bool | None = None,
    ) -> Comparison:
        """The objective of simulated replicas at finite N beside that of the limit.

        Args:
            dimension: N.
            replicas: number of runs.
            key: typed random key.
            level: of the simulation.
            constant: whether to compare the best constants.
            finite_size: whether to allow a deviation of order 1/N, as of `integrate`, which takes
                longer than the simulation.

        Raises:
            ValueError: as `simulate`.
            IncompleteError: if the shift of order 1/N diverges; the limit may then not describe
                this N. Smaller `bounds` keep to where it does, `finite_size=False` leaves it out.
        """
        trajectory = self.simulate(
            dimension=dimension, replicas=replicas, key=key, level=level, constant=constant
        )
        return compare(
            trajectory.measurement(["objective"]),
            self._predicted(trajectory, constant, finite_size),
            name="objective", quantity="objective",
        )  # fmt: skip

    def _predicted(
        self, trajectory: Trajectory, constant: bool, finite_size: bool | None
    ) -> Prediction:
        """The objective in the limit, with its bias at the size of a simulation."""
        observe = {"objective": self.objective}
        limit = integrate(
            self._problem(constant), start=trajectory, observe=observe, finite_size=finite_size
        )
        return limit.prediction(["objective"])

    def gain(
        self,
        *,
        dimension: int,
        replicas: int,
        key: jax.Array,
        level: Level = "overlaps",
        finite_size: bool | None = None,
    ) -> Comparison:
        """What the schedules spare of the objective J of the best constants, at finite N.

            gain = 1 - E J(schedules) / E J(constants)

        beside that of the limit. Both are simulated with the same random numbers: the error, a
        jackknife over pairs of runs, is that of their difference. The allowed bias is the sum of
        those of both limits.

        Args:
            dimension: N.
            replicas: number of pairs of runs.
            key: typed random key.
            level: of the simulation.
            finite_size: as of `compare`.

        Raises:
            ValueError: as `simulate` with `constant=True`.
            IncompleteError: as `compare`.
        """
        pair = [
            self.simulate(dimension=dimension, replicas=replicas, key=key, level=level, constant=c)
            for c in (False, True)
        ]
        draws = np.stack([run.values["objective"][:, -1:] for run in pair], axis=-1)
        measured = jackknife(
            draws, lambda mean: 1 - mean[..., 0] / mean[..., 1], {"time": pair[0].times}
        )
        ours, theirs = (
            self._predicted(run, constant, finite_size)[:, 0]
            for run, constant in zip(pair, (False, True), strict=True)
        )
        share = ours.values / theirs.values
        error, bias = (
            [getattr(p, kind) / np.abs(p.values) for p in (ours, theirs)]
            for kind in ("numerical_error", "bias")
        )
        theory = Prediction(
            1 - share, np.abs(share) * np.hypot(*error), np.abs(share) * np.add(*bias),
            ours.bias_order, ours.label,
        )  # fmt: skip
        return compare(measured, theory, name="gain of the schedules", quantity="gain")


def _shortly(array: Array) -> str:
    flat = np.ravel(array)
    few = ", ".join(f"{x:.4g}" for x in (flat if flat.size < 7 else [*flat[:3], *flat[-3:]]))
    return few if flat.size < 7 else f"{flat.size} values, {few.replace(', ', ', ', 1)}"
