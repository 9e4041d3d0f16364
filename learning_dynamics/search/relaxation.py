"""Relaxation of weight norms and noise-block norms at zero overlap."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.accuracy import InaccurateError
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.ode import solve as solve_ode
from learning_dynamics.limit.population import Population, chunked
from learning_dynamics.limit.velocity import velocity
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import changed
from learning_dynamics.search.explosion_time import chebyshev_points
from learning_dynamics.search.leading_order import (
    LeadingOrder,
    lasting_rate,
    leading_order,
    starts_stay,
)
from learning_dynamics.validation import reject

__all__ = ["relaxation_path", "relaxed_spread"]

Array = NDArray[np.float64]


def relaxation_path(
    population: Population, start: Overlaps, count: int = 5
) -> tuple[list[Overlaps], float]:
    """Block norms R_b(s) at Chebyshev points of the relaxation path, for k >= 3, and rate over V.

    Raises:
        ValueError: if the loss at zero overlap moves R_b or the norm, and not to a single point.
    """
    if starts_stay(population):
        return [start], 0.0
    if _first_order_drift(population, start) > 1e-4:
        return [_relax(population, start, first_order=True)[2]], 0.0
    if population.problem.update == "plain":
        demand = "be 'spherical' or 'projected' if the loss does not depend on the norm of W"
        raise reject("problem.update", demand, "'plain'")
    share = np.asarray(population.noise.fractions) * np.asarray(population.noise.variances)
    last = share / share.sum()
    blocks = np.asarray(start.blocks)[:, 0, 0]
    if np.max(np.abs(last - blocks)) < 1e-9:
        return [start], 0.0
    path = [
        start._replace(blocks=(blocks + x * (last - blocks))[:, None, None])
        for x in (chebyshev_points(count) + 1) / 2
    ]
    for state in (path[count // 2], path[-1]):
        if _first_order_drift(population, state) > 1e-3:
            demand = "not depend on the noise blocks at zero overlap (normaliser = 'inputs')"
            raise reject("problem.learner", demand, "a loss that does")
    return path, 1.0


def _block_velocity(population: Population, start: Overlaps, first_order: bool) -> Any:
    """dR_b / dtau at zero overlap, shape (blocks,), as a function of nodes and R_b.

    With `first_order` its part linear in the learning rate alone.
    """
    problem, noise = population.cast, population.noise
    start = jax.tree.map(jnp.asarray, start)
    held = frozenset(problem.parameter_rates)
    given = jnp.asarray(problem.learning_rate, jnp.float64)

    def rate(nodes: Nodes, blocks: jax.Array) -> jax.Array:
        state = start._replace(blocks=blocks[:, None, None])

        def moved(eta: jax.Array) -> jax.Array:
            each = changed(problem, learning_rate=eta)
            return velocity(each, noise, nodes, state, held).blocks[:, 0, 0]

        if first_order:
            return jax.jvp(moved, (jnp.zeros_like(given),), (given,))[1]
        return moved(given)

    return rate


_moments = compiled(moments)


def _time_unit(population: Population, state: Overlaps, first_order: bool) -> float:
    """Time in which R_b moves by |w|^2, if the parts of its velocity do not cancel.

    By E A h <= (E A^2 E h^2)^(1/2): criteria of rest in this unit hold for all lengths of the
    weights, and for all sizes of loss and learning rate.
    """
    problem, noise = population.cast, population.noise
    with jax.enable_x64(True):
        m = _moments(problem, noise, chunked(population.few_nodes()), state)
    step, factor, pull = (abs(float(np.asarray(a)[0, 0])) for a in (m.step, m.factor, m.pull))
    size = float(np.sum(state.blocks))
    decay = 0.0 if problem.weight_decay is None else float(problem.weight_decay)
    decay *= problem.repeats
    eta = lasting_rate(problem)
    speed = 2 * eta * (np.sqrt(step) * factor + (pull + decay) * size)
    if not first_order:
        variance = float(np.asarray(noise.fractions) @ np.asarray(noise.variances))
        speed += eta**2 / problem.batch * step * variance
    return size / speed if speed > 0 else 1.0


def _first_order_drift(population: Population, state: Overlaps) -> float:
    """Largest |dR_b / dtau| / |w|^2 as the rate vanishes, in `_time_unit`, beyond its errors."""
    unit = _time_unit(population, state, first_order=True) / np.sum(state.blocks)
    with jax.enable_x64(True):
        blocks = jnp.asarray(state.blocks[:, 0, 0])
        rate = compiled(_block_velocity(population, state, first_order=True))
    drift = population.average(
        lambda rule: unit * rate(chunked(rule), blocks), caller="search_law", of=population.problem
    )
    return float(np.max(np.maximum(np.abs(drift.value) - drift.error, 0)))


def _relax(
    population: Population, start: Overlaps, first_order: bool
) -> tuple[Array, Array, Overlaps]:
    """Times, R_b there, and the state at rest (for a vanishing rate if `first_order`).

    Raises:
        ValueError: if R_b does not come to rest within 10^4 of `_time_unit`.
    """
    unit, size = _time_unit(population, start, first_order), float(np.sum(start.blocks))
    with jax.enable_x64(True):
        velocity_of_blocks = _block_velocity(population, start, first_order)
        first = jnp.asarray(start.blocks[:, 0, 0]) / size

        def rate(nodes: Nodes, shares: jax.Array) -> jax.Array:
            return unit / size * velocity_of_blocks(nodes, shares * size)

        @compiled
        def solve(nodes: Nodes, end: jax.Array) -> tuple[jax.Array, ...]:
            times = jnp.linspace(0, 1, 201) ** 2 * end
            solution = solve_ode(
                lambda _, y, __: rate(nodes, y),
                t0=jnp.zeros_like(end),
                t1=end,
                dt0=None,
                y0=first,
                max_steps=2**16,
                stepsize_controller=diffrax.PIDController(rtol=1e-7, atol=1e-9),
                saveat=diffrax.SaveAt(ts=times),
            )
            speed = jnp.max(jnp.abs(rate(nodes, solution.ys[-1])))
            return times, solution.ys, speed

        paths: list[tuple[Array, Array]] = []
        speeds: list[float] = []

        def rest(rule: Nodes) -> dict[str, Array]:
            nodes = chunked(rule)
            for end in (10.0, 100.0, 1e3, 1e4):
                times, shares, speed = (np.asarray(a) for a in solve(nodes, jnp.float64(end)))
                if np.all(np.isfinite(shares)) and speed < 1e-7:
                    break
            else:  # perhaps of this rule alone: few nodes may let a norm grow that decays
                speeds.append(float(speed))
                return {"rest": np.full(first.shape, np.nan)}
            paths.append((unit * times, size * shares))
            return {"rest": shares[-1]}

        try:
            state = population.average(
                rest, caller="search_law", of=population.problem, relative=True
            ).value["rest"]
        except InaccurateError as error:
            state = error.result.value["rest"]
            if np.all(np.isfinite(state)):
                raise
    if not np.all(np.isfinite(state)):
        if population.problem.update == "plain" and _first_order_drift(population, start) < 1e-4:
            demand = (
                "be 'spherical' or 'projected', or have `weight_decay`, where the loss leaves the "
                "norm of W free: every step lengthens it"
            )
            raise reject("problem.update", demand, "'plain'")
        demand = "bring the norm of W and the noise blocks to rest at zero overlap"
        speed = min(speeds) * size / unit
        raise reject("problem", demand, f"still moving at {speed:.2g} per time")
    times, blocks = paths[-1]
    last = size * np.maximum(np.asarray(state), 0)
    if last.sum() < 1e-6 * size:
        raise reject("problem", "not let W die out at zero overlap", f"|w|^2 = {last.sum()}")
    return times, blocks, start._replace(blocks=last[:, None, None])


def relaxed_spread(
    population: Population, start: Overlaps, count: int = 7
) -> tuple[LeadingOrder, Array]:
    """State at rest and Cov[xi], from which overlaps of order two grow: mu(tau) ~ e^(g tau) xi.

    d Cov / dtau = G Cov + Cov G^T + delta^2 S0 from the unit matrix, with G and S0 along the path
    of R_b to rest; e^(-2 g tau) Cov on the growing directions tends to Cov[xi].
    """
    rate = lasting_rate(population.problem)
    r = population.problem.inputs.directions
    stays = starts_stay(population)
    if not stays:
        times, blocks, rest = _relax(population, start, first_order=False)
        distance = np.max(np.abs(blocks - blocks[-1]), axis=1)
    last = leading_order(population, start if stays else rest, 2)
    g = float(np.linalg.eigvalsh(last.growth.value)[-1])
    if stays or distance[0] < 1e-6 * blocks[-1].sum() or g <= 0:
        return last, np.eye(r) + rate**2 * last.covariance.value / (2 * max(g, 1e-300))
    scale = float(times[np.argmax(distance < distance[0] / np.e)])
    x = (chebyshev_points(count)[:-1] + 1) / 2  # 1 - exp(-tau / scale)
    norms = [np.array([np.interp(-scale * np.log1p(-s), times, b) for b in blocks.T]) for s in x]
    path = [leading_order(population, rest._replace(blocks=b[:, None, None]), 2) for b in norms] + [
        last
    ]
    nodes = np.append(x, 1.0)
    convert = np.linalg.inv(np.vander(nodes, increasing=True))
    growths = np.tensordot(convert, np.stack([m.growth.value for m in path]), 1)
    noises = np.tensordot(convert, np.stack([m.covariance.value for m in path]), 1)
    end, steps = 16 * scale, 4000
    dt, spread = end / steps, np.eye(r)

    def slope(tau: float, spread: Array) -> Array:
        powers = (1 - np.exp(-tau / scale)) ** np.arange(count)
        growth = np.tensordot(powers, growths, 1) - g * np.eye(r)
        noise = rate**2 * np.exp(-2 * g * tau) * np.tensordot(powers, noises, 1)
        return np.asarray(growth @ spread + spread @ growth.T + noise)

    for i in range(steps):
        first = slope(i * dt, spread)
        second = slope((i + 1) * dt, spread + dt * first)
        spread = spread + dt / 2 * (first + second)
    return last, spread + rate**2 * np.exp(-2 * g * end) * last.covariance.value / (2 * g)
