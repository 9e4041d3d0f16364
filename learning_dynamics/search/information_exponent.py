"""Information exponents: what a learner can find from zero overlap, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time
from learning_dynamics.search.forms import CLEAR, Form
from learning_dynamics.search.loss_forms import Route, loss_forms
from learning_dynamics.tracking import Tracking, tracked
from learning_dynamics.validation import finite_array, reject

__all__ = ["Direction", "InformationExponent", "exponents_of", "information_exponent"]

Array = NDArray[np.float64]
Verdict = Literal["attractive", "repelled", "flat"]


@dataclass(frozen=True, eq=False)
class Direction:
    """Leading behaviour of the population loss along one direction.

    Attributes:
        verdict: "attractive", "repelled" or "flat".
        order: first order k that does not vanish; None if flat.
        direction: unit vector of steepest descent (of weakest ascent if repelled), shape (n,) with
            n = K r overlaps, neuron by neuron.
        coefficient: L_k there, and `error` its error.
    """

    verdict: Verdict
    order: int | None
    direction: Array
    coefficient: float
    error: float

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return self._verdict(), {"direction": short_text.array_text(self.direction)}

    def _verdict(self) -> str:
        if self.order is None:
            return self.verdict
        return f"order {self.order}, {self.verdict}: {self.coefficient:.4g} +- {self.error:.1g}"

    def samples(self, dimension: ArrayLike) -> Array:
        """Scale of the number of samples to weak recovery: N, N log N or N^(k-1).

        Ben Arous, Gheissari and Jagannath (2021); for k >= 2 their upper bounds carry further
        logarithms. Prefactors: `search_law`.

        Raises:
            ValueError: if the direction is not attractive.
        """
        n = finite_array("dimension", dimension)
        k = self._attractive()
        return n * np.log(n) if k == 2 else n ** max(k - 1, 1)

    def learning_rate(self, dimension: ArrayLike) -> Array:
        """Scale of the step size: 1 for k <= 2, N^(-(k-2)/2) for k >= 3.

        Raises:
            ValueError: if the direction is not attractive.
        """
        n = finite_array("dimension", dimension)
        return n ** (-max(self._attractive() - 2, 0) / 2)

    def _attractive(self) -> int:
        if self.verdict != "attractive" or self.order is None:
            raise reject("direction", "be attractive to have a sample complexity", self.verdict)
        return self.order


@dataclass(frozen=True, eq=False)
class InformationExponent(Direction):
    """Leading order of the population loss, L(m) = const + sum_l L_l(m), and what lies beyond it.

    The direction described by the inherited attributes is the attractive one of lowest order; if
    there is none, the first repelled one.

    Attributes:
        directions: every direction found, by order. A form settles the subspace that it depends
            on: for k = 2 its eigenvectors one by one, otherwise its lowest point on the sphere.
            What it does not depend on is settled by the next orders.
        subspaces: what each order was restricted to, orthonormal rows, shape (n_k, n).
        forms: L_1, L_2, ... up to the highest order looked at.
    """

    directions: tuple[Direction, ...]
    subspaces: tuple[Array, ...]
    forms: tuple[Form, ...]

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        rows = {
            str(i): f"{d._verdict()} along {short_text.array_text(d.direction)}"
            for i, d in enumerate(self.directions[:9], 1)
        }
        if len(self.directions) > 9:
            rows["more"] = f"{len(self.directions) - 9}, see `directions`"
        highest = f"up to order {len(self.forms)}"
        return f"{self.verdict} {highest}" if self.order is None else self._verdict(), rows

    def __str__(self) -> str:
        """One line per direction."""
        if not self.directions:
            hidden = max(float(CLEAR * form.errors.max(initial=0.0)) for form in self.forms)
            return f"flat up to order {len(self.forms)}, up to coefficients of {hidden:.2g}"
        return "\n".join(
            f"order {d.order}, {d.verdict}: {d.coefficient:.4g} +- {d.error:.1g} along "
            f"{np.round(d.direction, 3).tolist()}"
            for d in self.directions
        )


@tracked
@sees_edits("problem")
def information_exponent(
    problem: Problem,
    directions: ArrayLike | None = None,
    *,
    around: Overlaps | None = None,
    dimension: int | None = None,
    highest: int = 4,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
    route: Route = "auto",
    tracker: Tracking = "auto",
) -> InformationExponent:
    """Information exponents at fixed norms of the rows, whatever the update rule.

    Equations: :eq:`eq:kernel-mehler`, :eq:`eq:kernel-law-route`.

    Args:
        problem: any loss and input model. Repeated steps read the rate, at time zero.
        directions: vectors in the space of overlaps that span what is looked at, shape (n, r), or
            (n, K, r) for several neurons; everything if left out. One row asks for one direction
            (and its opposite).
        around: order parameters to expand around instead of zero overlap: what can be found once
            other directions have been (a staircase).
        dimension: N that fixes several noise blocks.
        highest: highest order looked at.
        accuracy: largest error of a coefficient, relative to the largest of its order or to one;
            1e-3 unless `points` are given.
        points: quadrature nodes; None lets them grow until the accuracy is reached.
        max_points: bound on the nodes, 2^21 by default.
        method: quadrature, see `expectation_nodes`; a tensor rule is exact for Gaussian latents
            that enter C and the label polynomially.
        allow_inaccurate: warn instead of raising where the accuracy is not reached.
        route: "hermite" (`hermite_forms`: one noise block, independent rows of B; several neurons
            with few labels) or
            "law" (`expanded_forms`: any problem); "auto" takes the first where it applies.
        tracker: progress bar, as of `simulate`.

    Raises:
        ValueError: on bad directions, where the asked route does not apply, or where the expansion
            costs too much (it says how much).
        InaccurateError: if the accuracy is not reached.
    """
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    with jax.enable_x64(True):
        problem = at_time(problem, 0.0)
    population = Population(problem, dimension, target)
    forms = loss_forms(population, around=around, highest=highest, route=route)
    return exponents_of(problem, forms, directions)


def exponents_of(
    problem: Problem, forms: tuple[Form, ...], directions: ArrayLike | None = None
) -> InformationExponent:
    """Information exponents from the forms; arguments as in `information_exponent`."""
    size = problem.learner.neurons * problem.inputs.directions
    basis = np.eye(size)
    if directions is not None:
        basis = finite_array("directions", directions)
        basis = basis.reshape(basis.shape[0] if basis.ndim else 1, -1)
        if basis.shape[1] != size or np.linalg.matrix_rank(basis) != basis.shape[0]:
            raise reject("directions", f"be independent vectors of length {size}", basis.tolist())
        basis = np.linalg.qr(basis.T)[0].T
    every, subspaces = _search(forms, basis)
    flat = Direction("flat", None, np.zeros(size), 0.0, 0.0)
    first = next((d for d in every if d.verdict == "attractive"), every[0] if every else flat)
    leading = (first.verdict, first.order, first.direction, first.coefficient, first.error)
    return InformationExponent(*leading, tuple(every), tuple(subspaces), forms)


def _search(forms: tuple[Form, ...], basis: Array) -> tuple[list[Direction], list[Array]]:
    """All directions, order by order, each in the subspace that lower orders leave open."""
    directions: list[Direction] = []
    subspaces, zeros = [], np.zeros((0, basis.shape[1]))
    for form in forms:
        subspaces.append(basis)
        directions += _on_zeros(form, zeros)
        if not basis.shape[0]:
            continue
        part = form.restricted(basis)
        if not part.significant:
            continue
        clear = part.clear
        active, unseen = clear.seen()
        if form.order == 2:
            directions += _eigenvectors(clear, active, basis)
        elif active.shape[0]:
            values, where = clear.restricted(active).minima()
            low, direction = float(values[0]), where[0] @ active
            error = float(clear.error(direction))
            small = 1e-7 * float(np.abs(clear.coefficients).sum())  # how far the descent gets
            if abs(low) > CLEAR * error + small:
                verdict: Verdict = "attractive" if low < 0 else "repelled"
                directions.append(Direction(verdict, form.order, direction @ basis, low, error))
            else:  # never negative, zero somewhere: left to the next orders
                flat = where[np.abs(values) <= CLEAR * clear.error(where @ active) + small]
                zeros = np.concatenate([zeros, flat @ active @ basis])
        basis = unseen @ basis
    return directions, subspaces


def _eigenvectors(clear: Form, active: Array, basis: Array) -> list[Direction]:
    """The eigenvectors of a quadratic form that it moves, from the steepest descent upwards."""
    matrix = clear.gradient(np.eye(basis.shape[0])) / 2
    values, vectors = np.linalg.eigh(active @ ((matrix + matrix.T) / 2) @ active.T)
    directions = []
    for value, vector in zip(values, vectors.T, strict=True):
        direction = vector @ active
        verdict: Verdict = "attractive" if value < 0 else "repelled"
        error = float(clear.error(direction))
        if abs(value) > CLEAR * error:
            directions.append(Direction(verdict, 2, direction @ basis, float(value), error))
    return directions


def _on_zeros(form: Form, zeros: Array) -> list[Direction]:
    """The steepest descent of a form on directions where a lower, ascending one vanishes."""
    if not len(zeros) or not form.significant:
        return []
    values = form.clear(zeros)
    best = int(np.argmin(values))
    error = float(form.clear.error(zeros[best]))
    if values[best] >= -CLEAR * error:
        return []
    return [Direction("attractive", form.order, zeros[best], float(values[best]), error)]
