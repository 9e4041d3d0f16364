"""Hermite route to the expansion of the loss of one neuron, and averages at zero overlap."""

import itertools
from collections.abc import Callable
from math import factorial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.hermite import hermite, trapezoid
from learning_dynamics.kernel.expansion import zero_overlap
from learning_dynamics.kernel.forms import Form, powers_of
from learning_dynamics.kernel.problem import Problem, Sample, free_block, mixing_matrix
from learning_dynamics.kernel.quadrature import Method, Nodes, combine, expectation_nodes
from learning_dynamics.validation import positive_integer, reject

__all__ = ["hermite_forms", "latent_averages", "noise_factor"]

Array = NDArray[np.float64]


def hermite_forms(
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
    reason = obstacle(problem)
    if reason is not None:
        raise reject("problem", "suit the Hermite expansion", reason)
    block = free_block(problem.inputs)
    assert block is not None  # or there is an obstacle
    mixing = noise_factor(problem, float(np.asarray(block.variances)[0]))
    rules, kind = expectation_nodes(problem, points=points, method=method, fields=False)
    parameters = zero_overlap(problem).parameters
    done: dict[int, list[tuple[Array, Array]]] = {}
    for rule in rules:  # a rule without free variables comes thrice
        if id(rule) not in done:
            done[id(rule)] = _forms(problem, rule, mixing, parameters, highest)
    forms = []
    for k in range(1, highest + 1):
        value, spread = combine([done[id(rule)][k - 1][0] for rule in rules], kind)
        own = done[id(rules[0])][k - 1][1]
        forms.append(Form(k, powers_of(problem.inputs.directions, k), value, own + spread))
    return tuple(forms)


def obstacle(problem: Problem) -> str | None:
    """What keeps a problem from the Hermite expansion; None if nothing does."""
    if problem.learner.neurons != 1:
        return f"{problem.learner.neurons} neurons"
    if problem.initial_norm is not None and float(problem.initial_norm) != 1:
        return f"rows of norm {float(problem.initial_norm):g}"
    if problem.learner.normaliser != "weights":
        return f"normaliser {problem.learner.normaliser!r}"
    if problem.inputs.vectors > 3:
        return f"{problem.inputs.vectors} vectors per sample"
    if free_block(problem.inputs) is None:
        return "several noise blocks, or an N that the inputs fix"
    gamma = noise_factor(problem) @ noise_factor(problem).T
    if np.linalg.eigvalsh(gamma).min() < 1e-12 * np.trace(gamma):
        return "dependent rows of B"
    return None


def noise_factor(problem: Problem, variance: float = 1.0) -> Array:
    """Square B with B B^T the covariance of the noise fields of one neuron."""
    with jax.enable_x64(True):
        mixing = np.asarray(mixing_matrix(problem.cast(jnp.float64), jnp.float64))
    values, vectors = np.linalg.eigh(variance * mixing @ mixing.T)
    root: Array = np.asarray(np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0))).T, mode="r"))
    return root.T * np.where(np.diagonal(root) < 0, -1.0, 1.0)


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


def _forms(
    problem: Problem, rule: Nodes, mixing: Array, parameters: dict[str, Any], highest: int
) -> list[tuple[Array, Array]]:
    """Coefficients and errors of L_1 .. L_highest from one rule for the latents."""
    p, r = problem.inputs.vectors, problem.inputs.directions
    indices = [a for a in itertools.product(range(highest + 1), repeat=p) if sum(a) <= highest]

    def projector(grid: Array, mass: Array) -> Array:
        columns = [[hermite(i, grid[:, axis]) for axis, i in enumerate(a)] for a in indices]
        return np.stack([np.prod(column, axis=0) for column in columns]) * mass

    weights, signal, projections, errors = latent_averages(
        problem, rule, mixing, projector, parameters
    )
    fine, coarse = projections.T, errors.T
    v = np.linalg.solve(mixing, signal)  # (nodes, p, r)
    results, rng = [], np.random.default_rng(0)
    for k in range(1, highest + 1):
        powers = powers_of(r, k)
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


def latent_averages(
    problem: Problem,
    rule: Nodes,
    mixing: Array,
    projector: Callable[[Array, Array], Array],
    parameters: dict[str, Any],
    of: Literal["loss", "gradient"] = "loss",
    norms: float = 1.0,
) -> tuple[Array, Array, Array, Array]:
    """Averages over the fields at zero overlap, for every value of the latents.

    The trapezoidal rule in each of the p coordinates converges exponentially for smooth losses; its
    step is refined until the change is at the level of rounding, as far as the number of latents
    allows.

    Args:
        problem: with one neuron.
        rule: nodes for the latents.
        mixing: B, square; fields are B g.
        projector: grid for g, shape (points, p), and its weights -> weights of several averages,
            shape (projections, points).
        parameters: theta by name.
        of: the loss, or the products A_a A_b of its derivatives (p * p columns).
        norms: second argument of the loss.

    Returns:
        Weights of the distinct latents, shape (nodes,); C, (nodes, p, r); the averages, (nodes,
        projections) or (nodes, projections * p * p); and their errors: twice the largest change
        from steps 1.4 and 2 times as long.
    """
    latents, weights = _merge(rule)
    p = mixing.shape[0]
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        gram, given = jnp.zeros((p, p)), jax.tree.map(jnp.asarray, parameters)
        arrays: Any = {name: jnp.asarray(array) for name, array in latents.items()}
        if arrays:
            signal, labels = jax.jit(jax.vmap(cast.signal))(arrays)
        else:
            constant = cast.signal({})
            signal, labels = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], constant)
        distinct, index = _distinct(labels, weights.size)
        size = jnp.full((1, 1), norms)

        def loss(field: jax.Array, label: Any) -> jax.Array:
            sample = Sample(label if jax.tree.leaves(labels) else None, gram)
            value: jax.Array = cast.learner.loss(field[:, None].T, size, given, sample)
            return value

        def integrand(field: jax.Array, label: Any) -> jax.Array:
            if of == "loss":
                return loss(field, label)[None]
            slope = jax.grad(loss)(field, label)
            return (slope[:, None] * slope[None, :]).ravel()

        def average(step: float) -> Array:
            grid, mass = trapezoid(step, p)
            fields, matrix = jnp.asarray(grid @ mixing.T), jnp.asarray(projector(grid, mass))

            def one(label: Any) -> jax.Array:
                values = jax.vmap(integrand, (0, None))(fields, label)
                return jnp.matmul(matrix, values, precision=jax.lax.Precision.HIGHEST).ravel()

            size = max(1, 2**21 // max(matrix.size, fields.shape[0] * p * p))
            run = jax.jit(lambda labels: jax.lax.map(one, labels, batch_size=min(size, 128)))
            return np.asarray(run(distinct))

        count = int(index.max()) + 1
        for step in (0.3, 0.15, 0.04, 0.01):
            fine = average(step)
            others = [np.abs(fine - average(factor * step)) for factor in (1.4, 2.0)]
            error = 2 * np.maximum(*others)
            finer = count * (19 / (step / 3)) ** p
            if np.max(error) <= 1e-10 * np.max(np.abs(fine)) or finer > 2**25:
                break
        error = error + 1e-13 * np.abs(fine) + 1e-15  # rounding of sums that cancel
        return weights, np.asarray(signal), fine[index], error[index]


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
