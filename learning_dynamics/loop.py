"""The compiled training loop: nested scans, one observation per requested step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from learning_dynamics import random
from learning_dynamics.validation import integers, reject

__all__ = ["advance_chunks", "observation_gaps", "observed_chunks", "observed_scan"]
__all__ += ["scheduled_chunks"]

State = TypeVar("State")
MOST_STEPS = np.iinfo(np.int32).max  # steps are counted in int32


def observation_gaps(steps: ArrayLike) -> np.ndarray:
    """Number of updates before each observation, from increasing step numbers.

    Raises:
        ValueError: if `steps` is empty, negative, not strictly increasing or beyond int32.
    """
    array = integers("steps", steps, least=0)
    if array.ndim != 1 or array.size == 0:
        raise reject("steps", "be a list of step numbers", f"shape {array.shape}")
    gaps = np.diff(array, prepend=0)
    if np.any(gaps[1:] <= 0):
        raise reject("steps", "increase strictly", f"{array.tolist()}")
    if array[-1] > MOST_STEPS:
        raise reject("steps", f"not exceed {MOST_STEPS}", array[-1])
    return gaps.astype(np.int32)


def observed_scan(
    update: Callable[[State, jax.Array, jax.Array], State],
    observe: Callable[[State], Any],
    state: State,
    key: jax.Array,
    gaps: jax.Array,
    start: jax.Array,
) -> tuple[State, Any]:
    """Apply `update(state, key, step)` and observe after each gap; use inside `jax.jit`.

    The update with number j (counted from `start`) receives `fold_in(key, j)`, so that a run cut
    in two and continued from (state, start) is the same run.

    Args:
        update: one step of training.
        observe: what to record; it must not depend on the number of observations.
        state: pytree of arrays.
        key: typed random key of the run.
        gaps: int32, shape (observations,), from `observation_gaps`.
        start: int32 scalar, number of updates already made.

    Returns:
        Final state, and observations stacked along a leading axis.
    """

    def advance(step: jax.Array, state: State) -> State:
        return update(state, random.fold_in(key, step), step)

    def segment(carry: tuple[State, jax.Array], gap: jax.Array) -> tuple[Any, Any]:
        state, done = carry
        state = lax.fori_loop(done, done + gap, advance, state)
        return (state, done + gap), observe(state)

    (state, _), seen = lax.scan(segment, (state, start), gaps)
    return state, seen


def observed_chunks(
    draw: Callable[[jax.Array], Any],
    update: Callable[[State, Any, jax.Array], State],
    observe: Callable[[State], Any],
    state: State,
    targets: jax.Array,
    start: jax.Array,
    chunk: int,
    unrolled: bool = False,
    whole: Callable[[State, jax.Array, jax.Array, jax.Array], State] | None = None,
) -> tuple[State, Any]:
    """Like `observed_scan`, with the random inputs of `chunk` updates drawn at a time.

    Args:
        draw: inputs of the updates first + `random.row_numbers(chunk)`, counted from zero, a
            pytree with leading axis `chunk`; `first` is even. Those of an update must depend on
            its number alone.
        update: one step of training, given one row of the chunk and the number of the update.
        observe: what to record.
        state: pytree of arrays.
        targets: int32, shape (observations,), not decreasing: updates made at each observation.
        start: int32 scalar, number of updates already made.
        chunk: updates per draw, even.
        unrolled: as in `advance_chunks`.
        whole: as in `advance_chunks`.

    Returns:
        Final state, and observations stacked along a leading axis.
    """

    def observation(carry: tuple[State, jax.Array], target: jax.Array) -> tuple[Any, Any]:
        state, now = carry
        state = advance_chunks(draw, update, state, now, target, chunk, None, unrolled, whole)
        return (state, jnp.maximum(now, target)), observe(state)

    (state, _), seen = lax.scan(observation, (state, start), targets)
    return state, seen


def advance_chunks(
    draw: Callable[[jax.Array], Any],
    update: Callable[[State, Any, jax.Array], State],
    state: State,
    now: jax.Array,
    target: jax.Array,
    chunk: int,
    running: Callable[[State], jax.Array] | None = None,
    unrolled: bool = False,
    whole: Callable[[State, jax.Array, jax.Array, jax.Array], State] | None = None,
) -> State:
    """State after update number `target`, from the one after update number `now`.

    Args:
        draw: inputs of `chunk` updates, as in `observed_chunks`.
        update: one step of training, given one row of the chunk and the number of the update.
        state: pytree of arrays.
        now: int32 scalar, number of updates already made.
        target: int32 scalar, number of updates wanted.
        chunk: updates per draw.
        running: whether anything is left to do (boolean scalar), asked before each chunk; all
            else is skipped if not.
        unrolled: whether the updates of a chunk follow each other without a loop, for devices that
            wait for the host at every turn of one; those before `now` and beyond `target` are made
            in vain.
        whole: all updates of a chunk at once, (state, first, now, target) -> state after update
            number `target`, at most first + chunk, in place of `draw` and `update`.
    """

    def unfinished(carry: tuple[State, jax.Array]) -> jax.Array:
        more = carry[1] < target
        return more if running is None else more & running(carry[0])

    def advance(carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        state, now = carry
        first = now // chunk * chunk
        rows = draw(first)
        end = jnp.minimum(target, first + chunk)

        def one(step: jax.Array, state: State) -> State:
            row = random.row_place(step - first, chunk)
            return update(state, jax.tree.map(lambda a: a[row], rows), step)

        return lax.fori_loop(now, end, one, state), end

    def advance_at_once(carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        state, now = carry
        first = now // 2 * 2
        rows = draw(first)
        for number in range(chunk):
            row = random.row_place(number, chunk)
            step = first + number
            after = update(state, jax.tree.map(lambda a, row=row: a[row], rows), step)
            inside = (now <= step) & (step < target)
            state = jax.tree.map(partial(jnp.where, inside), after, state)
        return state, jnp.minimum(target, first + chunk)

    def advance_whole(carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        assert whole is not None
        state, now = carry
        first = now // 2 * 2
        end = jnp.minimum(target, first + chunk)
        return whole(state, first, now, end), end

    body = advance if not unrolled else advance_at_once
    body = body if whole is None else advance_whole
    state, _ = lax.while_loop(unfinished, body, (state, now))
    return state


def schedule(targets: np.ndarray, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of a run, cut where a chunk ends or something is observed.

    Args:
        targets: positive, increasing update numbers of the observations.
        chunk: updates per draw.

    Returns:
        Number of the chunk, first row and row after the last one, int32, shape (pieces, 3); and the
        piece that ends with each observation, shape (observations,).
    """
    whole = np.arange(1, (targets[-1] - 1) // chunk + 1) * chunk if targets.size else targets
    ends = np.union1d(whole, targets)
    starts = np.concatenate([[0], ends[:-1]])[: ends.size]
    index = starts // chunk
    pieces = np.stack([index, starts - index * chunk, ends - index * chunk], axis=-1)
    return pieces.astype(np.int32), np.searchsorted(ends, targets)


def scheduled_chunks(
    draw: Callable[[jax.Array], Any],
    update: Callable[[State, Any, jax.Array], State],
    observe: Callable[[State], Any],
    state: State,
    targets: np.ndarray,
    chunk: int,
    running: Callable[[State], jax.Array] | None = None,
) -> tuple[State, Any]:
    """Like `observed_chunks` from the first update on, with known targets: differentiable.

    One scan over the pieces between ends of chunks and observations; no loop has a bound that only
    the running program knows, so that reverse mode passes too. It keeps the state before each piece
    and computes what happened within it anew.

    Args:
        draw: inputs of `chunk` updates, as in `observed_chunks`.
        update: one step of training, given one row of the chunk and the number of the update.
        observe: what to record; it is evaluated at the end of every piece.
        state: pytree of arrays.
        targets: shape (observations,), increasing update numbers of the observations, on the host.
        chunk: updates per draw.
        running: whether anything is left to do (boolean scalar), asked before each piece.

    Returns:
        Final state, and observations stacked along a leading axis.
    """
    pieces, ending = schedule(targets[targets > 0], chunk)

    def rows_of(state: State, piece: jax.Array) -> State:
        index, first, end = piece

        def one(state: State, numbered: tuple[jax.Array, Any]) -> tuple[State, None]:
            number, row = numbered
            inside = (number >= first) & (number < end)
            step = index * chunk + number
            return lax.cond(inside, update, lambda state, row, step: state, state, row, step), None

        numbers: Any = np.arange(chunk, dtype=np.int32)
        rows = jax.tree.map(lambda a: a[random.row_place(numbers, chunk)], draw(index * chunk))
        return lax.scan(one, state, (numbers, rows))[0]

    def advance(state: State, piece: jax.Array) -> tuple[State, Any]:
        if running is None:
            state = rows_of(state, piece)
        else:
            state = lax.cond(running(state), rows_of, lambda state, piece: state, state, piece)
        return state, observe(state)

    advance = jax.checkpoint(advance, prevent_cse=False)  # a scan keeps its turns apart
    start = observe(state)
    state, seen = lax.scan(advance, state, jnp.asarray(pieces))
    seen = jax.tree.map(lambda a: a[ending], seen)
    if targets[0] == 0:
        seen = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, seen)
    return state, seen
