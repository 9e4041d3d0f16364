"""Weights at time zero: random ones, or a frame of given order parameters."""

from itertools import starmap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics import random
from learning_dynamics.model.overlaps import ROUNDING, Overlaps, State, checked_overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.draws import drawn_noise, reduced_normals
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.reduced_noise import ATTEMPT, gram_factor
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

__all__ = ["normalise", "place", "random_start"]


def random_start(problem: Problem, layout: Layout, key: jax.Array, dtype: Any) -> State:
    """Independent N(0, initial_norm^2 / N) weights; uniform on the sphere where rows have norm one.

    On the overlaps level a lower trapezoid with the same Wishart law stands for the weights.
    """
    neurons, r = problem.learner.neurons, problem.inputs.directions
    norm = 1.0 if problem.initial_norm is None else problem.initial_norm
    scale = jnp.asarray(norm, dtype) / jnp.sqrt(jnp.asarray(layout.dimension, dtype))
    # the weights are drawn like `neurons` noise vectors, without columns along anything
    count, freedoms = reduced_normals(layout, 0, neurons, neurons)
    count += neurons * r + ATTEMPT * len(freedoms)
    pool = random.normal(random.fold_in(key, 0), (count,), dtype)
    signal, below = scale * pool[: neurons * r].reshape(neurons, r), pool[neurons * r :]
    sizes = (0, neurons, neurons)
    drawn, _ = drawn_noise(layout, random.fold_in(key, 1), below, freedoms, *sizes)
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


def place(problem: Problem, layout: Layout, overlaps: Overlaps, replicas: int, dtype: Any) -> State:
    """States of all replicas with given order parameters (one for all, or one each).

    The weights are fixed up to a rotation within each noise block, which changes no law: W_b is
    Cholesky's factor of R_b, found on the host in float64 where R_b is known there.

    Raises:
        ValueError: on shapes that do not fit the problem, or rows that must have norm one.
    """
    neurons = problem.learner.neurons
    given = checked_overlaps(problem, overlaps, sum(layout.counts))
    lead = given.signal.shape[:-2]
    if lead not in ((), (replicas,)):
        raise reject("start", f"be one state, or one for each of {replicas} replicas", lead)
    gram = jnp.asarray(given.blocks, dtype) if is_traced(given.blocks) else given.blocks
    if not layout.counts and not is_traced(gram) and np.max(gram) > ROUNDING:
        raise reject("start.blocks", "be zero where N = r leaves no noise", np.max(gram))
    noise, first = [], 0
    for width, count, small in zip(layout.sizes, layout.counts, layout.reduced, strict=True):
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
