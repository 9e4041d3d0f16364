"""The numeric checks: they pass what is right, at the stated rate, and refuse what is wrong."""

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from learning_dynamics.testing import (
    DisagreementError,
    TooBluntError,
    assert_agrees,
    assert_honest,
    assert_order,
    assert_same_law,
    assert_slope,
    fit_slope,
    must_fail,
)

RNG = np.random.default_rng
SIZES = np.array([16, 32, 64, 128])


def draws(seed=0, replicas=200, mean=2.0, points=3):
    return mean + RNG(seed).standard_normal((replicas, points))


def trajectory(shift=0.0):
    """A linear learner by its exact process and in the limit."""
    from tests.learning_dynamics.kernel.models import Committee, Teacher

    problem = ld.Problem(Teacher(np.array([1.0])), Committee(1, "linear"), 0.5 + shift)
    return problem, {"times": [1.0], "start": ld.order_parameters([[0.2]], [[1.1]])}


# ------------------------------------------------------------------ agreement


def test_agreement_returns_the_comparison():
    found = assert_agrees(draws(), [2.0, 2.0, 2.0])
    assert found.verdict == "pass"
    assert found.false_alarm == 1e-6
    assert found.measured.replicas == 200
    single = assert_agrees(draws()[:, 0], 2.0)
    assert single.measured.values.shape == ()


def test_disagreement_tells_where_and_by_how_much():
    with pytest.raises(DisagreementError, match=r"predicted 3 .*axis0 = 1; 3 points, 200 replicas"):
        assert_agrees(draws(), [2.0, 3.0, 2.0])


def test_false_alarms_come_at_the_stated_rate():
    failures, trials, rate = 0, 2000, 0.05
    for seed in range(trials):
        try:
            assert_agrees(draws(seed, replicas=8), [2.0, 2.0, 2.0], false_alarm=rate)
        except DisagreementError:
            failures += 1
    # Bonferroni is nearly exact for three independent points
    assert abs(failures - rate * trials) < 4 * np.sqrt(rate * trials)


def test_bias_is_a_band_and_not_an_error_bar():
    assert_agrees(draws(), [2.5] * 3, bias=0.5, order="1/2")
    assert_agrees(draws(), ld.Prediction(np.full(3, 2.5), 0.0).with_bias(0.5, "1/2"))
    with must_fail():
        assert_agrees(draws(replicas=5000), [2.5] * 3, bias=0.3)
    with pytest.raises(ValueError, match="`bias` must be left out"):
        assert_agrees(draws(), ld.Prediction(np.full(3, 2.5), 0.0).with_bias(1.0, "1"), bias=1.0)
    with pytest.raises(ValueError, match="`bias` must not be negative"):
        assert_agrees(draws(), [2.0] * 3, bias=-0.1)


def test_resolution_is_asked_for():
    assert_agrees(draws(replicas=400), [2.0] * 3, resolution=0.06)
    with pytest.raises(TooBluntError, match="draw more replicas"):
        assert_agrees(draws(replicas=30), [2.0] * 3, resolution=0.06)
    with pytest.raises(TooBluntError), must_fail():  # a blunt control has not failed
        assert_agrees(draws(replicas=30), [3.0] * 3, resolution=0.06)


def test_lost_replicas_disagree():
    broken = draws()
    broken[3, 1] = np.nan
    with pytest.raises(DisagreementError, match="1 lost"):
        assert_agrees(broken, [2.0] * 3)


@pytest.mark.slow
def test_trajectories_agree_with_their_limit_and_not_with_another(key):
    problem, options = trajectory()
    seen = ld.simulate(problem, dimension=400, replicas=200, key=key, level="overlaps", **options)
    limit = ld.integrate(problem, points=500, **options)
    found = assert_agrees(seen, limit, quantities=["signal"], bias=3 / 400, order="3/N")
    assert found.predicted.bias_order == "3/N"
    other, _ = trajectory(0.2)
    with must_fail():
        assert_agrees(
            seen, ld.integrate(other, points=500, **options), quantities=["signal"], bias=3 / 400
        )


