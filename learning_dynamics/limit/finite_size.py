"""What finite N adds to one update: noise inside the fields, and the drift beyond the limit."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from learning_dynamics.limit.moments import Moments, field_factor, mean, moments, over_chunks
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.sample_step import follows_gradient
from learning_dynamics.model.overlaps import Overlaps, State, overlaps_of
from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.process.draws import Draw
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.steps import unit_rows
from learning_dynamics.process.update import update

__all__ = ["drift_of_one_update", "residual_noise"]

_exact = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def residual_noise(
    problem: Problem, noise: LimitNoise, overlaps: Overlaps, step: jax.Array
) -> jax.Array:
    """Covariance of N dR in one update that several noise blocks add to that of the fields.

    The share h_b = sqrt(lambda_b) W_b z_b of a block in the noise fields H = sum_b h_b is not fixed
    by H: Cov(h_b, h_c | H) = delta_bc lambda_b R_b - lambda_b R_b V^-1 lambda_c R_c = C_bc with
    V = sum_b lambda_b R_b. With S = E[A Gamma A^T], u_b = -eta (A B h_b^T + h_b B^T A^T) has

        Cov(u_b,kl, u_c,mn | H) = eta^2 (S_km C_ln + S_kn C_lm + S_lm C_kn + S_ln C_km),

    C = C_bc; no share is left for H itself, sum_b C_bc = 0. Derived here.

    Returns:
        Matrix on the flattened (M, R, theta).
    """
    blocks = overlaps.blocks
    count, neurons = blocks.shape[:2]
    shares = noise.variances[:, None, None] * blocks
    root = jax.scipy.linalg.solve_triangular(
        field_factor(jnp.sum(shares, axis=0)), jnp.swapaxes(shares, 0, 1).reshape(neurons, -1),
        lower=True,
    ).reshape(neurons, count, neurons)  # fmt: skip
    rest = -_exact("abk,acl->bckl", root, root)
    rest = rest + jnp.eye(count, dtype=blocks.dtype)[:, :, None, None] * shares[:, None]
    total = _exact("km,bcln->bklcmn", step, rest) + _exact("kn,bclm->bklcmn", step, rest)
    total = total + _exact("lm,bckn->bklcmn", step, rest) + _exact("ln,bckm->bklcmn", step, rest)
    size, first = ravel_pytree(overlaps)[0].size, overlaps.signal.size
    inner = slice(first, first + blocks.size)
    eta = jnp.asarray(problem.learning_rate, blocks.dtype)
    square = eta**2 * total.reshape(blocks.size, blocks.size)
    return jnp.zeros((size, size), blocks.dtype).at[inner, inner].set(square)


def drift_of_one_update(
    problem: Problem,
    noise: LimitNoise,
    layout: Layout,
    nodes: Nodes,
    overlaps: Overlaps,
    held: frozenset[str],
    limit: jax.Array,
) -> jax.Array:
    """Mean change in one update times N, minus the limit: f_1 / N at N = `layout.dimension`.

    Read off from `update` itself. The noise outside the weights enters by the mean of its Gram
    matrix alone, which is exact to this order where a step is linear in that matrix; where it is
    not (`follows_gradient`), by its variance as well, see `_grams`. The change of a single step is
    quadratic in the batch's means g (the norm of the noise part, E[A Gamma A^T] / b, counted as one
    of them), so that a batch of b has

        E Q(mean g, mean g) = (1 / b) E Q(g, g) + (1 - 1 / b) Q(E g, E g).
    """
    alone = _mean_change(problem, noise, layout, nodes, overlaps, problem.batch)
    if problem.batch > 1:
        b, whole = problem.batch, moments(problem, noise, nodes, overlaps)
        together = _average_update(problem, noise, layout, overlaps, whole)
        parameters = _mean_change(problem, noise, layout, nodes, overlaps, 1).parameters
        mixed = jax.tree.map(lambda x, y: x / b + (1 - 1 / b) * y, alone, together)
        alone = mixed._replace(parameters=parameters)  # linear in the batch, and see the full gram
    moves = jax.tree.map(jnp.ones_like, overlaps)
    moves.parameters.update({name: 0 * moves.parameters[name] for name in held})
    return (layout.dimension * ravel_pytree(alone)[0] - limit) * ravel_pytree(moves)[0]


def _mean_change(
    problem: Problem,
    noise: LimitNoise,
    layout: Layout,
    nodes: Nodes,
    overlaps: Overlaps,
    batch: int,
) -> Overlaps:
    """Mean change by one sample, the noise outside the weights divided by `batch`."""
    one = changed(problem, batch=1)
    neurons, blocks = problem.learner.neurons, overlaps.blocks
    variances = noise.variances[:, None, None]
    whole = field_factor(jnp.sum(variances * blocks, axis=0))
    factors = jax.vmap(field_factor)(blocks)
    # E[zeta_b | zeta] = G_b zeta with G_b = sqrt(lambda_b) L_b^T L^-T
    given = jnp.sqrt(variances) * jax.vmap(
        lambda factor: jax.scipy.linalg.solve_triangular(whole, factor, lower=True).T
    )(factors)
    left = neurons - jnp.sum(given**2, axis=(1, 2))  # and what is not fixed by zeta
    conditional, factor, grams, first = [], [], [], 0
    for size, count in zip(layout.sizes, layout.counts, strict=True):
        own = slice(first, first + count)
        first += count
        factor.append(factors[own])
        conditional.append(given[own])
        grams.append(jnp.full((count,), (size - neurons) / batch) + left[own])
    state = State(overlaps.signal, tuple(factor), overlaps.parameters)

    def moved(beyond: Any, signal: Any, label: Any, zeta: Any) -> Any:
        drawn = []
        for matrices, rest in zip(conditional, beyond, strict=True):
            along = _exact("bkl,lq->bqk", matrices, zeta)
            drawn.append(jnp.concatenate([along, rest], axis=-1))
        first = jax.tree.map(lambda leaf: leaf[None], label)
        none = tuple(jnp.zeros((each.shape[0], 0, 0), each.dtype) for each in drawn)
        draw = Draw(signal[None], first, tuple(drawn), none)
        after = overlaps_of(update(one, layout, state, draw)[0])
        return jax.tree.map(lambda a, b: a - b, after, overlaps)

    def total(part: Nodes) -> Overlaps:
        latents: Any = part.latents
        signal, label = jax.vmap(problem.signal)(latents)

        def under(beyond: Any) -> Overlaps:
            return mean(part, jax.vmap(partial(moved, beyond))(signal, label, part.zeta))

        factors, weights = _grams(problem, layout, grams, nodes.zeta.shape[-1])
        each = jax.lax.map(under, factors)
        return jax.tree.map(partial(jnp.tensordot, weights, axes=1), each)

    return over_chunks(total, nodes)


def _grams(
    problem: Problem, layout: Layout, means: list[jax.Array], vectors: int
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Factors of the Gram matrices of q noise vectors outside the weights, and their weights.

    The mean alone where a step is linear in them. Else the mean of any smooth function to order
    1/N: with S_ij the entries of Z Z^T in n dimensions, Var S_ii = 2 n and Var S_ij = n,

        E f(S) = f(E S) + (1/2) sum_(i<=j) (f(E S + sd S_ij) + f(E S - sd S_ij) - 2 f(E S)).

    Returns:
        Per group arrays of shape (cases, blocks, q, q), and weights, shape (cases,).
    """
    unit = jnp.eye(vectors)
    centre = [mean[:, None, None] * unit[None] for mean in means]
    cases, weights = [centre], [1.0]
    if not follows_gradient(problem):
        for group, mean in enumerate(means):
            freedom = float(layout.sizes[group] - problem.learner.neurons)
            for block in range(mean.shape[0]):
                for i, j in zip(*np.triu_indices(vectors), strict=True):
                    deviation = (freedom * (2.0 if i == j else 1.0)) ** 0.5
                    entry = np.zeros((mean.shape[0], vectors, vectors))
                    entry[block, i, j] = entry[block, j, i] = deviation
                    for sign in (1.0, -1.0):
                        case = list(centre)
                        case[group] = centre[group] + sign * entry
                        cases.append(case)
                        weights.append(0.5)
        weights[0] = 1.0 - 0.5 * (len(cases) - 1)
    factors = tuple(
        jax.vmap(jnp.linalg.cholesky)(jnp.stack(groups)) for groups in zip(*cases, strict=True)
    )
    return factors, jnp.asarray(weights)


