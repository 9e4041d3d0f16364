"""Many updates of a replica in one kernel that keeps its weights and random numbers in registers.

At the ambient level a loop of compiled updates reads and writes all weights, and writes and reads
all random numbers, at every update. A kernel of one replica reads its weights once for many
updates, draws the noise where it is used, and writes nothing but the weights at its end. It does
the arithmetic of the update that every level uses, evaluated entry by entry (`entrywise`), with the
same random numbers.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from learning_dynamics import random
from learning_dynamics.process.draws import Draw
from learning_dynamics.process.entries import (
    NARROW,
    Array,
    UnsupportedError,
    Wide,
    arranged,
    entries_of,
    is_narrow,
    pieces,
    spread,
)
from learning_dynamics.process.entrywise import evaluate
from learning_dynamics.process.layout import Layout

__all__ = ["Registers", "advance_in_registers", "kernels_allowed", "kernels_run"]
__all__ += ["registers_of"]

Tree = Any
HELD = 80  # numbers that a thread holds besides those in work: more spill out of its registers
THREADS = 32, 512  # of a replica: a warp, and as many as can have 128 registers each
MOST_PIECES = 64  # of weights and noise: the kernel is compiled for each
PIECES = 6  # most pieces of a long axis, more than half as many: compilation grows with them


class Registers(NamedTuple):
    """How a replica is laid out in the registers of a kernel.

    Attributes:
        lanes: numbers in a piece of a long axis, a power of two.
        warps: groups of 32 threads.
    """

    lanes: int
    warps: int


def registers_of(layout: Layout) -> Registers | None:
    """Layout in registers of weights and of the noise of two updates; None if there is no room."""
    if layout.level != "ambient" or not layout.sizes or any(layout.reduced):
        return None
    if min(layout.sizes) <= NARROW:
        return None
    rows = layout.columns + 2 * layout.vectors
    blocks = [*zip(layout.sizes, layout.counts, strict=True)]
    held = rows * sum(n * c for n, c in blocks)
    threads = max(_power_of_two(held / HELD), THREADS[0])
    if threads > THREADS[1]:
        return None
    lanes = max(_power_of_two(max(layout.sizes) / PIECES), threads)
    if rows * sum(pieces(n, lanes) * c for n, c in blocks) > MOST_PIECES:
        return None
    return Registers(lanes, threads // 32)


def _power_of_two(number: float) -> int:
    """The least power of two that is not below a number."""
    return 1 << max(int(np.ceil(np.log2(number))), 0)


def advance_in_registers(
    step: Callable[[Tree, Draw, jax.Array], Tree],
    particles: Tree,
    inputs: Draw,
    words: list[jax.Array],
    bounds: tuple[jax.Array, ...],
    layout: Layout,
    registers: Registers,
    running: Callable[[Tree], jax.Array] | None = None,
    interpret: bool = False,
) -> Tree:
    """Particles after update number `target`, from those after update number `now`.

    Args:
        step: one update of one particle, given its inputs and its number.
        particles: leading axis replicas.
        inputs: of the updates from number `first` on, without noise, in the order of
            `random.row_numbers`; leading axes (replicas, updates).
        words: those of the key of the noise of each group of blocks, uint32, shape (replicas, 2).
        bounds: int32 scalars `first`, `now` and `target`, the first of them even.
        layout: of the run.
        registers: as in `registers_of`.
        running: of one particle, whether it is to be advanced at all.
        interpret: whether to run without a kernel, slowly, on any device.

    Raises:
        UnsupportedError: if the update holds an operation that a kernel does not do.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    lanes, vectors = registers.lanes, layout.vectors
    count, updates = inputs.signal.shape[:2]
    single = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), particles)
    row = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[2:], a.dtype), inputs)
    dtype = inputs.signal.dtype
    blocks = [*zip(layout.counts, layout.sizes, strict=True)]
    noise = tuple(jax.ShapeDtypeStruct((c, vectors, n), dtype) for c, n in blocks)
    rest = tuple(jax.ShapeDtypeStruct((c, 0, 0), dtype) for c, _ in blocks)
    number = jax.ShapeDtypeStruct((), np.int32)
    closed = jax.make_jaxpr(step)(single, row._replace(noise=noise, rest=rest), number)
    constants = [jnp.asarray(constant) for constant in closed.consts]
    shapes = jax.tree.leaves(single)
    # what is loaded and stored: bits as numbers, long axes filled up with zeros
    stored = [_stored(leaf, lanes) for leaf in jax.tree.leaves(particles)]
    loaded = [_stored(leaf, lanes, 2) for leaf in jax.tree.leaves(inputs)]
    fixed = [_stored(constant, lanes, 0) for constant in constants]

    def kernel(*references: Any) -> None:
        replica = pl.program_id(0)
        cuts = np.cumsum([1, len(words), len(fixed), len(loaded), len(stored)])
        (numbers,), key_at, fixed_at, loaded_at, states, results = (
            references[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)
        )
        first, now, target = (numbers[i] for i in range(3))
        known = [
            _load(reference, c, (), lanes) for reference, c in zip(fixed_at, constants, strict=True)
        ]
        particle = [
            _load(at, leaf, (replica,), lanes) for at, leaf in zip(states, shapes, strict=True)
        ]
        none = [entries_of(empty.shape, lambda index: None) for empty in rest]
        if running is not None:
            test = jax.make_jaxpr(running)(single)
            (going,) = evaluate(test.jaxpr, [], [*particle], lanes)
            assert not isinstance(going, Wide)
            target = jnp.where(going[()], target, now)

        def pair(index: Any, carry: list[Any]) -> list[Any]:
            drawn = [
                _noise(key_at[i], replica, (first >> 1) + index, c, vectors, n, lanes)
                for i, (c, n) in enumerate(blocks)
            ]
            for odd in range(2):
                now_at = index + odd * (updates // 2)
                small = [
                    _load(at, leaf, (replica, now_at), lanes)
                    for at, leaf in zip(loaded_at, jax.tree.leaves(row), strict=True)
                ]
                update = first + 2 * index + odd
                before = _gathered(carry, particle)
                arguments = [*before, *small, *(both[odd] for both in drawn), *none]
                after = evaluate(closed.jaxpr, known, [*arguments, _single(update)], lanes)
                inside = (now <= update) & (update < target)
                carry = [
                    jnp.where(inside, a, b)
                    for a, b in zip(_scattered(after), _scattered(before), strict=True)
                ]
            return carry

        begin, end = (now - first) >> 1, (target - first + 1) >> 1
        carry = lax.fori_loop(begin, end, pair, _scattered(particle))
        for at, array in zip(results, _gathered(carry, particle), strict=True):
            _store(at, array, replica)

    operands = [jnp.stack(bounds), *words, *fixed, *loaded, *stored]
    begin = len(operands) - len(stored)
    moved = pl.pallas_call(
        kernel,
        out_shape=[jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in stored],
        grid=(count,),
        input_output_aliases={begin + i: i for i in range(len(stored))},
        compiler_params=None if interpret else triton.CompilerParams(
            num_warps=registers.warps, num_stages=1
        ),
        interpret=interpret,
        name="updates",
    )(*operands)  # fmt: skip
    leaves = [
        leaf[..., : like.shape[-1]].astype(like.dtype) if like.shape else leaf.astype(like.dtype)
        for leaf, like in zip(moved, jax.tree.leaves(particles), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(particles), leaves)


def _stored(leaf: jax.Array, lanes: int, lead: int = 1) -> jax.Array:
    """An array as a kernel reads it: bits as numbers, a long axis filled up with zeros."""
    if leaf.dtype == np.bool_:
        leaf = leaf.astype(np.int32)
    if is_narrow(leaf.shape[lead:]):
        return leaf
    if leaf.shape[-1] <= NARROW:
        raise UnsupportedError(f"an array of shape {leaf.shape[lead:]}")
    more = pieces(leaf.shape[-1], lanes) * lanes - leaf.shape[-1]
    return jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, more)])


