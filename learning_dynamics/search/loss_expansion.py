"""Expansion of any population loss in the overlaps, by the Gaussian law of the fields."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.nodes import Nodes, device_nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.sample_step import follows_gradient, sample_step
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem, mixing_matrix
from learning_dynamics.process.steps import inverse_root
from learning_dynamics.search.forms import Form
from learning_dynamics.search.polynomials import powers_of
from learning_dynamics.validation import reject

__all__ = ["expanded_forms", "zero_overlap"]

Array = NDArray[np.float64]
_POINTS = 16  # values of t per ray
_REACH = 0.2  # largest t, in units of the distance to the edge |m_k| = |w_k|
_MOST = 2**12  # monomials beyond which the number of overlaps is too large
_WORK = 2**27  # evaluations of weight and loss, about a minute (measured: 0.3 us each)


def zero_overlap(population: Population) -> Overlaps:
    """The state of a random start to leading order: M = 0, R_b = (N_b / N) |w|^2 1 (float64).

    Fast parameters are at their fixed point. Rows have norm `initial_norm`, or one.
    """
    problem = population.problem
    neurons, r = problem.learner.neurons, problem.inputs.directions
    fractions = np.asarray(population.noise.fractions)
    shares = (fractions / fractions.sum())[:, None, None]
    square = float(1.0 if problem.initial_norm is None else problem.initial_norm) ** 2
    bare = Overlaps(np.zeros((neurons, r)), square * shares * np.eye(neurons), {})
    return settled(population, bare)


def settled(population: Population, state: Overlaps) -> Overlaps:
    """One state with its parameters filled in, the fast ones at their fixed point (host)."""
    _, whole = population.complete_one(state, moving=False)
    settled: Overlaps = jax.tree.map(np.asarray, whole)
    return settled


def expanded_forms(
    population: Population, state: Overlaps, *, highest: int = 4
) -> tuple[Form, ...]:
    """L_1 .. L_highest in M = M_0 + m around any state, the norms of the rows held fixed.

    Along a ray M(t) = M_0 + t U the noise part of row k shrinks by s_k,
    s_k^2 = (|w_k|^2 - |M_k(t)|^2) / (|w_k|^2 - |M_k(0)|^2); the fields F = M(t) C^T + s L zeta B^T
    have a Gaussian law given the latents. On the range of B the nodes stay, their weights change,

        L(t) = E[ p_t(F) / p_0(F)  l(F + t U C^T (1 - B B^+), Q(t), theta; y) ],

    so that kinks and jumps do no harm; only outside of that range, and through the norms, is the
    loss itself moved. Orthogonal updates keep Q = 1: a matrix T(t) with T T^T = 1 - M M^T then
    stands for s. Where a step does not follow the gradient of the loss, with A and D of
    `sample_step`,

        dL/dt = E[ p_t(F) / p_0(F) ( sum A dF/dt + sum (D + D^T) dW/dt W^T ) ]

    is what drives the overlaps along the ray: L_k(m) = m.v_k(m) / k, with the part -eta v_k of
    order k - 1 of the drift, at the learning rate of time zero. It is a potential of the drift for
    one neuron and one vector.

    L(t) is analytic; its Taylor coefficients come from the polynomial through 16 Chebyshev points,
    the forms from random rays U. Derived here.

    Args:
        population: any number of neurons and noise blocks, any mixing matrix and normaliser;
            latents and fields are averaged together.
        state: M_0, R_b and parameters, one set.
        highest: highest order.

    Returns:
        Forms in the K r overlaps, neuron by neuron, with their errors.

    Raises:
        ValueError: if rows of W are dependent outside the signal directions, or there are too
            many overlaps for this order.
        InaccurateError: if the accuracy is not reached.
    """
    problem = population.problem
    neurons, r = problem.learner.neurons, problem.inputs.directions
    count = len(powers_of(neurons * r, highest))
    if count > _MOST:
        demand = f"leave at most {_MOST} monomials in the {neurons * r} overlaps"
        raise reject("highest", demand, f"{highest} with {count}")
    rays = np.random.default_rng(0).normal(size=(count + count // 4 + 5, neurons, r))
    rays /= np.max(np.linalg.norm(rays, axis=2), axis=1)[:, None, None]
    flat = rays.reshape(len(rays), -1)
    bounded = population.aiming_at(_bounded(problem, population.target, len(rays) * _POINTS))
    powers = [powers_of(neurons * r, k) for k in range(1, highest + 1)]
    names = [f"L_{k}" for k in range(1, highest + 1)]
    potential = follows_gradient(problem)
    inverses = [_pseudo_inverse(np.prod(flat[:, None, :] ** p, axis=-1)) for p in powers]
    cut = {name: np.zeros(len(p)) for name, p in zip(names, powers, strict=True)}
    blocks, signal = np.asarray(state.blocks), np.asarray(state.signal)
    with jax.enable_x64(True):
        noise, cast = population.noise, population.cast
        covariance = np.einsum("b,bkl->kl", np.asarray(noise.variances), blocks)
        if np.linalg.eigvalsh(covariance).min() < 1e-10 * np.trace(covariance):
            raise reject("around", "have independent rows in the noise", covariance.tolist())
        square = np.sum(signal**2, axis=1) + np.einsum("bkk->k", blocks)
        edge = np.min(np.sqrt(square) - np.linalg.norm(signal, axis=1))
        if problem.update == "orthogonal":  # all rows may move the same way
            edge = edge / neurons**0.5
        times = _REACH * edge * chebyshev.chebpts1(_POINTS)
        given = jax.tree.map(jnp.asarray, state)

        def coefficients(rule: Nodes) -> dict[str, Array]:
            along = _along(cast, noise, device_nodes(rule), given, jnp.asarray(rays), times)
            taylor, error = _taylor(np.asarray(along), _REACH * edge, highest)
            table = {}
            for k, (name, inverse) in enumerate(zip(names, inverses, strict=True), 1):
                at = (slice(None), k) if potential else (slice(None), k - 1)
                part = inverse if potential else inverse / k
                table[name] = part @ taylor[at]
                cut[name] = np.maximum(cut[name], np.sqrt(part**2 @ error[at] ** 2))
            return table

        result = bounded.average(coefficients, caller="information_exponent", of=problem)
    return tuple(
        Form(k, p, result.value[name], result.error[name] + cut[name])
        for k, (name, p) in enumerate(zip(names, powers, strict=True), 1)
    )


def _bounded(problem: Problem, target: Target, evaluations: int) -> Target:
    """The target with no more points than a minute's work allows, unless points are given.

    Raises:
        ValueError: if the first number of points is too much already.
    """
    if target.points is not None or target.max_points is not None:
        return target
    most, first = _WORK // evaluations, target.first(problem)
    if first > most:
        demand = (
            f"leave at most {_WORK:.2g} evaluations of the loss, about a minute's work (lower "
            "`highest`, or allow more with `points` or `max_points`)"
        )
        raise reject("highest", demand, f"{evaluations * first:.2g}, {first} points on each ray")
    if target.most <= most:
        return target
    return replace(target, max_points=most)


def _pseudo_inverse(design: Array) -> Array:
    """(X^T X)^-1 X^T of a matrix of full column rank."""
    q, triangle = np.linalg.qr(design)
    return np.asarray(solve_triangular(triangle, q.T))


@compiled
def _along(
    problem: Problem, noise: LimitNoise, nodes: Nodes, state: Overlaps, rays: jax.Array, times: Any
) -> jax.Array:
    """L(t) - L(0), or dL/dt where a step does not follow the gradient; shape (rays, times)."""
    exact = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    mixing = mixing_matrix(problem, rays.dtype)
    inverse = jnp.linalg.pinv(mixing)
    p, neurons = mixing.shape[0], rays.shape[1]
    outside, rank = jnp.eye(p) - exact("pq,qs->ps", mixing, inverse), jnp.trace(inverse @ mixing)
    factor = jnp.linalg.cholesky(exact("b,bkl->kl", noise.variances, state.blocks))
    inner = jax.scipy.linalg.solve_triangular(factor, jnp.eye(neurons), lower=True)
    latents: Any = nodes.latents
    coordinates, labels = jax.vmap(problem.signal)(latents)
    if not latents:
        coordinates, labels = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (nodes.weights.size, *leaf.shape)),
            problem.signal({}),
        )
    noise_fields = exact("kl,nlq,pq->nkp", factor, nodes.zeta, mixing)
    start = exact("kr,npr->nkp", state.signal, coordinates) + noise_fields
    square = jnp.sum(state.signal**2, axis=1) + exact("bkk->k", state.blocks)
    room = square - jnp.sum(state.signal**2, axis=1)
    still = exact("kl,nlp->nkp", inner, noise_fields)
    base = jnp.sum(nodes.zeta**2, axis=(1, 2))
    gram = exact("pq,sq->ps", mixing, mixing) * jnp.sum(noise.fractions * noise.variances)
    unit = jnp.eye(neurons)

    def moving(t: jax.Array, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        """M(t), and the matrix T that moves the noise parts of the rows."""
        signal = state.signal + t * direction
        if problem.update == "orthogonal" and neurons > 1:
            left, first = (unit - exact("kr,lr->kl", m, m) for m in (signal, state.signal))
            return signal, exact("kl,lm,mn->kn", left, inverse_root(left), inverse_root(first))
        return signal, jnp.diag(jnp.sqrt((square - jnp.sum(signal**2, axis=1)) / room))

    def loss(field: jax.Array, norms: jax.Array, label: Any) -> jax.Array:
        sample = Sample(label, jnp.zeros((p, p)))
        value: jax.Array = problem.learner.loss(field, norms, state.parameters, sample)
        return value

    def at(t: jax.Array, direction: jax.Array, mean: jax.Array) -> jax.Array:
        along = partial(moving, direction=direction)
        (signal, turn), (_, turning) = jax.jvp(along, (t,), (jnp.ones_like(t),))
        back, blocks = jnp.linalg.inv(turn), exact("kl,blm,nm->bkn", turn, state.blocks, turn)
        norms = exact("kr,r,lr->kl", signal, noise.signal_weights, signal)
        norms = norms + exact("b,bkl->kl", noise.block_weights, blocks)
        shift = exact("kr,npr->nkp", t * direction, coordinates)
        standard = exact("kl,lm,nmp->nkp", inner, back, noise_fields - shift)
        zeta = nodes.zeta + exact("nkp,qp->nkq", standard - still, inverse)
        ratio = (base - jnp.sum(zeta**2, axis=(1, 2))) / 2 - rank * jnp.linalg.slogdet(turn)[1]
        fields = start + exact("nkp,ps->nks", shift, outside)
        if follows_gradient(problem):
            values = jax.vmap(loss, (0, None, 0))(fields, norms, labels)
        else:
            rate = exact("kl,lm->km", turning, back)
            noise_part = fields - exact("kr,npr->nkp", signal, coordinates)
            moved = exact("kr,npr->nkp", direction, coordinates)
            moved = moved + exact("kl,nlp->nkp", rate, noise_part)
            with_rows = exact("kr,r,lr->kl", direction, noise.signal_weights, signal)
            with_rows = with_rows + exact("b,km,bml->kl", noise.block_weights, rate, blocks)

            def power(field: jax.Array, label: Any, change: jax.Array) -> jax.Array:
                step = sample_step(problem, field, norms, state.parameters, label, gram)
                return jnp.sum(step.fields * change) + jnp.sum(step.pull * with_rows)

            values = jax.vmap(power)(fields, labels, moved)
        return jnp.sum(nodes.weights * jnp.exp(ratio) * (values - mean))

    # the weights have mean one: taking out the mean loss changes nothing but the sampling error
    steps = jnp.asarray(times)

    def ray(direction: jax.Array) -> jax.Array:
        origin = at(jnp.zeros_like(base[0]), direction, jnp.zeros_like(base[0]))
        known = jnp.zeros_like(origin) if follows_gradient(problem) else origin
        return known + jax.lax.map(lambda t: at(t, direction, origin), steps)

    return jax.lax.map(ray, rays)


def _taylor(values: Array, scale: float, highest: int) -> tuple[Array, Array]:
    """Taylor coefficients 0 .. highest from values at scaled Chebyshev points, and their error.

    The error is what the two highest Chebyshev terms contribute, and rounding.
    """
    nodes = chebyshev.chebpts1(_POINTS)
    table = np.linalg.inv(chebyshev.chebvander(nodes, _POINTS - 1))
    conversion = np.zeros((_POINTS, _POINTS))
    for i in range(_POINTS):
        monomials = chebyshev.cheb2poly(np.eye(_POINTS)[i])
        conversion[: len(monomials), i] = monomials
    powers = scale ** -np.arange(_POINTS)
    terms = values @ table.T
    full = (terms @ conversion.T) * powers
    last = terms.copy()
    last[:, :-2] = 0
    cut = np.abs((last @ conversion.T) * powers)
    rounding = 1e-15 * np.max(np.abs(values), axis=1, keepdims=True) + 1e-16
    cut = cut + rounding * np.abs(conversion @ table).sum(axis=1) * powers
    keep = slice(0, highest + 1)
    return full[:, keep], cut[:, keep]
