"""From zero overlap to a threshold in the limit: the constant in the law of order two."""

from dataclasses import replace
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.accuracy import Estimate, InaccurateError
from learning_dynamics.limit.linear_latents import without_linear_latents
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.ode import solve as solve_ode
from learning_dynamics.limit.paths import units_of
from learning_dynamics.limit.population import Population, chunked
from learning_dynamics.limit.velocity import velocity
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem, mixing_matrix
from learning_dynamics.process.steps import limits_gradient
from learning_dynamics.validation import reject

__all__ = ["escape_constant"]

Array = NDArray[np.float64]

FIRST = 1e-5  # overlap from which the limit is followed
RESOLVED = 0.02  # the same where steps bend in a thin layer, which must move past many nodes


def escape_constant(
    population: Population, rest: Overlaps, directions: Array, threshold: float
) -> Estimate:
    """C = lim (time from m_0 to the threshold - log(1 / m_0) / g) for m_0 -> 0, and its error.

    Along the unstable manifold of zero overlap, with x = log m as the clock,

        c = int (dtau/dx - 1/g) dx + log(threshold) / g,

    where g is the growth rate of the same quadrature rule and the rule's spurious velocity at zero
    overlap is taken out, so that small overlaps add nothing: log(1 / m_0) multiplies no error.
    Clipped steps bend where the gradient is as long as the limit, along surfaces that pass through
    nodes of a tensor rule at zero overlap. Their averages are over Sobol points, from an overlap of
    0.02 on, below which the growth rate is taken for constant: an error of order 0.02^2.
    Latents that enter the signal linearly are no variables of the quadrature, see `_along_fields`.

    Args:
        population: of one neuron.
        rest: state at zero overlap.
        directions: unit vectors to start along, shape (directions, r).
        threshold: overlap with them to reach.

    Returns:
        c g for each direction.

    Raises:
        ValueError: if the overlap stops growing below the threshold.
    """
    problem, aim = population.problem, population.target.aim
    mixing = np.asarray(problem.inputs.mixing(), np.float64)
    centred, factor = without_linear_latents(problem)
    if not _suits(problem, mixing):
        centred, factor = problem, np.zeros((*factor.shape[:2], 0))
    dropped = centred.inputs.dropped if factor.shape[2] else ()
    first = FIRST
    if limits_gradient(problem):
        first = RESOLVED
        if population.target.method == "auto":
            population = population.aiming_at(replace(population.target, method="sobol"))
    with jax.enable_x64(True):
        held, _ = population.complete(rest, moving=False)
        given, tolerance = jax.tree.map(jnp.asarray, rest), jnp.float64(aim * 1e-3)

        def constants(rule: Nodes) -> dict[str, Array]:
            nodes = chunked(rule)
            values = [
                _crossing(
                    population.cast, population.noise, nodes, given, jnp.asarray(along),
                    jnp.float64(threshold), jnp.asarray(factor), tolerance, jnp.float64(first),
                    held=held, dropped=dropped,
                )
                for along in directions
            ]  # fmt: skip
            return {"constant": np.asarray(values)}

    try:
        mean = population.average(constants, caller="search_law", of=centred)
    except InaccurateError as inaccurate:
        mean = inaccurate.result
        if np.all(np.isfinite(mean.value["constant"])):
            raise
    if not np.all(np.isfinite(mean.value["constant"])):
        demand = "be reached in the limit, with an overlap that grows on the way"
        raise reject("threshold", demand, threshold)
    return Estimate(mean.value["constant"], mean.error["constant"] + 1e-2 * aim + first**2)


def _suits(problem: Problem, mixing: Array) -> bool:
    """Whether fields of a sample can be drawn without its linear latents.

    B must be invertible, and the noise vectors with declared nodes its last columns, which move
    only the last fields: B lower triangular.
    """
    if mixing.shape[0] != mixing.shape[1] or np.linalg.matrix_rank(mixing) < len(mixing):
        return False
    declared = [nodes is not None for nodes in problem.inputs.noise_nodes() or ()]
    return not any(declared) or bool(
        np.allclose(mixing, np.tril(mixing)) and declared == sorted(declared)
    )


