"""Right-hand side of the limit N -> infinity."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from learning_dynamics.limit.moments import Moments, moments
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem

__all__ = ["flow", "lasting_share", "observed", "regression", "restoring", "velocity"]
__all__ += ["without_pull"]


def observed(
    function: Any, problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps
) -> jax.Array:
    """An observable at some order parameters; averages over samples use the same nodes.

    The problem is that of one time.
    """
    if hasattr(function, "under"):
        value: jax.Array = function.under(problem, noise, nodes, overlaps)
    else:
        value = function(overlaps)
    return value


def velocity(
    problem: Problem,
    noise: LimitNoise,
    nodes: Nodes,
    overlaps: Overlaps,
    held: frozenset[str],
    law: bool = False,
) -> Overlaps:
    """Right-hand side of the limit N -> infinity.

        dM/dtau   = -eta ( E[A C] + (D + D^T) M + w M )

        dR_b/dtau = -eta ( S lambda_b R_b + (D + D^T) R_b + w R_b + transpose )
                    + (eta^2 / batch) (N_b / N) lambda_b E[A Gamma A^T]

    with the weight decay w and S = E[A B zeta^T] L^-1, the regression of A B on the noise fields
    L zeta: by Gaussian integration by parts E[A B h_b^T] = S lambda_b R_b for the share h_b of
    every block. Rows of norm one lose their radial velocity, orthonormal ones S M and
    S R_b + R_b S with S = (1/2) dQ/dtau. Parameters of order 2 feel the part linear in the gram,
    those of order 1 the rest. With `repeats`, A and D are sums over the steps of a batch
    (`sample_step`), and so is the decay. A momentum beta multiplies eta, and the rates of the
    parameters, by 1 / (1 - beta); `HeavyBall` has no velocity of this kind, see
    `limit.heavy_ball.acceleration`, and gets that of its force.
    """
    return flow(problem, noise, overlaps, moments(problem, noise, nodes, overlaps, law), held)


def lasting_share(problem: Problem, dtype: Any) -> jax.Array:
    """1 / (1 - beta): what a step adds in the end, in units of what it adds at once."""
    short = problem.momentum is not None and not isinstance(problem.momentum, HeavyBall)
    memory = problem.momentum if short else 0.0
    return 1 / (1 - jnp.asarray(memory, dtype))


def restoring(
    problem: Problem, signal: jax.Array, blocks: jax.Array, d_signal: jax.Array, d_blocks: jax.Array
) -> jax.Array:
    """P such that the velocities less P W keep the constraint: rows of norm one or orthonormal.

    Diagonal for rows of norm one. For orthonormal ones P Q + Q P = dQ/dtau to second order in
    Q - 1. Both conserve the norms off one as well, so that rounding does not grow.
    """
    if problem.update != "orthogonal":
        radial = jnp.sum(d_signal * signal, axis=-1)
        radial = radial + jnp.sum(jnp.diagonal(d_blocks, axis1=-2, axis2=-1), axis=0) / 2
        size = jnp.sum(signal * signal, axis=-1)
        size = size + jnp.sum(jnp.diagonal(blocks, axis1=-2, axis2=-1), axis=0)
        return jnp.diag(radial / size)
    exact = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    off = exact(signal, signal.T) + jnp.sum(blocks, axis=0) - jnp.eye(signal.shape[0])
    cross = exact(d_signal, signal.T)
    d_norms = cross + cross.T + jnp.sum(d_blocks, axis=0)
    product = exact(off, d_norms)
    return (d_norms - (product + product.T) / 2) / 2


def without_pull(
    pull: jax.Array, signal: jax.Array, blocks: jax.Array, d_signal: jax.Array, d_blocks: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Velocities of M and R_b after P W is taken out of that of W."""
    exact = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    pulled = exact(pull[None], blocks)
    turned = pulled + jnp.swapaxes(pulled, -1, -2)
    return d_signal - exact(pull, signal), d_blocks - turned


def regression(m: Moments) -> jax.Array:
    """S = E[A B zeta^T] L^-1, shape (K, K); without noise in the field of a neuron it is zero."""
    if m.factor.shape[0] == 1:
        there = m.factor > 0
        return jnp.where(there, m.noise / jnp.where(there, m.factor, 1), 0)
    solved: jax.Array = jax.scipy.linalg.solve_triangular(m.factor.T, m.noise.T, lower=False)
    return solved.T


def flow(
    problem: Problem, noise: LimitNoise, overlaps: Overlaps, m: Moments, held: frozenset[str]
) -> Overlaps:
    """Velocity from moments; linear in them, so from those of one sample N times its step."""
    signal, blocks, parameters = overlaps
    exact = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    lasting = lasting_share(problem, signal.dtype)
    eta = jnp.asarray(problem.learning_rate, signal.dtype) * lasting
    if blocks.shape[0] == 1:
        along = exact(m.noise, m.factor.T)[None]  # S lambda R = E[A B zeta^T] L^T
    else:
        along = exact(regression(m)[None], noise.variances[:, None, None] * blocks)
    decay = jnp.asarray(0.0 if problem.weight_decay is None else problem.weight_decay, signal.dtype)
    decay = decay * problem.repeats
    shrink = noise.block_weights[:, None, None] * m.pull[None]
    half = along + exact(shrink, blocks) + decay * blocks
    spread = noise.step_sizes[:, None, None] * m.step[None]
    d_blocks = -eta * (half + jnp.swapaxes(half, -1, -2)) + eta**2 * spread
    pulled = exact(m.pull, noise.signal_weights[None] * signal)
    d_signal = -eta * (m.signal + pulled + decay * signal)
    if problem.update != "plain":
        pull = restoring(problem, signal, blocks, d_signal, d_blocks)
        d_signal, d_blocks = without_pull(pull, signal, blocks, d_signal, d_blocks)
    d_parameters = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    for name, rate in problem.parameter_rates.items():
        if name in held:
            continue
        drift = m.stiff[name] if problem.order(name) == 2 else m.parameters[name]
        d_parameters[name] = -jnp.asarray(rate, signal.dtype) * lasting * drift
    return Overlaps(d_signal, d_blocks, d_parameters)
