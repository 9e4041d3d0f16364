"""Around the limit: spread of order N^-1/2 and mean shift of order 1/N of the order parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.identity.session import sees_edits
from learning_dynamics.kernel.finite import drift_of_one_update, residual_noise
from learning_dynamics.kernel.moments import Medium, flow, samples, velocity
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method, Nodes, expectation_nodes, same_length
from learning_dynamics.kernel.simulate import observables
from learning_dynamics.kernel.starts import device_nodes, limit_medium, starting_points
from learning_dynamics.kernel.state import Overlaps
from learning_dynamics.kernel.step import Layout, layout
from learning_dynamics.validation import finite_array, one_of, reject

__all__ = ["Fluctuations", "fluctuations"]

Array = NDArray[np.float64]
Derivatives = Literal["auto", "fields", "law"]
MOST = 2**22  # numbers per intermediate of the derivatives: nodes x order parameters x directions
_LARGE = 10**5  # N at which the 1/N part of the drift of one update is read off


@dataclass(frozen=True, eq=False)
class Fluctuations:
    """Linear-noise description of the order parameters at large N.

    Attributes:
        times: tau, shape (times,).
        covariance: N times the covariance of (M, R, theta) flattened, shape (times, n, n).
        spread: name -> sqrt(N) times the standard deviation, shape (times, ...).
        shift: name -> N times (mean - limit), shape (times, ...).
        spread_error: name -> change of the spread under another quadrature rule, likewise.
        shift_error: the same of the shift.
        derivatives: "fields" or "law", see `fluctuations`.
    """

    times: Array
    covariance: Array
    spread: Mapping[str, Array]
    shift: Mapping[str, Array]
    spread_error: Mapping[str, Array]
    shift_error: Mapping[str, Array]
    derivatives: str


@sees_edits("problem", "observe")
def fluctuations(
    problem: Problem,
    *,
    times: ArrayLike,
    start: Overlaps,
    dimension: int | None = None,
    start_covariance: ArrayLike | None = None,
    observe: Mapping[str, Callable[[Overlaps], jax.Array]] | None = None,
    tolerance: float = 1e-6,
    points: int = 2**12,
    method: Method = "auto",
    derivatives: Derivatives = "auto",
) -> Fluctuations:
    """Leading corrections to the limit, from the same loss.

    With x the limit, f its velocity, J = df/dx and u = N times the change in one update,

        d Sigma / d tau = J Sigma + Sigma J^T + Cov[u],

        d b / d tau     = J b + (1/2) d^2 f : Sigma + f_1 - (1/2) J f,

    covariance = Sigma / N, mean = x + b / N. f_1 / N is what one update of finite N adds to the
    drift, read off from the update itself; the last term turns a map with steps 1/N into a flow.
    (van Kampen's expansion in the system size; f_1 for these learners: derived here.) Given the
    fields, the shares of the noise blocks in them fluctuate on; see `residual_noise`. A batch b
    divides Cov[u] by b.

    Equations: :eq:`eq:kernel-fluctuations`, :eq:`eq:kernel-residual`, :eq:`eq:kernel-batch`.

    Args:
        problem: definition, as in `simulate`.
        times: tau, increasing.
        start: one set of order parameters.
        dimension: N that fixes the noise blocks; a single block needs none.
        start_covariance: N times the covariance of the flattened start; zero if left out.
        observe: further functions of the order parameters.
        tolerance: of the adaptive solver.
        points: quadrature nodes.
        method: quadrature, see `expectation_nodes`.
        derivatives: "fields" differentiates the gradient of the loss, "law" the Gaussian law of
            the fields, which is right for gradients with jumps or kinks (sign, ReLU) but less
            accurate for the same number of nodes; "auto" takes "law" where the two disagree.

    Raises:
        ValueError: with several starts, or shapes that do not fit.
    """
    array = finite_array("times", times, ndim=1)
    if array.size == 0 or array[0] < 0 or np.any(np.diff(array) <= 0):
        raise reject("times", "be non-negative and increase strictly", array.tolist())
    if np.ndim(start.signal) != 2:
        raise reject("start.signal", "have shape (K, r)", f"shape {np.shape(start.signal)}")
    one_of("derivatives", derivatives, ("auto", "fields", "law"))
    rules, kind = expectation_nodes(problem, points=points, method=method)
    with jax.enable_x64(True):
        place = limit_medium(problem, dimension)
        cast = problem.cast(jnp.float64)
        several = place.variances.shape[0] > 1
        large = dimension if several else problem.inputs.directions + _LARGE
        plan = layout(problem, int(large or 0), "overlaps")
        watched = observables(problem, plan, observe)
        held, starts = starting_points(cast, place, rules[0], start, moving=True)
        if held:  # its spread is of the same order, and shifts the others
            demand = "be left out, or have order 2, for parameters that relax within a few updates"
            raise reject("problem.parameter_rates", demand, sorted(held))
        first = jax.tree.map(lambda leaf: leaf[0], starts)
        size = ravel_pytree(first)[0].size
        sigma = np.zeros((size, size)) if start_covariance is None else start_covariance
        sigma = finite_array("start_covariance", sigma, ndim=2)
        if sigma.shape != (size, size):
            raise reject("start_covariance", f"have shape {(size, size)}", f"{sigma.shape}")
        if kind == "sobol":  # two independent halves
            rules = [_joined(rules[::2]), _joined(rules[1::2])]
        rules = same_length(rules[:2])  # so that they share compiled code
        if derivatives == "auto":
            agree = _agree(cast, place, rules[0], rules[1], first, held)
            derivatives = "fields" if agree else "law"
        law = derivatives == "law"
        two = []
        for rule in rules:
            found = _solve(
                device_nodes(rule), first, cast, place, jnp.asarray(sigma), jnp.asarray(array),
                jnp.float64(tolerance), held=held, watched=watched, plan=plan, law=law,
            )  # fmt: skip
            two.append(jax.tree.map(np.asarray, found))
    if kind == "sobol":
        value = jax.tree.map(lambda a, b: (a + b) / 2, *two)
        error = jax.tree.map(lambda a, b: np.abs(a - b) / 2, *two)
    else:
        value, error = two[0], jax.tree.map(lambda a, b: 2 * np.abs(a - b), *two)
    covariance, spread, shift = value
    return Fluctuations(array, covariance, spread, shift, error[1], error[2], derivatives)


def _joined(rules: list[Nodes]) -> Nodes:
    """One rule of several sets with equal weight."""
    joined: Nodes = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rules)
    return joined._replace(weights=joined.weights / len(rules))


def _agree(
    problem: Problem,
    place: Medium,
    rule: Nodes,
    other: Nodes,
    start: Overlaps,
    held: frozenset[str],
) -> bool:
    """Whether first and second derivatives of the velocity are the same in both ways."""
    x0, unravel = ravel_pytree(start)
    along = jnp.asarray(np.random.default_rng(0).normal(size=x0.size))

    @partial(jax.jit, static_argnames="law")
    def slopes(nodes: Nodes, law: bool) -> tuple[jax.Array, jax.Array]:
        def f(x: jax.Array) -> jax.Array:
            return ravel_pytree(velocity(problem, place, nodes, unravel(x), held, law))[0]

        def once(x: jax.Array) -> jax.Array:
            return jax.jvp(f, (x,), (along,))[1]

        return jax.jvp(once, (x0,), (along,))

    nodes = device_nodes(rule)
    fields, one = slopes(nodes, law=False), slopes(nodes, law=True)
    two = slopes(device_nodes(other), law=True)
    for a, b, c in zip(fields, one, two, strict=True):
        # the quadrature error is known from one difference per entry only: take the largest
        allowed = 10 * np.max(np.abs(b - c)) + 1e-3 * np.max(np.abs(b)) + 1e-9
        if np.max(np.abs(a - b)) > allowed:
            return False
    return True


def unit_rows(problem: Problem, x: jax.Array, unravel: Any) -> jax.Array:
    """Flattened order parameters with rows of W scaled to norm one, unless updates are plain."""
    if problem.update == "plain":
        return x
    overlaps = unravel(x)
    scale = jax.lax.rsqrt(jnp.diagonal(overlaps.norms))
    blocks = overlaps.blocks * (scale[:, None] * scale[None])[None]
    scaled = Overlaps(overlaps.signal * scale[:, None], blocks, overlaps.parameters)
    return ravel_pytree(scaled)[0]


@partial(jax.jit, static_argnames=("held", "watched", "plan", "law"))
def _solve(
    nodes: Nodes,
    start: Overlaps,
    problem: Problem,
    place: Medium,
    sigma: jax.Array,
    times: jax.Array,
    tolerance: jax.Array,
    *,
    held: frozenset[str],
    watched: Any,
    plan: Layout,
    law: bool,
) -> Any:
    x0, unravel = ravel_pytree(start)
    dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    axes = jnp.eye(x0.size, dtype=x0.dtype)

    def f(x: jax.Array) -> jax.Array:
        return ravel_pytree(velocity(problem, place, nodes, unravel(x), held, law))[0]

    def noise(x: jax.Array) -> jax.Array:
        overlaps = unravel(x)
        each = samples(problem, place, nodes, overlaps)

        def change(one: Any) -> jax.Array:
            moved = flow(problem, place, overlaps, one._replace(factor=each.factor), held)
            return ravel_pytree(moved)[0]

        u = jax.vmap(change)(each._replace(factor=each.loss))  # the factor is common to all
        u = u - dot(nodes.weights, u)[None]
        spread = dot(u.T * nodes.weights[None], u)
        if overlaps.blocks.shape[0] > 1:
            step = jnp.tensordot(nodes.weights, each.step, 1, precision=jax.lax.Precision.HIGHEST)
            spread = spread + residual_noise(problem, place, overlaps, step)
        return spread / problem.batch

    def rate(_: Any, y: Any, __: Any) -> Any:
        x, sigma, b = y
        change = f(x)

        def column(axis: jax.Array) -> jax.Array:
            return jax.jvp(f, (x,), (axis,))[1]

        def bent(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            along, axis = pair
            return jax.jvp(lambda z: jax.jvp(f, (z,), (axis,))[1], (x,), (along,))[1]

        at_once = max(1, MOST // (nodes.weights.size * x.size))
        jacobian = jax.lax.map(column, axes, batch_size=at_once).T
        curvature = jnp.sum(jax.lax.map(bent, (sigma.T, axes), batch_size=at_once), axis=0) / 2
        # the update scales rows to norm one: what the solver lost of it would count N^2 times
        there = unit_rows(problem, x, unravel)
        still = change if problem.update == "plain" else f(there)
        extra = plan.dimension * drift_of_one_update(
            problem, place, plan, nodes, unravel(there), held, still
        )
        spread = dot(jacobian, sigma)
        return (
            change,
            spread + spread.T + noise(x),
            dot(jacobian, b - change / 2) + curvature + extra,
        )

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        diffrax.Tsit5(),
        t0=jnp.zeros_like(times[0]),
        t1=jnp.maximum(times[-1], 1e-12),
        dt0=1e-3 * times[-1],
        y0=(x0, sigma, jnp.zeros_like(x0)),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        saveat=diffrax.SaveAt(ts=times),
        throw=False,
    )

    def look(x: jax.Array, sigma: jax.Array, b: jax.Array) -> Any:
        spread, shift = {}, {}
        for name, function in watched:

            def value(x: jax.Array, function: Any = function) -> jax.Array:
                return function(unravel(x))

            slope = jax.jacfwd(value)(x)
            bend = jax.jacfwd(jax.jacfwd(value))(x)
            flat = slope.reshape(-1, x.size)
            variance = jnp.sum(dot(flat, sigma) * flat, axis=-1).reshape(slope.shape[:-1])
            spread[name] = jnp.sqrt(jnp.maximum(variance, 0))
            curved = jnp.tensordot(bend, sigma, 2, precision=jax.lax.Precision.HIGHEST) / 2
            shift[name] = dot(slope, b) + curved
        return spread, shift

    spread, shift = jax.vmap(look)(*solution.ys)
    return solution.ys[1], spread, shift
