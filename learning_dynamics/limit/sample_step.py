"""What one batch contributes to a step as N grows, sample by sample."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics.model.learner import Sample
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.steps import gradient_factor, limits_gradient
from learning_dynamics.process.update import gradient
from learning_dynamics.validation import reject

__all__ = [
    "SampleStep",
    "beyond_order_one",
    "follows_gradient",
    "require_single_samples",
    "sample_step",
]


class SampleStep(NamedTuple):
    """Sums over the repeated steps with one sample.

    Attributes:
        fields: A, shape (K, p).
        pull: D + D^T, shape (K, K); its rows scaled where gradients are limited.
        parameters: dl/dtheta at G = 0.
        stiff: coefficient of N in dl/dtheta, from the part of the loss linear in G.
    """

    fields: jax.Array
    pull: jax.Array
    parameters: dict[str, jax.Array]
    stiff: dict[str, jax.Array]


def follows_gradient(problem: Problem) -> bool:
    """Whether a step follows the gradient of the loss at its beginning."""
    return problem.repeats == 1 and not limits_gradient(problem)


def require_single_samples(problem: Problem) -> None:
    """Refuse what takes averages over all samples of a batch jointly.

    Raises:
        ValueError: on a batch whose mean gradient is clipped or normalised.
    """
    if limits_gradient(problem) and problem.batch > 1:
        demand = "be 1 for a limit with `clip` or `normalise`: |G_k| holds all samples of a batch"
        raise reject("problem.batch", demand, problem.batch)


def beyond_order_one(problem: Problem) -> tuple[str, str, Any] | None:
    """Argument, demand and value of what has a limit, but no known shift of order 1/N."""
    if problem.momentum is not None:
        demand = "be left out: steps remember earlier samples, which adds to the shift of order 1/N"
        return "problem.momentum", demand, problem.momentum
    if problem.repeats > 1 and problem.batch > 1:
        demand = (
            "be 1 with repeats: between them a sample moves the fields of the others of its batch "
            "by order N^-1/2, which adds to the shift of order 1/N"
        )
        return "problem.batch", demand, problem.batch
    return None


def sample_step(
    problem: Problem,
    fields: jax.Array,
    norms: jax.Array,
    parameters: dict[str, jax.Array],
    label: Any,
    gram: jax.Array,
) -> SampleStep:
    """A, D + D^T and slopes of theta of all steps with one sample, at N -> infinity.

    Since X X^T = N Gamma (1 + O(N^-1/2)), the sample's fields move by order one from step to step,
    and those of the other samples of a batch b by order N^-1/2:

        A_r = sum_(i<r) A(F_i),  F_(i+1) = F_i - (eta / b) U_i Gamma,  U_i = A(F_i) + beta U_(i-1)

    with the momentum beta. Norms and parameters move by order 1/N. The squared norm of the gradient
    of a neuron is N (A Gamma A^T)_kk, that of all the sum of these: `gradient_factor`.

    Args:
        problem: definition.
        fields: F before the first step, shape (K, p).
        norms: Q, shape (K, K).
        parameters: theta.
        label: of the sample.
        gram: Gamma times the mean variance of the noise, shape (p, p).
    """

    def one(fields: jax.Array) -> SampleStep:
        def slopes(gram: jax.Array) -> Any:
            return gradient(problem, fields, norms, parameters, Sample(label, gram))

        slope, change = jax.jvp(slopes, (jnp.zeros_like(gram),), (gram,))
        a, pull = slope.fields, slope.norms + slope.norms.T
        if limits_gradient(problem):
            square = jnp.einsum("kp,ps,ks->k", a, gram, a, precision=jax.lax.Precision.HIGHEST)
            factor = gradient_factor(problem, square)[:, None]
            a, pull = factor * a, factor * pull
        return SampleStep(a, pull, slope.parameters, change.parameters)

    first = one(fields)
    if problem.repeats == 1:
        return first
    rate = jnp.asarray(problem.learning_rate, fields.dtype) / problem.batch
    memory = jnp.asarray(0.0 if problem.momentum is None else problem.momentum, fields.dtype)

    def again(carry: Any, _: None) -> Any:
        fields, velocity, total, last = carry
        velocity = memory * velocity + last
        moved = jnp.matmul(velocity, gram, precision=jax.lax.Precision.HIGHEST)
        fields = fields - rate * moved
        step = one(fields)
        return (fields, velocity, jax.tree.map(jnp.add, total, step), step.fields), None

    carry = (fields, jnp.zeros_like(fields), first, first.fields)
    (_, _, total, _), _ = jax.lax.scan(again, carry, length=problem.repeats - 1)
    return total
