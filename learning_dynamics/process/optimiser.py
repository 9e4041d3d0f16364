"""Online descent by an optimiser of optax in place of the plain step, on all N weights."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from learning_dynamics.compilation import compiled
from learning_dynamics.model.overlaps import State
from learning_dynamics.model.problem import Problem
from learning_dynamics.optimisers import extra_arguments, lenient
from learning_dynamics.process.draws import Draw
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.starts import random_start
from learning_dynamics.process.steps import constrained
from learning_dynamics.process.update import sample_arguments
from learning_dynamics.validation import reject

__all__ = ["Optimiser", "checked_optimiser", "descend", "fresh_memory"]

OFFERED = ("value", "grad")  # what an optimiser may ask for beside the gradient


class Optimiser(NamedTuple):
    """An optimiser and what it asks for (hashable).

    Attributes:
        transformation: of optax.
        extras: names of what its update is given beside the gradient.
        name: types of its memory, for the record.
    """

    transformation: Any
    extras: tuple[str, ...]
    name: str


def checked_optimiser(problem: Problem, layout: Layout, optimiser: Any) -> Optimiser | None:
    """An optimiser that can train all weights of a problem; None for the plain step.

    Raises:
        ValueError: on the overlaps level, or if it is no transformation of optax, asks for the loss
            as a function, holds a random key, or changes the type of its memory.
    """
    if optimiser is None:
        return None
    for name in ("clip", "normalise", "momentum"):
        if getattr(problem, name) not in (None, False):
            demand = "be left out beside an optimiser, which optax can chain with one of that kind"
            raise reject(f"problem.{name}", demand, getattr(problem, name))
    if layout.level != "ambient":
        demand = (
            "be left out unless level='ambient': M and Q alone do not fix what it does to N weights"
        )
        raise reject("optimiser", demand, f"level={layout.level!r}")
    try:
        hash(optimiser)
    except TypeError as error:
        raise reject("optimiser", "be hashable", repr(optimiser)) from error
    demand = "update parameters given the loss and its gradient as arrays"
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = partial(random_start, problem, layout, dtype=jnp.float32)
    weights = jax.eval_shape(lambda key: trained(problem, start(key)), key)
    extras = extra_arguments(optimiser, weights, (OFFERED,), demand)
    with lenient():
        memory = jax.eval_shape(optimiser.init, weights)
        given = dict(zip(OFFERED, (jax.ShapeDtypeStruct((), jnp.float32), weights), strict=True))
        _, later = jax.eval_shape(
            optimiser.update, weights, memory, weights, **{name: given[name] for name in extras}
        )
    for leaf in jax.tree.leaves(memory):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) or leaf.dtype == jnp.uint32:
            raise reject("optimiser", "hold no random key, all replicas would share it", leaf)
    if _types(memory) != _types(later):
        raise reject("optimiser", "keep the structure and types of its state", _types(later))
    return Optimiser(optimiser, extras, ", ".join(_names(memory)))


def _types(memory: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), memory)


def _names(memory: Any) -> list[str]:
    """Types of states that are named tuples of optax or of the user, outermost first."""
    named = hasattr(memory, "_fields")
    own = [type(memory).__name__] if named and memory._fields else []
    inner = memory if isinstance(memory, tuple | list) else ()
    return own + [name for part in inner for name in _names(part)]


def trained(problem: Problem, state: State) -> dict[str, Any]:
    """What an optimiser trains: W, shape (K, N), signal axes first, and the moving parameters."""
    neurons = state.signal.shape[0]
    noise = [jnp.moveaxis(part, 0, 1).reshape(neurons, -1) for part in state.noise]
    moving = {name: state.parameters[name] for name in problem.parameter_rates}
    return {"weights": jnp.concatenate([state.signal, *noise], axis=1), "parameters": moving}


def _state(state: State, tree: dict[str, Any]) -> State:
    """The state with W and moving parameters of `trained`."""
    weights, first, noise = tree["weights"], state.signal.shape[1], []
    signal = weights[:, :first]
    for part in state.noise:
        blocks, neurons, width = part.shape
        block = weights[:, first : first + blocks * width].reshape(neurons, blocks, width)
        noise.append(jnp.moveaxis(block, 1, 0))
        first += blocks * width
    return State(signal, tuple(noise), {**state.parameters, **tree["parameters"]})


@partial(compiled, static_argnums=0)
def fresh_memory(optimiser: Optimiser | None, problem: Problem, states: State) -> Any:
    """Memory of the optimiser before the first update of each replica."""
    if optimiser is None:
        return None
    with lenient():
        return jax.vmap(lambda state: optimiser.transformation.init(trained(problem, state)))(
            states
        )


def descend(
    problem: Problem, layout: Layout, optimiser: Optimiser, state: State, memory: Any, draw: Draw
) -> tuple[State, Any]:
    """One update of W, theta and the memory of the optimiser; `repeats` of them with one batch.

    With G = dl/dW + weight_decay W and g = dl/dtheta, means over the batch, and (U, u) what the
    optimiser makes of (G, g),

        W' = W + (eta/N) U,     theta' = theta + (rate/N^order) u,

    so that U = -G is the plain step. For spherical updates G is orthogonal to each row of W;
    spherical and projected updates finally scale each row to norm one, orthogonal ones restore
    orthonormal rows.
    """
    for _ in range(problem.repeats):
        state, memory = _descend(problem, layout, optimiser, state, memory, draw)
    return state, memory


def _descend(
    problem: Problem, layout: Layout, optimiser: Optimiser, state: State, memory: Any, draw: Draw
) -> tuple[State, Any]:
    dtype, size = state.signal.dtype, layout.size(state.signal.dtype)

    def loss(tree: dict[str, Any]) -> jax.Array:
        moved = _state(state, tree)
        fields, norms, samples = sample_arguments(problem, layout, moved, draw)
        one = jax.vmap(problem.learner.loss, (0, None, None, 0))
        return jnp.mean(one(fields, norms, moved.parameters, samples))

    tree = trained(problem, state)
    value, slope = jax.value_and_grad(loss)(tree)
    weights, steep = tree["weights"], slope["weights"]
    if problem.update == "spherical":
        steep = steep - jnp.sum(steep * weights, axis=1, keepdims=True) * weights
    if problem.weight_decay is not None:
        steep = steep + jnp.asarray(problem.weight_decay, dtype) * weights
    slope = {**slope, "weights": steep}
    offers = dict(zip(OFFERED, (value, slope), strict=True))
    with lenient():
        changes, memory = optimiser.transformation.update(
            slope, memory, tree, **{name: offers[name] for name in optimiser.extras}
        )
    scales = {
        "weights": jnp.asarray(problem.learning_rate, dtype) / size,
        "parameters": {
            name: jnp.asarray(rate, dtype) / size ** problem.order(name)
            for name, rate in problem.parameter_rates.items()
        },
    }
    moved = jax.tree.map(lambda a, s, u: a + s * u.astype(dtype), tree, scales, changes)
    return constrained(problem, _state(state, moved)), memory
