"""The generator: the cipher bit for bit, the transforms against float64, the law by tests."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from scipy import special, stats

from learning_dynamics import random
from learning_dynamics.process import motion

KEY = jax.random.key(20)
KINDS = (np.float32, np.float64)


def words_of(key, half, blocks=1):
    """Words of the first blocks, from the definition of the counters."""
    data = np.asarray(jax.random.key_data(key))
    low = jnp.arange(half, dtype=jnp.uint32)
    found = []
    for block in range(blocks):
        high = jnp.full(half, 2**31 + block, jnp.uint32)
        found += random.threefry2x32((jnp.asarray(data[0]), jnp.asarray(data[1])), (high, low))
    return [np.asarray(word).astype(np.int64) for word in found]


# ------------------------------------------------------------------------ the cipher


@pytest.mark.parametrize(
    ("counter", "key", "cipher"),
    [  # known-answer vectors of Random123 for threefry2x32 with 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(counter, key, cipher):
    as_words = [tuple(jnp.asarray(word, jnp.uint32) for word in pair) for pair in (key, counter)]
    assert tuple(int(word) for word in random.threefry2x32(*as_words)) == cipher


def test_jax_bits_are_the_exclusive_or_of_our_words():
    data, low = jax.random.key_data(KEY), jnp.arange(1001, dtype=jnp.uint32)
    a, b = random.threefry2x32((data[0], data[1]), (jnp.zeros_like(low), low))
    with jax.threefry_partitionable(True):
        assert np.array_equal(a ^ b, jax.random.bits(KEY, (1001,)))


def test_no_block_is_shared_with_jax():
    a, b, c, d = words_of(KEY, 4096, 2)
    own = {*zip(a, b, strict=True), *zip(c, d, strict=True)}
    data, low = jax.random.key_data(KEY), jnp.arange(4096, dtype=jnp.uint32)
    theirs = np.stack(random.threefry2x32((data[0], data[1]), (jnp.zeros_like(low), low)), axis=1)
    assert len(own) == 8192
    assert not own & {tuple(pair) for pair in theirs.astype(np.int64)}
    folded = np.asarray(jax.random.key_data(jax.random.fold_in(KEY, 7))).astype(np.int64)
    assert tuple(folded) in {tuple(pair) for pair in theirs.astype(np.int64)}  # the control
    ours = np.asarray(random.normal(KEY, (10_000,)), np.float64)
    other = np.asarray(jax.random.normal(KEY, (10_000,)), np.float64)
    assert abs(np.corrcoef(ours, other)[0, 1]) < 5 / 100


# ------------------------------------------------------------------------ the transforms


def reference(words, dtype):
    """The transform of Box and Muller of the rounded v and s, in extended precision."""
    b = np.where(words[1] >= 2**31, words[1] - 2**32, words[1])
    if dtype == np.float32:
        v = ((words[0] // 2).astype(dtype) + dtype(0.5)) / dtype(2**31)
        s, sign = b.astype(dtype) / dtype(2**31), words[0] % 2
    else:
        v = (words[0] + (words[2] // 2 + 0.5) / 2**31) / 2**32
        s, sign = (b + words[3] / 2**32) / 2**31, words[2] % 2
    v, s = v.astype(np.longdouble), s.astype(np.longdouble)
    radius, angle = np.sqrt(-2 * np.log(v)), np.arccos(np.longdouble(-1)) / 2 * s
    return radius * np.cos(angle) * (1 - 2 * sign), radius * np.sin(angle), radius


@pytest.mark.parametrize("dtype", KINDS)
def test_normals_are_the_transform_of_the_words(dtype):
    with jax.enable_x64(dtype == np.float64):
        drawn = np.asarray(random.normal(KEY, (200_001,), dtype))
    x, y, radius = reference(words_of(KEY, 100_001, 2), dtype)
    exact, radius = (np.concatenate(part)[:200_001] for part in ((x, y), (radius, radius)))
    assert drawn.dtype == dtype
    assert np.max(np.abs(drawn - exact) / radius) < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", KINDS)
def test_transform_at_the_ends_and_on_a_dense_grid(dtype):
    ends = np.array([0, 1, 2, 3, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1])
    grid = np.concatenate([ends, np.arange(0, 2**32, 2**12 + 1)])
    a, b = (part.ravel() for part in np.meshgrid(grid[:: len(grid) // 800], grid[::2000]))
    a, b = (
        np.concatenate([grid, a, np.repeat(ends, 9)]),
        np.concatenate([grid[::-1], b, np.tile(ends, 9)]),
    )
    words = [a, b, np.append(b[:0:-1], 0), np.append(a[:0:-1], 0)]
    words = [np.append(word, 0) for word in words[: np.dtype(dtype).itemsize // 2]]
    function = random.normal_pair if dtype == np.float32 else random._long_normal_pair
    with jax.enable_x64(dtype == np.float64):
        x, y = jax.jit(function)(*(jnp.asarray(word, jnp.uint32) for word in words))
        x, y = np.asarray(x), np.asarray(y)
    *exact, radius = reference(words, dtype)
    for found, wanted in zip((x, y), exact, strict=True):
        assert np.all(np.abs(found - wanted) <= 4 * np.finfo(dtype).eps * radius)
    largest = np.max(np.hypot(x, y))
    assert abs(largest - (6.66 if dtype == np.float32 else 9.42)) < 0.01


def test_uniforms_are_the_leading_bits():
    a, b = words_of(KEY, 3000)
    exact = np.concatenate([a, b]) // 2**8 / 2**24
    assert np.array_equal(random.uniform(KEY, (6000,)), exact)
    a, b, c, d = words_of(KEY, 3000, 2)
    fine = np.concatenate([a // 2**5 * 2**26 + b // 2**6, c // 2**5 * 2**26 + d // 2**6]) / 2.0**53
    with jax.enable_x64(True):
        assert np.array_equal(random.uniform(KEY, (6000,), np.float64), fine)


def test_signs_are_the_first_bits():
    for dtype in KINDS:
        with jax.enable_x64(dtype == np.float64):
            drawn = np.asarray(random.rademacher(KEY, (5000,), dtype))
        first = np.concatenate(words_of(KEY, 2500))
        assert drawn.dtype == dtype
        assert np.array_equal(drawn, np.where(first >= 2**31, -1, 1))


# ------------------------------------------------------------------------ the law


@pytest.fixture(scope="module")
def sample():
    """Four million float32 normals, as float64."""
    return np.asarray(random.normal(jax.random.key(5), (2**22,)), np.float64)


def test_moments(sample):
    for order in range(1, 9):
        exact = special.factorial2(order - 1) if order % 2 == 0 else 0.0
        error = np.sqrt((special.factorial2(2 * order - 1) - exact**2) / sample.size)
        assert abs(np.mean(sample**order) - exact) < 4.5 * error, order


@pytest.mark.slow
def test_distribution(sample):
    assert stats.kstest(sample[: 10**6], "norm").pvalue > 1e-3
    assert stats.kstest(sample[-(10**6) :], "norm").pvalue > 1e-3
    cells = special.ndtri(np.arange(1, 1024) / 1024)
    counts = np.histogram(sample, np.concatenate([[-np.inf], cells, [np.inf]]))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
    with jax.enable_x64(True):
        wide = np.asarray(random.normal(KEY, (10**6,), np.float64))
    assert stats.kstest(wide, "norm").pvalue > 1e-3
    assert stats.kstest(random.uniform(KEY, (10**6,)), "uniform").pvalue > 1e-3


def test_tails(sample):
    for level in (2.0, 3.0, 4.0, 4.5):
        expected = sample.size * special.ndtr(-level)
        for side in (sample > level, sample < -level):
            assert abs(np.sum(side) - expected) < 4.5 * np.sqrt(expected), level
    assert 4.7 < np.max(np.abs(sample)) < 6.1  # 1e-5 and 1 - 5e-3 of the law of the largest


@pytest.mark.slow
def test_neighbours_are_independent(sample):
    half = sample.size // 2
    x, y = sample[:half], sample[half:]  # the two numbers of a block
    pairs = {"block": (x, y), "next block": (x[:-1], y[1:])}
    pairs |= {f"lag {lag}": (x[:-lag], x[lag:]) for lag in (1, 2, 3, 8, 16, 1024)}
    functions = (np.asarray, np.abs, np.square, lambda z: (np.abs(z) > 2).astype(float))
    for name, (left, right) in pairs.items():
        for f, g in itertools.product(functions, functions):
            value = np.corrcoef(f(left), g(right))[0, 1] * np.sqrt(left.size)
            assert abs(value) < 4.5, name
    cells = np.histogram2d(stats.norm.cdf(x), stats.norm.cdf(y), 32, [[0, 1], [0, 1]])[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-3
    plane = (x**2 + y**2) / 2
    assert stats.kstest(plane[: 10**6], "expon").pvalue > 1e-3
    angles = np.arctan2(y, x) / (2 * np.pi) + 0.5
    assert stats.kstest(angles[: 10**6], "uniform").pvalue > 1e-3


def test_keys_are_independent():
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(400))
    rows = np.asarray(jax.jit(jax.vmap(lambda key: random.normal(key, (5000,))))(keys), np.float64)
    gram = rows @ rows.T / np.sqrt(5000)  # off the diagonal standard normal
    off = gram[np.triu_indices(400, 1)]
    assert abs(np.var(off) - 1) < 4.5 * np.sqrt(2 / off.size)
    assert np.max(np.abs(off)) < 5.6
    sums = rows.sum(axis=0) / 20
    assert stats.kstest(sums, "norm").pvalue > 1e-3


# ------------------------------------------------------------------------ use


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (3, 5), (4095,), (13, 997)])
@pytest.mark.parametrize("draw", [random.normal, random.uniform, random.rademacher])
def test_shapes(draw, shape):
    drawn = draw(KEY, shape)
    assert drawn.shape == shape
    assert drawn.dtype == jnp.float32
    assert np.all(np.isfinite(drawn))
    if drawn.size > 9:
        assert np.unique(random.normal(KEY, shape)).size > 0.999 * drawn.size


@pytest.mark.parametrize("count", [9999, pytest.param(999, marks=pytest.mark.slow)])
def test_same_numbers_however_they_are_drawn(count, monkeypatch, as_users_compile):
    def draw(key):
        return random.normal(key, (count,))

    keys = jax.random.split(KEY, 4)
    single = np.stack([draw(key) for key in keys])
    assert np.array_equal(jax.jit(jax.vmap(draw))(keys), single)
    assert np.array_equal(jax.lax.scan(lambda _, key: (None, draw(key)), None, keys)[1], single)
    mesh = Mesh(np.asarray(jax.devices()[:2]), ("keys",))
    specs = PartitionSpec("keys")
    spread = jax.shard_map(jax.vmap(draw), mesh=mesh, in_specs=specs, out_specs=specs)
    assert np.array_equal(jax.jit(spread)(keys), single)
    monkeypatch.setattr(random, "SCANNED", 10**9 if count > random.SCANNED else 1)
    monkeypatch.setattr(random, "_pairs", random._pairs.__wrapped__)  # not what has been traced
    assert np.allclose(jax.vmap(draw)(keys), single, rtol=0, atol=1e-6)


def test_other_generators_and_types_go_to_jax():
    other = jax.random.key(3, impl="rbg")
    assert np.array_equal(random.normal(other, (50,)), jax.random.normal(other, (50,)))
    assert np.array_equal(random.uniform(other, (50,)), jax.random.uniform(other, (50,)))
    assert np.array_equal(
        random.rademacher(other, (50,)), jax.random.rademacher(other, (50,), jnp.float32)
    )
    assert random.normal(KEY, (5,), jnp.bfloat16).dtype == jnp.bfloat16


def test_bad_keys():
    for draw in (random.normal, random.uniform, random.rademacher):
        with pytest.raises(ValueError, match="typed key"):
            draw(jax.random.PRNGKey(0), (3,))
        with pytest.raises(ValueError, match="single key"):
            draw(jax.random.split(KEY, 2), (3,))
    with pytest.raises(ValueError, match="2\\^33"):
        random.normal(KEY, (2**34,))


def test_threefry_keys_of_other_generators():
    assert random.threefry_key(KEY) is KEY
    made = [
        random.threefry_key(jax.random.key(s, impl=i))
        for s in (3, 4)
        for i in ("rbg", "unsafe_rbg")
    ]
    assert all(str(jax.random.key_impl(key)) == "threefry2x32" for key in made)
    assert len({tuple(jax.random.key_data(key).tolist()) for key in made}) == 2
    words = np.asarray([1, 2, 3, 4], np.uint32)
    other = [
        jax.random.wrap_key_data(w, impl="rbg") for w in (words, words + np.uint32([0, 0, 0, 1]))
    ]
    first, second = (jax.random.key_data(random.threefry_key(key)).tolist() for key in other)
    assert first != second
    with pytest.raises(ValueError, match="typed key"):
        random.threefry_key(0)


@pytest.mark.parametrize("replicas", [1, 1000])
@pytest.mark.parametrize("seed", [0, 2**31 + 5])
def test_keys_of_replicas_are_those_of_jax(seed, replicas, monkeypatch):
    """Worked out on the host or by a compiled program: `jax.random.fold_in`."""
    key, numbers = jax.random.key(seed), np.arange(replicas, dtype=np.uint32)
    wanted = jax.random.key_data(jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers))
    for most in (0, motion.MOST_ON_HOST):
        monkeypatch.setattr(motion, "MOST_ON_HOST", most)
        keys = motion.replica_keys(key, numbers)
        np.testing.assert_array_equal(jax.random.key_data(keys), wanted)
        assert keys.dtype == key.dtype


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_several_streams_are_the_keys_of_fold_in(impl):
    key, numbers = jax.random.key(3, impl=impl), [0, 1, 5, 2**31 + 7]
    for made, number in zip(random.streams(key, numbers), numbers, strict=True):
        wanted = jax.random.fold_in(key, np.uint32(number))
        np.testing.assert_array_equal(jax.random.key_data(made), jax.random.key_data(wanted))


@pytest.mark.parametrize("numbers", [[-1], [1.5], [2**32]])
def test_numbers_of_streams_are_whole(numbers):
    with pytest.raises(ValueError, match="`numbers`"):
        random.streams(jax.random.key(0), numbers)