def test_controls_that_pass_or_break_are_no_failed_controls():
    with pytest.raises(AssertionError, match="control passed"), must_fail():
        assert_agrees(draws(), [2.0] * 3)
    with pytest.raises(ValueError, match="`predicted` must have shape"), must_fail():
        assert_agrees(draws(), [2.0] * 4)
    with pytest.raises(AssertionError, match="another"), must_fail():
        raise AssertionError("another")


# ------------------------------------------------------------------ slopes


def power_draws(exponent, seed=0, replicas=300, common=False, curvature=0.0):
    noise = RNG(seed).standard_normal((replicas, 1 if common else SIZES.size))
    law = 2.0 * SIZES**exponent * (1 + curvature / SIZES)
    return law * np.exp(0.3 * noise - 0.045)


def test_slope_of_exact_values_and_of_values_with_errors():
    exact = fit_slope(SIZES, 2.0 * SIZES**-1.5)
    assert exact.value == pytest.approx(-1.5, abs=1e-12)
    assert exact.prefactor == pytest.approx(2.0)
    assert exact.standard_error < 1e-12
    x, error = np.log(SIZES), np.array([0.01, 0.02, 0.04, 0.08])
    y = 2.0 * SIZES**-1.5 * (1 + error)
    found = fit_slope(SIZES, y, standard_error=error * y)
    slope, covariance = np.polyfit(x, np.log(y), 1, w=1 / error, cov="unscaled")
    assert found.value == pytest.approx(slope[0])
    assert found.standard_error == pytest.approx(np.sqrt(covariance[0, 0]))
    chi2 = (((np.log(y) - np.polyval(slope, x)) / error) ** 2).sum()
    assert found.misfit == pytest.approx(stats.chi2.sf(chi2, 2))


@pytest.mark.parametrize("common", [True, False])
def test_slope_errors_are_those_of_repeated_experiments(common):
    fits = [fit_slope(SIZES, power_draws(-1.0, seed, common=common)) for seed in range(200)]
    values = np.array([fit.value for fit in fits])
    reported = np.mean([fit.standard_error for fit in fits])
    if common:  # a common factor of all sizes leaves the slope alone; independent errors do not
        assert values.std() < 1e-12
        assert reported < 1e-12
    else:
        assert reported == pytest.approx(values.std(), rel=0.2)


def test_slope_is_asserted_within_its_error_and_bias():
    assert_slope(SIZES, power_draws(-1.0), -1.0, resolution=0.02)
    with must_fail():
        assert_slope(SIZES, power_draws(-1.0), -1.15)
    assert_slope(SIZES, power_draws(-1.0), -1.15, bias=0.15)
    with pytest.raises(TooBluntError):
        assert_slope(SIZES, power_draws(-1.0, replicas=8), -1.0, resolution=0.02)
    measured = ld.Measurement.from_replicas(power_draws(-1.0, 3), {"N": SIZES})
    fit = assert_slope(SIZES, measured, -1.0)
    assert fit.misfit > 1e-3
    bent = ld.Measurement.from_replicas(power_draws(-1.0, 3, 20_000, curvature=6.0), {"N": SIZES})
    centre = fit_slope(SIZES, bent).value
    with pytest.raises(DisagreementError, match="No power law"):
        assert_slope(SIZES, bent, centre)
    assert_slope(SIZES, bent, -1.0, bias=0.25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1.0, 2.0]), "3 or more"),
        (([1, 1, 2], [1.0, 2.0, 3.0]), "`x` must be positive and all different"),
        (([0, 1, 2], [1.0, 2.0, 3.0]), "`x` must be positive"),
        (([1, 2, 3], [1.0, -2.0, 3.0]), "`measured` must have positive means"),
        (([1, 2, 3], [1.0, 2.0]), "`measured` must have one value"),
    ],
)
def test_bad_points_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_slope(*arguments)


def test_ignored_errors_are_refused():
    with pytest.raises(ValueError, match="`standard_error` must be left out"):
        fit_slope(SIZES, power_draws(1.0), standard_error=np.ones(4))
    with pytest.raises(ValueError, match="`standard_error` must be positive"):
        fit_slope(SIZES, SIZES, standard_error=np.zeros(4))
    with pytest.raises(ValueError, match="without any one replica"):
        fit_slope([1, 2], [[-1.0, 1.0], [4.0, 1.5]])


