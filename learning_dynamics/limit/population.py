"""A problem for N -> infinity: what all averages over its samples share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from learning_dynamics.limit.accuracy import Estimate, Target, estimate, first_rule
from learning_dynamics.limit.kinks import has_kinks
from learning_dynamics.limit.linear_latents import quadrature_problem
from learning_dynamics.limit.quadrature import (
    Nodes,
    combine,
    expectation_nodes,
    methods_for,
    same_length,
    standard_length,
)
from learning_dynamics.limit.starts import device_nodes, limit_medium, starting_points
from learning_dynamics.limit.velocity import Medium
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

__all__ = ["Population", "Rules"]


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

    def combined(self, results: Any) -> tuple[Any, Any]:
        """Value and error from results with leading axis rules."""
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], results) for i in self.order]
        return combine(each, self.kind)

    def average(self, evaluate: Callable[[Nodes], Any]) -> Estimate:
        """Value and error of a function of a rule, evaluated rule by rule."""
        value, error = self.combined(jax.lax.map(evaluate, self.nodes))
        return Estimate(value, error, self.kind, self.points)


class Population:
    """A problem with its noise blocks and what a quadrature sums over, in float64.

    Made inside of `jit`, `vmap` or `grad`, with traced numbers, its averages use rules fixed by
    static arguments; else rules grow until the accuracy is met.

    Attributes:
        problem: as given.
        cast: with all numbers in float64.
        medium: noise blocks.
        summed: what a quadrature sums over, see `quadrature_problem`.
        traced: whether numbers are traced.

    Args:
        problem: definition, as in `simulate`.
        dimension: N that fixes several noise blocks.
        others: further values that may be traced.
        narrow: whether single precision may hold the result, which is computed in double.

    Raises:
        ValueError: if a model with several blocks is given no dimension, or has no noise; for
            traced numbers where JAX is set to single precision.
    """

    def __init__(
        self, problem: Problem, dimension: int | None, *others: Any, narrow: bool = False
    ) -> None:
        self.problem = problem
        self.traced = is_traced((problem, *others))
        if self.traced and not narrow and jnp.result_type(float) != jnp.float64:
            raise ValueError(
                "Theory inside jit, vmap or grad needs double precision: call "
                'jax.config.update("jax_enable_x64", True) first.'
            )
        with jax.enable_x64(True):
            self.medium: Medium = limit_medium(problem, dimension)
            self.cast: Problem = problem.cast(jnp.float64)
        self.summed = quadrature_problem(problem)

    def complete(
        self, start: Overlaps, target: Target, *, moving: bool = True
    ) -> tuple[frozenset[str], Overlaps]:
        """Names of the fast parameters, and starts with a leading axis; see `starting_points`."""
        with jax.enable_x64(True):
            rule = first_rule(self.problem, target)
            return starting_points(self.cast, self.medium, rule, start, moving=moving)

    def rules(self, target: Target, *, of: Problem | None = None, least: int = 2**14) -> Rules:
        """The rules that static arguments fix.

        Args:
            target: with points and method alone.
            of: what is summed over, if not `summed`.
            least: points unless they are given.

        Raises:
            ValueError: on arguments that only a search for the points can heed.
        """
        for name in ("accuracy", "max_points"):
            if getattr(target, name) is not None:
                demand = "be left out inside jit, vmap and grad, where `points` fix the rule"
                raise reject(name, demand, getattr(target, name))
        problem = self.summed if of is None else of
        points, kinks = target.first(problem, least=least), has_kinks(problem)
        method = target.method
        if method == "auto":
            method = methods_for(problem, points=points, kinks=kinks)[0]
        with jax.enable_x64(True):
            rules, kind = expectation_nodes(problem, points=points, method=method, kinks=kinks)
            distinct = {id(rule): rule for rule in rules}
            filled = same_length([device_nodes(rule) for rule in distinct.values()])
            nodes: Nodes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled)
        places = {key: i for i, key in enumerate(distinct)}
        return Rules(nodes, tuple(places[id(rule)] for rule in rules), kind, points)

    def average(self, evaluate: Callable[[Nodes], Any], target: Target, *, caller: str) -> Estimate:
        """Average to the target's accuracy, or by its fixed rules where numbers are traced.

        Raises:
            InaccurateError: if the accuracy is not reached.
        """
        with jax.enable_x64(True):
            if self.traced:
                return self.rules(target).average(evaluate)
            return estimate(
                self.summed,
                lambda rule: evaluate(device_nodes(standard_length(rule))),
                target,
                caller=caller,
            )
