"""The limit N -> infinity with a momentum 1 - gamma / N, in which weights have a velocity."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics.limit.moments import Moments
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.velocity import regression, restoring, without_pull
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem

__all__ = ["Motion", "acceleration", "resting"]


class Motion(NamedTuple):
    """Order parameters of the weights W and of their velocity V = dW/dtau.

    Attributes:
        weights: M, R_b and parameters.
        signal: V E^T, shape (K, r).
        cross: V_b W_b^T, shape (blocks, K, K).
        speed: V_b V_b^T, shape (blocks, K, K).
        parameters: velocities of those that move.
    """

    weights: Overlaps
    signal: jax.Array
    cross: jax.Array
    speed: jax.Array
    parameters: dict[str, jax.Array]


def resting(problem: Problem, weights: Overlaps) -> Motion:
    """Weights with V = 0."""
    still = {name: jnp.zeros_like(weights.parameters[name]) for name in problem.parameter_rates}
    zeros = jnp.zeros_like(weights.blocks)
    return Motion(weights, jnp.zeros_like(weights.signal), zeros, zeros, still)


def acceleration(problem: Problem, noise: LimitNoise, motion: Motion, m: Moments) -> Motion:
    """Time derivatives of the order parameters of W and V.

    With T_b = S lambda_b + E[D + D^T] + w, which maps R_b to E[G_b W_b^T], see `velocity`,

        dM/dtau = M_V,                      dM_V/dtau = -gamma M_V - eta E[G E^T],

        dR_b/dtau = C_b + C_b^T,            dC_b/dtau = S_b - gamma C_b - eta T_b R_b,

        dS_b/dtau = -2 gamma S_b - eta (T_b C_b^T + transpose)
                    + (eta^2 / batch) (N_b / N) lambda_b E[A Gamma A^T]

    for C_b = V_b W_b^T and S_b = V_b V_b^T. The noise of the steps drives the velocities, at the
    same order as in SGD. Spherical updates take the mean radial part out of G; all updates with
    rows of norm one, or orthonormal ones, take P W out of dW/dtau = V (`restoring`), not out of V.
    """
    (signal, blocks, parameters), cross, speed = motion.weights, motion.cross, motion.speed
    exact = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    dtype, unit = signal.dtype, jnp.eye(signal.shape[0], dtype=signal.dtype)
    eta = jnp.asarray(problem.learning_rate, dtype)
    friction = jnp.asarray(problem.momentum.friction, dtype)
    decay = jnp.asarray(0.0 if problem.weight_decay is None else problem.weight_decay, dtype)
    turn = noise.variances[:, None, None] * regression(m)[None]
    turn = turn + noise.block_weights[:, None, None] * m.pull[None] + (decay * unit)[None]
    force = m.signal + exact(m.pull, noise.signal_weights[None] * signal) + decay * signal
    if problem.update == "spherical":
        radial = jnp.sum(force * signal, axis=-1)
        along = jnp.diagonal(exact(turn, blocks), axis1=-2, axis2=-1)
        radial = radial + jnp.sum(along, axis=0)
        force = force - radial[:, None] * signal
        turn = turn - (radial[:, None] * unit)[None]
    with_velocity = exact(turn, _transposed(cross))
    spread = noise.step_sizes[:, None, None] * m.step[None]
    d_signal, d_blocks = motion.signal, cross + _transposed(cross)
    d_cross = speed - friction * cross - eta * exact(turn, blocks)
    d_speed = -2 * friction * speed - eta * (with_velocity + _transposed(with_velocity))
    d_speed = d_speed + eta**2 * spread
    if problem.update != "plain":
        pull = restoring(problem, signal, blocks, d_signal, d_blocks)
        d_signal, d_blocks = without_pull(pull, signal, blocks, d_signal, d_blocks)
        d_cross = d_cross - exact(cross, pull.T[None])
    d_parameters = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    d_speeds = {}
    for name, rate in problem.parameter_rates.items():
        d_parameters[name] = motion.parameters[name]
        drift = m.stiff[name] if problem.order(name) == 2 else m.parameters[name]
        d_speeds[name] = -friction * motion.parameters[name] - jnp.asarray(rate, dtype) * drift
    return Motion(
        Overlaps(d_signal, d_blocks, d_parameters),
        -friction * motion.signal - eta * force,
        d_cross,
        d_speed,
        d_speeds,
    )


def _transposed(blocks: jax.Array) -> jax.Array:
    return jnp.swapaxes(blocks, -1, -2)
