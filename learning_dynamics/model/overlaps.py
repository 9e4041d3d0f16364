"""States: order parameters for the user, weights or noise factors for the machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.model.problem import Problem
from learning_dynamics.pytrees import checked_if_concrete, is_traced
from learning_dynamics.validation import real_array, reject

__all__ = [
    "Overlaps",
    "State",
    "checked_overlaps",
    "from_weights",
    "has_bare_rows",
    "order_parameters",
    "overlaps_of",
]

ROUNDING = 1e-5  # what float32 may have done to a Gram matrix, relative to its largest eigenvalue


class Overlaps(NamedTuple):
    """Order parameters of a two-layer learner.

    Attributes:
        signal: overlaps M = W E^T with the signal directions, shape (..., K, r).
        blocks: R_b = W_b W_b^T for each noise block, shape (..., blocks, K, K).
        parameters: theta by name.
    """

    signal: Any
    blocks: Any
    parameters: dict[str, Any]

    def __repr__(self) -> str:
        return short_text.represent(self)

    def _summary(self) -> tuple[str, short_text.Rows]:
        neurons, directions = self.signal.shape[-2:]
        return f"K = {neurons}, r = {directions}", {
            "signal": short_text.array_text(self.signal),
            "blocks": short_text.array_text(self.blocks),
            **{name: short_text.array_text(value) for name, value in self.parameters.items()},
        }

    @property
    def norms(self) -> Any:
        """Q = W W^T = M M^T + sum_b R_b, shape (..., K, K)."""
        return _gram(self.signal) + self.blocks.sum(axis=-3)


class State(NamedTuple):
    """Weights in a basis whose first r axes are the signal directions.

    Attributes:
        signal: M, shape (K, r).
        noise: per group of noise blocks, shape (blocks, K, width): the weights themselves
            (ambient level, width = N_b) or a factor L with L L^T = R_b (overlaps level).
        parameters: theta by name.
    """

    signal: jax.Array
    noise: tuple[jax.Array, ...]
    parameters: dict[str, jax.Array]


def overlaps_of(state: State) -> Overlaps:
    """Order parameters of one state."""
    neurons = state.signal.shape[0]
    # a matrix product: XLA on CPUs (jax 0.10.2) gets the sum over products of one array with itself
    # wrong in float32, from seven rows of 98 or fifty of two numbers on
    grams = [
        jnp.matmul(w, jnp.swapaxes(w, -1, -2), precision=jax.lax.Precision.HIGHEST)
        for w in state.noise
    ]
    empty = jnp.zeros((1, neurons, neurons), state.signal.dtype)
    return Overlaps(
        state.signal, jnp.concatenate(grams) if grams else empty, dict(state.parameters)
    )


def order_parameters(
    signal: ArrayLike, norms: ArrayLike, parameters: dict[str, ArrayLike] | None = None
) -> Overlaps:
    """Order parameters with one noise block, from M, shape (..., K, r), and Q, (..., K, K).

    Traced arrays are checked for their shapes alone.

    Raises:
        ValueError: on shapes that do not fit, or if Q - M M^T is not positive semidefinite.
    """
    m, q = checked_if_concrete("signal", signal), checked_if_concrete("norms", norms)
    if m.ndim < 2:
        raise reject("signal", "have shape (..., K, r)", f"shape {m.shape}")
    if q.shape != (*m.shape[:-1], m.shape[-2]):
        raise reject("norms", f"have shape {(*m.shape[:-1], m.shape[-2])}", f"shape {q.shape}")
    given = {
        name: value if is_traced(value) else real_array(f"parameters[{name!r}]", value)
        for name, value in (parameters or {}).items()
    }
    if is_traced((m, q)):
        dtype = jnp.result_type(*(array for array in (m, q) if is_traced(array)))
        m, q = jnp.asarray(m, dtype), jnp.asarray(q, dtype)
        return Overlaps(m, (q - _gram(m))[..., None, :, :], given)
    if not np.allclose(q, np.swapaxes(q, -1, -2), rtol=1e-6, atol=1e-9):
        raise reject("norms", "be symmetric", q.tolist())
    rest = q - _gram(m)
    lowest = np.linalg.eigvalsh(rest).min(axis=-1)
    size = np.maximum(np.trace(q, axis1=-2, axis2=-1), 1e-300)
    if np.any(lowest < -1e-6 * size):
        raise reject("norms", "exceed signal signal^T (Q - M M^T >= 0)", f"{lowest.min():.3g}")
    return Overlaps(m, rest[..., None, :, :], given)


def _gram(rows: Any) -> Any:
    """Products of rows, shape (..., K, K), of an array of NumPy or JAX."""
    if isinstance(rows, jax.Array):  # a matrix product, see `overlaps_of`
        across = jnp.swapaxes(rows, -1, -2)
        return jnp.matmul(rows, across, precision=jax.lax.Precision.HIGHEST)
    return rows @ np.swapaxes(rows, -1, -2)


def from_weights(
    weights: ArrayLike,
    directions: ArrayLike,
    parameters: dict[str, ArrayLike] | None = None,
) -> Overlaps:
    """Order parameters of weights W, shape (..., K, N), and directions E, shape (r, N).

    Raises:
        ValueError: on shapes that do not fit, or rows of `directions` that are not orthonormal.
    """
    w = checked_if_concrete("weights", weights)
    e = checked_if_concrete("directions", directions, ndim=2)
    if w.ndim < 2 or w.shape[-1] != e.shape[1]:
        raise reject("weights", f"have shape (..., K, {e.shape[1]})", f"shape {w.shape}")
    if not is_traced(e):
        error = float(np.max(np.abs(_gram(e) - np.eye(e.shape[0])), initial=0.0))
        if error > 1e-5:
            raise reject("directions", "have orthonormal rows", f"E E^T - 1 of size {error:.2g}")
    if is_traced((w, e)):
        dtype = jnp.result_type(*(array for array in (w, e) if is_traced(array)))
        w, e = jnp.asarray(w, dtype), jnp.asarray(e, dtype)
        signal = jnp.matmul(w, e.T, precision=jax.lax.Precision.HIGHEST)
    else:
        signal = w @ e.T
    return order_parameters(signal, _gram(w), parameters)


def has_bare_rows(overlaps: Overlaps) -> bool:
    """Whether some row has no component outside the signal directions, R_kk = 0."""
    gram = np.asarray(overlaps.blocks).sum(axis=-3)
    return bool(np.any(np.einsum("...kk->...k", gram) <= 0))


def checked_overlaps(
    problem: Problem, overlaps: Overlaps, blocks: int, *, moving: bool = True
) -> Overlaps:
    """Order parameters that every level accepts: float64, complete, with R_b >= 0.

    Eigenvalues of R_b that rounding made negative become zero: with more neurons than noise
    dimensions R_b is singular, and float32 leaves it indefinite. Of traced arrays only the shapes
    are checked, and they keep their type.

    Args:
        problem: fixes the shapes, and the parameters that `overlaps` leaves out.
        overlaps: order parameters with any leading axes, those of a parameter alone included.
        blocks: number of noise blocks.
        moving: whether updates go on from here, which keep rows of norm one unless plain.

    Returns:
        Arrays of shape (..., K, r), (..., blocks, K, K) and, for a parameter, (..., *shape), with
        common leading axes.

    Raises:
        ValueError: on shapes that do not fit, unknown parameters, numbers that are not finite,
            R_b with negative eigenvalues, or rows that must have norm one or be orthonormal.
    """
    neurons, r = problem.learner.neurons, problem.inputs.directions
    shapes = {"signal": (neurons, r), "blocks": (max(blocks, 1), neurons, neurons)}
    arrays = {n: checked_if_concrete(f"start.{n}", getattr(overlaps, n)) for n in shapes}
    initial = jax.eval_shape(lambda: problem.initial_parameters(jnp.float32))
    if not set(overlaps.parameters) <= set(initial):
        known = f"name some of {sorted(initial)}"
        raise reject("start.parameters", known, sorted(overlaps.parameters))
    for name, start in problem.learner.parameters().items():
        value = overlaps.parameters.get(name, start)
        arrays[name] = checked_if_concrete(f"start.parameters[{name!r}]", value)
        shapes[name] = initial[name].shape
    leads = []
    for name, array in arrays.items():
        inner = len(shapes[name])
        if array.shape[array.ndim - inner :] != shapes[name]:
            given = name if name in ("signal", "blocks") else f"parameters[{name!r}]"
            raise reject(f"start.{given}", f"have shape (..., *{shapes[name]})", array.shape)
        leads.append(array.shape[: array.ndim - inner])
    try:
        lead = np.broadcast_shapes(*leads)
    except ValueError as error:
        raise reject("start", "have common leading axes", leads) from error
    for name, array in arrays.items():
        stretch = jnp.broadcast_to if is_traced(array) else np.broadcast_to
        arrays[name] = stretch(array, (*lead, *shapes[name]))
    signal, gram = arrays.pop("signal"), arrays.pop("blocks")
    if moving and problem.update != "plain" and not is_traced((signal, gram)):
        norms = _gram(signal) + gram.sum(axis=-3)
        square = np.einsum("...kk->...k", norms)
        if np.max(np.abs(square - 1)) > 1e-4:
            demand = f"have rows of norm one for {problem.update} updates"
            raise reject(
                "start", demand, f"squared norms {square.reshape(-1, neurons)[0].tolist()}"
            )
        if problem.update == "orthogonal" and np.max(np.abs(norms - np.eye(neurons))) > 1e-4:
            shown = norms.reshape(-1, neurons, neurons)[0].tolist()
            raise reject("start", "have orthonormal rows for orthogonal updates", f"Q = {shown}")
    if is_traced((signal, gram)):
        return Overlaps(signal, gram, arrays)
    return Overlaps(signal, semidefinite(gram, np.sum(signal**2, axis=-1)), arrays)


def semidefinite(blocks: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """R_b without the negative eigenvalues that rounding left.

    Rounding is measured against the norms of the rows: R_b may be what Q - M M^T leaves of them.

    Args:
        blocks: R_b, shape (..., blocks, K, K).
        along: squared norms of the rows of M, shape (..., K).

    Raises:
        ValueError: if they are no rounding.
    """
    values, vectors = np.linalg.eigh(blocks)
    size = np.maximum(values[..., -1:].max(axis=-2, initial=0.0, keepdims=True), 1e-300)
    size = size + np.max(along, axis=-1, initial=0.0)[..., None, None]
    if np.any(values < -ROUNDING * size):
        raise reject("start.blocks", "be positive semidefinite", f"eigenvalue {values.min():.3g}")
    if np.all(values >= 0):
        return blocks
    positive = (vectors * np.maximum(values, 0)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return np.where(np.any(values < 0, axis=-1)[..., None, None], positive, blocks)