def _load(reference: Any, like: Any, at: tuple[Any, ...], lanes: int) -> Array:
    """The array at a place of a reference, by entries or pieces."""

    def entry(index: tuple[int, ...]) -> Any:
        value = reference[(*at, *index)]
        return value != 0 if like.dtype == np.bool_ else value

    if is_narrow(like.shape):
        return entries_of(like.shape, entry)
    length = like.shape[-1]

    def piece(index: tuple[int, ...]) -> Any:
        *lead, number = index
        return reference[(*at, *lead, slice(number * lanes, (number + 1) * lanes))]

    return Wide(entries_of((*like.shape[:-1], pieces(length, lanes)), piece), length, lanes)


def _store(reference: Any, array: Array, replica: Any) -> None:
    if not isinstance(array, Wide):
        for index in np.ndindex(*array.shape):
            value = array[index]
            reference[(replica, *index)] = value.astype(reference.dtype)
        return
    for *lead, number in np.ndindex(*array.parts.shape):
        place = slice(number * array.lanes, (number + 1) * array.lanes)
        reference[(replica, *lead, place)] = array.parts[(*lead, number)]


def _single(value: Any) -> Array:
    return entries_of((), lambda index: value)


def _scattered(arrays: list[Array]) -> list[Any]:
    """All entries and pieces, constant pieces written out."""
    parts = []
    for array in arrays:
        if isinstance(array, Wide):
            parts += [spread(part, array.lanes) for part in array.parts.ravel().tolist()]
        else:
            parts += array.ravel().tolist()
    return parts


