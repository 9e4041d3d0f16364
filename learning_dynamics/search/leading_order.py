"""Leading drift and noise of the overlaps of one neuron at zero overlap."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.limit.accuracy import Estimate, Target, estimate, first_rule
from learning_dynamics.limit.linear_latents import without_linear_latents
from learning_dynamics.limit.quadrature import Nodes
from learning_dynamics.limit.starts import limit_medium, starting_points
from learning_dynamics.limit.velocity import Medium
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.search.forms import Form
from learning_dynamics.search.information_exponent import (
    InformationExponent,
    exponents_of,
    loss_forms,
)
from learning_dynamics.search.loss_expansion import zero_overlap
from learning_dynamics.search.loss_expansion_hermite import latent_averages, noise_factor

__all__ = ["Leading", "Place", "leading_noise"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Place:
    """Zero overlap of a problem of one neuron, with the numbers that quadrature needs.

    Attributes:
        problem: one neuron.
        dimension: N that fixes several noise blocks.
        target: accuracy of all averages.
        medium: the noise blocks.
        start: where random starts begin, to leading order.
    """

    problem: Problem
    dimension: int | None
    target: Target
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

    def forms(self, state: Overlaps, highest: int) -> tuple[Form, ...]:
        """L_1 .. L_highest around a state without overlap."""
        return self._forms(state, highest, self.target)

    def _forms(self, state: Overlaps, highest: int, target: Target) -> tuple[Form, ...]:
        return loss_forms(
            self.problem, target, highest=highest, dimension=self.dimension,
            around=None if self.usual else state,
        )  # fmt: skip

    def exponent(self, state: Overlaps, highest: int) -> InformationExponent:
        """Information exponents around a state without overlap."""
        return exponents_of(self.problem, self.forms(state, highest))

    def form(self, state: Overlaps, order: int) -> Form:
        """L_k around a state without overlap, to the accuracy asked for relative to its size."""
        form = self.forms(state, order)[order - 1]
        size = float(np.max(np.abs(form.coefficients), initial=0.0))
        wanted = self.target.aim * size
        if self.target.points is None and 0 < wanted < np.max(form.errors):
            finer = replace(self.target, accuracy=min(wanted, self.target.aim))
            form = self._forms(state, order, finer)[order - 1]
        return form

    def average(
        self, evaluate: Callable[[Nodes], dict[str, Any]], *, of: Problem, fields: bool = True
    ) -> Estimate:
        """Averages to an accuracy relative to the size of each array."""
        sizes: dict[str, float] = {}

        def scaled(rule: Nodes) -> dict[str, Array]:
            table = {name: np.asarray(value) for name, value in evaluate(rule).items()}
            for name, value in table.items():
                largest = float(np.max(np.abs(value), initial=0.0))
                if np.isfinite(largest):
                    sizes.setdefault(name, largest or 1.0)
            return {name: value / sizes.get(name, 1.0) for name, value in table.items()}

        result = estimate(of, scaled, self.target, caller="search_law", fields=fields)
        value, error = (
            {name: sizes.get(name, 1.0) * part[name] for name in part}
            for part in (result.value, result.error)
        )
        return Estimate(value, error, result.method, result.points)

    def held(self) -> frozenset[str]:
        """Parameters that are fast, and held at their fixed point."""
        if not self.problem.parameter_rates:
            return frozenset()
        with jax.enable_x64(True):
            cast = self.problem.cast(jnp.float64)
            rule = first_rule(self.problem, self.target)
            found, _ = starting_points(cast, self.medium, rule, self.start)
        return found


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
    p, (centred, factor) = mixing.shape[0], without_linear_latents(problem)
    bounds = {"covariance": 0.0, "norm": 0.0}  # on the averages over the fields

    def moments(rule: Nodes) -> dict[str, Array]:
        weights, signal, square, error = latent_averages(
            centred, rule, mixing, lambda _, mass: mass[None], dict(state.parameters),
            of="gradient", norms=norms,
        )  # fmt: skip
        tables = []
        for table, size in ((square, lambda a: a), (error, np.abs)):
            each = table.reshape(-1, p, p)  # E[A^T A] given the latents
            coordinates, spread = size(signal), size(factor)
            covariance = np.einsum("n,npr,npq,nqs->rs", weights, coordinates, each, coordinates)
            covariance += np.einsum("n,npq,prg,qsg->rs", weights, each, spread, spread)
            tables.append((covariance, np.einsum("n,npq,pq->", weights, each, size(gamma))))
        bounds["covariance"] = max(bounds["covariance"], float(np.max(tables[1][0], initial=0.0)))
        bounds["norm"] = max(bounds["norm"], float(tables[1][1]))
        return {"covariance": tables[0][0], "norm": tables[0][1]}

    gamma = plain @ plain.T
    found = place.average(moments, of=centred, fields=False)
    per_update = 1 / (problem.batch * q)
    mean_variance = float(np.sum(place.fractions * place.variances))
    covariance = np.asarray(found.value["covariance"]) * per_update
    norm = float(found.value["norm"]) * mean_variance * per_update
    form = place.form(state, order)
    if q != 1:  # as a function of m / |w|, with the step in it: L_k(|w| m) / |w|^2
        scale = q ** (order / 2 - 1)
        form = Form(order, form.powers, form.coefficients * scale, form.errors * scale)
    errors = {
        "gradient_covariance": per_update
        * (float(np.max(found.error["covariance"], initial=0.0)) + bounds["covariance"]),
        "gradient_norm": per_update * mean_variance * (float(found.error["norm"]) + bounds["norm"]),
        "form": float(np.max(form.errors, initial=0.0)),
    }
    growth = np.zeros((0, 0))
    if order == 2:
        rate, r = float(problem.learning_rate), problem.inputs.directions
        matrix = form.gradient(np.eye(r))  # of a quadratic form: its Hessian
        growth = -rate * (matrix + matrix.T) / 2 - rate**2 * norm / 2 * np.eye(r)
        errors["growth"] = rate * 2 * float(np.sum(form.errors))
        errors["growth"] += rate**2 * errors["gradient_norm"] / 2
    return Leading(state, form, covariance, norm, growth, errors)
