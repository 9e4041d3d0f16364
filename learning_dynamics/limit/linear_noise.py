"""Linear-noise equations around the limit under one quadrature rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from learning_dynamics import short_text
from learning_dynamics.compilation import compiled
from learning_dynamics.limit.finite_size import drift_of_one_update, residual_noise
from learning_dynamics.limit.moments import mean, over_chunks, samples
from learning_dynamics.limit.nodes import CHUNK, Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.paths import Modes, solve_along, units_of
from learning_dynamics.limit.population import Population, chunked
from learning_dynamics.limit.velocity import flow, observed, velocity
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time, corners, schedules_of, with_mean_rates
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.steps import unit_rows

__all__ = ["Fluctuations", "LinearNoise", "derivatives_agree", "solve"]

Array = NDArray[np.float64]
MOST = 2**22  # numbers per intermediate of the derivatives: nodes x order parameters x directions
MOST_STEPS = 4096


@dataclass(frozen=True, eq=False)
class Fluctuations:
    """Linear-noise description of the order parameters at large N.

    A pytree of its arrays.

    Attributes:
        times: tau, shape (times,).
        covariance: N times the covariance of (M, R, theta) flattened, shape (times, n, n).
        spread: name -> sqrt(N) times the standard deviation, shape (times, ...).
        shift: name -> N times (mean - limit), shape (times, ...).
        spread_error: name -> bound on the numerical error of the spread, likewise.
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

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return "order parameters at large N", {
            "times": short_text.span(self.times),
            "covariance": f"{np.shape(self.covariance)}, times N",
            "spread": f"{short_text.shapes(self.spread)}, times N^1/2",
            "shift": f"{short_text.shapes(self.shift)}, times N",
            "spread error": short_text.largest(self.spread_error),
            "shift error": short_text.largest(self.shift_error),
            "derivatives": str(self.derivatives),
        }


_ARRAYS = ("times", "covariance", "spread", "shift", "spread_error", "shift_error")


def _rebuilt(derivatives: str, arrays: Any) -> Fluctuations:
    return Fluctuations(**dict(zip(_ARRAYS, arrays, strict=True)), derivatives=derivatives)


jax.tree_util.register_pytree_node(
    Fluctuations, lambda r: ([getattr(r, name) for name in _ARRAYS], r.derivatives), _rebuilt
)


class LinearNoise(NamedTuple):
    """What the differential equation of the fluctuations is made of, with N of the layout."""

    population: Population
    start: Overlaps
    sigma: Array
    held: frozenset[str]
    watched: Any
    layout: Layout


def derivatives_agree(equation: LinearNoise, rule: Nodes, other: Nodes, end: float) -> bool:
    """Whether first and second derivatives of the velocity are the same in both ways."""
    population, held = equation.population, equation.held
    average = with_mean_rates(population.cast, end)
    slopes = partial(_slopes, average, population.noise, equation.start, held=held)
    nodes = chunked(rule)
    fields, one = slopes(nodes, law=False), slopes(nodes, law=True)
    two = slopes(chunked(other), law=True)
    for a, b, c in zip(fields, one, two, strict=True):
        # the quadrature error is known from one difference per entry only: take the largest
        allowed = 10 * np.max(np.abs(b - c)) + 1e-3 * np.max(np.abs(b)) + 1e-9
        if np.max(np.abs(a - b)) > allowed:
            return False
    return True


@partial(compiled, static_argnames=("held", "law"))
def _slopes(
    problem: Problem, noise: LimitNoise, start: Overlaps, nodes: Nodes, *, held: Any, law: bool
) -> tuple[jax.Array, jax.Array]:
    """First and second derivative of the velocity along some direction."""
    x0, unravel = ravel_pytree(start)
    along = jnp.asarray(np.random.default_rng(0).normal(size=x0.size))

    def f(x: jax.Array) -> jax.Array:
        return ravel_pytree(velocity(problem, noise, nodes, unravel(x), held, law))[0]

    def once(x: jax.Array) -> jax.Array:
        return jax.jvp(f, (x,), (along,))[1]

    return jax.jvp(once, (x0,), (along,))


def solve(
    equation: LinearNoise,
    nodes: Nodes,
    times: jax.Array,
    tolerance: jax.Array,
    *,
    law: bool,
    derivatives: Modes = "none",
) -> Any:
    """(Covariance, spread, shift) at the times, the end, whether it was reached, and the growth."""
    population, start, sigma, held, watched, layout = equation
    return _solve(
        nodes, start, population.cast, population.noise, jnp.asarray(sigma, jnp.float64), times,
        tolerance, held=held, watched=watched, layout=layout, law=law,
        derivatives=derivatives,
    )  # fmt: skip


