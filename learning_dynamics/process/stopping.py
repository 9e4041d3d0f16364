"""Stop conditions: the first update after which a quantity stays above a threshold."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.model.overlaps import Overlaps, State, overlaps_of
from learning_dynamics.pytrees import checked_if_concrete, configuration, is_traced, static
from learning_dynamics.validation import positive_integer, reject

__all__ = ["Stop", "Watch", "start_watch", "watch"]


@configuration
class Stop:
    """Stop a replica once `quantity` >= `threshold` at `sustained` consecutive updates.

    `Trajectory.stopped` is the number of the first of these updates (weak recovery, say), counted
    from 1 at the start of the run: over N it is a time tau, times the batch a number of samples.
    The replica is frozen from the last of them on. One update is enough by default; a step size
    that is not small calls for more, since diffusion alone can carry an overlap across a threshold.

    Attributes:
        quantity: scalar function of `Overlaps`.
        threshold: value to reach, a scalar; it may be traced.
        sustained: number of consecutive updates, a positive scalar; it may be traced.

    Raises:
        ValueError: if the threshold is no finite number or `sustained` no positive whole one.
    """

    quantity: Callable[[Overlaps], jax.Array] = static()
    threshold: float
    sustained: int = 1

    def __post_init__(self) -> None:
        threshold = checked_if_concrete("threshold", self.threshold, ndim=0)
        if not is_traced(threshold):  # whatever its type was: one program, one checkpoint
            object.__setattr__(self, "threshold", float(threshold))
        object.__setattr__(self, "sustained", _whole(self.sustained))
        if not callable(self.quantity):
            raise reject("quantity", "be a function of Overlaps", repr(self.quantity))


def _whole(sustained: Any) -> Any:
    """A number of updates; a traced one has no value yet, and must have the right type.

    Raises:
        ValueError: if it is no whole number.
    """
    if not is_traced(sustained):
        count = positive_integer("sustained", sustained)
        if count >= 2**31:
            raise reject("sustained", "be below the 2^31 updates of a run", count)
        return count
    if sustained.shape or not jnp.issubdtype(sustained.dtype, jnp.integer):
        got = f"{sustained.dtype} of shape {sustained.shape}"
        raise reject("sustained", "be a single whole number", got)
    return sustained


class Watch(NamedTuple):
    """State of a stop condition for one replica.

    Attributes:
        updates: updates made until it stopped, int32 scalar.
        above: consecutive updates with the quantity above the threshold, int32 scalar.
        stopped: update at which the crossing began, -1 while there is none, -2 if the quantity
            became NaN or infinite, int32 scalar.
    """

    updates: jax.Array
    above: jax.Array
    stopped: jax.Array


def start_watch(replicas: int) -> Watch:
    """Fresh memory for all replicas."""
    zeros = jnp.asarray(np.zeros(replicas, np.int32))
    return Watch(zeros, zeros, zeros - 1)


def watch(stop: Stop, seen: Watch, state: State) -> Watch:
    """Account for one more update; nothing changes once stopped."""
    quantity = stop.quantity(overlaps_of(state))
    going = seen.stopped == -1
    updates = jnp.where(going, seen.updates + 1, seen.updates)
    sustained = jnp.asarray(stop.sustained, jnp.int32)
    above = jnp.where(quantity >= jnp.asarray(stop.threshold, quantity.dtype), seen.above + 1, 0)
    crossed = going & (above >= sustained)
    stopped = jnp.where(crossed, updates - sustained + 1, seen.stopped)
    stopped = jnp.where(going & ~jnp.isfinite(quantity), -2, stopped)
    return Watch(updates, jnp.where(going, above, seen.above), stopped)


def check_stop(stop: Any, sample: Overlaps) -> None:
    """Check the type of a stop condition and the shape of its quantity.

    Raises:
        ValueError: if it is no `Stop`, its numbers are a batch, or its quantity no floating-point
            scalar.
    """
    if not isinstance(stop, Stop):
        raise reject("stop", "be a Stop", repr(stop))
    for name in ("threshold", "sustained"):  # JAX rebuilds a batch without a check
        if shape := np.shape(getattr(stop, name)):
            raise reject(f"stop.{name}", "be a single number", f"shape {shape}")
    shape = jax.eval_shape(stop.quantity, sample)
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise reject("stop.quantity", "return a floating-point scalar", shape)
