"""What a step does besides following the gradient: its length, its memory, the constraint on W."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.model.overlaps import Overlaps, State, overlaps_of
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.layout import Layout
from learning_dynamics.pytrees import library_of

__all__ = ["at_rest", "constrained", "gradient_factor", "inverse_root", "limits_gradient"]
__all__ += ["orthonormal", "unit_rows"]

_ITERATIONS = 20  # eigenvalues of Q down to 1e-5 of its trace


def limits_gradient(problem: Problem) -> bool:
    """Whether the rows of the gradient are clipped or normalised."""
    return problem.normalise or problem.clip is not None


def gradient_factor(problem: Problem, square: jax.Array) -> jax.Array:
    """What the gradient of each neuron is multiplied by, from its squared norm per dimension.

    With g_k = |dl/dw_k| / N^(1/2): 1 / g_k for unit gradients (0 where there is no gradient), and
    min(1, c / g_k) for gradients clipped at c N^(1/2). Where the problem takes the norm of the
    whole gradient, g^2 = sum_k g_k^2 stands for each g_k^2.

    Args:
        problem: with `clip` or `normalise`.
        square: g_k^2, shape (K,).
    """
    if problem.gradient_norm == "whole":
        square = jnp.broadcast_to(jnp.sum(square, keepdims=True), square.shape)
    if problem.normalise:
        least = jnp.zeros((), square.dtype)
        numerator = jnp.ones((), square.dtype)
    else:
        numerator = jnp.asarray(problem.clip, square.dtype)
        least = numerator**2
    beyond = square > least
    inverse = jax.lax.rsqrt(jnp.where(beyond, square, jnp.ones_like(square)))
    inside = jnp.zeros_like(square) if problem.normalise else jnp.ones_like(square)
    return jnp.where(beyond, numerator * inverse, inside)


def at_rest(problem: Problem, layout: Layout, states: State) -> tuple[State, State | None]:
    """States in a frame with room for the memory V of a momentum, and V = 0; any leading axes."""
    if problem.momentum is None:
        return states, None
    noise = []
    for weights, small in zip(states.noise, layout.reduced, strict=True):
        more = layout.columns - weights.shape[-1] if small else 0
        zeros = np.zeros((*weights.shape[:-1], more), weights.dtype)
        noise.append(library_of(weights).concatenate([weights, zeros], -1) if more else weights)
    states = states._replace(noise=tuple(noise))
    moving = {name: states.parameters[name] for name in problem.parameter_rates}
    return states, jax.tree.map(
        lambda leaf: library_of(leaf).zeros_like(leaf), states._replace(parameters=moving)
    )


def constrained(problem: Problem, state: State) -> State:
    """W with rows of norm one, or orthonormal rows, as the update keeps them."""
    if problem.update == "plain":
        return state
    if problem.update == "orthogonal" and state.signal.shape[0] > 1:
        return _transformed(inverse_root(overlaps_of(state).norms), state)
    square = jnp.sum(state.signal * state.signal, axis=-1)
    for weights in state.noise:
        square = square + jnp.sum(weights * weights, axis=(0, 2))
    shrink = jax.lax.rsqrt(square)
    noise = tuple(weights * shrink[None, :, None] for weights in state.noise)
    return State(state.signal * shrink[:, None], noise, state.parameters)


def unit_rows(problem: Problem, overlaps: Overlaps) -> Overlaps:
    """Order parameters of the weights that `constrained` makes of some with these."""
    if problem.update == "plain":
        return overlaps
    if problem.update == "orthogonal":
        root = inverse_root(overlaps.norms)
        blocks = _dot(_dot(root[None], overlaps.blocks), root[None])
        return Overlaps(_dot(root, overlaps.signal), blocks, overlaps.parameters)
    scale = jax.lax.rsqrt(jnp.diagonal(overlaps.norms))
    blocks = overlaps.blocks * (scale[:, None] * scale[None])[None]
    return Overlaps(overlaps.signal * scale[:, None], blocks, overlaps.parameters)


def orthonormal(state: State) -> State:
    """W with its rows orthonormalised one after another, also if they are nearly dependent."""
    neurons = state.signal.shape[0]
    parts = [jnp.moveaxis(weights, 0, 1) for weights in state.noise]
    rows = jnp.concatenate([part.reshape(neurons, -1) for part in (state.signal, *parts)], axis=1)
    columns, triangle = jnp.linalg.qr(rows.T)
    signs = jnp.where(jnp.diagonal(triangle) < 0, -1.0, 1.0).astype(rows.dtype)
    rows = (columns * signs[None]).T
    first, noise = state.signal.shape[1], []
    signal = rows[:, :first]
    for part in parts:
        size = part.shape[1] * part.shape[2]
        noise.append(jnp.moveaxis(rows[:, first : first + size].reshape(part.shape), 1, 0))
        first += size
    return State(signal, tuple(noise), state.parameters)


def _transformed(matrix: jax.Array, state: State) -> State:
    """The weights T W."""
    noise = tuple(_dot(matrix[None], weights) for weights in state.noise)
    return State(_dot(matrix, state.signal), noise, state.parameters)


def inverse_root(gram: jax.Array) -> jax.Array:
    """Q^(-1/2) of a positive definite matrix by the coupled iteration of Newton and Schulz.

    Products alone: fast for many small matrices at once, and differentiable where eigenvalues
    coincide, as those of Q near one do.
    """
    unit = jnp.eye(gram.shape[-1], dtype=gram.dtype)
    size = jnp.trace(gram)

    def better(_: Any, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        root, inverse = pair
        correction = (3 * unit - _dot(inverse, root)) / 2
        return _dot(root, correction), _dot(correction, inverse)

    _, inverse = jax.lax.fori_loop(0, _ITERATIONS, better, (gram / size, unit))
    return inverse * jax.lax.rsqrt(size)


def _dot(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
