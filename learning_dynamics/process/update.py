"""One update of online SGD in the span of weights and sample: the same code at every level."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.overlaps import State
from learning_dynamics.model.problem import Problem, mixing_matrix
from learning_dynamics.process.draws import Draw
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.reduced_noise import compress
from learning_dynamics.process.steps import constrained, gradient_factor, limits_gradient

__all__ = ["Gradient", "gradient", "sample_arguments", "update", "weigh"]

UNROLLED = 4  # steps with one batch up to which they are compiled one by one
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


def weigh(problem: Problem, variances: list[jax.Array], dtype: Any) -> tuple[jax.Array, Any]:
    """Weights of the signal axes, shape (r,), and of the blocks in the loss's second argument.

    All ones for Q = W W^T; the variances of the inputs for W Sigma W^T.
    """
    if problem.learner.normaliser == "weights":
        ones = [jnp.ones_like(of_group) for of_group in variances]
        return jnp.ones(problem.inputs.directions, dtype), ones
    return jnp.asarray(problem.inputs.signal_variances(), dtype), variances


def sample_arguments(
    problem: Problem, layout: Layout, state: State, draw: Draw
) -> tuple[jax.Array, jax.Array, Sample]:
    """What the loss is given: fields (batch, K, p), norms (K, K), samples with leading axis batch.

    Norms that the loss does not read are ones on the diagonal, a gram likewise zeros.
    """
    dtype, neurons = state.signal.dtype, state.signal.shape[0]
    variances = layout.variances(problem, dtype)
    mixing = mixing_matrix(problem, dtype)
    b, q = problem.batch, mixing.shape[1]
    scales = _scales(variances)
    noise_fields = jnp.zeros((neurons, b * q), dtype)
    for weights, z, scale in zip(state.noise, draw.noise, scales, strict=True):
        seen = z[..., : weights.shape[-1]]
        noise_fields = noise_fields + jnp.sum(scale * _inner(weights, seen), axis=0)
    noise_fields = jnp.moveaxis(noise_fields.reshape(neurons, b, q), 1, 0)
    fields = _times(state.signal[None], jnp.swapaxes(draw.signal, -1, -2)) + _times(
        noise_fields, mixing.T[None]
    )
    norms = _norms(state, *weigh(problem, variances, dtype)) if layout.norms else jnp.eye(neurons)
    gram = _gram(mixing, draw, scales) if layout.gram else jnp.zeros((b, *mixing.shape[:1] * 2))
    return fields, norms.astype(dtype), Sample(draw.label, gram.astype(dtype))


def _scales(variances: list[jax.Array]) -> list[jax.Array]:
    return [jnp.sqrt(of_group)[:, None, None] for of_group in variances]


def update(
    problem: Problem, layout: Layout, state: State, draw: Draw, velocity: State | None = None
) -> tuple[State, State | None]:
    """One update W -> W', theta -> theta', with the memory V of a momentum.

    With A_s, D_s the derivatives of sample s, means over the batch, G = A X + (D + D^T) W in a
    basis of signal directions and noise,

        M' = M - (eta/N) (A C + (D + D^T) M),
        W_b' = W_b - (eta/N) (sqrt(lambda_b) A B z_b + (D + D^T) W_b).

    On the overlaps level the rows of W_b are written in a frame that begins with their own span,
    in which z_b has K + q components (`reduced_noise`), and afterwards compressed to a
    factor of R_b again. For more noise vectors than neurons, and a loss that reads no gram, A B Z
    outside the span is replaced by L_A T, L_A L_A^T = A B B^T A^T, T T^T ~ Wishart_K(N_b - K),
    which has the same law. Rows of G are clipped or normalised where the problem says so
    (`gradient_factor`); spherical updates then take the part orthogonal to each row; `constrained`
    finally restores rows of norm one, or orthonormal ones. With a momentum,

        V' = beta V - (eta/N) G,     W' = W + V',

    and the frame spans the rows of V as well (`HeavyBall`: beta = 1 - gamma / N, and all rates are
    divided by N once more). `repeats` steps use the same samples.

    Returns:
        State and V, None without a momentum.
    """
    one = partial(_step, problem, layout, draw)
    state, velocity = one(state, _in_frame(state, draw), _in_frame(velocity, draw))
    if problem.repeats > UNROLLED:

        def again(_: Any, pair: tuple[State, State | None]) -> tuple[State, State | None]:
            return one(pair[0], *pair)

        pair = (state, velocity)
        state, velocity = jax.lax.fori_loop(1, problem.repeats, again, pair)
    else:
        for _ in range(1, problem.repeats):
            state, velocity = one(state, state, velocity)
    return _compressed(layout, state, velocity)


def _in_frame(state: Any, draw: Draw) -> Any:
    """Rows written in the frame that spans the sample's noise as well; None stays None."""
    if state is None:
        return None
    noise = []
    for weights, z, rest in zip(state.noise, draw.noise, draw.rest, strict=True):
        more = z.shape[-1] + rest.shape[-1] - weights.shape[-1]
        if more:
            zeros = jnp.zeros((*weights.shape[:-1], more), weights.dtype)
            weights = jnp.concatenate([weights, zeros], axis=-1)
        noise.append(weights)
    return state._replace(noise=tuple(noise))


