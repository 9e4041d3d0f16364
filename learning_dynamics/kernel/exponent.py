"""Information exponent: the leading order of the population loss in the overlaps of one neuron."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.hermite import gauss_hermite, hermite
from learning_dynamics.kernel.limit import limit_medium, starting_points
from learning_dynamics.kernel.problem import Problem, Sample, mixing_matrix
from learning_dynamics.kernel.quadrature import Method, Nodes, expectation_nodes
from learning_dynamics.kernel.state import Overlaps
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["Form", "InformationExponent", "information_exponent", "loss_forms"]

Array = NDArray[np.float64]
Verdict = Literal["attractive", "repelled", "flat"]


@dataclass(frozen=True, eq=False)
class Form:
    """Homogeneous polynomial L_k(m) = sum_i coefficients_i prod_j m_j^powers_ij.

    Attributes:
        order: k.
        powers: shape (monomials, r).
        coefficients: shape (monomials,).
        errors: standard or rounding error of each coefficient, same shape.
    """

    order: int
    powers: NDArray[np.int64]
    coefficients: Array
    errors: Array

    def __call__(self, overlaps: ArrayLike) -> Array:
        """Values at overlaps of shape (..., r)."""
        m = np.asarray(overlaps, np.float64)
        return np.prod(m[..., None, :] ** self.powers, axis=-1) @ self.coefficients

    def gradient(self, overlaps: ArrayLike) -> Array:
        """Gradient at overlaps of shape (..., r)."""
        m = np.asarray(overlaps, np.float64)
        parts = []
        for j in range(self.powers.shape[1]):
            lowered = self.powers.copy()
            lowered[:, j] = np.maximum(lowered[:, j] - 1, 0)
            monomials = np.prod(m[..., None, :] ** lowered, axis=-1)
            parts.append(monomials @ (self.coefficients * self.powers[:, j]))
        return np.stack(parts, axis=-1)

    @property
    def significant(self) -> bool:
        """Whether any coefficient differs from zero by more than five errors."""
        return bool(np.any(np.abs(self.coefficients) > 5 * self.errors))

    def error(self, overlaps: ArrayLike) -> Array:
        """Bound on the error of a value (errors of the coefficients added up)."""
        m = np.abs(np.asarray(overlaps, np.float64))
        return np.prod(m[..., None, :] ** self.powers, axis=-1) @ self.errors

    @property
    def clear(self) -> "Form":
        """The form without the coefficients that are zero within five errors."""
        keep = np.abs(self.coefficients) > 5 * self.errors
        return Form(self.order, self.powers[keep], self.coefficients[keep], self.errors[keep])

    def lowest(self, tries: int = 64, seed: int = 0) -> tuple[float, Array]:
        """Minimum on the unit sphere, and where it is (projected gradient from many starts)."""
        rng = np.random.default_rng(seed)
        u = rng.normal(size=(tries, self.powers.shape[1]))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        scale = np.abs(self.coefficients).sum() * self.order + 1e-300
        for _ in range(500):
            u = u - self.gradient(u) / scale * (2 + self.order)
            u /= np.linalg.norm(u, axis=1, keepdims=True)
        values = self(u)
        best = int(np.argmin(values))
        return float(values[best]), u[best]


@dataclass(frozen=True, eq=False)
class InformationExponent:
    """Leading order of the population loss, L(m) = const + sum_l L_l(m).

    Attributes:
        verdict: "attractive" if the first order that does not vanish has a descending direction;
            "repelled" if it has none; "flat" if every order looked at vanishes.
        order: that first order k; None if flat.
        direction: unit vector of steepest descent (of weakest ascent if repelled), shape (r,).
        coefficient: L_k there, and `error` its error.
        forms: L_1, L_2, ... up to the highest order looked at.
    """

    verdict: Verdict
    order: int | None
    direction: Array
    coefficient: float
    error: float
    forms: tuple[Form, ...]

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


def information_exponent(
    problem: Problem,
    directions: ArrayLike | None = None,
    *,
    highest: int = 4,
    points: int = 2**14,
    method: Method = "auto",
) -> InformationExponent:
    """Information exponent of one neuron of norm one, whatever its update rule.

    Args:
        problem: one neuron, one noise block, as many independent noise vectors as vectors.
        directions: vectors in signal space that span what is looked at, shape (n, r); the whole
            signal space if left out. One row asks for one direction (and its opposite).
        highest: highest order looked at.
        points: nodes for the latents.
        method: quadrature of the latents, see `expectation_nodes`; a tensor rule is exact for
            Gaussian latents that enter C and the label polynomially.

    Raises:
        ValueError: on problems without these properties; on bad directions.
    """
    forms = loss_forms(problem, highest=highest, points=points, method=method)
    r = problem.inputs.directions
    basis = np.eye(r) if directions is None else finite_array("directions", directions, ndim=2)
    if basis.shape[1] != r or np.linalg.matrix_rank(basis) != basis.shape[0]:
        raise reject("directions", f"be independent vectors of length {r}", f"{basis.tolist()}")
    basis = np.linalg.qr(basis.T)[0].T
    for form in forms:
        seen = form if directions is None else _restrict(form, basis)
        if not seen.significant:
            continue
        clear = seen.clear
        value, where = clear.lowest()
        error = float(clear.error(where))
        verdict: Verdict = "attractive" if value < -5 * error else "repelled"
        return InformationExponent(verdict, form.order, where @ basis, value, error, forms)
    return InformationExponent("flat", None, np.zeros(r), 0.0, 0.0, forms)


def _restrict(form: Form, basis: Array) -> Form:
    """The form on the span of the rows of `basis`."""
    powers = _powers(basis.shape[0], form.order)
    points = np.random.default_rng(1).normal(size=(3 * len(powers) + 5, basis.shape[0]))
    design = np.prod(points[:, None, :] ** powers, axis=-1)
    inverse = np.linalg.pinv(design)
    monomials = np.prod((points @ basis)[:, None, :] ** form.powers, axis=-1)
    change = inverse @ monomials
    return Form(form.order, powers, change @ form.coefficients, np.abs(change) @ form.errors)


def _powers(directions: int, order: int) -> NDArray[np.int64]:
    choices = itertools.combinations_with_replacement(range(directions), order)
    rows = [np.bincount(c, minlength=directions) for c in choices]
    return np.asarray(rows, np.int64).reshape(-1, directions)


def loss_forms(
    problem: Problem, *, highest: int = 4, points: int = 2**14, method: Method = "auto"
) -> tuple[Form, ...]:
    """L_1 .. L_highest of one neuron of norm one, as polynomials in its overlaps.

    With x = B^-1 F the fields in independent coordinates and v = B^-1 (C m), Mehler's expansion of
    the law of x around that at m = 0 gives

        L_k(m) = sum_(|a| = k) E[ prod_i He_(a_i)(v_i; |m|^2) / a_i!  E_g[ l(B g) prod_i He_(a_i)(g_i) ] ],

    He_k(v; s) = s^(k/2) He_k(v / sqrt s). Kinks of the loss do no harm. Derived here; for one vector
    and a label it is the Hermite expansion of Ben Arous, Gheissari and Jagannath (2021).
    """  # noqa: E501
    positive_integer("highest", highest)
    mixing = noise_factor(problem)
    rules, kind = expectation_nodes(problem, points=points, method=method, fields=False)
    if kind == "tensor":
        rules = rules[:1]
    found = [_forms(problem, rule, mixing, highest) for rule in rules]
    forms = []
    for k in range(1, highest + 1):
        draws = np.stack([each[k - 1][0] for each in found])
        loss_error = found[0][k - 1][1]
        statistical = draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) if len(draws) > 1 else 0.0
        powers = _powers(problem.inputs.directions, k)
        forms.append(Form(k, powers, draws.mean(axis=0), loss_error + statistical))
    return tuple(forms)


def noise_factor(problem: Problem) -> Array:
    """Square B with the covariance of the noise, for a problem with a search phase.

    Raises:
        ValueError: on several neurons or blocks, or noise vectors that are not independent.
    """
    if problem.learner.neurons != 1:
        raise reject("problem.learner", "have one neuron", problem.learner.neurons)
    if problem.learner.normaliser != "weights":
        raise reject("problem.learner.normaliser", "be 'weights'", problem.learner.normaliser)
    probe = problem.inputs.blocks(1000 + problem.inputs.directions)
    if sum(np.shape(group.variances)[0] for group in probe) != 1:
        raise reject("problem.inputs.blocks", "be a single block", len(probe))
    variance = float(np.asarray(probe[0].variances)[0])
    with jax.enable_x64(True):
        mixing = np.asarray(mixing_matrix(problem.cast(jnp.float64), jnp.float64))
    gamma = variance * mixing @ mixing.T
    if np.linalg.eigvalsh(gamma).min() < 1e-12 * np.trace(gamma):
        raise reject("problem.inputs.mixing()", "have independent rows", mixing.tolist())
    return np.asarray(np.linalg.cholesky(gamma))


def origin(problem: Problem) -> tuple[frozenset[str], Overlaps]:
    """The state without overlap, |w| = 1, fast parameters at their fixed point (float64)."""
    r = problem.inputs.directions
    zero = Overlaps(np.zeros((1, r)), np.ones((1, 1, 1)), {})
    cast = problem.cast(jnp.float64)
    none = Nodes({}, np.zeros((1, 1, 0)), np.ones(1))
    nodes = expectation_nodes(problem)[0][0] if problem.parameter_rates else none
    held, starts = starting_points(cast, limit_medium(problem, None), nodes, zero)
    return held, jax.tree.map(lambda leaf: leaf[0], starts)


def _merge(nodes: Nodes) -> tuple[dict[str, Array], Array]:
    """Distinct values of the latents with their weights, the fields' coordinates summed out."""
    flat = [array.reshape(array.shape[0], -1) for array in nodes.latents.values()]
    table = np.concatenate(flat, axis=1) if flat else np.zeros((nodes.weights.size, 0))
    distinct, first, index = np.unique(
        table.round(12), axis=0, return_index=True, return_inverse=True
    )
    weights = np.zeros(len(distinct))
    np.add.at(weights, index.ravel(), nodes.weights)
    return {name: array[first] for name, array in nodes.latents.items()}, weights


