"""SGD on the weights for any `Problem`: shares loss and latents with the kernel, no more."""

import copy
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld


def order_parameters(problem, weights, dimension):
    """M, Q and the R_b of weights in the basis of the signal directions, shape (..., K, N)."""
    r = problem.inputs.directions
    sizes = [g.size for g in problem.inputs.blocks(dimension) for _ in np.atleast_1d(g.variances)]
    edges = np.cumsum([r, *sizes])
    parts = [weights[..., a:b] for a, b in itertools.pairwise(edges)]
    grams = [np.einsum("...ki,...li->...kl", part, part) for part in parts]
    return {
        "signal": weights[..., :r],
        "norms": np.einsum("...ki,...li->...kl", weights, weights),
        "blocks": np.stack(grams, axis=-3),
    }


def draw_sample(problem, dimension, key):
    """Vectors X, shape (p, N), and the label of one sample."""
    keys = jax.random.split(key, 20)
    latents = {
        name: latent.draw(k, (), jnp.float32)
        for k, (name, latent) in zip(keys, problem.all_latents().items(), strict=False)
    }
    signal, label = problem.signal(latents)
    mixing = jnp.asarray(problem.inputs.mixing(), jnp.float32)
    noise = []
    for i, group in enumerate(problem.inputs.blocks(dimension)):
        for j, variance in enumerate(np.atleast_1d(group.variances)):
            k = jax.random.fold_in(keys[-1 - i], j)
            z = jax.random.normal(k, (mixing.shape[1], group.size))
            noise.append(jnp.sqrt(jnp.float32(variance)) * mixing @ z)
    return jnp.concatenate([signal, *noise], axis=1), label


def sample_loss(problem, dimension, weights, parameters, vectors, label, *, gram=True):
    """Loss of one sample as a function of all weights."""
    weight = jnp.ones(dimension)
    if problem.learner.normaliser == "inputs":
        variances = [np.asarray(problem.inputs.signal_variances())]
        for group in problem.inputs.blocks(dimension):
            variances += [np.full(group.size, v) for v in np.atleast_1d(group.variances)]
        weight = jnp.asarray(np.concatenate(variances), jnp.float32)
    precise = {"precision": jax.lax.Precision.HIGHEST}
    inner = jnp.matmul(vectors, vectors.T, **precise) * float(gram)
    fields = jnp.matmul(weights, vectors.T, **precise)
    norms = jnp.matmul(weights * weight[None], weights.T, **precise)
    return problem.learner.loss(fields, norms, parameters, ld.Sample(label, inner))


def at(problem, tau):
    """The problem with the numbers of its protocol at a time."""
    now = copy.copy(problem)
    for path, schedule in problem.protocol.items():
        *way, name = path.split(".")
        holder = now
        for part in way:  # a copy of what holds the number
            object.__setattr__(holder, part, copy.copy(getattr(holder, part)))
            holder = getattr(holder, part)
        object.__setattr__(holder, name, jnp.asarray(schedule(tau), jnp.float32))
    object.__setattr__(now, "protocol", {})
    return now


def limited(problem, slope):
    """Rows of a gradient of shape (K, N), clipped or normalised."""
    axis = None if problem.gradient_norm == "whole" else 1
    length = jnp.linalg.norm(slope, axis=axis, keepdims=True) / jnp.float32(slope.shape[1] ** 0.5)
    if problem.normalise:
        return slope / jnp.where(length > 0, length, 1)  # 0 where it underflows
    if problem.clip is not None:
        return slope * jnp.minimum(1, jnp.float32(problem.clip) / length)
    return slope


def memory(problem, dimension):
    """Share of the step before that is kept, and the power of 1/N of the rates."""
    if isinstance(problem.momentum, ld.HeavyBall):
        return jnp.float32(1 - problem.momentum.friction / dimension), 2
    return jnp.float32(problem.momentum or 0.0), 1


