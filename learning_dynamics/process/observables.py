"""What a run records: times of the records, order parameters and the user's own quantities."""

import re
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.layout import Layout
from learning_dynamics.process.replicas import Observables
from learning_dynamics.validation import finite_array, reject

__all__ = [
    "Observable",
    "abstract_overlaps",
    "blocks",
    "observables",
    "recorded_blocks",
    "whole_updates",
]

Observable = Callable[[Overlaps], jax.Array]
# what labels the results, in `to_xarray` and in files
RESERVED = ("time", "updates", "replica", "stopped", "neuron", "other_neuron", "direction")


def whole_updates(times: ArrayLike, dimension: int) -> NDArray[np.int64]:
    """Update numbers of the times.

    Raises:
        ValueError: unless the times are non-negative, and increase by at least one update.
    """
    array = finite_array("times", times)
    if array.ndim != 1 or array.size == 0:
        raise reject("times", "be a list of times", f"shape {array.shape}")
    if array[0] < 0 or np.any(np.diff(array) <= 0):
        raise reject("times", "be non-negative and increase strictly", array.tolist())
    with np.errstate(over="ignore"):  # infinite is beyond the bound as well
        exact = np.rint(array * dimension)
    if exact[-1] >= 2**31:  # before the cast, which would wrap around
        raise reject("times", "need fewer than 2^31 updates", f"{exact[-1]:.6g}")
    updates = exact.astype(np.int64)
    if np.any(np.diff(updates) <= 0):
        gap = float(np.min(np.diff(array)))
        raise reject("times", f"lie at least 1/N = {1 / dimension:g} apart", f"a gap of {gap:g}")
    return updates


def blocks(updates: NDArray[np.int64]) -> NDArray[np.int32]:
    """Observation targets in about ten rows of equal length, the last one padded."""
    length = -(-updates.size // 10)
    rows = -(-updates.size // length)
    padded = np.concatenate([updates, np.repeat(updates[-1:], rows * length - updates.size)])
    return padded.reshape(rows, length).astype(np.int32)


def abstract_overlaps(problem: Problem, layout: Layout) -> Overlaps:
    """Shapes of the order parameters of one replica."""
    K, r = problem.learner.neurons, problem.inputs.directions
    parameters = jax.eval_shape(lambda: problem.initial_parameters(jnp.float32))
    block = jax.ShapeDtypeStruct((max(sum(layout.counts), 1), K, K), jnp.float32)
    return Overlaps(jax.ShapeDtypeStruct((K, r), jnp.float32), block, parameters)


def observables(
    problem: Problem, layout: Layout, observe: Mapping[str, Observable] | None
) -> Observables:
    """What is recorded: M, Q, theta and the user's own quantities, checked.

    Raises:
        ValueError: if a name is taken, or a function returns no floating-point array.
    """
    names = sorted(problem.initial_parameters(jnp.float32))
    taken = sorted({"signal", "norms", *RESERVED} & set(names))
    if taken:
        raise reject("problem.learner.parameters", f"use names other than {taken}", names)
    known: dict[str, Observable] = {
        "signal": _signal,
        "norms": _norms,
        **{name: _Parameter(name) for name in names},
    }
    for name in (every := {*known, *map(str, observe or {})}):
        label = re.fullmatch(r"(.+)_(error|\d+)", name)  # of errors and axes, in `to_xarray`
        if label is not None and label[1] in every:
            raise reject("observe", f"use names other than those of {label[1]!r}", repr(name))
    sample = abstract_overlaps(problem, layout)
    for name, function in (observe or {}).items():
        if not isinstance(name, str) or not name:
            raise reject("observe", "have names", repr(name))
        if name in known or name in RESERVED:
            demand = f"use names other than {sorted({*known, *RESERVED})}"
            raise reject("observe", demand, repr(name))
        if not callable(function):
            raise reject(f"observe[{name!r}]", "be a function of Overlaps", repr(function))
        if hasattr(function, "after"):  # worked out from what is recorded
            known[name] = function
            continue
        shape = jax.eval_shape(function, sample)
        if not isinstance(shape, jax.ShapeDtypeStruct) or not jnp.issubdtype(
            shape.dtype, jnp.floating
        ):
            raise reject(f"observe[{name!r}]", "return one floating-point array", shape)
        known[name] = function
    return tuple(known.items())


def _signal(overlaps: Overlaps) -> jax.Array:
    signal: jax.Array = overlaps.signal
    return signal


def recorded_blocks(overlaps: Overlaps) -> jax.Array:
    """R_b, for quantities worked out after the run."""
    blocks: jax.Array = overlaps.blocks
    return blocks


def _norms(overlaps: Overlaps) -> jax.Array:
    norms: jax.Array = overlaps.norms
    return norms


class _Parameter:
    """Observable that returns one parameter; equal objects share compiled code."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, overlaps: Overlaps) -> jax.Array:
        value: jax.Array = overlaps.parameters[self.name]
        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Parameter) and other.name == self.name

    def __hash__(self) -> int:
        return hash((_Parameter, self.name))
