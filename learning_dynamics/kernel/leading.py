"""Leading drift and noise of the overlaps of one neuron at zero overlap."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.kernel.expansion import zero_overlap
from learning_dynamics.kernel.exponent import InformationExponent, information_exponent, loss_forms
from learning_dynamics.kernel.forms import Form
from learning_dynamics.kernel.hermite_forms import latent_averages, noise_factor
from learning_dynamics.kernel.moments import Medium
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method, Nodes, combine, expectation_nodes
from learning_dynamics.kernel.starts import limit_medium, starting_points
from learning_dynamics.kernel.state import Overlaps

__all__ = ["Leading", "Place", "leading_noise"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Place:
    """Zero overlap of a problem of one neuron, with the numbers that quadrature needs.

    Attributes:
        problem: one neuron.
        dimension: N that fixes several noise blocks.
        points: quadrature nodes.
        method: see `expectation_nodes`.
        medium: the noise blocks.
        start: where random starts begin, to leading order.
    """

    problem: Problem
    dimension: int | None
    points: int
    method: Method
    medium: Medium = field(init=False)
    start: Overlaps = field(init=False)

    def __post_init__(self) -> None:
        with jax.enable_x64(True):
            object.__setattr__(self, "medium", limit_medium(self.problem, self.dimension))
        object.__setattr__(self, "start", zero_overlap(self.problem, self.dimension))

    @property
    def usual(self) -> bool:
        """Whether random starts stay where they are: one block, rows of norm one."""
        return self.problem.update != "plain" and len(self.variances) == 1

    @property
    def variances(self) -> Array:
        """lambda_b."""
        return np.asarray(self.medium.variances)

    @property
    def fractions(self) -> Array:
        """N_b / N."""
        return np.asarray(self.medium.fractions)

    def exponent(self, state: Overlaps, highest: int) -> InformationExponent:
        """Information exponents around a state without overlap."""
        return information_exponent(
            self.problem, highest=highest, points=self.points, method=self.method,
            dimension=self.dimension, around=None if self.usual else state,
        )  # fmt: skip

    def form(self, state: Overlaps, order: int) -> Form:
        """L_k around a state without overlap."""
        return loss_forms(
            self.problem, highest=order, points=self.points, method=self.method,
            dimension=self.dimension, around=None if self.usual else state,
        )[order - 1]  # fmt: skip

    def held(self) -> frozenset[str]:
        """Parameters that are fast, and held at their fixed point."""
        if not self.problem.parameter_rates:
            return frozenset()
        with jax.enable_x64(True):
            cast = self.problem.cast(jnp.float64)
            found, _ = starting_points(cast, self.medium, self.rules()[0][0], self.start)
        return found

    def rules(self) -> tuple[list[Nodes], str]:
        """Quadrature of latents and fields."""
        return expectation_nodes(self.problem, points=self.points, method=self.method)


@dataclass(frozen=True, eq=False)
class Leading:
    """Drift and noise of the overlap m = w.e / |w| around a state without overlap, per update.

    Attributes:
        state: where.
        form: L_k in m.
        covariance: S0, shape (r, r).
        norm: V.
        growth: for k = 2, the matrix G; otherwise empty.
        errors: by name.
    """

    state: Overlaps
    form: Form
    covariance: Array
    norm: float
    growth: Array
    errors: Mapping[str, float]


def leading_noise(place: Place, state: Overlaps, order: int) -> Leading:
    """L_k, S0 and V at a state without overlap, with rows of W scaled to norm one."""
    problem, q = place.problem, float(np.sum(state.blocks))
    field_variance = float(np.sum(place.variances * state.blocks[:, 0, 0]))
    norms = q if problem.learner.normaliser == "weights" else field_variance
    mixing = noise_factor(problem, field_variance)
    plain = noise_factor(problem)
    rules, kind = expectation_nodes(problem, points=place.points, method=place.method, fields=False)
    p = mixing.shape[0]
    found: dict[int, Any] = {}
    for rule in rules:
        if id(rule) in found:
            continue
        weights, signal, square, error = latent_averages(
            problem, rule, mixing, lambda _, mass: mass[None], dict(state.parameters),
            of="gradient", norms=norms,
        )  # fmt: skip
        both = []
        for table in (square, error):
            each = table.reshape(-1, p, p)  # E[A^T A] given the latents
            size = np.abs(signal) if table is error else signal
            gamma = np.abs(plain @ plain.T) if table is error else plain @ plain.T
            both.append(np.einsum("n,npr,npq,nqs->rs", weights, size, each, size))
            both.append(np.einsum("n,npq,pq->", weights, each, gamma))
        found[id(rule)] = both
    values, spread = combine([tuple(found[id(rule)][:2]) for rule in rules], kind)
    own = found[id(rules[0])][2:]
    per_update = 1 / (problem.batch * q)
    mean_variance = float(np.sum(place.fractions * place.variances))
    covariance = np.asarray(values[0]) * per_update
    norm = float(values[1]) * mean_variance * per_update
    form = place.form(state, order)
    if q != 1:  # as a function of m / |w|, with the step in it: L_k(|w| m) / |w|^2
        scale = q ** (order / 2 - 1)
        form = Form(order, form.powers, form.coefficients * scale, form.errors * scale)
    errors = {
        "gradient_covariance": float(np.max(spread[0] + own[0], initial=0.0)) * per_update,
        "gradient_norm": float(spread[1] + own[1]) * mean_variance * per_update,
    }
    growth = np.zeros((0, 0))
    if order == 2:
        rate, r = float(problem.learning_rate), problem.inputs.directions
        matrix = form.gradient(np.eye(r))  # of a quadratic form: its Hessian
        growth = -rate * (matrix + matrix.T) / 2 - rate**2 * norm / 2 * np.eye(r)
        errors["growth"] = rate * 2 * float(np.sum(form.errors))
        errors["growth"] += rate**2 * errors["gradient_norm"] / 2
    return Leading(state, form, covariance, norm, growth, errors)