def _average_update(
    problem: Problem, noise: LimitNoise, layout: Layout, overlaps: Overlaps, m: Moments
) -> Overlaps:
    """Change of M and R if every sample were the average one (parameters are left alone)."""
    signal, blocks = overlaps.signal, overlaps.blocks
    neurons, rate = signal.shape[0], problem.learning_rate / layout.dimension
    regression = jax.scipy.linalg.solve_triangular(m.factor.T, m.noise.T, lower=False).T
    along = _exact("kl,blm->bkm", regression, noise.variances[:, None, None] * blocks)
    norms = _exact("kr,r,lr->kl", signal, noise.signal_weights, signal)
    norms = norms + _exact("b,bkl->kl", noise.block_weights, blocks)
    tangent = jnp.zeros((neurons,), signal.dtype)
    if problem.update == "spherical":
        tangent = jnp.diagonal(m.radial) + jnp.sum(m.pull * norms, axis=-1)
    if problem.weight_decay is not None:
        tangent = tangent - problem.weight_decay
    keep = jnp.diag(1 + rate * tangent)
    after = _exact("kl,lr->kr", keep, signal) - rate * m.signal
    after = after - rate * _exact("kl,lr->kr", m.pull, noise.signal_weights[None] * signal)
    shrink = keep[None] - rate * noise.block_weights[:, None, None] * m.pull[None]
    cross = _exact("bkl,bml->bkm", shrink, along)
    sizes = jnp.concatenate(
        [
            jnp.full((c,), s - neurons, signal.dtype)
            for s, c in zip(layout.sizes, layout.counts, strict=True)
        ]
    )
    spread = (sizes * noise.variances)[:, None, None] * m.step[None] / problem.batch
    # (S lambda_b R_b) R_b^-1 (S lambda_b R_b)^T, also where R_b is singular
    square = _exact("b,bkl,ml->bkm", noise.variances, along, regression)
    new = _exact("bkl,blm,bnm->bkn", shrink, blocks, shrink)
    new = new - rate * (cross + jnp.swapaxes(cross, 1, 2)) + rate**2 * (square + spread)
    moved = unit_rows(problem, Overlaps(after, new, overlaps.parameters))
    return jax.tree.map(jnp.subtract, moved, overlaps)
