"""Updates that use a fixed set of samples again and again, beside NumPy and the exact curve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics import random
from learning_dynamics.process.fixed_samples import draw_again
from learning_dynamics.process.layout import layout_of
from learning_dynamics.protocols.passes import regression_on_fixed_samples
from tests.learning_dynamics.kernel.models import Committee, Teacher

NOISE, RATE, RATIO = 0.5, 0.8, 2


def regression(batch=1, **options):
    inputs = Teacher(np.ones(1), "linear")
    return ld.Problem(
        inputs, Committee(1, "linear"), RATE, batch=batch, label_noise=NOISE, **options
    )


def loss_of(trajectory):
    """|w - w_*|^2 / 2 + sigma^2 / 2 of every replica, shape (replicas, times)."""
    signal, norms = trajectory.values["signal"][..., 0, 0], trajectory.values["norms"][..., 0, 0]
    return (norms - 2 * signal + 1 + NOISE**2) / 2


def numpy_losses(dimension, times, batch, runs):
    """The same by loops over an array of samples, from zero weights."""
    rng, n = np.random.default_rng(5), RATIO * dimension
    losses = np.zeros((runs, len(times)))
    for run in range(runs):
        x = rng.normal(size=(n, dimension))
        y = x[:, 0] + NOISE * rng.normal(size=n)
        w, made = np.zeros(dimension), 0
        for at, time in enumerate(times):
            while made < round(time * dimension):
                chosen = rng.integers(0, n, batch)
                rows, wanted = x[chosen], y[chosen]
                w -= RATE / dimension * np.mean((rows @ w - wanted)[:, None] * rows, axis=0)
                made += 1
            losses[run, at] = (np.sum(w**2) - 2 * w[0] + 1 + NOISE**2) / 2
    return losses


def from_zero(dimension, times, replicas, **options):
    start = ld.order_parameters(signal=[[0.0]], norms=[[0.0]])
    options = {"start": start, "key": jax.random.key(3)} | options
    return ld.simulate(
        regression(options.pop("batch", 1)), dimension=dimension, times=times, replicas=replicas,
        samples=RATIO * dimension, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_losses_are_those_of_loops_over_an_array(batch):
    times = [0.5, 2.0, 6.0]
    ours = loss_of(from_zero(40, times, 400, batch=batch))
    theirs = numpy_losses(40, times, batch, 150)
    error = np.sqrt(ours.var(axis=0) / 400 + theirs.var(axis=0) / 150)
    assert np.all(np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 4.5 * error)
    fresh = regression_on_fixed_samples(times, ratio=1e6, rate=RATE, label_noise=NOISE, batch=batch)
    assert np.abs(ours.mean(axis=0) - fresh.test)[-1] > 10 * error[-1]  # what online theory misses


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_losses_are_on_the_exact_curve(batch):
    """At N = 800, where what the limit leaves out is below a standard error."""
    times = [0.5, 1.0, 2.0, 4.0]
    seen = loss_of(from_zero(800, times, 64, batch=batch))
    curve = regression_on_fixed_samples(
        times, ratio=RATIO, rate=RATE, label_noise=NOISE, batch=batch
    )
    residual = (seen.mean(axis=0) - curve.test) / (seen.std(axis=0) / 8)
    assert np.all(np.abs(residual) < 4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 3])
def test_the_curve_of_many_samples_is_the_online_limit(batch):
    times = np.array([0.5, 2.0, 5.0])
    problem = regression(batch)
    start = ld.order_parameters(signal=[[0.0]], norms=[[0.0]])
    limit = ld.integrate(problem, times=times, start=start)
    online = (limit.values["norms"] - 2 * limit.values["signal"] + 1 + NOISE**2).ravel() / 2
    curve = regression_on_fixed_samples(times, ratio=1e5, rate=RATE, label_noise=NOISE, batch=batch)
    np.testing.assert_allclose(curve.test, online, rtol=1e-4)
    np.testing.assert_allclose(curve.training, online, rtol=1e-4)


def test_gradient_flow_of_few_samples_keeps_what_it_cannot_see():
    """alpha < 1, late: the training loss vanishes, the part outside the samples' span stays."""
    curve = regression_on_fixed_samples([0.0, 4e5], ratio=0.5, rate=1e-3)
    np.testing.assert_allclose(curve.training, [0.5, 0.0], atol=1e-4)
    np.testing.assert_allclose(curve.test, [0.5, 0.25], rtol=1e-3)


