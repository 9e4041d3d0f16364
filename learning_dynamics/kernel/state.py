"""States: order parameters for the user, weights or noise factors for the machine."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics.validation import finite_array, real_array, reject

__all__ = ["Overlaps", "State", "from_weights", "order_parameters", "overlaps_of"]


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

    @property
    def norms(self) -> Any:
        """Q = W W^T = M M^T + sum_b R_b, shape (..., K, K)."""
        signal = self.signal
        outer = (signal[..., :, None, :] * signal[..., None, :, :]).sum(axis=-1)
        return outer + self.blocks.sum(axis=-3)


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
    # wrong in float32 from seven rows on
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

    Raises:
        ValueError: on shapes that do not fit, or if Q - M M^T is not positive semidefinite.
    """
    m, q = finite_array("signal", signal), finite_array("norms", norms)
    if m.ndim < 2:
        raise reject("signal", "have shape (..., K, r)", f"shape {m.shape}")
    if q.shape != (*m.shape[:-1], m.shape[-2]):
        raise reject("norms", f"have shape {(*m.shape[:-1], m.shape[-2])}", f"shape {q.shape}")
    if not np.allclose(q, np.swapaxes(q, -1, -2), rtol=1e-6, atol=1e-9):
        raise reject("norms", "be symmetric", q.tolist())
    rest = q - m @ np.swapaxes(m, -1, -2)
    lowest = np.linalg.eigvalsh(rest).min(axis=-1)
    size = np.maximum(np.trace(q, axis1=-2, axis2=-1), 1e-300)
    if np.any(lowest < -1e-6 * size):
        raise reject("norms", "exceed signal signal^T (Q - M M^T >= 0)", f"{lowest.min():.3g}")
    given = {
        name: real_array(f"parameters[{name!r}]", value)
        for name, value in (parameters or {}).items()
    }
    return Overlaps(m, rest[..., None, :, :], given)


def from_weights(
    weights: ArrayLike,
    directions: ArrayLike,
    parameters: dict[str, ArrayLike] | None = None,
) -> Overlaps:
    """Order parameters of weights W, shape (..., K, N), and directions E, shape (r, N).

    Raises:
        ValueError: on shapes that do not fit, or rows of `directions` that are not orthonormal.
    """
    w, e = finite_array("weights", weights), finite_array("directions", directions, ndim=2)
    if w.ndim < 2 or w.shape[-1] != e.shape[1]:
        raise reject("weights", f"have shape (..., K, {e.shape[1]})", f"shape {w.shape}")
    error = float(np.max(np.abs(e @ e.T - np.eye(e.shape[0])), initial=0.0))
    if error > 1e-5:
        raise reject("directions", "have orthonormal rows", f"E E^T - 1 of size {error:.2g}")
    return order_parameters(w @ e.T, w @ np.swapaxes(w, -1, -2), parameters)
