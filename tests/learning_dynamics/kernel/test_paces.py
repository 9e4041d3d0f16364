"""A run does not depend on how its draws are chunked and its replicas grouped."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics import random
from learning_dynamics.loop import observed_chunks
from learning_dynamics.model.latent import draw_updates
from learning_dynamics.process import simulate as simulation
from learning_dynamics.process.draws import draw_samples
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.pace import Pace, pace_of
from learning_dynamics.process.reduced_noise import ATTEMPT, chi
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike

KEY = jax.random.key(5)


@ld.configuration
class Plain(ld.Normal):
    """A user's latent that knows nothing of updates."""

    def draw(self, key, shape, dtype):
        return 2 * jax.random.normal(key, (*shape, *self.shape), dtype)


LATENTS = {
    "normal": ld.Normal((3,)),
    "discrete": ld.Discrete((-1.0, 0.5), (1 / 3, 2 / 3)),
    "uniform": ld.Uniform(-1, 1, (2,)),
    "phase": ld.Phase(),
    "rayleigh": ld.Rayleigh((2,)),
    "student": ld.StudentT(5.0),
    "own": Plain((2,)),
}


@ld.configuration
class AllKinds(ld.InputModel):
    """Labels made of latents of every kind."""

    @property
    def directions(self):
        return 1

    def latents(self):
        return LATENTS

    def signal(self, latents):
        total = sum(jnp.sum(latents[name]) for name in LATENTS)
        return latents["normal"][None, :1], jnp.sin(total)


def in_order(rows):
    """Rows by their numbers, from the order in which they are drawn."""
    return jax.tree.map(lambda a: np.asarray(a)[np.argsort(random.row_numbers(len(a)))], rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("draw", [random.normal, random.uniform, random.rademacher])
def test_numbers_of_a_row_are_functions_of_its_number(draw, dtype):
    """On both sides of the size from which pairs are drawn by a loop, and for one pair of rows."""
    with jax.enable_x64(dtype == np.float64):
        whole = in_order(draw(KEY, (12, 1001), dtype, first=jnp.int32(10)))
        for first, rows in [(10, 2), (12, 4), (12, 10), (20, 2)]:
            part = in_order(draw(KEY, (rows, 1001), dtype, first=jnp.int32(first)))
            np.testing.assert_allclose(part, whole[first - 10 : first - 10 + rows], atol=1e-6)
        short = in_order(draw(KEY, (12, 7), dtype, first=jnp.int32(10)))
        np.testing.assert_allclose(short, whole[:, :7], atol=1e-6)  # a place, not a length
    assert len(np.unique(whole)) > (1.9 if draw is random.rademacher else 12_000)


def test_rows_are_the_words_of_their_counters():
    data, count = jax.random.key_data(KEY), 9
    drawn = in_order(random.uniform(KEY, (4, count), first=jnp.int32(6)))
    low = jnp.arange(count, dtype=jnp.uint32)
    for i in range(4):
        high = jnp.full(count, 2**31 + (6 + i) // 2, jnp.uint32)
        word = random.threefry2x32((data[0], data[1]), (high, low))[i % 2]
        np.testing.assert_array_equal(drawn[i], np.asarray(word >> 8) * np.float32(2.0**-24))


def test_places_and_numbers_of_rows_are_inverse():
    for rows in (2, 6, 256):
        places = [random.row_place(n, rows) for n in range(rows)]
        np.testing.assert_array_equal(random.row_numbers(rows)[places], np.arange(rows))
    with pytest.raises(ValueError, match="`shape` must begin with an even number of rows"):
        random.normal(KEY, (3, 2), first=jnp.int32(0))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "student" else n for n in LATENTS]
)
def test_latents_of_an_update_depend_on_its_number_alone(name):
    draw = jax.jit(draw_updates, static_argnums=(0, 3, 4, 5))
    whole = in_order(draw(LATENTS[name], KEY, jnp.int32(0), 8, (3,), jnp.float32))
    for first in (0, 4, 6):
        part = in_order(draw(LATENTS[name], KEY, jnp.int32(first), 2, (3,), jnp.float32))
        np.testing.assert_allclose(part, whole[first : first + 2], rtol=1e-6, atol=1e-7)
    assert whole.shape == (8, 3, *LATENTS[name].shape)
    assert len(np.unique(whole)) > 1


@pytest.mark.slow
def test_chi_variables_do_not_depend_on_rows_and_tries():
    freedoms = [1, 2, 3, 4, 50]

    @partial(jax.jit, static_argnums=(1, 2))
    def drawn(first, rows, tries):
        normals = random.normal(KEY, (rows, ATTEMPT * len(freedoms)), first=first)
        return chi(random.fold_in(KEY, 1), freedoms, normals, first, tries)

    whole = in_order(drawn(jnp.int32(0), 400, 1))
    np.testing.assert_allclose(in_order(drawn(jnp.int32(0), 400, 3)), whole, rtol=1e-5)
    for first in (0, 200, 398):
        part = in_order(drawn(jnp.int32(first), 2, 1))
        np.testing.assert_allclose(part, whole[first : first + 2], rtol=1e-5)
    # some need a second attempt
    x, g, h = np.split(in_order(random.normal(KEY, (400, 15), first=jnp.int32(0))), 3, axis=1)
    d = np.maximum(freedoms, 3) / 2 - 1 / 3
    cube = (1 + x / np.sqrt(9 * d)) ** 3
    with np.errstate(invalid="ignore"):
        refused = -(g * g + h * h) >= x * x + 2 * d * (1 - cube + np.log(cube))
    assert 0 < np.sum(refused[:, 2:]) < 100


