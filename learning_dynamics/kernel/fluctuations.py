"""Around the limit: spread of order N^-1/2 and mean shift of order 1/N of the order parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.kernel.limit import (
    device_nodes,
    limit_medium,
    starting_points,
)
from learning_dynamics.kernel.moments import Medium, flow, samples, velocity
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method, Nodes, expectation_nodes
from learning_dynamics.kernel.simulate import observables
from learning_dynamics.kernel.state import Overlaps, State, overlaps_of
from learning_dynamics.kernel.step import Draw, Layout, layout, update
from learning_dynamics.validation import finite_array, reject

__all__ = ["Fluctuations", "fluctuations"]

Array = NDArray[np.float64]
_LARGE = 10**5  # N at which the 1/N part of the drift of one update is read off


@dataclass(frozen=True, eq=False)
class Fluctuations:
    """Linear-noise description of the order parameters at large N.

    Attributes:
        times: tau, shape (times,).
        covariance: N times the covariance of (M, R, theta) flattened, shape (times, n, n).
        spread: name -> sqrt(N) times the standard deviation, shape (times, ...).
        shift: name -> N times (mean - limit), shape (times, ...).
    """

    times: Array
    covariance: Array
    spread: Mapping[str, Array]
    shift: Mapping[str, Array]


def fluctuations(
    problem: Problem,
    *,
    times: ArrayLike,
    start: Overlaps,
    start_covariance: ArrayLike | None = None,
    observe: Mapping[str, Callable[[Overlaps], jax.Array]] | None = None,
    tolerance: float = 1e-6,
    points: int = 2**12,
    method: Method = "auto",
) -> Fluctuations:
    """Leading corrections to the limit, from the same loss.

    With x the limit, f its velocity, J = df/dx and u = N times the change in one update,

        d Sigma / d tau = J Sigma + Sigma J^T + Cov[u],

        d b / d tau     = J b + (1/2) d^2 f : Sigma + f_1 - (1/2) J f,

    covariance = Sigma / N, mean = x + b / N. f_1 / N is what one update of finite N adds to the
    drift, read off from the update itself; the last term turns a map with steps 1/N into a flow.
    (van Kampen's expansion in the system size; f_1 for these learners: derived here.)

    The derivatives go through the quadrature nodes: activations with kinks are not supported.

    Args:
        problem: with one noise block.
        times: tau, increasing.
        start: one set of order parameters.
        start_covariance: N times the covariance of the flattened start; zero if left out.
        observe: further functions of the order parameters.
        tolerance: of the adaptive solver.
        points: quadrature nodes.
        method: quadrature, see `expectation_nodes`.

    Raises:
        ValueError: with several noise blocks or starts, a batch, or shapes that do not fit.
    """
    array = finite_array("times", times, ndim=1)
    if array.size == 0 or array[0] < 0 or np.any(np.diff(array) <= 0):
        raise reject("times", "be non-negative and increase strictly", array.tolist())
    if problem.batch != 1:
        raise reject("problem.batch", "be 1", problem.batch)
    if np.ndim(start.signal) != 2:
        raise reject("start.signal", "have shape (K, r)", f"shape {np.shape(start.signal)}")
    rules, _ = expectation_nodes(problem, points=points, method=method)
    with jax.enable_x64(True):
        place = limit_medium(problem, None)
        cast = problem.cast(jnp.float64)
        plan = layout(problem, problem.inputs.directions + _LARGE, "overlaps")
        watched = observables(problem, plan, observe)
        held, starts = starting_points(cast, place, rules[0], start)
        first = jax.tree.map(lambda leaf: leaf[0], starts)
        size = ravel_pytree(first)[0].size
        sigma = np.zeros((size, size)) if start_covariance is None else start_covariance
        sigma = finite_array("start_covariance", sigma, ndim=2)
        if sigma.shape != (size, size):
            raise reject("start_covariance", f"have shape {(size, size)}", f"{sigma.shape}")
        found = _solve(
            device_nodes(rules[0]), first, cast, place, jnp.asarray(sigma), jnp.asarray(array),
            jnp.float64(tolerance), held=held, watched=watched, plan=plan,
        )  # fmt: skip
        covariance, spread, shift = jax.tree.map(np.asarray, found)
    return Fluctuations(array, covariance, spread, shift)


@partial(jax.jit, static_argnames=("held", "watched", "plan"))
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
) -> Any:
    x0, unravel = ravel_pytree(start)
    dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    axes = jnp.eye(x0.size, dtype=x0.dtype)

    def f(x: jax.Array) -> jax.Array:
        return ravel_pytree(velocity(problem, place, nodes, unravel(x), held))[0]

    def noise(x: jax.Array) -> jax.Array:
        overlaps = unravel(x)
        each = samples(problem, place, nodes, overlaps)

        def change(one: Any) -> jax.Array:
            moved = flow(problem, place, overlaps, one._replace(factor=each.factor), held)
            return ravel_pytree(moved)[0]

        u = jax.vmap(change)(each._replace(factor=each.loss))  # the factor is common to all
        u = u - dot(nodes.weights, u)[None]
        return dot(u.T * nodes.weights[None], u)

    def rate(_: Any, y: Any, __: Any) -> Any:
        x, sigma, b = y
        jacobian = jax.jacfwd(f)(x)
        change = f(x)

        def bent(along: jax.Array, axis: jax.Array) -> jax.Array:
            return jax.jvp(lambda z: jax.jvp(f, (z,), (axis,))[1], (x,), (along,))[1]

        curvature = jnp.sum(jax.vmap(bent)(sigma.T, axes), axis=0) / 2
        extra = plan.dimension * _drift(problem, plan, nodes, unravel(x), held, change)
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


def _drift(
    problem: Problem,
    plan: Layout,
    nodes: Nodes,
    overlaps: Overlaps,
    held: frozenset[str],
    limit: jax.Array,
) -> jax.Array:
    """Mean change in one update times N, minus the limit: f_1 / N, from the update itself.

    The noise outside the weights enters by the mean of its Gram matrix alone, which is exact to
    this order.
    """
    neurons, size = problem.learner.neurons, plan.sizes[0]
    factor = jnp.linalg.cholesky(overlaps.blocks)
    state = State(overlaps.signal, (factor,), overlaps.parameters)
    rest = jnp.sqrt(jnp.asarray(size - neurons, factor.dtype))
    latents: Any = nodes.latents
    signal, label = jax.vmap(problem.signal)(latents)

    def moved(signal: Any, label: Any, zeta: Any) -> jax.Array:
        q = zeta.shape[1]
        z = jnp.concatenate([zeta.T, rest * jnp.eye(q, dtype=zeta.dtype)], axis=1)
        lead = jax.tree.map(lambda leaf: leaf[None], Draw(signal, label, (z,)))
        after = overlaps_of(update(problem, plan, state, lead))
        return ravel_pytree(after)[0]

    after = jnp.tensordot(
        nodes.weights,
        jax.vmap(moved)(signal, label, nodes.zeta),
        1,
        precision=jax.lax.Precision.HIGHEST,
    )
    change = plan.dimension * (after - ravel_pytree(overlaps)[0])
    moves = jax.tree.map(jnp.ones_like, overlaps)
    moves.parameters.update({name: 0 * moves.parameters[name] for name in held})
    return (change - limit) * ravel_pytree(moves)[0]
