"""The order in which directions are learned, one after another: a staircase and its leaps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics import short_text
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time
from learning_dynamics.search.information_exponent import (
    Direction,
    InformationExponent,
    exponents_of,
    information_exponent,
)
from learning_dynamics.search.loss_expansion import zero_overlap
from learning_dynamics.tracking import Tracking
from learning_dynamics.validation import between, reject

__all__ = ["Leap", "LeapMap", "leap_map"]

Array = NDArray[np.float64]
_PARALLEL = 1e-2  # singular values, relative to the largest, of directions that are one
_DESCENT = 1e-7  # how far the descent to the lowest point of a form gets


@dataclass(frozen=True, eq=False)
class Leap:
    """Directions that are learned next, once others have been.

    Attributes:
        order: information exponent k of what is found; None where nothing more is.
        directions: orthonormal rows, shape (found, r), among the r directions of the inputs.
        signal: overlaps M around which was expanded, shape (K, r).
        exponent: the expansion, of overlaps with all that had not been found.
    """

    order: int | None
    directions: Array
    signal: Array
    exponent: InformationExponent

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return str(self), {}

    def __str__(self) -> str:
        if self.order is None:
            verdicts = sorted({d.verdict for d in self.exponent.directions}) or ["flat"]
            return f"nothing more up to order {len(self.exponent.forms)}: {', '.join(verdicts)}"
        rows = ", ".join(str((np.round(row, 2) + 0.0).tolist()) for row in self.directions)
        return f"order {self.order} along {rows}"


@dataclass(frozen=True, eq=False)
class LeapMap:
    """The order in which directions are learned.

    Attributes:
        leaps: one after another; the last has order None if directions are left that are never
            found.
    """

    leaps: tuple[Leap, ...]

    __repr__ = short_text.represent

    @property
    def orders(self) -> tuple[int, ...]:
        """Information exponents of the leaps, in the order in which they are made."""
        return tuple(leap.order for leap in self.leaps if leap.order is not None)

    @property
    def complexity(self) -> int:
        """The largest leap, which costs the most samples; 0 if nothing is found."""
        return max(self.orders, default=0)

    def _summary(self) -> tuple[str, short_text.Rows]:
        text = " + ".join(map(str, self.orders)) or "nothing is found"
        return f"leaps {text}", {str(i): str(leap) for i, leap in enumerate(self.leaps, 1)}

    def __str__(self) -> str:
        """One line per leap."""
        return "\n".join(map(str, self.leaps))


def leap_map(
    problem: Problem,
    *,
    overlap: float = 0.5,
    highest: int = 4,
    dimension: int | None = None,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
    tracker: Tracking = "auto",
) -> LeapMap:
    """Directions that are learned from zero overlap, then those after them, leap by leap.

    Each leap is an `information_exponent` of the directions that have not been found, around
    overlaps with those that have been, and takes the attractive directions of lowest order k. For
    k >= 3 that is one lowest point of the form: one neuron finds one of several equal ones. The
    overlaps with what was found have the signs of the descent and sizes between `overlap` / 2 and
    `overlap` in no special ratio, so that no term vanishes by chance. Samples to the next leap grow
    as N, N log N or N^(k-1), `Direction.samples`. The idea is the leap complexity of Abbe, Boix
    Adsera and Misiakiewicz (2023), of a target; here it is that of a loss and a learner.

    Args:
        problem: any loss and input model with signal directions.
        overlap: length of the longest row of M around which is expanded, in units of |w|.
        highest: as the other arguments, see `information_exponent`.
        dimension: see there.
        accuracy: see there.
        points: see there.
        max_points: see there.
        method: see there.
        allow_inaccurate: see there.
        tracker: see there.

    Returns:
        Leaps, the last of order None if something is left that is never found.

    Raises:
        ValueError: on an overlap outside (0, 1), without signal directions, and as
            `information_exponent`.
        InaccurateError: if the accuracy is not reached.
    """
    size, r = between("overlap", overlap, 0.0, 1.0), problem.inputs.directions
    if r == 0:
        raise reject("problem.inputs.directions", "be positive: no direction can be found", r)
    options: dict[str, Any] = {
        "dimension": dimension, "highest": highest, "accuracy": accuracy, "points": points,
        "max_points": max_points, "method": method, "allow_inaccurate": allow_inaccurate,
        "tracker": tracker,
    }  # fmt: skip
    with jax.enable_x64(True):
        fixed = at_time(problem, 0.0)
    bare = zero_overlap(Population(fixed, dimension, Target(points=points)))
    neurons = problem.learner.neurons
    rows, descents, leaps, blur = np.zeros((0, r)), list[Array](), list[Leap](), 0.0
    while len(rows) < r:
        free = np.linalg.svd(rows)[2][len(rows) :] if len(rows) else np.eye(r)
        state = _with_overlaps(problem, bare, descents, size)
        asked = np.kron(np.eye(neurons), free)
        exponent = information_exponent(
            problem, asked, around=state if descents else None, **options
        )
        largest = max(float(np.max(np.abs(form.coefficients))) for form in exponent.forms)
        if descents:  # a small term may come from the errors of the directions found before
            wider = blur + _DESCENT * largest
            forms = tuple(replace(f, errors=f.errors + wider) for f in exponent.forms)
            exponent = exponents_of(problem, forms, asked)
        attractive = [d for d in exponent.directions if d.verdict == "attractive"]
        lowest = [d for d in attractive if d.order == exponent.order]
        new = _span(lowest, free)
        order = exponent.order if lowest else None
        leaps.append(Leap(order, new, np.asarray(state.signal), exponent))
        if not lowest:
            break
        blur += max(float(np.max(exponent.forms[d.order - 1].errors)) for d in lowest if d.order)
        descents += [d.direction.reshape(neurons, r) for d in lowest]
        rows = np.concatenate([rows, new])
    return LeapMap(tuple(leaps))


def _span(directions: list[Direction], free: Array) -> Array:
    """Orthonormal rows that span the directions of the inputs in some of the overlaps.

    A single one keeps its sign.
    """
    r = free.shape[1]
    if not directions:
        return np.zeros((0, r))
    rows = np.concatenate([d.direction.reshape(-1, r) for d in directions]) @ free.T
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    kept = vectors[values > _PARALLEL * values[0]]
    signs = np.where(np.einsum("kf,kf->k", kept, _longest(rows, kept)) < 0, -1.0, 1.0)
    return np.asarray((signs[:, None] * kept) @ free)


def _longest(rows: Array, axes: Array) -> Array:
    """For each axis, the row with the largest component along it."""
    return np.asarray(rows[np.argmax(np.abs(rows @ axes.T), axis=0)])


def _with_overlaps(
    problem: Problem, bare: Overlaps, descents: list[Array], overlap: float
) -> Overlaps:
    """Rows of the same norm with overlaps along what was found."""
    blocks = np.asarray(bare.blocks)
    norm = np.sqrt(np.einsum("bkk->k", blocks))
    signal = np.zeros(np.shape(bare.signal))
    sizes = np.random.default_rng(0).uniform(0.5, 1.0, size=len(descents))
    for part, descent in zip(sizes, descents, strict=True):
        signal = signal + part * descent / np.max(np.linalg.norm(descent, axis=1))
    longest = np.max(np.linalg.norm(signal, axis=1), initial=0.0)
    signal = signal * norm[:, None] * (overlap / longest if longest else 1.0)
    taken = signal @ signal.T
    if problem.update != "orthogonal":
        taken = np.diag(np.diagonal(taken))
    shares = np.einsum("bkk->b", blocks) / np.sum(norm**2)
    blocks = shares[:, None, None] * (np.diag(norm**2) - taken)
    return Overlaps(signal, blocks, bare.parameters)