@pytest.mark.slow
@pytest.mark.parametrize("level", ["overlaps", "ambient"])
def test_draws_do_not_depend_on_the_chunk(level):
    problem = ld.Problem(AllKinds(), Committee(2), 0.5, batch=2)
    layout = layout_of(problem, 30, level)

    @partial(jax.jit, static_argnums=1)
    def drawn(first, chunk):
        return draw_samples(problem, layout, KEY, jnp.float32, first, chunk)

    whole = in_order(drawn(jnp.int32(0), 12))
    for first, chunk in [(0, 2), (4, 6), (10, 2)]:
        parts = jax.tree.map(lambda a, s=slice(first, first + chunk): a[s], whole)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            in_order(drawn(jnp.int32(first), chunk)),
            parts,
        )


def outcome(monkeypatch, problem, level, pace, precision="float64", **more):
    monkeypatch.setattr(simulation, "pace_of", lambda *_: pace)
    options = {"dimension": 30, "times": [7 / 30, 1.0, 50 / 30], "replicas": 9, "key": KEY}
    run = ld.simulate(problem, level=level, precision=precision, **{**options, **more})
    return {**run.values, "stopped": run.stopped}


def agree(one, other):
    for name in one:
        if one[name] is not None:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-11, err_msg=name)


WHOLE = Pace(32, 64)
PACES = [
    Pace(1, 2),
    Pace(7, 6),
    Pace(256, 256),
    Pace(9, 8, True, 2, True),
    Pace(4096, 10),
    Pace(4, 4, True),
]


@pytest.mark.parametrize(("chunk", "unrolled"), [(2, False), (6, False), (2, True), (8, True)])
def test_loops_make_every_update_once(chunk, unrolled):
    """Odd numbers of updates between observations, with a memory of the order of updates."""

    def draw(first):
        return random.normal(KEY, (chunk, 3), first=first)

    def update(state, row, number):
        return 0.5 * state + row * (1 + number.astype(row.dtype))

    @jax.jit
    def run(targets):
        return observed_chunks(
            draw, update, lambda state: state, jnp.zeros(3), targets, jnp.int32(0), chunk, unrolled
        )

    _, seen = run(jnp.array([0, 3, 4, 9, 20], jnp.int32))
    rows = in_order(random.normal(KEY, (20, 3), first=jnp.int32(0)))
    state, expected = np.zeros(3), {0: np.zeros(3)}
    for number, row in enumerate(rows):
        state = 0.5 * state + row * (1 + number)
        expected[number + 1] = state
    np.testing.assert_allclose(seen, [expected[n] for n in (0, 3, 4, 9, 20)], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["overlaps", "ambient"])
@pytest.mark.parametrize("model", ["committee", "denoiser"])
def test_runs_do_not_depend_on_any_pace(model, level, monkeypatch):
    problem = {
        "committee": ld.Problem(AllKinds(), Committee(2), 0.5, batch=3),
        "denoiser": ld.Problem(Spike(), Denoiser(2), 0.5, parameter_rates={"skip": 0.5}),
    }[model]
    whole = outcome(monkeypatch, problem, level, WHOLE)
    for pace in PACES:
        agree(outcome(monkeypatch, problem, level, pace), whole)
    single = outcome(monkeypatch, problem, level, Pace(9, 8, True, 2, True), "float32")
    for name in ("signal", "norms"):
        np.testing.assert_allclose(single[name], whole[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("update", ["plain", "spherical"])
def test_stopped_replicas_do_not_depend_on_the_pace(update, monkeypatch):
    def size(overlaps):
        return jnp.abs(overlaps.signal[0, 0])

    options = {} if update == "plain" else {"update": update}
    problem = ld.Problem(AllKinds(), Committee(1), 0.5, **options)
    stop = ld.Stop(size, 0.35)
    runs = [
        outcome(monkeypatch, problem, "overlaps", pace, stop=stop, replicas=20)
        for pace in (WHOLE, Pace(7, 6), Pace(20, 8, True, 2, True))
    ]
    for one, other in itertools.pairwise(runs):
        agree(one, other)
    assert 0 < np.sum(runs[0]["stopped"] >= 0) < 20


def test_paces_of_a_cpu():
    """Even chunks, as a pair of random numbers stands in two updates."""
    for dimension, level in [(10, "ambient"), (10_000, "ambient"), (10**6, "ambient"),
                             (10**6, "overlaps")]:  # fmt: skip
        layout = layout_of(ld.Problem(Spike(), Denoiser(1), 0.5), dimension, level)
        pace = pace_of(layout, "cpu", 1000)
        assert pace.chunk % 2 == 0
        assert 2 <= pace.chunk <= 256
        assert not pace.unrolled