def _along_fields(
    nodes: Nodes, state: Overlaps, scale: jax.Array, mixing: jax.Array, factor: jax.Array,
    dropped: tuple[tuple[str, tuple[int, ...]], ...],
) -> Nodes:  # fmt: skip
    """Nodes with p normal coordinates instead of those of the noise and the linear latents x.

    The fields F = M (C_0 + A x)^T + L zeta B^T depend on (x, zeta) through p combinations, the rows
    of T = B^-1 [M A, L B]. All averages of the limit are linear in the other combinations, which
    have mean zero: with T^T = Q R the nodes are (x, zeta) = Q y, y ~ N(0, 1_p).
    """
    count = factor.shape[2]
    if not count:
        return nodes
    exact = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    moved = exact("r,prg->pg", state.signal[0], factor)
    rows = jnp.concatenate(
        [jnp.linalg.solve(mixing, moved), scale * jnp.eye(mixing.shape[0])], axis=1
    )
    basis = jnp.linalg.qr(rows.T)[0]
    both: Any = exact("gy,ny->ng", basis, nodes.zeta[:, 0])
    latents: dict[str, Any] = dict(nodes.latents)
    first = 0
    for name, shape in dropped:
        size = int(np.prod(shape, dtype=np.int64))
        latents[name] = both[:, first : first + size].reshape(-1, *shape)
        first += size
    return Nodes(latents, both[:, None, count:], nodes.weights)


@partial(compiled, static_argnames=("held", "dropped"))
def _crossing(
    problem: Problem,
    noise: LimitNoise,
    nodes: Nodes,
    rest: Overlaps,
    along: jax.Array,
    threshold: jax.Array,
    factor: jax.Array,
    tolerance: jax.Array,
    first: jax.Array,
    *,
    held: frozenset[str],
    dropped: tuple[tuple[str, tuple[int, ...]], ...],
) -> jax.Array:
    mixing = mixing_matrix(problem, along.dtype)

    def speed_of(y: Overlaps) -> Overlaps:
        scale = jnp.sqrt(jnp.sum(noise.variances * y.blocks[:, 0, 0]))
        rotated = _along_fields(nodes, y, scale, mixing, factor, dropped)
        return velocity(problem, noise, rotated, y, held)

    units = units_of(rest)  # in which states, and the tolerance, do not depend on |w|
    spurious = speed_of(rest)

    def overlap(y: Overlaps) -> jax.Array:
        return jnp.sum(y.signal[0] * along) / jnp.sqrt(y.norms[0, 0])

    def field(y: Overlaps) -> Overlaps:
        whole = jax.tree.map(jnp.multiply, y, units)
        moved: Overlaps = jax.tree.map(
            lambda a, b, unit: (a - b) / unit, speed_of(whole), spurious, units
        )
        return moved

    def grown(y: Overlaps) -> tuple[jax.Array, Overlaps]:
        speed = field(y)
        _, rate = jax.jvp(overlap, (y,), (speed,))
        return rate / overlap(y), speed

    def begin(size: jax.Array) -> Overlaps:
        return Overlaps(
            size * along[None], (1 - size**2) * rest.blocks / units.blocks, rest.parameters
        )

    start = begin(first)
    g = grown(start)[0]

    def rate(_: Any, y: Any, __: Any) -> Any:
        growth, speed = grown(y[1])
        growth = jnp.where(growth > 0, growth, jnp.nan)
        return g / growth - 1, jax.tree.map(lambda leaf: leaf / growth, speed)

    solution = solve_ode(
        rate,
        t0=jnp.log(first),
        t1=jnp.log(threshold),
        dt0=0.05,
        y0=(jnp.zeros_like(g), start),
        # The overlap starts at `first`: an absolute tolerance must be small against that.
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=first * tolerance),
    )
    fine = solution.result == diffrax.RESULTS.successful
    return jnp.where(fine & (g > 0), solution.ys[0][0] + jnp.log(threshold), jnp.nan)
