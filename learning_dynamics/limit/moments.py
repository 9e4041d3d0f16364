"""Expectations over one sample at given order parameters, from the same loss as the simulation."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from learning_dynamics.limit.nodes import CHUNK, Nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.sample_step import sample_step
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem, mixing_matrix

__all__ = ["Moments", "field_factor", "mean", "moments", "over_chunks", "samples"]

Sums = TypeVar("Sums")


class Moments(NamedTuple):
    """Expectations over one sample; A, D and the slopes of theta are those of `sample_step`.

    Attributes:
        signal: E[A C], shape (K, r).
        noise: E[A B zeta^T], shape (K, K): slope along the noise fields L zeta.
        radial: E[A F^T], shape (K, K).
        pull: E[D + D^T], shape (K, K).
        step: E[A Gamma A^T] with Gamma = B B^T, shape (K, K).
        parameters: E[dl/dtheta] at G = 0.
        stiff: coefficient of N in E[dl/dtheta], from the part of the loss linear in G.
        loss: E[l] at G = 0.
        factor: L with L L^T = sum_b lambda_b R_b, shape (K, K).
    """

    signal: jax.Array
    noise: jax.Array
    radial: jax.Array
    pull: jax.Array
    step: jax.Array
    parameters: dict[str, jax.Array]
    stiff: dict[str, jax.Array]
    loss: jax.Array
    factor: jax.Array


def field_factor(covariance: jax.Array) -> jax.Array:
    """Cholesky factor of a K x K covariance that may be singular (relative floor 1e-15)."""
    neurons = covariance.shape[-1]
    if neurons == 1:
        return jnp.sqrt(jnp.maximum(covariance, 0))
    floor = 1e-15 * jnp.trace(covariance) + 1e-300
    return _factor(covariance + floor * jnp.eye(neurons, dtype=covariance.dtype), floor)


@jax.custom_jvp
def _factor(matrix: jax.Array, floor: jax.Array) -> jax.Array:
    """Lower triangular L with L L^T = matrix, eigenvalues below `floor` raised to it.

    Rounding of K x K matrices exceeds the floor for many neurons, and a Cholesky factor is then
    NaN. Derivatives are those of a Cholesky factor.
    """
    factor = jnp.linalg.cholesky(matrix)

    def raised() -> jax.Array:
        values, vectors = jnp.linalg.eigh(matrix)
        root = vectors * jnp.sqrt(jnp.maximum(values, floor))[None]
        upper = jnp.linalg.qr(root.T, mode="r")
        return (upper * jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0)[:, None]).T

    return jax.lax.cond(jnp.all(jnp.isfinite(factor)), lambda: factor, raised)


@_factor.defjvp
def _factor_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    factor = _factor(*primals)
    change = (tangents[0] + tangents[0].T) / 2
    half = jax.scipy.linalg.solve_triangular(factor, change, lower=True)
    both = jax.scipy.linalg.solve_triangular(factor, half.T, lower=True)
    lower = jnp.tril(both) - jnp.diag(jnp.diagonal(both)) / 2
    return factor, jnp.matmul(factor, lower, precision=jax.lax.Precision.HIGHEST)


def moments(
    problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps, law: bool = False
) -> Moments:
    """All expectations by quadrature; float64 arrays, differentiable in the order parameters.

    More than `CHUNK` nodes, in a multiple of it, are summed chunk by chunk, those of weight zero
    left out: rules filled up by `standard_length` share one compiled program.
    """
    covariance = jnp.sum(noise.variances[:, None, None] * overlaps.blocks, axis=0)

    def total(part: Nodes) -> Moments:
        values = samples(problem, noise, part, overlaps, law)
        return mean(part, values._replace(factor=values.loss))

    return over_chunks(total, nodes)._replace(factor=field_factor(covariance))


def mean(nodes: Nodes, values: Sums) -> Sums:
    """Weighted sums over the leading axis of all arrays."""
    exact = partial(jnp.tensordot, axes=1, precision=jax.lax.Precision.HIGHEST)
    sums: Sums = jax.tree.map(lambda leaf: exact(nodes.weights, leaf), values)
    return sums


def over_chunks(total: Callable[[Nodes], Sums], nodes: Nodes) -> Sums:
    """A sum over nodes: at once, or chunk by chunk of `CHUNK` where there are several.

    Chunks of weight zero are left out.
    """
    chunks, remainder = divmod(nodes.weights.shape[0], CHUNK)
    if chunks < 2 or remainder:
        return total(nodes)
    parts = jax.tree.map(lambda leaf: leaf.reshape(chunks, CHUNK, *leaf.shape[1:]), nodes)
    shapes = jax.eval_shape(total, jax.tree.map(lambda leaf: leaf[0], parts))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(sums: Sums, part: Nodes) -> tuple[Sums, None]:
        more = jax.lax.cond(jnp.any(part.weights > 0), total, lambda _: nothing, part)
        return jax.tree.map(jnp.add, sums, more), None

    sums: Sums = jax.lax.scan(add, nothing, parts)[0]
    return sums


def samples(
    problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps, law: bool = False
) -> Moments:
    """The same quantities at every node, leading axis nodes (`factor` is common to all).

    Latents that the nodes leave out are integrated exactly (see `_given_fields`): the values are
    then expectations given the fields.

    With `law` their derivatives with respect to the order parameters are those of the Gaussian law
    of the fields and not those of the loss: the fields stay where they are, and every node is
    weighted by p(F; M, R) / p(F) = 1. Equal in the mean, and right for gradients with jumps.
    """
    signal, blocks, parameters = overlaps
    mixing = mixing_matrix(problem, signal.dtype)
    covariance = jnp.sum(noise.variances[:, None, None] * blocks, axis=0)
    factor = field_factor(covariance)
    norms = jnp.sum(signal[:, None] * noise.signal_weights[None, None] * signal[None], axis=-1)
    norms = norms + jnp.sum(noise.block_weights[:, None, None] * blocks, axis=0)
    exact = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    gamma = exact("aq,bq->ab", mixing, mixing)
    # gram per dimension: Gamma times the mean variance of the noise
    gram = gamma * jnp.sum(noise.fractions * noise.variances)
    inverse = jnp.linalg.pinv(mixing) if law else mixing.T
    linear = [name for name in problem.all_latents() if name not in nodes.latents]
    given = _given_fields(problem, nodes, linear, signal, covariance, factor) if linear else None

    def one(latents: Any, zeta: Any) -> Moments:
        if given is None:
            coordinates, label = problem.signal(latents)
            fields = exact("kr,pr->kp", signal, coordinates)
            fields = fields + exact("kl,lq,pq->kp", factor, zeta, mixing)
        else:
            coordinates, label = problem.signal(_at_zero(problem, latents, linear))
            shift, more, zeta = given(zeta)
            fields = exact("kr,pr->kp", signal, coordinates) + shift
            coordinates = coordinates + more
        weight = jnp.ones_like(fields[0, 0])
        if law:
            shift = exact("kr,pr->kp", signal, coordinates)
            fields, zeta, weight = _frozen(fields, zeta, shift, factor, mixing, inverse)

        step = sample_step(problem, fields, norms, parameters, label, gram)
        a, sample = step.fields, Sample(label, jnp.zeros_like(gram))
        loss = problem.learner.loss(fields, norms, parameters, sample)
        values = Moments(
            exact("kp,pr->kr", a, coordinates),
            exact("kp,pq,lq->kl", a, mixing, zeta),
            exact("kp,lp->kl", a, fields),
            step.pull,
            exact("kp,ps,ls->kl", a, gamma, a),
            step.parameters,
            step.stiff,
            loss,
            loss,
        )
        weighted: Moments = jax.tree.map(lambda leaf: weight * leaf, values)
        return weighted

    values = jax.vmap(one)(nodes.latents, nodes.zeta)
    return values._replace(factor=factor)


def _at_zero(problem: Problem, latents: Any, names: list[str]) -> dict[str, jax.Array]:
    """One draw of all latents, those of these names at zero."""
    known, dtype = problem.all_latents(), jnp.result_type(float)
    return {**latents, **{name: jnp.zeros(known[name].shape, dtype) for name in names}}


def _given_fields(
    problem: Problem,
    nodes: Nodes,
    names: list[str],
    signal: jax.Array,
    covariance: jax.Array,
    factor: jax.Array,
) -> Any:
    """Signal coordinates and noise given the fields, where some latents are integrated exactly.

    Given the other latents, C = C_0 + A x with x standard normal, and the fields
    Y = F B^-T = M (B^-1 C)^T + L zeta are Gaussian with the covariance
    U_q U_q'^T + 1(q = q') L L^T, U = M B^-1 A. With S its factor and Y = E Y + S g, the expectation
    of C and zeta given g replaces them, since the slopes depend on the fields alone:

        E[B^-1 C | g] = B^-1 C_0 + Cov(B^-1 C, Y) S^-T g,    E[zeta | g] = Cov(zeta, Y) S^-T g.

    Returns:
        g, shape (K, q) -> F - M C_0^T, C - C_0 and zeta.
    """
    exact = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    mixing = mixing_matrix(problem, signal.dtype)
    first = {name: leaf[0] for name, leaf in nodes.latents.items()}

    def coordinates(linear: dict[str, jax.Array]) -> jax.Array:
        return problem.signal({**first, **linear})[0]

    whole = _at_zero(problem, {}, names)
    slopes = jax.jacfwd(coordinates)(whole)
    flat = [slopes[name].reshape(*mixing.shape[:1], signal.shape[1], -1) for name in names]
    direction = jnp.linalg.inv(mixing)
    along = exact("qp,prg->qrg", direction, jnp.concatenate(flat, axis=-1))
    moved = exact("kr,qrg->qkg", signal, along)
    q, neurons = mixing.shape[1], signal.shape[0]
    alone = exact("qs,kl->qksl", jnp.eye(q, dtype=signal.dtype), covariance)
    total = exact("qkg,slg->qksl", moved, moved) + alone
    root = field_factor(total.reshape(q * neurons, q * neurons))
    with_signal = exact("qrg,skg->skqr", along, moved).reshape(q * neurons, -1)
    with_noise = exact("qs,kl->qksl", jnp.eye(q, dtype=signal.dtype), factor)
    both = jnp.concatenate([with_signal, with_noise.reshape(q * neurons, -1)], axis=1)
    solved = jax.scipy.linalg.solve_triangular(root, both, lower=True)

    def fields_of(standard: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        g = standard.T.reshape(-1)  # noise vectors before neurons
        fields = exact("ab,b->a", root, g).reshape(q, neurons)
        means = exact("ab,a->b", solved, g)
        more = means[: with_signal.shape[1]].reshape(q, -1)
        noise = means[with_signal.shape[1] :].reshape(q, neurons)
        return exact("pq,qk->kp", mixing, fields), exact("pq,qr->pr", mixing, more), noise.T

    return fields_of


def _frozen(
    fields: jax.Array,
    zeta: jax.Array,
    shift: jax.Array,
    factor: jax.Array,
    mixing: jax.Array,
    inverse: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Fields that do not move with the order parameters, zeta that makes up for it, the weight.

    zeta = L^-1 (F - M C^T) B^-T on the range of B; outside of it the fields follow M C^T. The
    weight is exp(-|zeta|^2 / 2) / |L|^rank(B), divided by its value.
    """
    still, dot = jax.lax.stop_gradient, partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    outside = jnp.eye(mixing.shape[0], dtype=mixing.dtype) - dot(mixing, inverse)
    noise = still(fields) - shift
    if factor.shape[0] == 1:
        standard = noise / factor
    else:
        standard = jax.scipy.linalg.solve_triangular(factor, noise, lower=True)
    zeta = zeta + dot(standard - still(standard), inverse.T)
    rank = jnp.trace(dot(inverse, mixing))
    logarithm = -jnp.sum(zeta**2) / 2 - rank * jnp.sum(jnp.log(jnp.diagonal(factor)))
    fields = still(fields) + dot(shift - still(shift), outside)
    return fields, zeta, jnp.exp(logarithm - still(logarithm))
