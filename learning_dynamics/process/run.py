"""The static part of a run, checked."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time
from learning_dynamics.process.fixed_samples import checked_samples
from learning_dynamics.process.layout import Layout, layout_of
from learning_dynamics.process.observables import (
    Observable,
    abstract_overlaps,
    observables,
    recorded_blocks,
    whole_updates,
)
from learning_dynamics.process.optimiser import Optimiser, checked_optimiser
from learning_dynamics.process.replicas import Observables
from learning_dynamics.process.stopping import Stop, check_stop
from learning_dynamics.pytrees import is_traced
from learning_dynamics.random import check_key
from learning_dynamics.validation import one_of, positive_integer, reject

__all__ = ["Level", "Run", "checked_run"]

Level = Literal["ambient", "overlaps"]
# N up to which the 1/N changes of one update survive rounding to a thousandth (measured: float32
# loses 0.1 % of the drift of the error of a linear learner at 2^20, 1 % at 2^23, 7 % at 2^24)
LARGEST = {"float32": 2**20, "float64": 2**49}

RECORDED_BLOCKS = " blocks"  # name of R_b among recorded values, for observables of a later time


class Run(NamedTuple):
    """Static part of a run.

    Attributes:
        layout: structure of the states and draws.
        updates: update numbers of the observations, shape (times,).
        replicas: number of replicas.
        observables: what is recorded.
        stop: condition under which a replica is frozen, or None.
        precision: "float32" or "float64".
        later: names and observables that are worked out from what is recorded.
        optimiser: what replaces the plain step, or None.
        samples: size of a fixed set of samples, or None for fresh ones.
    """

    layout: Layout
    updates: NDArray[np.int64]
    replicas: int
    observables: Observables
    stop: Stop | None
    precision: str
    later: tuple[tuple[str, Any], ...] = ()
    optimiser: Optimiser | None = None
    samples: int | None = None

    def complete(self, problem: Problem, values: Mapping[str, Any]) -> dict[str, Any]:
        """Recorded values, and those that follow from recorded order parameters."""
        found = dict(values)
        if self.later:
            blocks = found.pop(RECORDED_BLOCKS)
            parameters = {name: found[name] for name in problem.learner.parameters()}
            overlaps = Overlaps(found["signal"], blocks, parameters)
            for name, observable in self.later:
                found[name] = self._after(observable, problem, overlaps)
        return found

    def _after(self, observable: Any, problem: Problem, overlaps: Overlaps) -> Any:
        """An observable of recorded order parameters, axes (replicas, times)."""
        if not problem.protocol:
            return observable.after(problem, overlaps, self.layout.dimension)
        values = []
        for i, tau in enumerate(self.updates / self.layout.dimension):
            at_once = jax.tree.map(lambda array, i=i: array[:, i], overlaps)
            with jax.enable_x64(True):
                now = at_time(problem, tau)
            values.append(observable.after(now, at_once, self.layout.dimension))
        return (jnp if is_traced(values) else np).stack(values, axis=1)


def checked_run(
    problem: Problem,
    dimension: int,
    times: ArrayLike,
    replicas: int,
    key: jax.Array,
    level: Level,
    observe: Mapping[str, Observable] | None,
    stop: Stop | None,
    optimiser: optax.GradientTransformation | None,
    precision: Literal["float32", "float64"],
    samples: int | None = None,
) -> Run:
    """Static part of a run.

    Raises:
        ValueError: as `simulate`.
    """
    if not isinstance(problem, Problem):
        raise reject("problem", "be a Problem", repr(problem))
    one_of("level", level, ("ambient", "overlaps"))
    one_of("precision", precision, ("float32", "float64"))
    size, count = positive_integer("dimension", dimension), positive_integer("replicas", replicas)
    largest = LARGEST[precision]
    if size > largest:
        raise reject("dimension", f"be at most {largest} in {precision}, see `precision`", size)
    if count >= 2**31:
        raise reject("replicas", "be fewer than 2^31", count)
    layout = layout_of(problem, size, level)
    updates = whole_updates(times, size)
    check_key(key)
    watched = observables(problem, layout, observe)
    later = tuple((name, thing) for name, thing in watched if hasattr(thing, "after"))
    observed = tuple((name, thing) for name, thing in watched if not hasattr(thing, "after"))
    if later:
        observed = (*observed, (RECORDED_BLOCKS, recorded_blocks))
    if stop is not None:
        check_stop(stop, abstract_overlaps(problem, layout))
    descent = checked_optimiser(problem, layout, optimiser)
    again = checked_samples(problem, level, samples)
    return Run(layout, updates, count, observed, stop, precision, later, descent, again)
