"""One update of online SGD in the span of weights and sample: the same code at every level."""

import math
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics import random
from learning_dynamics.model.latents import Normal
from learning_dynamics.model.overlaps import ROUNDING, Overlaps, State, checked_overlaps
from learning_dynamics.model.problem import Problem, Sample, mixing_matrix, noise_blocks
from learning_dynamics.process.reduced_noise import (
    chi,
    compress,
    gram_factor,
    is_reduced,
    reduced_counts,
    reduced_noise,
)
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

__all__ = ["Draw", "Gradient", "Layout", "draw_samples", "gradient", "layout", "random_start"]
__all__ += ["sample_arguments", "update", "weigh"]

MOST_DRAWN = 2**31  # random numbers per update: arrays are indexed with 32 bits
FEW = 16  # inner terms up to which a product is written as multiply and add


class Draw(NamedTuple):
    """Random inputs of one update.

    Attributes:
        signal: C, shape (batch, p, r).
        label: pytree with leading axis batch.
        noise: per group of blocks, shape (blocks, batch * q, width).
        rest: per group of blocks, shape (blocks, rows, width'), what `noise` leaves out: K
            combinations of the vectors in axes beyond those of the weights; zero columns where
            `noise` holds them.
    """

    signal: jax.Array
    label: Any
    noise: tuple[jax.Array, ...]
    rest: tuple[jax.Array, ...]


class Gradient(NamedTuple):
    """Derivatives of the loss of one sample: A = dl/dF (K, p), D = dl/dQ (K, K), dl/dtheta."""

    fields: jax.Array
    norms: jax.Array
    parameters: dict[str, jax.Array]


class Layout(NamedTuple):
    """Static structure of a simulation (hashable).

    Attributes:
        dimension: N.
        level: "ambient" or "overlaps".
        sizes: dimension N_b of the blocks of each group.
        counts: number of blocks of each group.
        reduced: per group, whether a factor of R_b stands for the weights.
        rows: rows of the Wishart factors that stand for the noise outside the weights.
        drawn: random numbers per update.
        norms: whether the loss reads the norms.
        gram: whether the loss reads the gram.
        chunk: updates whose inputs are drawn together; part of the identity of a run.
    """

    dimension: int
    level: str
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    reduced: tuple[bool, ...]
    rows: int
    drawn: int
    norms: bool
    gram: bool
    chunk: int


def layout(problem: Problem, dimension: int, level: str) -> Layout:
    """Sizes of everything that a run holds; inputs are drawn in chunks of about 128 kB."""
    groups = noise_blocks(problem, dimension)
    neurons = problem.learner.neurons
    vectors = problem.batch * mixing_shape(problem)[1]
    reads = problem.depends_on()
    # the gradient is A Z with A independent of the noise outside the weights, so that K rows with
    # the Gram matrix of A Z stand for it; a gram needs every vector
    rows = vectors if reads["gram"] else min(vectors, neurons)
    sizes = tuple(int(group.size) for group in groups)
    counts = tuple(int(jnp.shape(group.variances)[0]) for group in groups)
    reduced = tuple(level == "overlaps" and is_reduced(n, neurons, rows) for n in sizes)
    drawn = problem.batch * problem.inputs.vectors * problem.inputs.directions
    for n, count, small in zip(sizes, counts, reduced, strict=True):
        drawn += count * (
            vectors * neurons + rows * min(rows, n - neurons) if small else vectors * n
        )
    if drawn >= MOST_DRAWN:
        demand = f"leave fewer than 2^31 random numbers per update (batch {problem.batch})"
        raise reject("problem.batch", demand, f"{drawn:.3g} at N = {dimension}")
    chunk = max(1, min(256, 2**15 // max(drawn, 1)))
    chunk -= chunk % 2 if chunk > 1 else 0  # the generator's two halves then meet between updates
    return Layout(
        dimension, level, sizes, counts, reduced, rows, drawn, reads["norms"], reads["gram"], chunk
    )


def mixing_shape(problem: Problem) -> tuple[int, int]:
    """Numbers (p, q) of vectors and noise vectors per sample."""
    p, q = jnp.shape(problem.inputs.mixing())
    return int(p), int(q)


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
    problem: Problem, plan: Layout, state: State, draw: Draw
) -> tuple[jax.Array, jax.Array, Sample]:
    """What the loss is given: fields (batch, K, p), norms (K, K), samples with leading axis batch.

    Norms that the loss does not read are ones on the diagonal, a gram likewise zeros.
    """
    dtype, neurons = state.signal.dtype, state.signal.shape[0]
    groups = noise_blocks(problem, plan.dimension)
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
    norms = _norms(state, *weigh(problem, groups, dtype)) if plan.norms else jnp.eye(neurons)
    gram = _gram(mixing, draw, scales) if plan.gram else jnp.zeros((b, *mixing.shape[:1] * 2))
    return fields, norms.astype(dtype), Sample(draw.label, gram.astype(dtype))


def _scales(groups: tuple[Any, ...], dtype: Any) -> list[jax.Array]:
    return [jnp.sqrt(jnp.asarray(g.variances, dtype))[:, None, None] for g in groups]


def update(problem: Problem, plan: Layout, state: State, draw: Draw) -> State:
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
    groups = noise_blocks(problem, plan.dimension)
    mixing = mixing_matrix(problem, dtype)
    b, q = problem.batch, mixing.shape[1]
    rate = jnp.asarray(problem.learning_rate, dtype) / float(plan.dimension)
    scales = _scales(groups, dtype)
    signal_weight, block_weights = weigh(problem, groups, dtype)
    neurons = state.signal.shape[0]

    fields, norms, sample = sample_arguments(problem, plan, state, draw)
    slope = jax.vmap(partial(gradient, problem), (0, None, None, 0))(
        fields, norms, state.parameters, sample
    )
    pull = jnp.mean(slope.norms + jnp.swapaxes(slope.norms, -1, -2), axis=0)  # D + D^T
    along = jnp.mean(_times(slope.fields, draw.signal), axis=0)  # A C, (K, r)
    noise_slope = jnp.moveaxis(_times(slope.fields, mixing[None]), 0, 1).reshape(neurons, b * q)

    tangent = jnp.zeros((neurons,), dtype)
    if problem.update == "spherical":
        radial = jnp.mean(jnp.sum(slope.fields * fields, axis=-1), axis=0)
        tangent = radial + (jnp.sum(pull * norms, axis=-1) if plan.norms else 0)
    if problem.weight_decay is not None:
        tangent = tangent - jnp.asarray(problem.weight_decay, dtype)
    keep = 1 + rate * tangent[:, None]

    signal = keep * state.signal - rate * along
    if plan.norms:
        signal = signal - rate * _times(pull, signal_weight[None] * state.signal)
    noise, root = [], None
    if any(rest.shape[-1] for rest in draw.rest):
        root = compress(noise_slope)  # root root^T = A B B^T A^T
    for weights, z, rest, scale, weight in zip(
        state.noise, draw.noise, draw.rest, scales, block_weights, strict=True
    ):
        moved = keep[None] * weights
        if plan.norms:
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
        for moved, small in zip(noise, plan.reduced, strict=True)
    )
    return State(signal, compressed, _parameters(problem, plan, state, slope))