@pytest.mark.slow
def test_a_set_holds_so_many_samples_each_used_equally_often():
    problem, n, updates = regression(batch=2), 12, 3000
    layout = layout_of(problem, 6, "ambient")
    cast = problem.cast(jnp.float32)
    draws = draw_again(cast, layout, jax.random.key(1), jnp.float32, jnp.int32(0), updates, n)
    assert draws.signal.shape == (updates, 2, 1, 1)
    assert draws.noise[0].shape == (updates, 1, 2, 5)
    rows = np.concatenate(
        [np.asarray(draws.label).reshape(-1, 1), np.asarray(draws.noise[0]).reshape(-1, 5)], axis=1
    )
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert counts.size == n
    assert np.sum((counts - 2 * updates / n) ** 2) / (2 * updates / n) < 35  # chi^2, 11 freedoms


@pytest.mark.slow
def test_the_set_does_not_depend_on_the_chunk():
    problem = regression()
    layout, cast = layout_of(problem, 6, "ambient"), problem.cast(jnp.float32)

    def labels(first, updates):
        key = jax.random.key(1)
        draw = draw_again(cast, layout, key, jnp.float32, jnp.int32(first), updates, 9)
        numbers = first + random.row_numbers(updates)
        return dict(zip(numbers.tolist(), np.asarray(draw.label)[:, 0].tolist(), strict=True))

    whole = labels(0, 8)
    assert {**labels(0, 4), **labels(4, 4)} == whole


@pytest.mark.slow
def test_the_same_inside_jit():
    def final(rate):
        problem = ld.Problem(Teacher(np.ones(1), "linear"), Committee(1, "linear"), rate)
        run = ld.simulate(
            problem, dimension=12, times=[2.0], replicas=2, key=jax.random.key(0), samples=20
        )
        return run.values["signal"]

    np.testing.assert_allclose(jax.jit(final)(jnp.float32(0.5)), final(0.5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "overlaps"}, "`samples` must be left out unless level='ambient'"),
        ({"samples": 2}, "`samples` must be at least 3"),
        ({"samples": 2.5}, "`samples` must be whole numbers"),
    ],
)
def test_what_a_fixed_set_cannot_be_is_said(options, message):
    given = {"dimension": 10, "times": [1.0], "replicas": 2, "key": jax.random.key(0), "samples": 5}
    with pytest.raises(ValueError, match=message):
        ld.simulate(regression(3), **given | options)


@pytest.mark.slow
def test_a_trajectory_does_not_go_on_with_its_samples():
    first = from_zero(10, [1.0], 2)
    with pytest.raises(ValueError, match="`start` must be order parameters"):
        from_zero(10, [1.0], 2, start=first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.0}, "`ratio` must be positive"),
        ({"rate": 2.0}, "`rate` must be below 2, from where on the loss grows"),
        ({"label_noise": -1.0}, "`label_noise` must"),
        ({"batch": 0}, "`batch` must"),
    ],
)
def test_bad_numbers_of_the_curve_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        regression_on_fixed_samples([1.0], **{"ratio": 2.0, "rate": 0.5} | options)


def test_time_zero_alone_is_the_start():
    """Both losses are (D + sigma^2) / 2 there."""
    for loss in regression_on_fixed_samples([0.0], ratio=2.0, rate=0.5, label_noise=0.3):
        np.testing.assert_allclose(loss, [(1 + 0.3**2) / 2], rtol=1e-12)
    with pytest.raises(ValueError, match="Argument `label_noise`"):
        regression_on_fixed_samples([1.0], ratio=2.0, rate=0.5, label_noise=1e200)
