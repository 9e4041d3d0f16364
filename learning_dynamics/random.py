"""Random numbers for inner loops: the cipher of `jax.random`, both words of a block used.

`jax.random` enciphers one block of two words for every 32 bits it returns and keeps their
exclusive or; on a CPU it also rolls the rounds into a loop. Here the rounds of Threefry-2x32
(Salmon et al. 2011) are unrolled and both words of a block are used. The high word of the counter
is at least 2^31, where neither `jax.random` nor `fold_in` and `split` ever count, so that a key
gives other numbers here than there.

The words, and the order in which they are used, are the same on every machine, for one key or a
batch of keys; the last digits of what is made of them depend on the machine's arithmetic.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray
from scipy import special

from learning_dynamics.validation import integers, reject

__all__ = ["check_key", "fold_in", "normal", "normal_pair", "rademacher", "row_numbers"]
__all__ += ["row_place", "streams", "threefry2x32", "threefry_key", "uniform"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
OWN_COUNTERS = 2**31  # high word of the first of our counters
SECOND_BLOCKS = 2**31  # low word of the first second block of a row
SCANNED = 4096  # numbers from which pairs are drawn by a loop of two turns

# Minimax polynomials for float32: sin(pi s / 2) / s and cos(pi s / 2) in s^2, log(1 + f) / f in f.
SINE = np.array([1.5707963185, -0.64596371063, 0.079689679011, -0.0046737666552, 1.5148513254e-4])
COSINE = np.array(
    [1.0, -1.2337005343, 0.25366932278, -0.020862688396, 9.1772484480e-4, -2.3824918600e-5]
)
LOGARITHM = np.array(
    [
        *(1.0000000036, -0.4999993212, 0.333331687, -0.2500802772, 0.2001194475),
        *(-0.1641278121, 0.139876437, -0.1540325731, 0.1405615278),
    ]
)
# Series for float64: the same sine and cosine; log m = 2 artanh(t) / t in t^2, t = (m - 1)/(m + 1).
_SERIES = (np.pi / 2) ** np.arange(24) / special.factorial(np.arange(24))
LONG_SINE, LONG_COSINE = (_SERIES[first::2] * (-1.0) ** np.arange(12) for first in (1, 0))
LONG_LOGARITHM = 2 / (2 * np.arange(12) + 1.0)

Pair = tuple[jax.Array, jax.Array]
Words = TypeVar("Words", jax.Array, NDArray[np.uint32])


def check_key(key: Any) -> None:
    """Check the kind of a key.

    Raises:
        ValueError: if `key` is not one typed key.
    """
    array = isinstance(key, jax.Array)
    if not array or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        got = f"an array of {key.dtype} and shape {key.shape}" if array else type(key).__name__
        raise reject("key", "be a typed key from jax.random.key", got)
    if key.shape != ():
        raise reject("key", "be a single key", f"shape {key.shape}")


def threefry_key(key: jax.Array) -> jax.Array:
    """The threefry key made of all words of a key, and that key itself if it is one.

    Under `jax.vmap` the numbers of other generators, such as rbg, depend on the whole batch of
    keys: a replica would depend on its company.

    Raises:
        ValueError: if `key` is no single typed key.
    """
    check_key(key)
    if str(jax.random.key_impl(key)) == "threefry2x32":
        return key
    words = jax.random.key_data(key).astype(np.uint32).ravel()
    made = jax.random.wrap_key_data(words[:2], impl="threefry2x32")
    for word in words[2:]:
        made = jax.random.fold_in(made, word)
    return made


def threefry2x32(key: tuple[Words, Words], counter: tuple[Words, Words]) -> tuple[Words, Words]:
    """Encipher blocks of two 32-bit words: Threefry-2x32 with 20 rounds.

    Words are unsigned integers of JAX, or of NumPy in arrays of rank one and more.

    Args:
        key: two words.
        counter: two words, arrays of the shape of the result.
    """
    parity = np.uint32(0x1BD11BDA)
    schedule = (key[0], key[1], key[0] ^ key[1] ^ parity)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for turn in range(5):
        for distance in ROTATIONS[turn % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(distance)) | (y >> np.uint32(32 - distance)))
        x = x + schedule[(turn + 1) % 3]
        y = y + schedule[(turn + 2) % 3] + np.uint32(turn + 1)
    return x, y


def fold_in(key: jax.Array, number: Any) -> jax.Array:
    """The key `jax.random.fold_in(key, number)`, by the unrolled cipher.

    Args:
        key: typed random key.
        number: non-negative scalar below 2^31, or unsigned.

    Raises:
        ValueError: if `key` is no single typed key.
    """
    check_key(key)
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return jax.random.fold_in(key, number)
    low = jnp.asarray(number % 2**32 if isinstance(number, int) else number, np.uint32)
    return jax.random.wrap_key_data(_blocks(jax.random.key_data(key), low), impl="threefry2x32")


def streams(key: jax.Array, numbers: Sequence[int]) -> list[jax.Array]:
    """Keys `fold_in(key, number)` of several numbers, made together: the cipher compiles once.

    Raises:
        ValueError: as `fold_in`, or unless the numbers are whole and below 2^32.
    """
    check_key(key)
    whole = integers("numbers", numbers, least=0).ravel()
    if np.any(whole >= 2**32):
        raise reject("numbers", "be below 2^32", whole.max())
    if str(jax.random.key_impl(key)) != "threefry2x32":
        return [jax.random.fold_in(key, np.uint32(number)) for number in whole]
    data = _blocks(jax.random.key_data(key), jnp.asarray(whole.astype(np.uint32)))
    made = jax.random.wrap_key_data(data, impl="threefry2x32")
    return [made[i] for i in range(whole.size)]


@jax.jit
def _blocks(data: jax.Array, low: jax.Array) -> jax.Array:
    """Both words of the blocks that `fold_in` uses, shape (*low.shape, 2).

    On a CPU a loop, of which the second turn is wasted: XLA would otherwise encipher the key once
    more for every number that is drawn with it.
    """

    def encipher(high: jax.Array) -> jax.Array:
        counter = jnp.broadcast_to(high, low.shape), low
        return jnp.stack(threefry2x32((data[0], data[1]), counter), axis=-1)

    if jax.default_backend() != "cpu":
        return encipher(jnp.uint32(0))
    turns = jnp.asarray([0, OWN_COUNTERS], np.uint32)
    return lax.scan(lambda _, high: (None, encipher(high)), None, turns)[1][0]


def normal(
    key: jax.Array,
    shape: Sequence[int] = (),
    dtype: Any = jnp.float32,
    *,
    first: jax.Array | None = None,
) -> jax.Array:
    """Independent standard normal variables, by the transform of Box and Muller (1958).

        x = r cos(phi),  y = r sin(phi),  r^2 = -2 log v,

    v of 31 bits and phi of 33 (float64: 63 and 65). The largest value is 6.66 in float32 and 9.42
    in float64.

    Args:
        key: typed random key. Keys of other generators than threefry2x32, and types other than
            float32 and float64, go to `jax.random`.
        shape: shape of the result.
        dtype: floating-point type.
        first: number of the first row, even, int32 scalar below 2^31 - shape[0]. The rows along
            the first axis, an even number, are then those of the numbers first + `row_numbers`,
            each a function of the key and its number alone. A key that draws rows draws nothing
            else.

    Raises:
        ValueError: if `key` is no single typed key.
    """
    return _drawn(jax.random.normal, (normal_pair, _long_normal_pair), key, shape, dtype, first)


def uniform(
    key: jax.Array,
    shape: Sequence[int] = (),
    dtype: Any = jnp.float32,
    *,
    first: jax.Array | None = None,
) -> jax.Array:
    """Independent uniform variables on [0, 1), in steps of 2^-24 (float64: 2^-53).

    Arguments and errors as of `normal`.
    """
    transforms = _uniform_pair, _long_uniform_pair
    return _drawn(jax.random.uniform, transforms, key, shape, dtype, first)


def rademacher(
    key: jax.Array,
    shape: Sequence[int] = (),
    dtype: Any = jnp.float32,
    *,
    first: jax.Array | None = None,
) -> jax.Array:
    """Independent fair signs.

    Arguments and errors as of `normal`.
    """
    return _drawn(jax.random.rademacher, (_sign_pair, _sign_pair), key, shape, dtype, first)


def _drawn(
    other: Callable[..., jax.Array],
    transforms: tuple[Callable[..., Pair], ...],
    key: jax.Array,
    shape: Sequence[int],
    dtype: Any,
    first: jax.Array | None,
) -> jax.Array:
    """Numbers of the generator here, or of `other` of `jax.random` for its keys and types."""
    shape, kind = tuple(shape), _own_type(key, dtype)
    if kind is not None:
        return _pairs(transforms, key, shape, kind, first)
    if first is None:
        return other(key, shape, dtype)
    rows = first + row_numbers(shape[0])
    return jax.vmap(lambda row: other(fold_in(key, row), shape[1:], dtype))(rows)


def row_numbers(rows: int) -> NDArray[np.int32]:
    """Numbers of rows in the order in which they are drawn: 0, 2, 4, ..., then 1, 3, 5, ...

    A pair of random numbers stands in rows 2 m and 2 m + 1, and all first ones come first.
    """
    return np.concatenate([np.arange(0, rows, 2), np.arange(1, rows, 2)]).astype(np.int32)


def row_place(number: Any, rows: int) -> Any:
    """Place of a row with a number among rows in the order of `row_numbers`."""
    return number % 2 * (rows // 2) + number // 2


def _own_type(key: jax.Array, dtype: Any) -> np.dtype | None:
    check_key(key)
    kind = jax.dtypes.canonicalize_dtype(dtype)
    own = str(jax.random.key_impl(key)) == "threefry2x32" and kind in (np.float32, np.float64)
    return kind if own else None


@partial(jax.jit, static_argnums=(0, 2, 3))
def _pairs(
    transforms: tuple[Callable[..., Pair], ...],
    key: jax.Array,
    shape: tuple[int, ...],
    dtype: np.dtype,
    first: jax.Array | None,
) -> jax.Array:
    """Array made of a block, or two for float64, per pair of numbers.

    Without rows the high word of a counter numbers the blocks of a pair, the low word the pairs.
    The first half of the numbers are the first ones of the pairs. With rows a pair stands in two
    rows, of numbers 2 m and 2 m + 1; the high word of a counter is m, the low word the place in the
    row, and its upper half holds the second blocks.

    A loop that returns each pair as one complex number keeps XLA on a CPU from enciphering every
    block twice, once for each half of the result.
    """
    if first is not None and shape[0] % 2:
        raise reject("shape", "begin with an even number of rows", shape)
    count = math.prod(shape)
    half = -(-count // 2)
    width = half if first is None else count // max(shape[0], 1)
    if width > (2**32 if first is None else 2**31):
        raise reject("shape", "hold at most 2^33 numbers, or 2^31 in a row", shape)
    data, blocks = jax.random.key_data(key), dtype.itemsize // 4
    row = jnp.uint32(0) if first is None else jnp.uint32(first) // 2

    def draw(start: Any, size: tuple[int, int]) -> Pair:
        """Some rows of pairs, from row and place `start` on."""
        words: list[jax.Array] = []
        high = lax.broadcasted_iota(np.uint32, size, 0) + (row + start[0] + np.uint32(OWN_COUNTERS))
        low = lax.broadcasted_iota(np.uint32, size, 1) + start[1]
        for block in range(blocks):
            later = np.uint32(block if first is None else block * SECOND_BLOCKS)
            counter = (high + later, low) if first is None else (high, low + later)
            words += threefry2x32((data[0], data[1]), counter)
        x, y = transforms[blocks - 1](*words)
        return x.astype(dtype), y.astype(dtype)

    rows = 1 if first is None else shape[0] // 2
    if count < SCANNED or jax.default_backend() != "cpu":
        x, y = draw(np.zeros(2, np.uint32), (rows, width))
    else:
        size = (-(-rows // 2), width) if rows > 1 else (1, -(-width // 2))
        starts = np.array([(0, 0), (size[0], 0) if rows > 1 else (0, size[1])], np.uint32)
        both = lax.scan(lambda _, s: (None, lax.complex(*draw(s, size))), None, starts)[1]
        both = both.reshape(-1)[: rows * width]
        x, y = both.real, both.imag
    return jnp.concatenate([x.reshape(-1), y.reshape(-1)])[:count].reshape(shape)


def _polynomial(coefficients: NDArray[np.float64], x: jax.Array) -> jax.Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + float(coefficient)
    return value


def _signed(word: jax.Array, dtype: Any) -> jax.Array:
    return lax.bitcast_convert_type(word, np.int32).astype(dtype)


def _minus_log(v: jax.Array, integer: Any, digits: int, ratio: Callable[..., Any]) -> jax.Array:
    """-log v = -e log 2 - log m for positive normal v = 2^e m, m in [2/3, 4/3), without selects."""
    bits = lax.bitcast_convert_type(v, integer)
    exponent = (bits - integer(np.asarray(2 / 3, v.dtype).view(integer))) >> integer(digits)
    mantissa = lax.bitcast_convert_type(bits - (exponent << integer(digits)), v.dtype)
    return exponent.astype(v.dtype) * -math.log(2) - ratio(mantissa)


def _short_log(m: jax.Array) -> jax.Array:
    return (m - 1) * _polynomial(LOGARITHM, m - 1)


def _long_log(m: jax.Array) -> jax.Array:
    ratio = (m - 1) / (m + 1)
    return ratio * _polynomial(LONG_LOGARITHM, ratio * ratio)


def normal_pair(a: jax.Array, b: jax.Array) -> Pair:
    """Two independent standard normal variables in float32, of the two words of a block."""
    v = (_signed(a >> np.uint32(1), np.float32) + 0.5) * 2.0**-31
    s = _signed(b, np.float32) * 2.0**-31
    radius = jnp.sqrt(2 * _minus_log(v, np.int32, 23, _short_log))
    cosine = radius * _polynomial(COSINE, s * s)
    flipped = lax.bitcast_convert_type(cosine, np.uint32) ^ (a << np.uint32(31))
    return lax.bitcast_convert_type(flipped, np.float32), radius * s * _polynomial(SINE, s * s)


def _long_normal_pair(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> Pair:
    fine = ((c >> np.uint32(1)).astype(np.float64) + 0.5) * 2.0**-31
    v = (a.astype(np.float64) + fine) * 2.0**-32
    s = (_signed(b, np.float64) + d.astype(np.float64) * 2.0**-32) * 2.0**-31
    radius = jnp.sqrt(2 * _minus_log(v, np.int64, 52, _long_log))
    sign = 1 - 2 * (c & np.uint32(1)).astype(np.float64)
    x = sign * radius * _polynomial(LONG_COSINE, s * s)
    return x, radius * s * _polynomial(LONG_SINE, s * s)


def _uniform_pair(a: jax.Array, b: jax.Array) -> Pair:
    x, y = (_signed(word >> np.uint32(8), np.float32) * 2.0**-24 for word in (a, b))
    return x, y


def _long_uniform_pair(*words: jax.Array) -> Pair:
    x, y = (
        (first >> np.uint32(5)).astype(np.float64) * 2.0**-27
        + (second >> np.uint32(6)).astype(np.float64) * 2.0**-53
        for first, second in (words[:2], words[2:])
    )
    return x, y


def _sign_pair(a: jax.Array, b: jax.Array, *_: jax.Array) -> Pair:
    x, y = (1 - 2 * _signed(word >> np.uint32(31), np.float32) for word in (a, b))
    return x, y
