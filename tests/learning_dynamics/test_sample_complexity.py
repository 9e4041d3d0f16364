"""Exponents on synthetic times of known law; starts and times against the kernel's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from learning_dynamics.sample_complexity import (
    collapse,
    common_starts,
    fit_exponent,
    recovered_share,
    recovery_times,
)
from tests.learning_dynamics.kernel.models import Blocks, Committee, Teacher
from tests.learning_dynamics.kernel.searching import Correlator, Monomial, Oja, Spiked

SIZES = np.array([20, 60, 200])


def synthetic(rng, replicas=200, exponent=3.0, shared=1.0, own=0.1):
    """Common heavy-tailed factors of the starts, and independent ones of the paths."""
    start = np.exp(shared * rng.normal(size=(replicas, 1)))
    path = np.exp(own * rng.normal(size=(replicas, SIZES.size)))
    return SIZES.astype(float) ** exponent * start * path


def test_intervals_cover_the_exponent():
    """95 % intervals miss it in at most 5 % of data sets, within three standard deviations."""
    rng, trials = np.random.default_rng(0), 300
    most = 0.05 * trials + 3 * np.sqrt(0.05 * 0.95 * trials)
    for own in (0.1, 1.0):
        found = [
            fit_exponent(SIZES, synthetic(rng, own=own), resamples=300, seed=trial)
            for trial in range(trials)
        ]
        missed = sum(not f.interval[0] <= 3 <= f.interval[1] for f in found)
        local = sum(not f.local_intervals[1, 0] <= 3 <= f.local_intervals[1, 1] for f in found)
        assert max(missed, local) <= most
        if own == 1.0:
            assert min(missed, local) >= 1
        # errors are honest; a little wide where the starts decide nearly all, never short
        ratio = np.mean([f.errors[0] for f in found]) / np.std([f.exponent for f in found])
        assert 0.88 < ratio < (1.2 if own == 1.0 else 1.5)


def test_common_starts_narrow_the_interval():
    rng = np.random.default_rng(1)
    together = synthetic(rng)
    apart = [rng.permutation(column) for column in together.T]
    close, wide = fit_exponent(SIZES, together), fit_exponent(SIZES, apart)
    assert np.diff(close.interval) < 0.7 * np.diff(wide.interval)
    assert close.exponent == wide.exponent
    assert close.errors[0] == pytest.approx(np.diff(close.interval)[0] / 3.9, rel=0.3)


def test_the_logarithm_is_fitted_away():
    rng = np.random.default_rng(2)
    times = synthetic(rng, exponent=1.0, own=0.02) * np.log(SIZES)
    found = fit_exponent(SIZES, times, logarithm=True)
    assert found.interval[0] <= 1 <= found.interval[1]
    plain = fit_exponent(SIZES, times)
    assert plain.interval[0] > 1.1  # log log N makes up for the difference
    assert plain.exponent - found.exponent == pytest.approx(
        np.polyfit(np.log(SIZES), np.log(np.log(SIZES)), 1)[0]
    )


def test_replicas_that_do_not_recover_come_last():
    rng = np.random.default_rng(3)
    times = synthetic(rng)
    late = times > np.quantile(times, 0.7, axis=0)
    cut = fit_exponent(SIZES, np.where(late, np.nan, times))
    whole = fit_exponent(SIZES, times)
    assert cut.exponent == whole.exponent
    np.testing.assert_allclose(cut.fraction, 0.7, atol=0.006)
    np.testing.assert_array_equal(whole.fraction, 1.0)
    barely = fit_exponent(SIZES, np.where(late, np.inf, times), level=0.69)
    assert barely.interval[0] == -np.inf
    assert barely.interval[1] == np.inf
    with pytest.raises(ValueError, match="below the fraction"):
        fit_exponent(SIZES, np.where(late, np.nan, times), level=0.9)


def test_arrays_of_different_lengths():
    rng = np.random.default_rng(4)
    times = synthetic(rng, replicas=400)
    columns = [times[:, 0], times[:200, 1], times[:100, 2]]
    found = fit_exponent(SIZES, columns)
    assert found.interval[0] < 3 < found.interval[1]
    assert found.replicas == 100
    assert found.measurement().values.shape == (3,)
    shares = recovered_share(SIZES, collapse(SIZES, columns, 3.0), [0.5, 1.0, 2.0])
    exact = stats.norm.cdf(np.log([0.5, 1.0, 2.0]) / np.hypot(1.0, 0.1))
    assert np.all(np.abs(shares.values - exact) < 4 * shares.standard_error)
    assert list(shares.coordinates) == ["dimension", "time"]


def test_collapse_scales_and_sorts():
    times = np.array([[8.0, 54.0], [np.nan, 27.0]])
    left, right = collapse([2, 3], times, 3.0)
    np.testing.assert_array_equal(left, [1.0, np.inf])
    np.testing.assert_array_equal(right, [1.0, 2.0])
    left, _ = collapse([2, 3], times, 2.0, logarithm=True)
    assert left[0] == pytest.approx(2 / np.log(2))


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


PROBLEM = ld.Problem(Spiked(1.0), Oja(), 0.1, update="spherical")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fit_exponent([10], np.ones((5, 1))), "at least two"),
        (lambda: fit_exponent([10, 10], np.ones((5, 2))), "increases strictly"),
        (lambda: fit_exponent([10, 20], np.ones((5, 3))), "for each of 2 dimensions"),
        (lambda: fit_exponent([10, 20], np.zeros((5, 2))), "`times` must be positive"),
        (lambda: fit_exponent([10, 20], np.ones((5, 2)), level=1.0), "`level`"),
        (lambda: fit_exponent([10, 20], np.ones((5, 2)), confidence=0.0), "`confidence`"),
        (lambda: fit_exponent([10, 20], np.ones((5, 2)), resamples=0), "`resamples`"),
        (lambda: fit_exponent([2, 20], np.ones((5, 2)), logarithm=True), "at least 3"),
        (lambda: recovered_share([10], [np.ones(3)], [np.nan]), "`at` must be finite"),
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
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
