"""Exponents, quantiles and shares on synthetic times of known law."""

import numpy as np
import pytest
from scipy import stats

from learning_dynamics.search.sample_complexity import (
    collapse,
    fit_exponent,
    recovered_share,
)
from learning_dynamics.search.sample_figures import plot_collapse

SIZES = np.array([20, 60, 200])


def synthetic(rng, replicas=200, exponent=3.0, shared=1.0, own=0.1):
    """Common heavy-tailed factors of the starts, and independent ones of the paths."""
    start = np.exp(shared * rng.normal(size=(replicas, 1)))
    path = np.exp(own * rng.normal(size=(replicas, SIZES.size)))
    return SIZES.astype(float) ** exponent * start * path


@pytest.mark.slow
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


def test_a_collapse_less_its_logarithm_may_be_negative():
    early = [np.array([-0.5, 0.2, np.nan]), np.array([0.1, 0.3, 0.4])]
    axes = plot_collapse([10, 20], early, logx=False).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [-0.5, 0.2])
    with pytest.raises(ValueError, match="positive"):
        plot_collapse([10, 20], early)


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
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
