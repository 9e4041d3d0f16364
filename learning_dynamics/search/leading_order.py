"""Leading drift and noise of the overlaps of one neuron at zero overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.limit.linear_latents import without_linear_latents
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.population import Population
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.search.forms import Form
from learning_dynamics.search.latent_averages import latent_averages, noise_factor
from learning_dynamics.search.loss_forms import loss_forms

__all__ = [
    "LeadingOrder",
    "forms_at",
    "lasting_rate",
    "leading_form",
    "leading_order",
    "starts_stay",
]

Array = NDArray[np.float64]


def starts_stay(population: Population) -> bool:
    """Whether random starts stay where they are: one block, rows of norm one."""
    return population.problem.update != "plain" and population.noise.variances.shape == (1,)


def forms_at(population: Population, state: Overlaps, highest: int) -> tuple[Form, ...]:
    """L_1 .. L_highest around a state without overlap."""
    around = None if starts_stay(population) else state
    return loss_forms(population, around=around, highest=highest)


def lasting_rate(problem: Problem) -> float:
    """Eta / (1 - beta), the rate of a momentum beta in the limit."""
    memory = 0.0 if problem.momentum is None else float(problem.momentum)
    return float(problem.learning_rate) / (1 - memory)


def leading_form(population: Population, state: Overlaps, order: int, most: float = np.inf) -> Form:
    """L_k around a state without overlap, to the accuracy asked for relative to its size.

    Args:
        population: of one neuron.
        state: where.
        order: k.
        most: largest error of a coefficient, where that is less.
    """
    form, target = forms_at(population, state, order)[order - 1], population.target
    largest = float(np.max(np.abs(form.coefficients), initial=0.0))
    wanted = min(target.aim * largest, most)
    if target.points is None and 0 < wanted < np.max(form.errors):
        finer = population.aiming_at(target.finer(wanted / max(1.0, largest)))
        form = forms_at(finer, state, order)[order - 1]
    return form


@dataclass(frozen=True, eq=False)
class LeadingOrder:
    """Drift and noise of the overlap m = w.e / |w| around a state without overlap, per update.

    Attributes:
        state: where.
        form: L_k in m.
        covariance: S0, shape (r, r), and a bound on the error of its entries.
        norm: V.
        growth: for k = 2, the matrix G, and a bound on the error of its entries; otherwise empty.
    """

    state: Overlaps
    form: Form
    covariance: Estimate
    norm: Estimate
    growth: Estimate

    @property
    def errors(self) -> dict[str, float]:
        """Largest errors by name, as in `SearchLaw`."""
        errors = {
            "gradient_covariance": float(self.covariance.error),
            "gradient_norm": float(self.norm.error),
            "form": float(np.max(self.form.errors, initial=0.0)),
        }
        return errors | ({"growth": float(self.growth.error)} if self.growth.value.size else {})


def leading_order(population: Population, state: Overlaps, order: int) -> LeadingOrder:
    """L_k, S0 and V at a state without overlap, with rows of W scaled to norm one."""
    problem, q = population.problem, float(np.sum(state.blocks))
    variances, fractions = (np.asarray(a) for a in population.noise[1::-1])
    field_variance = float(np.sum(variances * state.blocks[:, 0, 0]))
    norms = q if problem.learner.normaliser == "weights" else field_variance
    mixing = noise_factor(problem, field_variance)
    plain = noise_factor(problem)
    p, (centred, factor) = mixing.shape[0], without_linear_latents(problem)
    bounds = {"covariance": 0.0, "norm": 0.0}  # on the averages over the fields

    mean_variance = float(np.sum(fractions * variances))

    def moments(rule: Nodes) -> dict[str, Array]:
        weights, signal, square = latent_averages(
            centred, rule, mixing, lambda _, mass: mass[None], dict(state.parameters),
            of="gradient", norms=norms, gram=mean_variance * gamma,
        )  # fmt: skip
        tables = []
        for table, size in ((square.value, lambda a: a), (square.error, np.abs)):
            each = table.reshape(-1, p, p)  # E[A^T A] given the latents
            coordinates, spread = size(signal), size(factor)
            covariance = np.einsum("n,npr,npq,nqs->rs", weights, coordinates, each, coordinates)
            covariance += np.einsum("n,npq,prg,qsg->rs", weights, each, spread, spread)
            tables.append((covariance, np.einsum("n,npq,pq->", weights, each, size(gamma))))
        bounds["covariance"] = max(bounds["covariance"], float(np.max(tables[1][0], initial=0.0)))
        bounds["norm"] = max(bounds["norm"], float(tables[1][1]))
        return {"covariance": tables[0][0], "norm": tables[0][1]}

    gamma = plain @ plain.T
    mean = population.average(moments, caller="search_law", of=centred, fields=False, relative=True)
    per_update = 1 / (problem.batch * q)
    covariance = Estimate(
        np.asarray(mean.value["covariance"]) * per_update,
        per_update * (float(np.max(mean.error["covariance"], initial=0.0)) + bounds["covariance"]),
    )
    norm = Estimate(
        float(mean.value["norm"]) * mean_variance * per_update,
        per_update * mean_variance * (float(mean.error["norm"]) + bounds["norm"]),
    )
    form = _per_square(leading_form(population, state, order), q)
    growth = Estimate(np.zeros((0, 0)), 0.0)
    if order == 2:
        rate, aim = lasting_rate(problem), population.target.aim
        growth = _growth(form, norm, rate)
        wanted = aim * float(np.linalg.eigvalsh(growth.value)[-1]) - rate**2 * norm.error / 2
        if 0 < wanted < growth.error - rate**2 * norm.error / 2:  # drift and noise nearly cancel
            each = wanted / (2 * rate * len(form.errors))
            form = _per_square(leading_form(population, state, order, each), q)
            growth = _growth(form, norm, rate)
    return LeadingOrder(state, form, covariance, norm, growth)


def _per_square(form: Form, square: float) -> Form:
    """The form as a function of m / |w|, with the step in it: L_k(|w| m) / |w|^2."""
    scale = square ** (form.order / 2 - 1)
    return Form(form.order, form.powers, form.coefficients * scale, form.errors * scale)


def _growth(form: Form, norm: Estimate, rate: float) -> Estimate:
    """G = -eta grad^2 L_2 - eta^2 V / 2, and a bound on the error of its entries."""
    unit = np.eye(form.powers.shape[1])
    matrix = form.gradient(unit)  # of a quadratic form: its Hessian
    return Estimate(
        -rate * (matrix + matrix.T) / 2 - rate**2 * norm.value / 2 * unit,
        rate * 2 * float(np.sum(form.errors)) + rate**2 * norm.error / 2,
    )
