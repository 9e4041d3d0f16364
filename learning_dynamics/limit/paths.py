"""Solutions of the limit's differential equation under one quadrature rule."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.heavy_ball import Motion, acceleration, resting
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.ode import solve as solve_ode
from learning_dynamics.limit.velocity import observed, velocity
from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time, corners

__all__ = ["Modes", "Run", "forward_mode", "solve_along", "solve_path", "solve_transformable"]
__all__ += ["units_of"]

Modes = Literal["none", "forward", "both"]
_ADJOINTS = {
    "none": diffrax.RecursiveCheckpointAdjoint,
    "forward": diffrax.ForwardMode,
    "both": diffrax.DirectAdjoint,
}
_modes: ContextVar[Modes] = ContextVar("modes", default="both")


@contextmanager
def forward_mode() -> Iterator[None]:
    """Within, derivatives of solutions are traced for forward mode alone: in half the time."""
    before = _modes.set("forward")
    try:
        yield
    finally:
        _modes.reset(before)


def units_of(start: Overlaps) -> Overlaps:
    """Units of the order parameters: |w_k| of M, |w_k| |w_l| of R_b, one of the parameters.

    A tolerance in these units is one for all lengths of the weights. A row of zeros has unit one.
    """
    square = jnp.diagonal(start.norms)
    length = jax.lax.stop_gradient(jnp.sqrt(jnp.where(square > 0, square, 1.0)))
    blocks = jnp.broadcast_to(length[:, None] * length[None], start.blocks.shape)
    signal = jnp.broadcast_to(length[:, None], start.signal.shape)
    return Overlaps(signal, blocks, jax.tree.map(jnp.ones_like, start.parameters))


def units_of_motion(start: Motion) -> Motion:
    """Those of the weights, with velocities in the same units per tau."""
    units = units_of(start.weights)
    parameters = {name: units.parameters[name] for name in start.parameters}
    return Motion(units, units.signal, units.blocks, units.blocks, parameters)


class Run(NamedTuple):
    """Solutions from all starts: observables and order parameters, shape (starts, times, ...)."""

    observed: dict[str, jax.Array]
    overlaps: Overlaps
    steps: jax.Array
    success: jax.Array
    reached: jax.Array
    final: Overlaps


def solve_along(
    rate: Any,
    start: Any,
    times: jax.Array,
    tolerance: jax.Array,
    first_step: jax.Array | float,
    max_steps: int,
    derivatives: Modes,
    *,
    units: Any,
    jumps: jax.Array | None = None,
) -> Any:
    """Adaptive solution of dy/dtau = rate(tau, y, None) from zero, at the times and at its end.

    Args:
        rate: right-hand side.
        start: y at zero.
        units: of y, same structure.
        times: increasing from zero on; where traced ones do not, no solution is finite.
        tolerance: relative, and absolute in these units.
        first_step: over the last time.
        max_steps: bound on the steps; the solution is not finite from where they end.
        derivatives: modes of differentiation that must pass.
        jumps: times at which the right-hand side is not smooth; steps end there.
    """
    times = jnp.where(jnp.all(jnp.diff(times, prepend=0.0) >= 0), times, jnp.nan)
    span = jnp.maximum(times[-1], 1e-12)

    def scaled(tau: Any, y: Any, args: Any) -> Any:
        moved = rate(tau, jax.tree.map(jnp.multiply, y, units), args)
        return jax.tree.map(jnp.divide, moved, units)

    controller: Any = diffrax.PIDController(rtol=tolerance, atol=tolerance)
    if jumps is not None:
        jumps = jax.lax.stop_gradient(jumps.astype(times.dtype))
        controller = diffrax.ClipStepSizeController(controller, jump_ts=jumps)
    solution = solve_ode(
        scaled,
        t0=jnp.zeros_like(times[0]),
        t1=span,
        dt0=first_step * span,
        y0=jax.tree.map(jnp.divide, start, units),
        stepsize_controller=controller,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        max_steps=max_steps,
        adjoint=_ADJOINTS[derivatives](),
    )
    ys = [jax.tree.map(lambda a, unit: a * unit[None], y, units) for y in solution.ys]
    return eqx.tree_at(lambda s: s.ys, solution, ys)


@partial(compiled, static_argnames=("held", "watched", "max_steps", "derivatives", "law"))
def solve_path(
    nodes: Nodes,
    starts: Overlaps,
    problem: Problem,
    noise: LimitNoise,
    times: jax.Array,
    tolerance: jax.Array,
    first_step: jax.Array,
    *,
    held: frozenset[str],
    watched: Any,
    max_steps: int,
    derivatives: Modes = "none",
    law: bool = False,
) -> Run:
    """Solutions from all starts, observed at the times.

    The derivative is that of the steps taken; allowing both modes costs about twice the time.
    """
    heavy = isinstance(problem.momentum, HeavyBall)

    def field(tau: Any, state: Any, _: Any) -> Any:
        now = at_time(problem, tau)
        if heavy:
            averages = moments(now, noise, nodes, state.weights, law)
            return acceleration(now, noise, state, averages)
        return velocity(now, noise, nodes, state, held, law)

    def look(tau: jax.Array, overlaps: Overlaps) -> dict[str, jax.Array]:
        now = at_time(problem, tau)
        return {name: observed(function, now, noise, nodes, overlaps) for name, function in watched}

    def one(start: Overlaps) -> Run:
        first: Any = resting(problem, start) if heavy else start
        solution = solve_along(
            field, first, times, tolerance, first_step, max_steps, derivatives,
            units=units_of_motion(first) if heavy else units_of(first), jumps=corners(problem),
        )  # fmt: skip
        path, last = (y.weights if heavy else y for y in solution.ys)
        return Run(
            jax.vmap(look)(times, path),
            path,
            solution.stats["num_accepted_steps"],
            solution.result == diffrax.RESULTS.successful,
            solution.ts[1][0],
            jax.tree.map(lambda leaf: leaf[0], last),
        )

    return jax.lax.map(one, starts)


def solve_transformable(
    nodes: Nodes,
    starts: Overlaps,
    problem: Problem,
    noise: LimitNoise,
    times: jax.Array,
    tolerances: jax.Array,
    first_steps: jax.Array,
    *,
    law: bool,
    **static: Any,
) -> dict[str, jax.Array]:
    """Observables by `solve_path` under several rules, leading axis of `nodes`.

    A loop that both modes of differentiation pass makes all its steps for every element of a batch
    until the slowest is done. Values alone need no such loop: a batch of them is solved one after
    the other, each with its own steps. Derivatives are those of the other loop.
    """

    def solve(derivatives: Modes, nodes: Nodes, *given: Any) -> dict[str, jax.Array]:
        *shared, tolerances, first_steps = given

        def one(rule: tuple[Nodes, jax.Array, jax.Array]) -> dict[str, jax.Array]:
            nodes, *accuracy = rule
            given: Any = (nodes, *shared, *accuracy)
            return solve_path(*given, derivatives=derivatives, law=law, **static).observed

        return jax.lax.map(one, (nodes, tolerances, first_steps))

    def derivative(primals: Any, tangents: Any) -> Any:
        """In the numbers that move alone: others may sit where a derivative does not exist."""
        leaves, structure = jax.tree.flatten(primals)
        directions = jax.tree.leaves(tangents, is_leaf=_is_zero)
        moving = [i for i, direction in enumerate(directions) if not _is_zero(direction)]

        def of_moving(*numbers: Any) -> dict[str, jax.Array]:
            values = leaves.copy()
            for place, number in zip(moving, numbers, strict=True):
                values[place] = number
            return solve(_modes.get(), *jax.tree.unflatten(structure, values))

        chosen = [leaves[i] for i in moving], [directions[i] for i in moving]
        return jax.jvp(of_moving, *chosen)

    values = jax.custom_jvp(jax.custom_batching.sequential_vmap(partial(solve, "none")))
    values.defjvp(derivative, symbolic_zeros=True)
    observed: dict[str, jax.Array] = values(
        nodes, starts, problem, noise, times, tolerances, first_steps
    )
    return observed


def _is_zero(tangent: Any) -> bool:
    """Whether a tangent is known to vanish."""
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)
