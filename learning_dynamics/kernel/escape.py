"""From zero overlap to a threshold in the limit: the constant in the law of order two."""

from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.kernel.leading import Place
from learning_dynamics.kernel.moments import Medium, velocity
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Nodes, combine
from learning_dynamics.kernel.starts import device_nodes, starting_points
from learning_dynamics.kernel.state import Overlaps
from learning_dynamics.validation import reject

__all__ = ["escape_constant"]

Array = NDArray[np.float64]


def escape_constant(
    place: Place, rest: Overlaps, direction: Array, threshold: float
) -> tuple[float, float]:
    """C = lim (time from m_0 to the threshold - log(1 / m_0) / g) for m_0 -> 0, and its error.

    Along the unstable manifold of zero overlap, with x = log m as the clock,

        c = int (dtau/dx - 1/g) dx + log(threshold) / g,

    where g is the growth rate of the same quadrature rule and the rule's spurious velocity at zero
    overlap is taken out, so that small overlaps add nothing: log(1 / m_0) multiplies no error.

    Raises:
        ValueError: if the overlap stops growing below the threshold.
    """
    rules, kind = place.rules()
    found = []
    with jax.enable_x64(True):
        cast = place.problem.cast(jnp.float64)
        held, _ = starting_points(cast, place.medium, rules[0], rest)
        given = jax.tree.map(jnp.asarray, rest)
        along = jnp.asarray(direction)
        done: dict[int, float] = {}
        for rule in rules:
            if id(rule) not in done:
                value = _crossing(
                    cast, place.medium, device_nodes(rule), given, along, jnp.float64(threshold),
                    held=held,
                )  # fmt: skip
                done[id(rule)] = float(value)
            found.append(np.asarray(done[id(rule)]))
    if not np.all(np.isfinite(found)):
        demand = "be reached in the limit, with an overlap that grows on the way"
        raise reject("threshold", demand, threshold)
    value, error = combine(found, kind)
    return float(value), float(error)


@partial(jax.jit, static_argnames="held")
def _crossing(
    problem: Problem,
    place: Medium,
    nodes: Nodes,
    rest: Overlaps,
    along: jax.Array,
    threshold: jax.Array,
    *,
    held: frozenset[str],
) -> jax.Array:
    first = 1e-4
    spurious = velocity(problem, place, nodes, rest, held)

    def overlap(y: Overlaps) -> jax.Array:
        return jnp.sum(y.signal[0] * along) / jnp.sqrt(y.norms[0, 0])

    def field(y: Overlaps) -> Overlaps:
        moved: Overlaps = jax.tree.map(
            lambda a, b: a - b, velocity(problem, place, nodes, y, held), spurious
        )
        return moved

    def grown(y: Overlaps) -> tuple[jax.Array, Overlaps]:
        speed = field(y)
        _, rate = jax.jvp(overlap, (y,), (speed,))
        return rate / overlap(y), speed

    def begin(size: float) -> Overlaps:
        shrink = 1 - size**2
        signal = size * jnp.sqrt(rest.norms[0, 0]) * along[None]
        return Overlaps(signal, rest.blocks * shrink, rest.parameters)

    start = begin(first)
    g = grown(start)[0]

    def rate(_: Any, y: Any, __: Any) -> Any:
        growth, speed = grown(y[1])
        growth = jnp.where(growth > 0, growth, jnp.nan)
        return 1 / growth - 1 / g, jax.tree.map(lambda leaf: leaf / growth, speed)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        diffrax.Tsit5(),
        t0=jnp.log(first),
        t1=jnp.log(threshold),
        dt0=0.05,
        y0=(jnp.zeros_like(g), start),
        stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
        throw=False,
    )
    fine = solution.result == diffrax.RESULTS.successful
    return jnp.where(fine & (g > 0), solution.ys[0][0] + jnp.log(threshold) / g, jnp.nan)