def _parameters(
    problem: Problem, plan: Layout, state: State, slope: Gradient
) -> dict[str, jax.Array]:
    moved = dict(state.parameters)
    for name, rate in problem.parameter_rates.items():
        size = jnp.asarray(rate, state.signal.dtype) / float(plan.dimension) ** problem.order(name)
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


def draw_samples(problem: Problem, plan: Layout, key: jax.Array, dtype: Any) -> Draw:
    """Inputs of one chunk of updates: arrays as in `Draw` with a leading axis `plan.chunk`.

    All normal variables but the full noise vectors come from one call of the generator.
    """
    lead = (plan.chunk, problem.batch)
    neurons, q = problem.learner.neurons, mixing_shape(problem)[1]
    variables = sorted(problem.all_latents().items())
    normal = [(name, v) for name, v in variables if isinstance(v, Normal)]
    sizes = {name: math.prod(v.shape) for name, v in normal}
    along, freedoms = _reduced(plan, neurons, problem.batch * q, plan.rows)
    own = problem.batch * sum(sizes.values())
    pool = random.normal(random.fold_in(key, 0), (plan.chunk, own + along), dtype)
    latents, first = {}, 0
    for name, v in normal:
        part = pool[:, first : first + problem.batch * sizes[name]]
        latents[name] = part.reshape(*lead, *v.shape)
        first += part.shape[-1]
    for i, (name, latent) in enumerate(variables):
        if name not in sizes:
            latents[name] = latent.draw(random.fold_in(key, 2 + i), lead, dtype)
    if latents:
        signal, label = jax.vmap(jax.vmap(problem.signal))(latents)
    else:
        constant = problem.signal({})
        signal, label = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (*lead, *leaf.shape)), constant
        )
    noise_key = random.fold_in(key, 1)
    noise, rest = _noise(
        plan, noise_key, pool[:, own:], freedoms, neurons, problem.batch * q, plan.rows, dtype
    )
    return Draw(signal, label, noise, rest)


def _reduced(plan: Layout, neurons: int, vectors: int, rows: int) -> tuple[int, list[int]]:
    chosen = [i for i, small in enumerate(plan.reduced) if small]
    sizes, counts = [plan.sizes[i] for i in chosen], [plan.counts[i] for i in chosen]
    return reduced_counts(sizes, counts, neurons, vectors, rows)


