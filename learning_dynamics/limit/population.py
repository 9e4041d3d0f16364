"""A problem for N -> infinity: what all averages over its samples share."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.accuracy import Estimate, Target, combine
from learning_dynamics.limit.adaptive import estimate
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.linear_latents import quadrature_problem
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import Nodes, device_nodes, same_length, standard_length
from learning_dynamics.limit.noise import LimitNoise, limit_noise
from learning_dynamics.limit.quadrature import expectation_nodes, fewest_points, methods_for
from learning_dynamics.limit.starts import starting_points
from learning_dynamics.limit.velocity import velocity
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.model.rates import with_mean_rates
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

__all__ = ["Population", "Rules", "chunked", "velocity_at"]

_DEFAULT = Target()


@dataclass(frozen=True, eq=False)
class Rules:
    """Rules of one quadrature, of equal length, for use inside a transformation of JAX.

    Attributes:
        nodes: leading axis rules.
        order: which of them each result of `combine` belongs to.
        kind: "tensor" or "sobol".
        points: nodes that were asked for.
    """

    nodes: Nodes
    order: tuple[int, ...]
    kind: str
    points: int

    def combined(self, results: Any) -> Estimate:
        """Value and error from results with leading axis rules."""
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], results) for i in self.order]
        return combine(each, self.kind, self.points)

    def average(self, evaluate: Callable[[Nodes], Any]) -> Estimate:
        """Value and error of a function of a rule, evaluated rule by rule."""
        return self.combined(jax.lax.map(evaluate, self.nodes))


class Population:
    """A problem with its noise blocks and what a quadrature sums over, in float64.

    Made inside of `jit`, `vmap` or `grad`, with traced numbers, its averages use rules fixed by
    static arguments; else rules grow until the accuracy is met.

    Attributes:
        problem: as given.
        dimension: as given.
        target: accuracy of all averages.
        cast: the problem with all numbers in float64.
        moving: the same for the velocity of the limit, where a batch is a number of `noise` alone
            unless steps are repeated.
        noise: noise blocks.
        summed: what a quadrature sums over, see `quadrature_problem`.
        traced: whether numbers are traced.

    Args:
        problem: definition, as in `simulate`.
        dimension: N that fixes several noise blocks.
        target: accuracy, and what may be spent on it.
        beside: further values that may be traced.
        narrow: whether single precision may hold the result, which is computed in double.

    Raises:
        ValueError: if a model with several blocks is given no dimension, or has no noise; for
            traced numbers where JAX is set to single precision.
    """

    def __init__(
        self,
        problem: Problem,
        dimension: int | None = None,
        target: Target = _DEFAULT,
        *,
        beside: Any = None,
        narrow: bool = False,
    ) -> None:
        self.problem, self.dimension, self.target = problem, dimension, target
        self.traced = is_traced((problem, beside))
        if self.traced and not narrow and jnp.result_type(float) != jnp.float64:
            raise ValueError(
                "Theory inside jit, vmap or grad needs double precision: call "
                'jax.config.update("jax_enable_x64", True) first.'
            )
        with jax.enable_x64(True):
            self.noise: LimitNoise = limit_noise(problem, dimension)
            self.cast: Problem = problem.cast(jnp.float64)
            self.moving: Problem = self.cast
            if problem.repeats == 1 and problem.batch > 1:
                self.moving = changed(self.cast, batch=1)
        self.summed = quadrature_problem(problem)

    def aiming_at(self, target: Target) -> "Population":
        """The same population with another accuracy of its averages."""
        other = copy.copy(self)
        other.target = target
        return other

    def complete(self, start: Overlaps, *, moving: bool = True) -> tuple[frozenset[str], Overlaps]:
        """Names of the fast parameters, and starts with a leading axis; see `starting_points`."""
        with jax.enable_x64(True):
            return starting_points(self.cast, self.noise, self.few_nodes(), start, moving=moving)

    def few_nodes(self) -> Nodes:
        """A small rule: enough to see which parameters are fast, and how fast anything moves."""
        points = min(self.target.first(self.problem), max(2**8, fewest_points(self.problem)))
        return expectation_nodes(self.problem, points=points, method="sobol", kinks=False)[0][0]

    def complete_one(
        self, state: Overlaps, *, moving: bool = True
    ) -> tuple[frozenset[str], Overlaps]:
        """The same for one set of order parameters, without the leading axis."""
        held, states = self.complete(state, moving=moving)
        with jax.enable_x64(True):
            return held, jax.tree.map(lambda leaf: leaf[0], states)

    def rules(
        self, *, of: Problem | None = None, least: int = 2**14, squared: bool = False
    ) -> Rules:
        """The rules that static arguments fix.

        Args:
            of: what is summed over, if not `summed`.
            least: points unless they are given.
            squared: as of `expectation_nodes`.

        Raises:
            ValueError: on arguments that only a search for the points can heed.
        """
        target = self.target
        for name in ("accuracy", "max_points"):
            if getattr(target, name) is not None:
                demand = "be left out inside jit, vmap and grad, where `points` fix the rule"
                raise reject(name, demand, getattr(target, name))
        problem = self.summed if of is None else of
        points, kinks = target.first(problem, least=least), has_kinks(problem)
        method = target.method
        if method == "auto":
            method = methods_for(problem, points=points, kinks=kinks, squared=squared)[0]
        with jax.enable_x64(True):
            rules, kind = expectation_nodes(
                problem, points=points, method=method, kinks=kinks, squared=squared
            )
            distinct = {id(rule): rule for rule in rules}
            filled = same_length([device_nodes(rule) for rule in distinct.values()])
            nodes: Nodes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
        places = {key: i for i, key in enumerate(distinct)}
        return Rules(nodes, tuple(places[id(rule)] for rule in rules), kind, points)

    def average(
        self,
        evaluate: Callable[[Nodes], Any],
        *,
        caller: str,
        of: Problem | None = None,
        fields: bool = True,
        relative: bool = False,
    ) -> Estimate:
        """Average to the target's accuracy, or by rules fixed by it where numbers are traced.

        Args:
            evaluate: rule -> pytree of arrays.
            caller: name for messages.
            of: what is summed over, if not `summed`.
            fields: whether the Gaussian coordinates of the fields are wanted besides the latents.
            relative: whether the accuracy is relative to the size of each array, also below one.

        Raises:
            InaccurateError: if the accuracy is not reached.
        """
        with jax.enable_x64(True):
            if self.traced:
                return self.rules(of=of).average(evaluate)
            problem = self.summed if of is None else of
            search = partial(estimate, problem, target=self.target, caller=caller, fields=fields)
            return _relative(search, evaluate) if relative else search(evaluate)

    def velocity(
        self, nodes: Nodes, overlaps: Overlaps, held: frozenset[str], end: Any = 0.0
    ) -> Overlaps:
        """Right-hand side of the limit under one rule, of rates averaged over [0, end]."""
        average = with_mean_rates(self.moving, end)
        return velocity_at(average, self.noise, chunked(nodes), overlaps, held=held)

    def losses(self, nodes: Nodes, overlaps: Overlaps) -> jax.Array:
        """Mean losses of a problem of one time, under one rule; overlaps with a leading axis."""
        return losses_at(self.cast, self.noise, chunked(nodes), overlaps)


def chunked(nodes: Nodes) -> Nodes:
    """The nodes as JAX arrays of one of few lengths: `moments` skips the chunks of weight zero."""
    return nodes if is_traced(nodes) else device_nodes(standard_length(nodes))


@partial(compiled, static_argnames="held")
def velocity_at(
    problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps, *, held: frozenset[str]
) -> Overlaps:
    """Compiled `velocity`."""
    return velocity(problem, noise, nodes, overlaps, held)


@compiled
def losses_at(problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps) -> jax.Array:
    """Mean losses at order parameters with a leading axis."""
    return jax.lax.map(lambda y: moments(problem, noise, nodes, y).loss, overlaps)


def _relative(search: Callable[..., Estimate], evaluate: Callable[[Nodes], Any]) -> Estimate:
    """Averages of the arrays of a dictionary, each in units of its largest entry."""
    sizes: dict[str, float] = {}

    def scaled(rule: Nodes) -> dict[str, Any]:
        table = {name: np.asarray(value) for name, value in evaluate(rule).items()}
        for name, value in table.items():
            largest = float(np.max(np.abs(value), initial=0.0))
            if np.isfinite(largest):
                sizes.setdefault(name, largest or 1.0)
        return {name: value / sizes.get(name, 1.0) for name, value in table.items()}

    result = search(scaled)
    value, error = (
        {name: sizes.get(name, 1.0) * part[name] for name in part}
        for part in (result.value, result.error)
    )
    return Estimate(value, error, result.method, result.points)
