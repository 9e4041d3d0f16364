"""Statistics that claims share, each against a closed form or by drawing many times."""

import numpy as np
import pytest

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.evidence.statistics import (
    binomial_error,
    jackknife,
    log_slope,
    share_until,
    shares,
    slopes,
    slopes_of_law,
    stack,
)
from learning_dynamics.search.sample_complexity import fit_exponent

RNG = np.random.default_rng(0)


def test_error_of_a_share_is_the_scatter_of_shares():
    p, count = np.array([0.1, 0.5, 0.8]), 50
    drawn = RNG.binomial(count, p, (20_000, 3)) / count
    # 1/R^2 is added to the variance
    expected = np.sqrt(drawn.var(axis=0) + 1 / count**2)
    np.testing.assert_allclose(binomial_error(p, count), expected, rtol=0.02)
    assert binomial_error(0.0, 50) == 1 / 50


def test_shares_of_runs():
    truth = RNG.random((40, 2, 3)) < 0.3
    axes = {"N": [8, 16], "time": [1.0, 2.0, 3.0]}
    seen = shares(truth, axes, lost=[[0], [1]])
    np.testing.assert_array_equal(seen.values, truth.mean(axis=0))
    np.testing.assert_array_equal(seen.lost, [[0, 0, 0], [1, 1, 1]])
    assert seen.replicas == 40
    with pytest.raises(ValueError, match="Argument `happened` must hold truth values"):
        shares(truth * 1.0, axes)


def test_slopes_of_a_power_are_its_exponent():
    n = np.array([10, 20, 80])
    np.testing.assert_allclose(slopes(n, [3 * np.log(n), np.log(5 * n**2)]), [[3] * 3, [2] * 3])
    law = slopes_of_law(n, 7.0 * n**3, left_out=2.5 / n, order="2.5/N")
    np.testing.assert_allclose(law.values, 3.0)
    expected = np.abs(np.diff(np.log1p(2.5 / n)) / np.diff(np.log(n)))
    np.testing.assert_allclose(law.bias[1:], expected)
    assert slopes_of_law(n[:2], n[:2] ** 2.0).values.shape == (1,)  # one slope, once


def test_slope_with_its_error():
    n = np.array([10.0, 20.0, 80.0])
    exact = np.stack([3 * np.log(n), np.log(5 * n**2)])
    np.testing.assert_allclose(log_slope(n, exact).value, [3, 2])
    errors = np.array([0.1, 0.3, 0.2])
    drawn = log_slope(n, exact[0] + errors * RNG.normal(size=(20_000, 3)))
    assert log_slope(n, exact, errors).error == pytest.approx(drawn.value.std(), rel=0.02)


def test_share_until_is_the_distribution_function():
    draws = np.array([3.0, 1.0, np.inf, 2.0])
    np.testing.assert_array_equal(
        share_until(draws, [[0.5, 1.0], [2.5, 9.0]]), [[0, 0.25], [0.5, 0.75]]
    )


def test_several_levels_scatter_less_than_one():
    n = np.array([10, 20])
    spread = []
    for level in (0.3, (0.2, 0.3, 0.4)):
        times = np.exp(RNG.normal(size=(300, 100, 2))) * n**2.0
        fits = [fit_exponent(n, t, level=level, resamples=20) for t in times]
        exponents = np.array([fit.exponent for fit in fits])
        assert abs(exponents.mean() - 2) < 5 * exponents.std() / 300**0.5
        spread.append(exponents.std())
    assert spread[1] < 0.95 * spread[0]
    with pytest.raises(ValueError, match="Argument `level` must be below the fraction"):
        fit_exponent(
            n, np.where(times[0] > np.median(times[0]), np.inf, times[0]), level=(0.2, 0.9)
        )


def test_jackknife_of_a_mean_is_its_standard_error():
    curves = RNG.normal(size=(12, 4, 5))
    seen = jackknife(curves, lambda curve: curve.mean(axis=-1), {"x": np.arange(4)})
    means = curves.mean(axis=-1)
    np.testing.assert_allclose(seen.values, means.mean(axis=0))
    np.testing.assert_allclose(seen.standard_error, means.std(axis=0, ddof=1) / 12**0.5)
    with pytest.raises(ValueError, match="`curves` must hold at least two replicas, but got 1"):
        jackknife(curves[:1], lambda curve: curve.mean(axis=-1), {"x": np.arange(4)})


def test_stacked_predictions_keep_errors_and_bias():
    one = Prediction([1.0, 2.0], 0.1, 0.2, "1/N", "law")
    both = stack([one, one.scaled(2.0)])
    np.testing.assert_allclose(both.values, [[1, 2], [2, 4]])
    np.testing.assert_allclose(both.bias, [[0.2, 0.2], [0.4, 0.4]])
    assert (both.bias_order, both.label) == ("1/N", "law")


def test_between_accepts_its_range_and_nothing_beyond():
    draws = RNG.normal(size=(20, 1)) * 0.01
    for mean, verdict in ((0.5, "pass"), (2.9, "pass"), (-0.5, "fail"), (3.5, "fail")):
        seen = Measurement.from_replicas(mean + draws, {"x": [0]})
        theory = Prediction.between([0.0], [3.0], label="above")
        assert compare(seen, theory, name="n", quantity="q").verdict == verdict
    with pytest.raises(ValueError, match="Argument `low` must lie below `high`"):
        Prediction.between([1.0], [1.0])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_theory_wrong_by_what_is_caught_fails_and_by_less_passes(sign):
    law = np.array([2.0, 5.0, 0.0])
    seen = Measurement(law, [0.1, 0.2, 0.1], 40, {"x": [1, 2, 3]})
    right = Prediction(law, 0.05, [0.0, 0.3, 0.1], "1/N")
    comparison = compare(seen, right, name="n", quantity="q")
    assert comparison.verdict == "pass"
    least = comparison.catches
    assert comparison.summary()["catches"] == least
    for factor, verdict in ((0.99, "pass"), (1.01, "fail")):
        # the simulation on the right theory, the theory wrong by that much
        wrong = Prediction(law * (1 + sign * factor * least), 0.05, right.bias, "1/N")
        assert compare(seen, wrong, name="n", quantity="q").verdict == verdict


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("sizes", lambda: log_slope([0, 1], [1.0, 2.0])),
        ("sizes", lambda: log_slope([2, 2], [1.0, 2.0])),
        ("logs", lambda: log_slope([1, 2, 3], [1.0, 2.0])),
        ("draws", lambda: share_until([1.0, np.nan], 1.0)),
        ("draws", lambda: share_until([], 1.0)),
        ("times", lambda: share_until([1.0, 2.0], [np.nan])),
        ("predictions", lambda: stack([])),
        ("predictions", lambda: stack([Prediction(1.0), Prediction([1.0])])),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(argument, call):
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        call()


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf, True, [1.0, 2.0], "x"])
def test_factors_are_positive_and_fit_the_values(factor):
    draws = np.arange(12.0).reshape(4, 3)
    for scaled in (
        Measurement.from_replicas(draws, {"x": [1, 2, 3]}).scaled,
        Prediction([1.0, 2.0, 3.0]).scaled,
    ):
        with pytest.raises(ValueError, match="`factor`"):
            scaled(factor)


@pytest.mark.parametrize("axis", [2, -3, 0.5, True, None, [0]])
def test_the_axis_of_replicas_is_one_of_the_draws(axis):
    with pytest.raises(ValueError, match="`axis`"):
        Measurement.from_replicas(np.ones((3, 3)), {"x": [1, 2, 3]}, axis=axis)