def _gathered(parts: list[Any], like: list[Array]) -> list[Array]:
    arrays: list[Array] = []
    taken = 0
    for array in like:
        own = array.parts if isinstance(array, Wide) else array
        mine = arranged(parts[taken : taken + own.size], own.shape)
        arrays.append(Wide(mine, array.length, array.lanes) if isinstance(array, Wide) else mine)
        taken += own.size
    return arrays


def _noise(
    key: Any, replica: Any, row: Any, count: int, vectors: int, length: int, lanes: int
) -> tuple[Wide, Wide]:
    """Noise of two updates, those of `random.normal(key, (updates, count, vectors, length))`."""
    words = key[replica, 0], key[replica, 1]
    high = row.astype(np.uint32) + np.uint32(random.OWN_COUNTERS)
    lane = lax.broadcasted_iota(np.uint32, (lanes,), 0)
    both = []
    for block, vector, number in np.ndindex(count, vectors, pieces(length, lanes)):
        begin = number * lanes
        low = lane + np.uint32((block * vectors + vector) * length + begin)
        pair = random.normal_pair(*random.threefry2x32(words, (high, low)))
        if begin + lanes > length:
            inside = lane < np.uint32(length - begin)
            x, y = (jnp.where(inside, z, jnp.zeros_like(z)) for z in pair)
            pair = x, y
        both.append(pair)
    shape = count, vectors, pieces(length, lanes)
    first, second = (arranged([pair[i] for pair in both], shape) for i in (0, 1))
    return Wide(first, length, lanes), Wide(second, length, lanes)


@contextmanager
def kernels_allowed() -> Iterator[None]:
    """Compile kernels without the warning that versions of JAX to come may have none.

    Runs do without them then.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The Pallas Triton backend", DeprecationWarning)
        yield


@cache
def kernels_run(device: jax.Device) -> bool:
    """Whether a device runs kernels of Pallas through Triton; tried once."""
    if device.platform != "gpu":
        return False
    try:
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import triton

        def sums(numbers: Any, result: Any) -> None:
            result[...] = numbers[...] + jnp.sum(numbers[...])

        ones = jax.device_put(np.ones(32, np.float32), device)
        call = pl.pallas_call(
            sums, out_shape=jax.ShapeDtypeStruct(ones.shape, ones.dtype),
            compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
        )  # fmt: skip
        with kernels_allowed():
            return bool(np.all(np.asarray(jax.jit(call)(ones)) == 33))
    except Exception:  # whatever it is, runs do without
        return False