@partial(compiled, static_argnames=("held", "watched", "layout", "law", "derivatives"))
def _solve(
    nodes: Nodes,
    start: Overlaps,
    problem: Problem,
    noise: LimitNoise,
    sigma: jax.Array,
    times: jax.Array,
    tolerance: jax.Array,
    *,
    held: frozenset[str],
    watched: Any,
    layout: Layout,
    law: bool,
    derivatives: Modes,
) -> Any:
    x0, unravel = ravel_pytree(start)
    dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    axes = jnp.eye(x0.size, dtype=x0.dtype)

    def velocity_of(now: Problem, x: jax.Array) -> jax.Array:
        return ravel_pytree(velocity(now, noise, nodes, unravel(x), held, law))[0]

    def step_covariance(now: Problem, x: jax.Array, drift: jax.Array) -> jax.Array:
        """Covariance of N times the change in one update, whose mean is the drift."""
        overlaps = unravel(x)

        def total(part: Nodes) -> tuple[jax.Array, jax.Array]:
            each = samples(now, noise, part, overlaps)

            def change(one: Any) -> jax.Array:
                moved = flow(now, noise, overlaps, one._replace(factor=each.factor), held)
                return ravel_pytree(moved)[0]

            u = jax.vmap(change)(each._replace(factor=each.loss))  # the factor is common to all
            u = u - drift[None]
            return dot(u.T * part.weights[None], u), mean(part, each.step)

        covariance, step = over_chunks(total, nodes)
        if overlaps.blocks.shape[0] > 1:
            covariance = covariance + residual_noise(now, noise, overlaps, step)
        return covariance / problem.batch

    def beyond_limit(now: Problem, rows: Overlaps, still: jax.Array) -> jax.Array:
        """f_1: N times what one update adds to the limit f, where N is free as N goes to infinity.

        It is f_1 + O(1/N), of which two N leave O(1/N^2). A much larger N would do alone, but it
        multiplies rounding by N^2.
        """

        def at(layout: Layout) -> jax.Array:
            one = drift_of_one_update(now, noise, layout, nodes, rows, held, still)
            return layout.dimension * one

        if start.blocks.shape[0] > 1:
            return at(layout)
        more = layout.dimension
        twice = layout._replace(dimension=2 * more, sizes=(layout.sizes[0] + more,))
        return 2 * at(twice) - at(layout)

    def rate(tau: Any, y: Any, _: Any) -> Any:
        x, sigma, b = y
        now = at_time(problem, tau)
        f = partial(velocity_of, now)
        change = f(x)

        def column(axis: jax.Array) -> jax.Array:
            return jax.jvp(f, (x,), (axis,))[1]

        def bent(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            along, axis = pair
            return jax.jvp(lambda z: jax.jvp(f, (z,), (axis,))[1], (x,), (along,))[1]

        at_once = max(1, MOST // (min(nodes.weights.size, CHUNK) * x.size))
        jacobian = jax.lax.map(column, axes, batch_size=at_once).T
        curvature = jnp.sum(jax.lax.map(bent, (sigma.T, axes), batch_size=at_once), axis=0) / 2
        # the update scales rows to norm one: what the solver lost of it would count N^2 times
        rows = unit_rows(problem, unravel(x))
        still = change if problem.update == "plain" else f(ravel_pytree(rows)[0])
        extra = beyond_limit(now, rows, still)
        if schedules_of(problem):  # (1/2) df/dtau of the map with steps 1/N, beside (1/2) J f
            _, moved = jax.jvp(
                lambda t: velocity_of(at_time(problem, t), x), (tau,), (tau * 0 + 1,)
            )
            extra = extra - moved / 2
        spread = dot(jacobian, sigma)
        return (
            change,
            spread + spread.T + step_covariance(now, x, change),
            dot(jacobian, b - change / 2) + curvature + extra,
        )

    state = (x0, sigma, jnp.zeros_like(x0))
    unit = ravel_pytree(units_of(start))[0]
    units = (unit, unit[:, None] * unit[None], unit)
    solution = solve_along(
        rate, state, times, tolerance, 1e-3, MOST_STEPS, derivatives, units=units,
        jumps=corners(problem),
    )  # fmt: skip
    path, last = solution.ys

    def look(tau: jax.Array, x: jax.Array, sigma: jax.Array, b: jax.Array) -> Any:
        now = at_time(problem, tau)
        spread, shift = {}, {}
        for name, function in watched:

            def value(x: jax.Array, function: Any = function) -> jax.Array:
                return observed(function, now, noise, nodes, unravel(x))

            slope = jax.jacfwd(value)(x)
            bend = jax.jacfwd(jax.jacfwd(value))(x)
            flat = slope.reshape(-1, x.size)
            variance = jnp.sum(dot(flat, sigma) * flat, axis=-1).reshape(slope.shape[:-1])
            spread[name] = jnp.sqrt(jnp.maximum(variance, 0))
            curved = jnp.tensordot(bend, sigma, 2, precision=jax.lax.Precision.HIGHEST) / 2
            shift[name] = dot(slope, b) + curved
        return spread, shift

    spread, shift = jax.vmap(look)(times, *path)
    grown = jnp.max(jnp.abs(last[0])) / (1 + jnp.max(jnp.abs(x0)))
    done = solution.result == diffrax.RESULTS.successful
    return (path[1], spread, shift), solution.ts[1][0], done, grown
