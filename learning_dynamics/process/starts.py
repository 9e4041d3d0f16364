"""Weights at time zero: random ones, or a frame of given order parameters."""

from itertools import starmap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics import random
from learning_dynamics.model.overlaps import ROUNDING, Overlaps, State, checked_overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.draws import drawn_noise, noise_normals
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.reduced_noise import ATTEMPT, gram_factor
from learning_dynamics.process.steps import constrained, orthonormal
from learning_dynamics.process.trajectory import Trajectory
from learning_dynamics.pytrees import is_traced, library_of
from learning_dynamics.validation import reject

__all__ = ["place", "place_moving", "random_start"]


def random_start(problem: Problem, layout: Layout, key: jax.Array, dtype: Any) -> State:
    """Independent N(0, initial_norm^2 / N) weights; uniform on the sphere where rows have norm one.

    Orthonormal rows are uniform as well.

    On the overlaps level a lower trapezoid with the same Wishart law stands for the weights.
    """
    neurons, r = problem.learner.neurons, problem.inputs.directions
    norm = 1.0 if problem.initial_norm is None else problem.initial_norm
    scale = jnp.asarray(norm, dtype) / jnp.sqrt(jnp.asarray(layout.size(dtype), dtype))
    # the weights are drawn like `neurons` noise vectors, without columns along anything
    count, freedoms = noise_normals(layout, 0, neurons, neurons)
    count += neurons * r + ATTEMPT * len(freedoms)
    of_pool, of_noise = random.streams(key, [0, 1])
    pool = random.normal(of_pool, (count,), dtype)
    signal, below = scale * pool[: neurons * r].reshape(neurons, r), pool[neurons * r :]
    sizes = (0, neurons, neurons)
    drawn, _ = drawn_noise(layout, of_noise, below, freedoms, *sizes)
    noise = tuple(scale * weights for weights in drawn)
    state = State(signal, noise, problem.initial_parameters(dtype))
    if problem.update == "orthogonal":
        return orthonormal(state)
    return constrained(problem, state)


def place(problem: Problem, layout: Layout, overlaps: Overlaps, replicas: int, dtype: Any) -> State:
    """States of all replicas with given order parameters (one for all, or one each).

    The weights are fixed up to a rotation within each noise block, which changes no law: W_b is
    Cholesky's factor of R_b, found on the host in float64 where R_b is known there.

    Raises:
        ValueError: on shapes that do not fit the problem, or rows that must have norm one.
    """
    given = checked_overlaps(problem, overlaps, sum(layout.counts))
    lead = given.signal.shape[:-2]
    if lead not in ((), (replicas,)):
        raise reject("start", f"be one state, or one for each of {replicas} replicas", lead)
    gram = jnp.asarray(given.blocks, dtype) if is_traced(given.blocks) else given.blocks
    if not layout.counts and not is_traced(gram) and np.max(gram) > ROUNDING:
        raise reject("start.blocks", "be zero where N = r leaves no noise", np.max(gram))
    given = given._replace(blocks=gram)
    return _state(layout, given, None if lead else replicas, dtype)


def place_moving(
    problem: Problem, layout: Layout, start: Trajectory, replicas: int, dtype: Any
) -> tuple[State, State | None]:
    """States where a trajectory ended, with the memory V of a momentum if it had one."""
    states = place(problem, layout, start.last, replicas, dtype)
    if problem.momentum is None or start.memory is None:
        return states, None
    neurons = problem.learner.neurons
    moving = {*start.memory.parameters} == {*problem.parameter_rates}
    if start.memory.signal.shape[-2] != 2 * neurons or not moving:
        given = f"{start.memory.signal.shape[-2]} rows, {sorted(start.memory.parameters)}"
        raise reject("start", "come from a problem of the same neurons and parameters", given)
    both = _state(layout, start.memory, None, dtype)
    halves = [
        State(
            both.signal[..., rows, :],
            tuple(part[..., rows, :] for part in both.noise),
            parameters,
        )
        for rows, parameters in (
            (slice(None, neurons), states.parameters),
            (slice(neurons, None), both.parameters),
        )
    ]
    return halves[0], halves[1]


def _state(layout: Layout, overlaps: Overlaps, replicas: int | None, dtype: Any) -> State:
    """Weights with given order parameters, repeated for all replicas unless these lead them."""
    noise, first, gram = [], 0, overlaps.blocks
    for width, count, small in zip(layout.sizes, layout.counts, layout.reduced, strict=True):
        group = gram[..., first : first + count, :, :]
        first += count
        full = small or width >= gram.shape[-1]
        part = gram_factor(group) if full else _thin(group, gram, width)
        noise.append((part, part.shape[-1] if small else width))

    def spread(array: Any, width: int | None = None) -> Any:
        library = library_of(array)  # on the host no program is built for it
        array = library.asarray(array, dtype)
        if width is not None:
            missing = np.zeros((*array.shape[:-1], width - array.shape[-1]), dtype)
            array = library.concatenate([array, missing], axis=-1)
        return library.broadcast_to(
            array, array.shape if replicas is None else (replicas, *array.shape)
        )

    parameters = {name: spread(value) for name, value in overlaps.parameters.items()}
    return State(spread(overlaps.signal), tuple(starmap(spread, noise)), parameters)


def _thin(group: Any, gram: Any, width: int) -> Any:
    """Weights W_b, shape (..., blocks, K, width), in fewer dimensions than neurons.

    Raises:
        ValueError: if R_b is known and of a larger rank.
    """
    library = library_of(group)
    values, vectors = library.linalg.eigh(group)  # ascending
    beyond = group.shape[-1] - width
    if not is_traced(group):
        size = np.maximum(np.max(np.abs(np.linalg.eigvalsh(gram))), 1e-300)
        if np.max(values[..., :beyond]) > ROUNDING * size:
            raise reject("start.blocks", f"have rank at most {width}", "a larger rank")
    return (vectors * library.sqrt(library.maximum(values, 0))[..., None, :])[..., beyond:]
