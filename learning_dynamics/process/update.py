"""One update of online SGD in the span of weights and sample: the same code at every level."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics.model.learner import Sample
from learning_dynamics.model.overlaps import State
from learning_dynamics.model.problem import Problem, mixing_matrix, noise_blocks
from learning_dynamics.process.draws import Draw
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.reduced_noise import (
    compress,
)

__all__ = ["Gradient", "gradient", "sample_arguments", "update", "weigh"]

FEW = 16  # inner terms up to which a product is written as multiply and add


class Gradient(NamedTuple):
    """Derivatives of the loss of one sample: A = dl/dF (K, p), D = dl/dQ (K, K), dl/dtheta."""

    fields: jax.Array
    norms: jax.Array
    parameters: dict[str, jax.Array]


def gradient(
    problem: Problem,
    fields: jax.Array,
    norms: jax.Array,
    parameters: dict[str, jax.Array],
    sample: Sample,
) -> Gradient:
    """A, D and dl/dtheta of one sample by automatic differentiation of the loss."""
    loss = partial(_loss, problem, sample)
    return Gradient(*jax.grad(loss, argnums=(0, 1, 2))(fields, norms, parameters))


def _loss(problem: Problem, sample: Sample, *arguments: Any) -> jax.Array:
    loss: jax.Array = problem.learner.loss(*arguments, sample)
    return loss


def weigh(problem: Problem, groups: tuple[Any, ...], dtype: Any) -> tuple[jax.Array, Any]:
    """Weights of the signal axes, shape (r,), and of the blocks in the loss's second argument.

    All ones for Q = W W^T; the variances of the inputs for W Sigma W^T.
    """
    if problem.learner.normaliser == "weights":
        ones = [jnp.ones(jnp.shape(g.variances), dtype) for g in groups]
        return jnp.ones(problem.inputs.directions, dtype), ones
    variances = [jnp.asarray(g.variances, dtype) for g in groups]
    return jnp.asarray(problem.inputs.signal_variances(), dtype), variances


def sample_arguments(
    problem: Problem, layout: Layout, state: State, draw: Draw
) -> tuple[jax.Array, jax.Array, Sample]:
    """What the loss is given: fields (batch, K, p), norms (K, K), samples with leading axis batch.

    Norms that the loss does not read are ones on the diagonal, a gram likewise zeros.
    """
    dtype, neurons = state.signal.dtype, state.signal.shape[0]
    groups = noise_blocks(problem, layout.dimension)
    mixing = mixing_matrix(problem, dtype)
    b, q = problem.batch, mixing.shape[1]
    scales = _scales(groups, dtype)
    noise_fields = jnp.zeros((neurons, b * q), dtype)
    for weights, z, scale in zip(state.noise, draw.noise, scales, strict=True):
        seen = z[..., : weights.shape[-1]]
        noise_fields = noise_fields + jnp.sum(scale * _inner(weights, seen), axis=0)
    noise_fields = jnp.moveaxis(noise_fields.reshape(neurons, b, q), 1, 0)
    fields = _times(state.signal[None], jnp.swapaxes(draw.signal, -1, -2)) + _times(
        noise_fields, mixing.T[None]
    )
    norms = _norms(state, *weigh(problem, groups, dtype)) if layout.norms else jnp.eye(neurons)
    gram = _gram(mixing, draw, scales) if layout.gram else jnp.zeros((b, *mixing.shape[:1] * 2))
    return fields, norms.astype(dtype), Sample(draw.label, gram.astype(dtype))


def _scales(groups: tuple[Any, ...], dtype: Any) -> list[jax.Array]:
    return [jnp.sqrt(jnp.asarray(g.variances, dtype))[:, None, None] for g in groups]


def update(problem: Problem, layout: Layout, state: State, draw: Draw) -> State:
    """One update W -> W', theta -> theta'.

    With A_s, D_s the derivatives of sample s, means over the batch, P = 1 - (eta/N)(D + D^T),

        M' = P M - (eta/N) A C,     W_b' = P W_b - (eta/N) sqrt(lambda_b) A B z_b.

    On the overlaps level the rows of W_b are written in a frame that begins with their own span,
    in which z_b has K + q components (`reduced_noise`), and afterwards compressed to a
    factor of R_b again. For more noise vectors than neurons, and a loss that reads no gram, A B Z
    outside the span is replaced by L_A T, L_A L_A^T = A B B^T A^T, T T^T ~ Wishart_K(N_b - K),
    which has the same law. Spherical updates first take the part of the gradient orthogonal to each
    row; spherical and projected updates finally scale each row to norm one.
    """
    dtype = state.signal.dtype
    groups = noise_blocks(problem, layout.dimension)
    mixing = mixing_matrix(problem, dtype)
    b, q = problem.batch, mixing.shape[1]
    rate = jnp.asarray(problem.learning_rate, dtype) / float(layout.dimension)
    scales = _scales(groups, dtype)
    signal_weight, block_weights = weigh(problem, groups, dtype)
    neurons = state.signal.shape[0]

    fields, norms, sample = sample_arguments(problem, layout, state, draw)
    slope = jax.vmap(partial(gradient, problem), (0, None, None, 0))(
        fields, norms, state.parameters, sample
    )
    pull = jnp.mean(slope.norms + jnp.swapaxes(slope.norms, -1, -2), axis=0)  # D + D^T
    along = jnp.mean(_times(slope.fields, draw.signal), axis=0)  # A C, (K, r)
    noise_slope = jnp.moveaxis(_times(slope.fields, mixing[None]), 0, 1).reshape(neurons, b * q)

    tangent = jnp.zeros((neurons,), dtype)
    if problem.update == "spherical":
        radial = jnp.mean(jnp.sum(slope.fields * fields, axis=-1), axis=0)
        tangent = radial + (jnp.sum(pull * norms, axis=-1) if layout.norms else 0)
    if problem.weight_decay is not None:
        tangent = tangent - jnp.asarray(problem.weight_decay, dtype)
    keep = 1 + rate * tangent[:, None]

    signal = keep * state.signal - rate * along
    if layout.norms:
        signal = signal - rate * _times(pull, signal_weight[None] * state.signal)
    noise, root = [], None
    if any(rest.shape[-1] for rest in draw.rest):
        root = compress(noise_slope)  # root root^T = A B B^T A^T
    for weights, z, rest, scale, weight in zip(
        state.noise, draw.noise, draw.rest, scales, block_weights, strict=True
    ):
        moved = keep[None] * weights
        if layout.norms:
            moved = moved - rate * weight[:, None, None] * _times(pull[None], weights)
        grow = z.shape[-1] - weights.shape[-1]
        if grow:
            moved = jnp.concatenate([moved, jnp.zeros((*moved.shape[:-1], grow), dtype)], axis=-1)
        moved = moved - (rate / b) * scale * _times(noise_slope[None], z)
        if rest.shape[-1] and root is not None:
            beyond = -(rate / b) * scale * _times(root[None], rest)
            moved = jnp.concatenate([moved, beyond], axis=-1)
        noise.append(moved)
    if problem.update != "plain":
        square = jnp.sum(signal * signal, axis=-1)
        for moved in noise:
            square = square + jnp.sum(moved * moved, axis=(0, 2))
        shrink = jax.lax.rsqrt(square)
        signal = signal * shrink[:, None]
        noise = [moved * shrink[None, :, None] for moved in noise]
    compressed = tuple(
        compress(moved) if small else moved
        for moved, small in zip(noise, layout.reduced, strict=True)
    )
    return State(signal, compressed, _parameters(problem, layout, state, slope))


def _parameters(
    problem: Problem, layout: Layout, state: State, slope: Gradient
) -> dict[str, jax.Array]:
    moved = dict(state.parameters)
    for name, rate in problem.parameter_rates.items():
        size = jnp.asarray(rate, state.signal.dtype) / float(layout.dimension) ** problem.order(
            name
        )
        moved[name] = moved[name] - size * jnp.mean(slope.parameters[name], axis=0)
    return moved


def _times(left: jax.Array, right: jax.Array) -> jax.Array:
    """Matrix product; over few inner terms written as multiply and add (no library call)."""
    if left.shape[-1] > FEW:
        return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
    total = left[..., :, 0, None] * right[..., 0, None, :] if left.shape[-1] else None
    if total is None:
        shape = jnp.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        return jnp.zeros((*shape, left.shape[-2], right.shape[-1]), left.dtype)
    for k in range(1, left.shape[-1]):
        total = total + left[..., :, k, None] * right[..., k, None, :]
    return total


def _inner(left: jax.Array, right: jax.Array) -> jax.Array:
    """Product left right^T over the last axis: (blocks, K, w), (blocks, m, w) -> (blocks, K, m)."""
    if left.shape[-1] <= FEW:
        return jnp.sum(left[:, :, None, :] * right[:, None, :, :], axis=-1)
    return jnp.einsum("bkw,bmw->bkm", left, right, precision=jax.lax.Precision.HIGHEST)


def _norms(state: State, signal_weight: jax.Array, block_weights: Any) -> jax.Array:
    total = _times(state.signal * signal_weight[None], state.signal.T)
    for weights, weight in zip(state.noise, block_weights, strict=True):
        total = total + jnp.sum(weight[:, None, None] * _inner(weights, weights), axis=0)
    return total


def _gram(mixing: jax.Array, draw: Draw, scales: Any) -> jax.Array:
    """G = C C^T + B (sum_b lambda_b z_b z_b^T) B^T of each sample, shape (batch, p, p)."""
    batch, q = draw.signal.shape[0], mixing.shape[1]
    total = jnp.sum(draw.signal[:, :, None, :] * draw.signal[:, None, :, :], axis=-1)
    for z, scale in zip(draw.noise, scales, strict=True):
        parts = (scale * z).reshape(z.shape[0], batch, q, z.shape[-1])
        square = jnp.einsum("csiw,csjw->sij", parts, parts, precision=jax.lax.Precision.HIGHEST)
        total = total + _times(_times(mixing[None], square), mixing.T[None])
    return total