def _forms(problem: Problem, rule: Nodes, mixing: Array, highest: int) -> list[tuple[Array, Array]]:
    """Coefficients and errors of L_1 .. L_highest from one rule for the latents."""
    p, r = problem.inputs.vectors, problem.inputs.directions
    indices = [a for a in itertools.product(range(highest + 1), repeat=p) if sum(a) <= highest]
    bases = [_hermite_basis(p, n, indices) for n in ((120, 90, 61) if p == 1 else (60, 45, 31))]
    weights, signal, projections = latent_averages(problem, rule, mixing, bases)
    fine = projections[0].T
    coarse = np.maximum(*(np.abs(fine - other.T) for other in projections[1:]))
    coarse += 1e-13 * np.abs(fine) + 1e-15  # rounding of sums that cancel
    v = np.linalg.solve(mixing, signal)  # (nodes, p, r)
    results, rng = [], np.random.default_rng(0)
    for k in range(1, highest + 1):
        powers = _powers(r, k)
        trial = rng.normal(size=(len(powers) + len(powers) // 4 + 5, r))
        values, errors = np.zeros(len(trial)), np.zeros(len(trial))
        for first in range(0, len(trial), 32):
            some = slice(first, first + 32)
            square = np.sum(trial[some] ** 2, axis=1)
            table = _homogeneous(v @ trial[some].T, square, k)  # (k + 1, nodes, p, trials)
            for a in (a for a in indices if sum(a) == k):
                scale = np.prod([float(factorial(i)) for i in a])
                product = table[a[0]][:, 0] / scale
                for axis in range(1, p):
                    product = product * table[a[axis]][:, axis]
                values[some] += (weights * fine[indices.index(a)]) @ product
                errors[some] += (weights * coarse[indices.index(a)]) @ np.abs(product)
        design = np.prod(trial[:, None, :] ** powers, axis=-1)
        inverse = np.linalg.pinv(design)
        results.append((inverse @ values, np.sqrt((inverse**2) @ errors**2)))
    return results


def _hermite_basis(
    vectors: int, nodes: int, indices: Sequence[tuple[int, ...]]
) -> tuple[Array, Array]:
    """Tensor grid, shape (nodes^p, p), and weights times prod_i He_(a_i), (indices, nodes^p)."""
    grid, mass = gauss_hermite_grid(vectors, nodes)
    columns = [[hermite(i, grid[:, axis]) for axis, i in enumerate(a)] for a in indices]
    return grid, np.stack([np.prod(column, axis=0) for column in columns]) * mass


def gauss_hermite_grid(dimensions: int, nodes: int) -> tuple[Array, Array]:
    """Tensor Gauss-Hermite rule: grid, shape (nodes^d, d), and weights."""
    points, weights = gauss_hermite(nodes)
    grid = np.stack(np.meshgrid(*[points] * dimensions, indexing="ij"), axis=-1)
    mass = np.ones(1)
    for _ in range(dimensions):
        mass = np.multiply.outer(mass, weights).ravel()
    return grid.reshape(-1, dimensions), mass


def latent_averages(
    problem: Problem,
    rule: Nodes,
    mixing: Array,
    bases: Sequence[tuple[Array, Array]],
    of: Literal["loss", "gradient"] = "loss",
) -> tuple[Array, Array, list[Array]]:
    """Averages over the fields at zero overlap, for every value of the latents.

    Args:
        problem: with one neuron of norm one.
        rule: nodes for the latents.
        mixing: B, square; fields are B g.
        bases: pairs of a grid for g, shape (points, p), and weights, (projections, points).
        of: the loss, or the products A_a A_b of its derivatives (p * p columns).

    Returns:
        Weights of the distinct latents, shape (nodes,); C, (nodes, p, r); per basis the averages,
        (nodes, projections) or (nodes, projections * p * p).
    """
    latents, weights = _merge(rule)
    p = mixing.shape[0]
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        parameters, gram = origin(problem)[1].parameters, jnp.zeros((p, p))
        arrays: Any = {name: jnp.asarray(array) for name, array in latents.items()}
        if arrays:
            signal, labels = jax.jit(jax.vmap(cast.signal))(arrays)
        else:
            constant = cast.signal({})
            signal, labels = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], constant)

        def loss(field: jax.Array, label: Any) -> jax.Array:
            sample = Sample(label if jax.tree.leaves(labels) else None, gram)
            value: jax.Array = cast.learner.loss(
                field[:, None].T, jnp.ones((1, 1)), parameters, sample
            )
            return value

        def integrand(field: jax.Array, label: Any) -> jax.Array:
            if of == "loss":
                return loss(field, label)[None]
            slope = jax.grad(loss)(field, label)
            return (slope[:, None] * slope[None, :]).ravel()

        distinct, index = _distinct(labels, weights.size)
        found = []
        for grid, projector in bases:
            fields, matrix = jnp.asarray(grid @ mixing.T), jnp.asarray(projector)

            def one(label: Any, fields: Any = fields, matrix: Any = matrix) -> jax.Array:
                values = jax.vmap(integrand, (0, None))(fields, label)
                return jnp.matmul(matrix, values, precision=jax.lax.Precision.HIGHEST).ravel()

            average = jax.jit(lambda labels, one=one: jax.lax.map(one, labels, batch_size=128))
            found.append(np.asarray(average(distinct))[index])
        return weights, np.asarray(signal), found


def _distinct(labels: Any, count: int) -> tuple[Any, NDArray[np.int64]]:
    """Different labels only, and where each node's label is among them."""
    leaves, structure = jax.tree.flatten(labels)
    if not leaves:
        return jnp.zeros(1), np.zeros(count, np.int64)
    table = np.concatenate([np.asarray(x, np.float64).reshape(count, -1) for x in leaves], axis=1)
    _, first, index = np.unique(table, axis=0, return_index=True, return_inverse=True)
    chosen = [jnp.asarray(np.asarray(x)[first]) for x in leaves]
    return jax.tree.unflatten(structure, chosen), index.ravel()


def _homogeneous(v: Array, square: Array, highest: int) -> list[Array]:
    """He_k(v; s) for k = 0..highest: He_(k+1) = v He_k - k s He_(k-1)."""
    rows = [np.ones_like(v), v]
    for k in range(1, highest):
        rows.append(v * rows[-1] - k * square * rows[-2])
    return rows
