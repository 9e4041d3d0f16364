"""Simulations inside `jit`, `vmap`, `grad` and `jacfwd`: equal to those outside, and to slopes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.loop import schedule
from learning_dynamics.pytrees import is_traced
from tests.learning_dynamics.kernel.models import Blocks, Committee, Denoiser, Spike, Teacher

KEY = jax.random.key(5)
LEVELS = ("overlaps", "ambient")
START = ld.order_parameters(
    [[0.3, 0.1], [-0.2, 0.2]], [[1.0, 0.2], [0.2, 0.8]], {"v": np.array([1.0, 0.7])}
)


def committee(rate, **options):
    """Two neurons with a trained second layer, weight decay, label noise."""
    return ld.Problem(
        Teacher(np.ones(2)), Committee(2), rate, parameter_rates={"v": 0.3},
        weight_decay=0.05, label_noise=0.2, **options,
    )  # fmt: skip


def blocks(rate):
    return ld.Problem(Blocks(np.ones(1)), Committee(2), rate, update="spherical")


def spike(strength):
    """Several vectors per sample, minibatches, a learned skip, a strength of the inputs."""
    return ld.Problem(
        Spike(strength), Denoiser(2), 0.3, parameter_rates={"skip": 0.1}, batch=2
    )  # fmt: skip


def scale(norm):
    """Scale of random weights."""
    return ld.Problem(Teacher(np.ones(1)), Committee(7), 0.5, initial_norm=norm)


MODELS = {
    "committee": (committee, 0.7, START),
    "blocks": (blocks, 0.4, None),
    "spike": (spike, 1.2, None),
    "scale": (scale, 0.8, None),
}


def run(make, number, *, key=KEY, level="overlaps", start=None, precision="float64", **options):
    options = {"dimension": 24, "times": [0.0, 0.5, 0.75, 2.0], "replicas": 3, **options}
    return ld.simulate(
        make(number), key=key, level=level, start=start, precision=precision, **options
    )


def means(run):
    """Means over replicas at all times, shape (numbers,)."""
    return jnp.concatenate([jnp.mean(a, axis=0).ravel() for _, a in sorted(run.values.items())])


def same(inside, outside, tolerance=1e-10):
    for name, array in outside.values.items():
        np.testing.assert_allclose(inside.values[name], array, rtol=tolerance, atol=tolerance)
    for part in ("start", "last"):
        pairs = zip(
            jax.tree.leaves(getattr(inside, part)), jax.tree.leaves(getattr(outside, part)),
            strict=True,
        )  # fmt: skip
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert (inside.level, inside.dimension) == (outside.level, outside.dimension)
    np.testing.assert_array_equal(inside.updates, outside.updates)
    np.testing.assert_array_equal(inside.times, outside.times)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_a_run_inside_jit_is_the_run_outside(model, level):
    make, number, start = MODELS[model]
    with jax.enable_x64(True):
        inside = jax.jit(lambda x, key: run(make, x, key=key, level=level, start=start))(
            number, KEY
        )
        assert all(a.dtype == np.float64 for a in inside.values.values())
        same(inside, run(make, number, level=level, start=start))
        assert inside.attributes == {"precision": "float64"}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("model", MODELS)
def test_derivatives_are_those_of_difference_quotients(model, level):
    """Reverse and forward mode; the quotients are of runs outside, with common random numbers."""
    make, number, start = MODELS[model]
    with jax.enable_x64(True):
        of = jax.jit(lambda x: means(run(make, x, level=level, start=start)))
        step = 1e-5
        outside = [
            means(run(make, number + sign * step, level=level, start=start)) for sign in (1, -1)
        ]
        slope = np.asarray(outside[0] - outside[1]) / (2 * step)
        forward = jax.jacfwd(of)(number)
        np.testing.assert_allclose(forward, slope, rtol=1e-6, atol=1e-7)
        assert np.max(np.abs(slope)) > 1e-2
        weights = jnp.asarray(np.random.default_rng(0).normal(size=slope.size))
        reverse = jax.grad(lambda x: jnp.sum(weights * of(x)))(number)
        np.testing.assert_allclose(reverse, np.sum(weights * forward), rtol=1e-9)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.slow
def test_derivative_with_respect_to_the_start(level):
    with jax.enable_x64(True):
        direction = ld.Overlaps(
            jnp.asarray([[0.2, -1.0], [0.5, 0.3]]), jnp.asarray([[[0.4, 0.3], [0.3, 1.0]]]),
            {"v": jnp.asarray([-0.3, 1.0])},
        )  # fmt: skip

        def moved(size, start=START):
            return jax.tree.map(lambda a, b: a + size * b, start, direction)

        def of(size):
            shifted = run(committee, 0.5, level=level, start=moved(size), times=[0.5], replicas=2)
            return jnp.sum(shifted.values["norms"])

        step = 1e-5
        slope = (of(step) - of(-step)) / (2 * step)
        assert abs(slope) > 0.1
        np.testing.assert_allclose(jax.grad(of)(0.0), slope, rtol=1e-6)


@pytest.mark.slow
def test_a_batch_of_gradients_of_rates_starts_and_keys():
    rates, keys = np.array([0.2, 0.9]), jax.random.split(KEY, 2)
    with jax.enable_x64(True):

        def of(rate, key):
            return jnp.mean(run(committee, rate, key=key, times=[1.0]).values["signal"])

        together = jax.vmap(jax.value_and_grad(of))(rates, keys)
        one_by_one = [
            jax.jit(jax.value_and_grad(of))(*pair) for pair in zip(rates, keys, strict=True)
        ]
        np.testing.assert_allclose(together, np.transpose(one_by_one), rtol=1e-10)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.slow
def test_a_batch_of_rates_is_the_loop_and_one_program(level, compilations):
    rates = np.linspace(0.1, 1.0, 8)
    with jax.enable_x64(True):
        batch = jax.jit(jax.vmap(lambda rate: run(committee, rate, level=level)))
        together = batch(rates)
        before = compilations()
        batch(rates / 2)
        assert compilations() == before
        for i in (0, 7):
            one = jax.tree.map(lambda a, i=i: a[i], together)
            same(one, run(committee, rates[i], level=level))


@pytest.fixture
def compilations():
    """Number of programs compiled so far."""
    count = []

    def listen(name, _, **__):
        if name == "/jax/core/compile/backend_compile_duration":
            count.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield lambda: len(count)
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.slow
def test_numbers_outside_share_one_program(level, compilations):
    """Rates, strengths, times, starts and keys of equal shape compile nothing anew."""

    def one(rate, amplitude, times, norm, key):
        problem = ld.Problem(Teacher(np.full(2, amplitude)), Committee(2), rate, label_noise=rate)
        start = ld.order_parameters(np.full((2, 2), 0.1), norm * np.eye(2))
        ld.simulate(
            problem, dimension=24, times=times, replicas=2, key=jax.random.key(key), start=start,
            level=level,
        )  # fmt: skip

    one(0.3, 1.0, [0.5, 1.0], 1.0, 0)
    before = compilations()
    one(0.4, 1.5, [0.25, 2.0], 2.0, 7)
    assert compilations() == before


@pytest.mark.slow
def test_random_starts_inside_are_those_outside():
    def starts(norm, key):
        return ld.random_starts(scale(norm), dimension=24, replicas=3, key=key)

    inside, outside = jax.jit(starts)(0.8, KEY), starts(0.8, KEY)
    for a, b in zip(jax.tree.leaves(inside), jax.tree.leaves(outside), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    slope = jax.grad(lambda norm: jnp.sum(starts(norm, KEY).norms))(0.8)
    np.testing.assert_allclose(slope, 2 / 0.8 * np.sum(outside.norms), rtol=1e-5)


@pytest.mark.slow
def test_known_numbers_inside_somebody_elses_jit():
    """The ordinary run, with provenance, bit for bit."""
    outside, kept = run(committee, 0.5, precision="float32"), []

    @jax.jit
    def shifted(x):
        kept.append(run(committee, 0.5, precision="float32"))
        return x + jnp.asarray(kept[0].values["signal"], jnp.float32)

    shifted(1.0)
    np.testing.assert_array_equal(kept[0].values["signal"], outside.values["signal"])
    assert kept[0].attributes["replicas"] == 3
    assert not is_traced(kept[0])


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [33, 70])
def test_replicas_in_groups(replicas):
    options = {"replicas": replicas, "times": [0.25], "precision": "float32"}
    inside = jax.jit(lambda key: run(committee, 0.5, key=key, **options))(KEY)
    same(inside, run(committee, 0.5, **options), 1e-5)
    few = jax.jit(lambda key: run(committee, 0.5, key=key, **{**options, "replicas": 3}))(KEY)
    np.testing.assert_allclose(inside.values["norms"][:3], few.values["norms"], rtol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.slow
def test_stop_conditions(level):
    """Thresholds may be traced; replicas freeze where they do outside."""

    def of(threshold, key):
        stop = ld.Stop(lambda o: o.signal[0, 0] ** 2, threshold, sustained=2)
        return run(committee, 0.5, key=key, level=level, stop=stop, replicas=6, start=START)

    with jax.enable_x64(True):
        inside, outside = jax.jit(of)(0.15, KEY), of(0.15, KEY)
        np.testing.assert_array_equal(inside.stopped, outside.stopped)
        assert np.any(outside.stopped > 0)
        same(inside, outside)
        slope = jax.grad(
            lambda rate: jnp.sum(
                run(
                    committee, rate, start=START, level=level,
                    stop=ld.Stop(lambda o: o.signal[0, 0] ** 2, 0.15),
                ).last.signal
            )
        )(0.5)  # fmt: skip
        assert np.isfinite(slope)


@pytest.mark.slow
def test_observables_may_keep_traced_numbers():
    def of(factor):
        watch = {"scaled": lambda overlaps: factor * overlaps.signal}
        seen = run(committee, 0.5, observe=watch, precision="float32")
        return jnp.sum(seen.values["scaled"])

    total = np.sum(run(committee, 0.5, precision="float32").values["signal"])
    np.testing.assert_allclose(jax.grad(of)(2.0), total, rtol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.slow
def test_a_start_without_noise_has_finite_derivatives(level):
    """R_b = 0, and of rank one after one update: the factor has no derivative, the run has."""
    start = ld.Overlaps(np.array([[0.3, 0.1], [0.1, 0.2]]), np.zeros((1, 2, 2)), {})
    with jax.enable_x64(True):

        def of(rate):
            shift = run(committee, rate, start=start, level=level, times=[0.1, 0.5])
            return jnp.sum(shift.last.norms)

        step = 1e-6
        slope = (of(0.5 + step) - of(0.5 - step)) / (2 * step)
        np.testing.assert_allclose(jax.grad(of)(0.5), slope, rtol=1e-6)
        traced = jax.jit(lambda start: run(committee, 0.5, start=start, level=level))(start)
        same(traced, run(committee, 0.5, start=start, level=level))


def made(scale):
    """A trajectory of three replicas at two times, as `simulate` makes it."""
    overlaps = ld.Overlaps(scale * np.ones((3, 1, 1)), np.ones((3, 1, 1, 1)), {})
    values = {"signal": scale * np.arange(6.0).reshape(3, 2, 1, 1), "mean": np.ones((3, 2))}
    times = np.array([0.5, 1.0])
    return ld.Trajectory(
        "overlaps", 4, times, np.array([2, 4]), values, overlaps, overlaps, None,
        {"precision": "float32", "wall_seconds": 1.0},
    )  # fmt: skip


def test_trajectories_are_pytrees():
    seen = made(1.0)
    doubled = jax.jit(lambda seen: jax.tree.map(lambda a: 2 * a, seen))(seen)
    assert list(doubled.values) == ["signal", "mean"]
    np.testing.assert_allclose(doubled.values["signal"], 2 * seen.values["signal"], rtol=1e-6)
    np.testing.assert_array_equal(doubled.times, seen.times)
    np.testing.assert_array_equal(doubled.updates, seen.updates)
    assert doubled.attributes == {"precision": "float32"}  # provenance stays behind
    np.testing.assert_allclose(
        doubled.measurement().values, 2 * seen.measurement().values, rtol=1e-6
    )
    assert doubled.replicas == 3
    assert not doubled.lost.any()
    leaves, structure = jax.tree.flatten(seen)
    assert hash(structure) == hash(jax.tree.structure(doubled))
    assert jax.tree.unflatten(structure, leaves).dimension == 4
    for method in (ld.Trajectory.measurement, ld.Trajectory.prediction, ld.Trajectory.to_xarray):
        with pytest.raises(ValueError, match=r"`trajectory` must be taken out of jax.jit"):
            jax.jit(method)(seen)
    with pytest.raises(ValueError, match=r"`trajectory` must be taken out of jax.jit"):
        jax.jit(lambda seen: seen.lost)(seen)
    batch = jax.tree.map(lambda a: np.stack([a, a]), seen)
    with pytest.raises(ValueError, match="`trajectory` must be a single one"):
        batch.measurement()
    assert jax.tree.map(lambda a: a[1], batch).lost.shape == (3,)


@pytest.mark.slow
def test_a_small_run_inside_and_its_derivative():
    """Fast member of the tables below: one linear neuron."""
    with jax.enable_x64(True):

        def of(rate):
            problem = ld.Problem(Teacher(np.ones(1), "linear"), Committee(1, "linear"), rate)
            options = {"dimension": 24, "times": [0.0, 0.5, 2.0], "replicas": 2, "key": KEY}
            return ld.simulate(problem, level="overlaps", precision="float64", **options)

        def total(rate):
            run = of(rate)
            return jnp.sum(run.values["signal"]), run

        slope, inside = jax.jit(jax.grad(total, has_aux=True))(0.5)
        same(inside, of(0.5))
        step = 1e-5
        more, less = (np.sum(of(0.5 + sign * step).values["signal"]) for sign in (1, -1))
        np.testing.assert_allclose(slope, (more - less) / (2 * step), rtol=1e-6)


BAD = {
    "`checkpoint` must be left out under": {"checkpoint": "run.npz"},
    "`code` must be left out under": {"code": "v1"},
    "`tracker` must be left out under": {"tracker": lambda items, _: items},
    "`devices` must be left out under": {"devices": jax.devices()[:1]},
    "`precision` must be 'float32' under": {"precision": "float64"},
    "`key` must be a threefry2x32 key": {"key": jax.random.key(0, impl="rbg")},
    "`start.signal` must have shape": {"start": START._replace(signal=np.ones((2, 3)))},
    "`start` must be one state, or one for each": {
        "start": jax.tree.map(lambda a: np.stack([a] * 2), START)
    },
}


@pytest.mark.parametrize("words", BAD)
def test_what_a_transformation_cannot_have(words):
    with pytest.raises(ValueError, match=words):
        jax.jit(lambda x: run(committee, x, **{"precision": "float32", **BAD[words]}))(0.5)


@pytest.mark.parametrize("name", ["dimension", "times", "replicas"])
def test_traced_values_where_structure_is_needed(name):
    def of(value):
        value = jnp.stack([value, 2 * value]) if name == "times" else value
        return run(committee, 0.5, precision="float32", **{name: value})

    with pytest.raises(ValueError, match=f"`{name}` must be known when the program is traced"):
        jax.jit(of)(24)


@pytest.mark.parametrize("chunk", [1, 4, 6])
@pytest.mark.parametrize("targets", [[3], [4], [1, 2, 8], [4, 8, 13], [24]])
def test_pieces_cover_every_update_once(targets, chunk):
    pieces, ending = schedule(np.asarray(targets), chunk)
    made = np.concatenate([index * chunk + np.arange(first, end) for index, first, end in pieces])
    np.testing.assert_array_equal(made, np.arange(targets[-1]))
    assert np.all((pieces[:, 1] >= 0) & (pieces[:, 1] < pieces[:, 2]) & (pieces[:, 2] <= chunk))
    np.testing.assert_array_equal((pieces[:, 0] * chunk + pieces[:, 2])[ending], targets)
    assert len(pieces) <= -(-targets[-1] // chunk) + len(targets)


@pytest.mark.slow
def test_the_mean_of_derivatives_is_the_derivative_of_the_limit():
    """Averaged over replicas, at large N: a smooth loss."""
    start = ld.order_parameters([[0.3]], [[1.0]])

    def problem(rate):
        return ld.Problem(Teacher(np.ones(1)), Committee(1), rate)

    def simulated(rate, key):
        run = ld.simulate(
            problem(rate), dimension=1000, times=[2.0], replicas=1, key=key, start=start,
            level="overlaps",
        )  # fmt: skip
        return run.values["signal"][0, -1, 0, 0]

    slopes = jax.vmap(partial(jax.grad(simulated), 0.5))(jax.random.split(KEY, 200))
    step = 1e-3
    limit = [
        ld.integrate(problem(0.5 + d), times=[2.0], start=start).values["signal"].item()
        for d in (step, -step)
    ]
    error = np.std(slopes) / 200**0.5
    assert abs(np.mean(slopes) - (limit[0] - limit[1]) / (2 * step)) < 5 * error + 5e-3