def _step(
    problem: Problem, layout: Layout, draw: Draw, state: State, framed: State, velocity: Any
) -> tuple[State, Any]:
    """One step from `state`, which is `framed` in the frame of the sample."""
    dtype = state.signal.dtype
    descent = _descent(problem, layout, draw, state, framed)
    heavy, n = isinstance(problem.momentum, HeavyBall), layout.size(dtype)
    rate = jnp.asarray(problem.learning_rate, dtype) / n ** (2 if heavy else 1)
    sizes = {
        name: jnp.asarray(size, dtype) / n ** (problem.order(name) + heavy)
        for name, size in problem.parameter_rates.items()
    }
    change = State(
        -rate * descent.signal,
        tuple(-rate * part for part in descent.noise),
        {name: -size * descent.parameters[name] for name, size in sizes.items()},
    )
    if heavy:  # 1 - gamma / N itself would be rounded
        loss = jnp.asarray(problem.momentum.friction, dtype) / n
        change = jax.tree.map(lambda v, step: v + (step - loss * v), velocity, change)
    elif velocity is not None:
        memory = jnp.asarray(problem.momentum, dtype)
        change = jax.tree.map(lambda v, step: memory * v + step, velocity, change)
    parameters = {**framed.parameters}
    for name, step in change.parameters.items():
        parameters[name] = parameters[name] + step
    noise = tuple(w + step for w, step in zip(framed.noise, change.noise, strict=True))
    moved = State(framed.signal + change.signal, noise, parameters)
    return constrained(problem, moved), None if velocity is None else change


def _descent(problem: Problem, layout: Layout, draw: Draw, state: State, framed: State) -> State:
    """What a step follows: means over the batch of dl/dW, in the frame, and of dl/dtheta."""
    dtype = state.signal.dtype
    variances = layout.variances(problem, dtype)
    mixing = mixing_matrix(problem, dtype)
    b, q = problem.batch, mixing.shape[1]
    scales = _scales(variances)
    signal_weight, block_weights = weigh(problem, variances, dtype)
    neurons = state.signal.shape[0]

    fields, norms, sample = sample_arguments(problem, layout, state, draw)
    slope = jax.vmap(partial(gradient, problem), (0, None, None, 0))(
        fields, norms, state.parameters, sample
    )
    pull = jnp.mean(slope.norms + jnp.swapaxes(slope.norms, -1, -2), axis=0)  # D + D^T
    noise_slope = jnp.moveaxis(_times(slope.fields, mixing[None]), 0, 1).reshape(neurons, b * q)
    signal = jnp.mean(_times(slope.fields, draw.signal), axis=0)  # A C, (K, r)
    if layout.norms:
        signal = signal + _times(pull, signal_weight[None] * framed.signal)
    noise, root = [], None
    if any(rest.shape[-1] for rest in draw.rest):
        root = compress(noise_slope)  # root root^T = A B B^T A^T
    for weights, z, rest, scale, weight in zip(
        framed.noise, draw.noise, draw.rest, scales, block_weights, strict=True
    ):
        steep = scale / b * _times(noise_slope[None], z)
        if rest.shape[-1] and root is not None:
            steep = jnp.concatenate([steep, scale / b * _times(root[None], rest)], axis=-1)
        if layout.norms:
            steep = steep + weight[:, None, None] * _times(pull[None], weights)
        noise.append(steep)

    factor = jnp.ones((neurons,), dtype)
    if limits_gradient(problem):
        square = jnp.sum(signal * signal, axis=-1)
        for steep in noise:
            square = square + jnp.sum(steep * steep, axis=(0, 2))
        factor = gradient_factor(problem, square / layout.size(dtype))
        signal = factor[:, None] * signal
        noise = [factor[None, :, None] * steep for steep in noise]
    tangent = jnp.zeros((neurons,), dtype)
    if problem.update == "spherical":
        radial = jnp.mean(jnp.sum(slope.fields * fields, axis=-1), axis=0)
        tangent = factor * (radial + (jnp.sum(pull * norms, axis=-1) if layout.norms else 0))
    if problem.weight_decay is not None:
        tangent = tangent - jnp.asarray(problem.weight_decay, dtype)
    if problem.update == "spherical" or problem.weight_decay is not None:
        signal = signal - tangent[:, None] * framed.signal
        noise = [
            steep - tangent[None, :, None] * weights
            for steep, weights in zip(noise, framed.noise, strict=True)
        ]
    slopes = {name: jnp.mean(slope.parameters[name], axis=0) for name in problem.parameter_rates}
    return State(signal, tuple(noise), slopes)


def _compressed(layout: Layout, state: State, velocity: Any) -> tuple[State, Any]:
    """Rows of W, and of V, by factors of their joint Gram matrices where these are the state."""
    neurons, weights, memories = state.signal.shape[0], [], []
    pasts = (None,) * len(state.noise) if velocity is None else velocity.noise
    for moved, past, small in zip(state.noise, pasts, layout.reduced, strict=True):
        if small:
            rows = compress(moved if past is None else jnp.concatenate([moved, past], axis=-2))
            moved, past = rows[..., :neurons, :], rows[..., neurons:, :]
        weights.append(moved)
        memories.append(past)
    state = state._replace(noise=tuple(weights))
    return state, None if velocity is None else velocity._replace(noise=tuple(memories))


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
