"""Information exponents: what a learner can find from zero overlap, and at what cost."""

from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.identity.session import sees_edits
from learning_dynamics.kernel.expansion import expanded_forms, settled, zero_overlap
from learning_dynamics.kernel.forms import Form
from learning_dynamics.kernel.hermite_forms import hermite_forms, obstacle
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method
from learning_dynamics.kernel.starts import limit_medium
from learning_dynamics.kernel.state import Overlaps
from learning_dynamics.validation import finite_array, one_of, positive_integer, reject

__all__ = ["Direction", "InformationExponent", "information_exponent", "loss_forms"]

Array = NDArray[np.float64]
Verdict = Literal["attractive", "repelled", "flat"]
Route = Literal["auto", "hermite", "law"]


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

    def __str__(self) -> str:
        """One line per direction."""
        if not self.directions:
            hidden = max(float(5 * form.errors.max(initial=0.0)) for form in self.forms)
            return f"flat up to order {len(self.forms)}, up to coefficients of {hidden:.2g}"
        return "\n".join(
            f"order {d.order}, {d.verdict}: {d.coefficient:.4g} +- {d.error:.1g} along "
            f"{np.round(d.direction, 3).tolist()}"
            for d in self.directions
        )


@sees_edits("problem")
def information_exponent(
    problem: Problem,
    directions: ArrayLike | None = None,
    *,
    around: Overlaps | None = None,
    dimension: int | None = None,
    highest: int = 4,
    points: int = 2**14,
    method: Method = "auto",
    route: Route = "auto",
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
        points: quadrature nodes.
        method: quadrature, see `expectation_nodes`; a tensor rule is exact for Gaussian latents
            that enter C and the label polynomially.
        route: "hermite" (`hermite_forms`: one neuron, one noise block, independent rows of B) or
            "law" (`expanded_forms`: any problem); "auto" takes the first where it applies.

    Raises:
        ValueError: on bad directions, or where the asked route does not apply.
    """
    forms = loss_forms(
        problem, around=around, dimension=dimension, highest=highest, points=points,
        method=method, route=route,
    )  # fmt: skip
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
    problem: Problem,
    *,
    around: Overlaps | None = None,
    dimension: int | None = None,
    highest: int = 4,
    points: int = 2**14,
    method: Method = "auto",
    route: Route = "auto",
) -> tuple[Form, ...]:
    """L_1 .. L_highest as polynomials in the overlaps; arguments as in `information_exponent`."""
    positive_integer("highest", highest)
    one_of("route", route, ("auto", "hermite", "law"))
    reason = "expand around other overlaps" if around is not None else obstacle(problem)
    if route == "hermite" and reason is not None:
        raise reject("route", "be 'law' where the Hermite route does not apply", reason)
    if route != "law" and reason is None:
        return hermite_forms(problem, highest=highest, points=points, method=method)
    if around is None:
        state = zero_overlap(problem, dimension)
    else:
        if np.ndim(around.signal) != 2:
            raise reject("around.signal", "have shape (K, r)", f"shape {np.shape(around.signal)}")
        with jax.enable_x64(True):
            state = settled(problem, limit_medium(problem, dimension), around)
    return expanded_forms(
        problem, state, dimension=dimension, highest=highest, points=points, method=method
    )


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
            if abs(low) > 5 * error + small:
                verdict: Verdict = "attractive" if low < 0 else "repelled"
                found.append(Direction(verdict, form.order, direction @ basis, low, error))
            else:  # never negative, zero somewhere: left to the next orders
                flat = where[np.abs(values) <= 5 * clear.error(where @ active) + small]
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
        if abs(value) > 5 * error:
            found.append(Direction(verdict, 2, direction @ basis, float(value), error))
    return found


def _on_zeros(form: Form, zeros: Array) -> list[Direction]:
    """The steepest descent of a form on directions where a lower, ascending one vanishes."""
    if not len(zeros) or not form.significant:
        return []
    values = form.clear(zeros)
    best = int(np.argmin(values))
    error = float(form.clear.error(zeros[best]))
    if values[best] >= -5 * error:
        return []
    return [Direction("attractive", form.order, zeros[best], float(values[best]), error)]