def _noise(
    plan: Layout,
    key: jax.Array,
    normals: jax.Array,
    freedoms: list[int],
    columns: int,
    vectors: int,
    rows: int,
    dtype: Any,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Noise vectors per group of blocks, full or reduced, and `Draw.rest`; lead of `normals`."""
    lead = normals.shape[:-1]
    chosen = [i for i, small in enumerate(plan.reduced) if small]
    short: list[tuple[jax.Array, jax.Array]] = []
    if chosen:
        chis = chi(key, freedoms, lead, dtype) if freedoms else jnp.zeros((*lead, 0), dtype)
        sizes, counts = [plan.sizes[i] for i in chosen], [plan.counts[i] for i in chosen]
        short = reduced_noise(normals, chis, sizes, counts, columns, vectors, rows)
    noise, rest = [], []
    for i, (size, count, small) in enumerate(
        zip(plan.sizes, plan.counts, plan.reduced, strict=True)
    ):
        beyond = jnp.zeros((*lead, count, 0, 0), dtype)
        if small:
            part, factor = short[chosen.index(i)]
            if rows == vectors:
                part = jnp.concatenate([part, factor], axis=-1)
            else:
                beyond = factor
        else:
            own = random.fold_in(key, 2**31 + i)
            part = random.normal(own, (*lead, count, vectors, size), dtype)
        noise.append(part)
        rest.append(beyond)
    return tuple(noise), tuple(rest)


def random_start(problem: Problem, plan: Layout, key: jax.Array, dtype: Any) -> State:
    """Independent N(0, initial_norm^2 / N) weights; uniform on the sphere where rows have norm one.

    On the overlaps level a lower trapezoid with the same Wishart law stands for the weights.
    """
    neurons, r = problem.learner.neurons, problem.inputs.directions
    norm = 1.0 if problem.initial_norm is None else problem.initial_norm
    scale = jnp.asarray(norm, dtype) / jnp.sqrt(jnp.asarray(plan.dimension, dtype))
    # the weights are drawn like `neurons` noise vectors, without columns along anything
    count, freedoms = _reduced(plan, 0, neurons, neurons)
    pool = random.normal(random.fold_in(key, 0), (neurons * r + count,), dtype)
    signal, below = scale * pool[: neurons * r].reshape(neurons, r), pool[neurons * r :]
    sizes = (0, neurons, neurons)
    drawn, _ = _noise(plan, random.fold_in(key, 1), below, freedoms, *sizes, dtype)
    noise = tuple(scale * weights for weights in drawn)
    state = State(signal, noise, problem.initial_parameters(dtype))
    return normalise(state) if problem.update != "plain" else state


def normalise(state: State) -> State:
    """Scale every row of W to norm one."""
    square = jnp.sum(state.signal * state.signal, axis=-1)
    for weights in state.noise:
        square = square + jnp.sum(weights * weights, axis=(0, 2))
    shrink = jax.lax.rsqrt(square)
    noise = tuple(weights * shrink[None, :, None] for weights in state.noise)
    return State(state.signal * shrink[:, None], noise, state.parameters)


def place(problem: Problem, plan: Layout, overlaps: Overlaps, replicas: int, dtype: Any) -> State:
    """States of all replicas with given order parameters (one for all, or one each).

    The weights are fixed up to a rotation within each noise block, which changes no law: W_b is
    Cholesky's factor of R_b, found on the host in float64 where R_b is known there.

    Raises:
        ValueError: on shapes that do not fit the problem, or rows that must have norm one.
    """
    neurons = problem.learner.neurons
    given = checked_overlaps(problem, overlaps, sum(plan.counts))
    lead = given.signal.shape[:-2]
    if lead not in ((), (replicas,)):
        raise reject("start", f"be one state, or one for each of {replicas} replicas", lead)
    gram = jnp.asarray(given.blocks, dtype) if is_traced(given.blocks) else given.blocks
    if not plan.counts and not is_traced(gram) and np.max(gram) > ROUNDING:
        raise reject("start.blocks", "be zero where N = r leaves no noise", np.max(gram))
    noise, first = [], 0
    for width, count, small in zip(plan.sizes, plan.counts, plan.reduced, strict=True):
        group = gram[..., first : first + count, :, :]
        first += count
        full = small or width >= neurons
        part = gram_factor(group) if full else _thin(group, gram, width)
        noise.append((part, part.shape[-1] if small else width))

    def spread(array: Any, width: int | None = None) -> jax.Array:
        array = jnp.asarray(array, dtype)
        if width is not None:
            missing = jnp.zeros((*array.shape[:-1], width - array.shape[-1]), dtype)
            array = jnp.concatenate([array, missing], axis=-1)
        return jnp.broadcast_to(array, array.shape if lead else (replicas, *array.shape))

    parameters = {name: spread(value) for name, value in given.parameters.items()}
    return State(spread(given.signal), tuple(starmap(spread, noise)), parameters)


def _thin(group: Any, gram: Any, width: int) -> Any:
    """Weights W_b, shape (..., blocks, K, width), in fewer dimensions than neurons.

    Raises:
        ValueError: if R_b is known and of a larger rank.
    """
    library: Any = jnp if isinstance(group, jax.Array) else np
    values, vectors = library.linalg.eigh(group)  # ascending
    beyond = group.shape[-1] - width
    if not is_traced(group):
        size = np.maximum(np.max(np.abs(np.linalg.eigvalsh(gram))), 1e-300)
        if np.max(values[..., :beyond]) > ROUNDING * size:
            raise reject("start.blocks", f"have rank at most {width}", "a larger rank")
    return (vectors * library.sqrt(library.maximum(values, 0))[..., None, :])[..., beyond:]