def drive(problem, dimension, weights, parameters, way, samples, key):
    """Draws of N / eta times the step of one batch along `way`, shape (K, N), to be averaged."""
    cast = at(problem.cast(jnp.float32), jnp.float32(0))
    given = {name: jnp.float32(v) for name, v in parameters.items()}
    known = {**cast.initial_parameters(jnp.float32), **given}
    rate = problem.learning_rate(0.0) if callable(problem.learning_rate) else problem.learning_rate
    rate = jnp.float32(rate / dimension)

    def one(key):
        keys = jax.random.split(key, problem.batch)
        vectors, label = jax.vmap(partial(draw_sample, cast, dimension))(keys)

        def loss(w):
            return jnp.mean(
                jax.vmap(partial(sample_loss, cast, dimension, w, known))(vectors, label)
            )

        w, total, v = jnp.asarray(weights, jnp.float32), 0.0, 0.0
        for _ in range(problem.repeats):
            slope = limited(cast, jax.grad(loss)(w))
            v = memory(problem, dimension)[0] * v - rate * slope
            w, total = w + v, total + slope
        return jnp.sum(total * jnp.asarray(way, jnp.float32))

    keys = jax.random.split(key, (samples // 200, 200))
    return np.asarray(jax.jit(partial(jax.lax.map, jax.vmap(one)))(keys), np.float64).ravel()


def sgd(problem, dimension, weights, parameters, replicas, key, steps):
    """Final order parameters of independent runs; from random weights if None are given."""
    cast = problem.cast(jnp.float32)
    n, (kept, power) = float(dimension), memory(problem, dimension)

    def value(rate, number):
        return jnp.float32(rate(number.astype(jnp.float32) / n) if callable(rate) else rate)

    def mean_loss(w, parameters, now, vectors, label):
        one = partial(sample_loss, now, dimension, w, parameters)
        return jnp.mean(jax.vmap(one)(vectors, label))

    def step(carry, numbered):
        (w, parameters, v, velocities), (key, number) = carry, numbered
        keys, now = jax.random.split(key, problem.batch), at(cast, number.astype(jnp.float32) / n)
        vectors, label = jax.vmap(partial(draw_sample, now, dimension))(keys)
        for _ in range(problem.repeats):
            slope, slopes = jax.grad(mean_loss, (0, 1))(w, parameters, now, vectors, label)
            slope = limited(now, slope)
            if problem.update == "spherical":
                slope = slope - jnp.sum(slope * w, axis=1, keepdims=True) * w
            if problem.weight_decay is not None:
                slope = slope + value(cast.weight_decay, number) * w
            v = kept * v - value(cast.learning_rate, number) / n**power * slope
            w = w + v
            if problem.update == "orthogonal":
                left, _, right = jnp.linalg.svd(w, full_matrices=False)
                w = jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
            elif problem.update != "plain":
                w = w / jnp.linalg.norm(w, axis=1, keepdims=True)
            for name, rate in cast.parameter_rates.items():
                size = value(rate, number) / n ** (problem.order(name) + power - 1)
                change = kept * velocities[name] - size * slopes[name]
                velocities = {**velocities, name: change}
                parameters = {**parameters, name: parameters[name] + change}
        return (w, parameters, v, velocities), None

    def run(key):
        if weights is None:
            norm = 1.0 if problem.initial_norm is None else problem.initial_norm
            shape = (problem.learner.neurons, dimension)
            w = jax.random.normal(jax.random.fold_in(key, 1), shape) * jnp.float32(norm / n**0.5)
        else:
            w = jnp.asarray(weights, jnp.float32)
        first = cast.initial_parameters(jnp.float32)
        known = {**first, **{name: jnp.float32(v) for name, v in parameters.items()}}
        carry = w, known, jnp.zeros_like(w), jax.tree.map(jnp.zeros_like, known)
        keys = jax.random.split(key, steps)
        return jax.lax.scan(step, carry, (keys, jnp.arange(steps)))[0][:2]

    w, parameters = jax.jit(jax.vmap(run))(jax.random.split(key, replicas))
    seen = order_parameters(problem, np.asarray(w, np.float64), dimension)
    return {**seen, **{name: np.asarray(v, np.float64) for name, v in parameters.items()}}
