"""Starts and times to recovery against the kernel's own, and by way of a sweep."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from learning_dynamics.search.recovery_times import common_starts, recovery_times
from learning_dynamics.search.sample_complexity import fit_exponent
from tests.learning_dynamics.kernel.models import Blocks, Committee, Teacher
from tests.learning_dynamics.kernel.searching import Correlator, Monomial, Oja, Spiked


@pytest.mark.parametrize("update", ["plain", "spherical"])
def test_common_starts_have_the_law_of_random_starts(update, key):
    problem = ld.Problem(Teacher((1.0, -0.5)), Committee(2), 0.1, update=update)
    options = {"dimension": 7, "replicas": 4000}
    own = common_starts(problem, key=key, **options)
    other = ld.random_starts(problem, key=jax.random.key(3), **options)
    columns = [
        np.concatenate([s.signal.reshape(4000, -1), s.blocks.reshape(4000, -1)], axis=1)
        for s in (own, other)
    ]
    one, two = (np.round(np.concatenate([c, c[:, :1] * c], axis=1), 5) for c in columns)
    p = [stats.ks_2samp(one[:, i], two[:, i]).pvalue for i in range(one.shape[1])]
    assert min(p) > 1e-5 / len(p)


def test_common_starts_are_the_same_at_every_dimension(key):
    problem = ld.Problem(Teacher((1.0, 1.0)), Committee(2), 0.1)
    starts = [common_starts(problem, dimension=n, replicas=50, key=key) for n in (8, 5000)]
    np.testing.assert_allclose(8**0.5 * starts[0].signal, 5000**0.5 * starts[1].signal)
    sphere = ld.Problem(Spiked(1.0), Oja(), 0.1, update="spherical")
    near, far = (common_starts(sphere, dimension=n, replicas=50, key=key) for n in (400, 40_000))
    scaled = [20 * near.signal.ravel(), 200 * far.signal.ravel()]
    assert np.max(np.abs(scaled[0] - scaled[1])) < 0.4
    assert np.corrcoef(*scaled)[0, 1] > 0.99


def overlap(state):
    return jnp.abs(state.signal[0, 0])


@pytest.mark.slow
def test_times_of_a_linear_search(key):
    """Oja's neuron: medians on the search law, slope one with the logarithm."""
    rate = 0.5
    found = recovery_times(
        lambda n: ld.Problem(Spiked(2.0), Oja(), rate, update="spherical"),
        dimensions=[250, 2000],
        replicas=200,
        longest=lambda n: n * (8 + 3 * np.log(n)),
        stop=lambda n: ld.Stop(overlap, 0.5, sustained=n // 50),
        key=key,
    )
    assert np.all(found.lost == 0)
    assert np.all(found.fraction > 0.9)
    fit = fit_exponent(found.dimensions, found.samples, logarithm=True)
    law = ld.search_law(
        ld.Problem(Spiked(2.0), Oja(), rate, update="spherical"),
        key=key, threshold=0.5, points=2**12,
    )  # fmt: skip
    medians = np.array([np.median(law.updates(n)) for n in found.dimensions])
    assert np.all(medians > fit.quantile_intervals[:, 0] - 0.1 * medians)
    assert np.all(medians < fit.quantile_intervals[:, 1] + 0.1 * medians)
    predicted = fit_exponent(found.dimensions, [law.updates(n) for n in found.dimensions],
                             logarithm=True).exponent  # fmt: skip
    assert abs(fit.exponent - predicted) < 4 * fit.errors[0]


@pytest.mark.slow
def test_runs_that_cannot_recover_are_counted(key):
    found = recovery_times(
        lambda n: ld.Problem(Monomial(3), Correlator(3, -1.0), 0.05, update="spherical", batch=2),
        dimensions=[30],
        replicas=6,
        longest=lambda n: 4 * n,
        stop=lambda n: ld.Stop(_never, 2.0),
        key=key,
    )
    np.testing.assert_array_equal(found.fraction, 0)
    np.testing.assert_array_equal(found.followed, [120])
    lost = recovery_times(
        lambda n: ld.Problem(Monomial(3), Correlator(3), 0.05, update="spherical"),
        dimensions=[30],
        replicas=4,
        longest=lambda n: n,
        stop=lambda n: ld.Stop(_undefined, 2.0),
        key=key,
    )
    np.testing.assert_array_equal(lost.lost, 4)
    assert np.all(np.isnan(lost.samples))


def _never(state):
    return state.signal[0, 0]


def _undefined(state):
    return state.signal[0, 0] * jnp.nan


def _linear(n, rate=0.5):
    return ld.Problem(Spiked(2.0), Oja(), rate, update="spherical")


def _briefly(n, factor):
    return factor * n


def _half(n):
    return ld.Stop(overlap, 0.5)


def _broken(n):
    raise TypeError("no such stop")


@pytest.mark.slow
def test_a_sweep_gives_the_same_times_and_keeps_them(key, tmp_path):
    options = {"replicas": 8, "longest": partial(_briefly, factor=6.0), "stop": _half, "key": key}
    sweep = partial(ld.sweep, store=tmp_path)
    alone = recovery_times(_linear, dimensions=[20, 50], **options)
    swept = recovery_times(_linear, dimensions=[20, 50], sweep=sweep, **options)
    for one, other in zip(alone, swept, strict=True):
        np.testing.assert_array_equal(one, other)
    assert alone.fraction.min() > 0
    cells = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").glob("*.npz")}
    wider = recovery_times(_linear, dimensions=[20, 50, 80], sweep=sweep, **options)
    np.testing.assert_array_equal(wider.samples[:, :2], alone.samples)
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").glob("*.npz")}
    assert len(after) == len(cells) + 1
    assert cells.items() <= after.items()


def test_a_sweep_must_be_able_to_tell_its_cells_apart(key, tmp_path):
    options = {"dimensions": [20], "replicas": 2, "stop": _half, "key": key}
    sweep = partial(ld.sweep, store=tmp_path)
    with pytest.raises(ValueError, match="longest"):
        recovery_times(_linear, longest=lambda n: n, sweep=sweep, **options)
    longest = partial(_briefly, factor=2.0)
    with pytest.raises(RuntimeError, match="no such stop"):
        recovery_times(_linear, longest=longest, sweep=sweep, **{**options, "stop": _broken})


PROBLEM = ld.Problem(Spiked(1.0), Oja(), 0.1, update="spherical")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: common_starts(PROBLEM, dimension=1, replicas=2, key=jax.random.key(0)),
            "`dimension` must be at least r",
        ),
        (
            lambda: common_starts(
                ld.Problem(Blocks((1.0,)), Committee(1), 0.1),
                dimension=12, replicas=2, key=jax.random.key(0),
            ),
            "single noise block",
        ),
        (
            lambda: recovery_times(
                lambda n: PROBLEM, dimensions=[12], replicas=2, longest=lambda n: 3.0,
                stop=lambda n: None, key=jax.random.key(0),
            ),
            "Argument `stop` must give a Stop at each N",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