# ------------------------------------------------------------------ orders


@pytest.mark.parametrize("order", [1, 2, 4])
def test_order_of_convergence(order):
    steps = np.array([0.2, 0.1, 0.05, 0.025])
    errors = -3 * steps**order * (1 + 0.5 * steps)
    assert assert_order(steps, errors, order) == pytest.approx(order, abs=0.02)
    assert assert_order(steps[::-1], errors[::-1], order) == pytest.approx(order, abs=0.02)
    for wrong in (order - 0.5, order + 0.5):
        with must_fail():
            assert_order(steps, errors, wrong)


def test_order_of_noisy_errors():
    steps, errors = np.array([0.1, 0.05]), np.array([0.2, 0.11])
    assert_order(steps, errors, 1, standard_error=[0.01, 0.005])
    with must_fail():
        assert_order(steps, errors, 2, standard_error=[0.01, 0.005])
    with pytest.raises(TooBluntError):
        assert_order(steps, errors, 1, standard_error=[0.1, 0.05])
    with pytest.raises(TooBluntError, match="no larger than their own errors"):
        assert_order(steps, [0.2, 0.01], 1, standard_error=[0.1, 0.05])
    with pytest.raises(DisagreementError, match="do not fall"):
        assert_order(steps, [0.1, 0.1], 1)
    with pytest.raises(ValueError, match="`steps` must be positive"):
        assert_order([0.1, 0.0], errors, 1)
    with pytest.raises(ValueError, match="`errors` must have one value"):
        assert_order([0.1], [0.1], 1)


# ------------------------------------------------------------------ honest errors


def test_honest_errors():
    with mp.workdps(50):
        exact = [mp.exp(1), mp.pi]
    values = np.array([float(x) for x in exact])
    assert_honest(ld.Prediction(values, 4e-16), exact, relative=1e-15)
    with must_fail():  # the reported error is smaller than the rounding error
        assert_honest(ld.Prediction(values, 1e-18), exact)
    with must_fail():  # an error that covers anything
        assert_honest(ld.Prediction(values, np.inf), exact, relative=1e-3)
    with must_fail():
        assert_honest(ld.Prediction(np.array([np.nan]), 1.0), [1.0])
    assert_honest(ld.Prediction(np.array([0.1, 2.0]), 1e-17), [Fraction(1, 10), 2])


def test_honesty_against_a_finer_evaluation():
    coarse, fine = ld.Prediction(np.array([1.0]), 0.01), ld.Prediction(np.array([1.012]), 0.003)
    assert_honest(coarse, fine)
    with must_fail():
        assert_honest(coarse, fine.values)
    assert_honest(coarse, fine.values, reference_error=0.003)
    with pytest.raises(ValueError, match=r"`reference` must have shape \(1,\)"):
        assert_honest(coarse, [1.0, 1.0])


# ------------------------------------------------------------------ laws


def test_same_law():
    rng = RNG(5)
    one, two = rng.normal(size=(400, 3)), rng.normal(size=(600, 3))
    assert assert_same_law(one, two) > 1e-4
    assert assert_same_law(one, stats.norm.cdf) > 1e-4
    two[:, 2] *= 1.8
    with pytest.raises(DisagreementError, match="column 2 of 3"):
        assert_same_law(one, two)
    with must_fail():
        assert_same_law(one, stats.norm(0.4).cdf)
    never = np.where(rng.random(200) < 0.5, np.inf, 1.0)
    assert_same_law(never, np.where(rng.random(200) < 0.5, np.inf, 1.0))
    for bad, message in ((np.ones(4), "replicas >= 8"), (np.full(20, np.nan), "no NaN")):
        with pytest.raises(ValueError, match=message):
            assert_same_law(bad, np.ones(20))
    with pytest.raises(ValueError, match="`other` must have 3 columns"):
        assert_same_law(one, two[:, :2])


def test_false_alarms_of_laws_come_at_most_at_the_stated_rate():
    rng, failures = RNG(6), 0
    for _ in range(400):
        try:
            assert_same_law(rng.normal(size=(60, 2)), rng.normal(size=(60, 2)), false_alarm=0.1)
        except DisagreementError:
            failures += 1
    assert failures < 40 + 4 * 6
