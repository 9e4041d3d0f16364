"""Law of the time to recovery of one neuron and one direction at finite N, as a diffusion."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.moments import samples
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.population import Population, chunked
from learning_dynamics.limit.velocity import lasting_share, velocity
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.search.recovery_diffusion import RecoveryLaw, diffusion_law
from learning_dynamics.validation import between, positive_integer, reject

__all__ = ["overlap_law"]

Array = NDArray[np.float64]
_POINTS = 32  # Chebyshev points in the overlap


def overlap_law(
    problem: Problem, dimension: int, threshold: float, longest: float, *, points: int = 2**14
) -> RecoveryLaw:
    """Law of the time tau at which |m| first reaches a threshold from a random start at N.

        dm = f(m) dtau + (eta^2 S(m) / N)^(1/2) dB,    S = E[ (A C - m A F)^2 ] / b

    with the velocity f of the limit, and A that of `sample_step`. The start is that of a uniform
    unit vector. Left out is the part of order 1/N of the drift.

    Args:
        problem: one neuron, one direction, rows of norm one, one noise block, fixed parameters.
        dimension: N.
        threshold: of |m|.
        longest: last time of the grid.
        points: quadrature nodes.

    Raises:
        ValueError: on another problem.
    """
    n, end = positive_integer("dimension", dimension), between("threshold", threshold, 0, 1)
    if problem.update == "plain":
        raise reject("problem.update", "keep rows of norm one", repr(problem.update))
    if problem.learner.neurons != 1 or problem.inputs.directions != 1 or problem.parameter_rates:
        demand = "have one neuron, one direction and no moving parameter"
        raise reject("problem", demand, repr(problem))
    population = Population(problem, None, Target(points=points))
    places = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS) * end

    def coefficients(nodes: Nodes) -> dict[str, Array]:
        drift, noise = _coefficients(
            population.cast, population.noise, chunked(nodes), jnp.asarray(places)
        )
        return {"drift": np.asarray(drift), "noise": np.asarray(noise)}

    mean = population.average(coefficients, caller="overlap_law", of=problem).value
    drift = _through(places / end, mean["drift"])
    noise = _through(places / end, mean["noise"] / (2 * n))
    start = stats.beta((n - 1) / 2, (n - 1) / 2).cdf
    return diffusion_law(
        lambda m: drift(m / end), lambda m: noise(m / end), lambda m: start((1 + m) / 2), end,
        longest,
    )  # fmt: skip


@compiled
def _coefficients(
    problem: Problem, noise: LimitNoise, nodes: Nodes, places: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Velocity and N times the variance per time, at every place."""
    start = problem.initial_parameters(places.dtype)
    eta = jnp.asarray(problem.learning_rate, places.dtype) * lasting_share(problem, places.dtype)

    def one(m: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = Overlaps(m[None, None], (1 - m**2)[None, None, None], start)
        drift = velocity(problem, noise, nodes, state, frozenset())
        each: Any = samples(problem, noise, nodes, state)
        step = each.signal[:, 0, 0] - m * each.radial[:, 0, 0]
        variance = jnp.sum(nodes.weights * step**2) - jnp.sum(nodes.weights * step) ** 2
        return drift.signal[0, 0], eta**2 * variance / problem.batch

    return jax.lax.map(one, places)


def _through(places: Array, values: Array) -> Callable[[Array], Array]:
    """Polynomial through values at Chebyshev points, as a function on [-1, 1]."""
    series = np.polynomial.Chebyshev.fit(places, values, len(places) - 1, domain=[-1, 1])
    return lambda x: np.asarray(series(x), np.float64)
