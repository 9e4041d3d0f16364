"""Information exponents: what a learner can find from zero overlap, and at what cost."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.search.forms import CLEAR, Form
from learning_dynamics.search.loss_expansion import expanded_forms, settled, zero_overlap
from learning_dynamics.search.loss_expansion_hermite import hermite_forms, obstacle
from learning_dynamics.search.polynomials import positions, powers_of
from learning_dynamics.search.single_neuron import alike, some_neurons, sum_over_pairs
from learning_dynamics.tracking import Tracking, tracked
from learning_dynamics.validation import finite_array, one_of, positive_integer, reject

__all__ = ["Direction", "InformationExponent", "information_exponent", "loss_forms"]

Array = NDArray[np.float64]
Verdict = Literal["attractive", "repelled", "flat"]
Route = Literal["auto", "hermite", "law"]
_ROUNDING = 1e-13  # of sums over thousands of nodes, in float64


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
        problem: any loss and input model.
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
    found, subspaces = _search(forms, basis)
    flat = Direction("flat", None, np.zeros(size), 0.0, 0.0)
    first = next((d for d in found if d.verdict == "attractive"), found[0] if found else flat)
    own = (first.verdict, first.order, first.direction, first.coefficient, first.error)
    return InformationExponent(*own, tuple(found), tuple(subspaces), forms)


def loss_forms(
    population: Population,
    *,
    around: Overlaps | None = None,
    highest: int = 4,
    route: Route = "auto",
) -> tuple[Form, ...]:
    """L_1 .. L_highest as polynomials in the overlaps; arguments as in `information_exponent`."""
    positive_integer("highest", highest)
    one_of("route", route, ("auto", "hermite", "law"))
    if around is not None and np.ndim(around.signal) != 2:
        raise reject("around.signal", "have shape (K, r)", f"shape {np.shape(around.signal)}")
    problem = population.problem
    if sum_over_pairs(problem):
        return _pairs(population, around, highest, route)
    reason = "expand around other overlaps" if around is not None else obstacle(problem)
    if route == "hermite" and reason is not None:
        raise reject("route", "be 'law' where the Hermite route does not apply", reason)
    if route != "law" and reason is None:
        return _with_rounding(hermite_forms(population, highest=highest))
    state = zero_overlap(population) if around is None else settled(population, around)
    return _with_rounding(expanded_forms(population, state, highest=highest))


def _with_rounding(forms: tuple[Form, ...]) -> tuple[Form, ...]:
    """The forms with the rounding of their sums, relative to the largest coefficient of all."""
    largest = max((np.abs(form.coefficients).max(initial=0.0) for form in forms), default=0.0)
    return tuple(replace(form, errors=form.errors + _ROUNDING * largest) for form in forms)


def _pairs(
    population: Population, around: Overlaps | None, highest: int, route: Route
) -> tuple[Form, ...]:
    """Forms of a loss that is a sum over pairs of neurons, from those of two neurons and of one.

    L = sum_(k<l) L_kl - (K - 2) sum_k L_k, see `sum_over_pairs`. Neurons that are alike, at zero
    overlap, share one L_kl and one L_k.
    """
    problem = population.problem
    neurons, r = problem.learner.neurons, problem.inputs.directions
    same = around is None and alike(problem)
    parts: dict[tuple[int, ...], tuple[Form, ...]] = {}

    def forms_of(chosen: tuple[int, ...]) -> tuple[Form, ...]:
        key = tuple(range(len(chosen))) if same else chosen
        if key not in parts:
            part, rows = around, np.asarray(key)
            if around is not None:
                blocks = np.asarray(around.blocks)[:, rows][:, :, rows]
                part = Overlaps(np.asarray(around.signal)[rows], blocks, around.parameters)
            few = Population(some_neurons(problem, key), population.dimension, population.target)
            parts[key] = loss_forms(few, around=part, highest=highest, route=route)
        return parts[key]

    powers = [powers_of(neurons * r, k) for k in range(1, highest + 1)]
    values = [np.zeros(len(p)) for p in powers]
    errors = [np.zeros(len(p)) for p in powers]
    for size, factor in ((2, 1.0), (1, 2.0 - neurons)):
        for chosen in combinations(range(neurons), size):
            columns = np.concatenate([np.arange(k * r, (k + 1) * r) for k in chosen])
            for form in forms_of(chosen):
                rows = np.zeros((len(form.powers), neurons * r), np.int64)
                rows[:, columns] = form.powers
                at = positions(rows, form.order)
                values[form.order - 1][at] += factor * form.coefficients
                errors[form.order - 1][at] += abs(factor) * form.errors
    return tuple(Form(k, *row) for k, row in enumerate(zip(powers, values, errors, strict=True), 1))


def _search(forms: tuple[Form, ...], basis: Array) -> tuple[list[Direction], list[Array]]:
    """All directions, order by order, each in the subspace that lower orders leave open."""
    found: list[Direction] = []
    subspaces, zeros = [], np.zeros((0, basis.shape[1]))
    for form in forms:
        subspaces.append(basis)
        found += _on_zeros(form, zeros)
        if not basis.shape[0]:
            continue
        part = form.restricted(basis)
        if not part.significant:
            continue
        clear = part.clear
        active, rest = clear.seen()
        if form.order == 2:
            found += _eigenvectors(clear, active, basis)
        elif active.shape[0]:
            values, where = clear.restricted(active).minima()
            low, direction = float(values[0]), where[0] @ active
            error = float(clear.error(direction))
            small = 1e-7 * float(np.abs(clear.coefficients).sum())  # how far the descent gets
            if abs(low) > CLEAR * error + small:
                verdict: Verdict = "attractive" if low < 0 else "repelled"
                found.append(Direction(verdict, form.order, direction @ basis, low, error))
            else:  # never negative, zero somewhere: left to the next orders
                flat = where[np.abs(values) <= CLEAR * clear.error(where @ active) + small]
                zeros = np.concatenate([zeros, flat @ active @ basis])
        basis = rest @ basis
    return found, subspaces


def _eigenvectors(clear: Form, active: Array, basis: Array) -> list[Direction]:
    """The eigenvectors of a quadratic form that it moves, from the steepest descent upwards."""
    matrix = clear.gradient(np.eye(basis.shape[0])) / 2
    values, vectors = np.linalg.eigh(active @ ((matrix + matrix.T) / 2) @ active.T)
    found = []
    for value, vector in zip(values, vectors.T, strict=True):
        direction = vector @ active
        verdict: Verdict = "attractive" if value < 0 else "repelled"
        error = float(clear.error(direction))
        if abs(value) > CLEAR * error:
            found.append(Direction(verdict, 2, direction @ basis, float(value), error))
    return found


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
