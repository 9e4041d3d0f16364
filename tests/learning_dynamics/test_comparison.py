import numpy as np
import pytest
from scipy import stats

from learning_dynamics import Comparison, Measurement, Prediction, compare, compare_with_controls

TRUTH = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]])
COORDINATES = {"dimension": [16, 32], "samples": [8, 16, 32]}


def measure(seed=0, *, replicas=40, offset=0.0, spread=0.1):
    noise = np.random.default_rng(seed).standard_normal((replicas, *TRUTH.shape))
    return Measurement.from_replicas(TRUTH + offset + spread * noise, COORDINATES)


def theory(values=TRUTH, error=0.0):
    return Prediction(values, error)


def check(measured=None, predicted=None, **options):
    measured = measure() if measured is None else measured
    predicted = theory() if predicted is None else predicted
    return compare(measured, predicted, name="loss", quantity="loss per pixel", **options)


def test_mean_and_standard_error_are_those_of_the_replicas():
    draws = np.random.default_rng(1).standard_normal((7, 2, 3))
    measured = Measurement.from_replicas(draws, COORDINATES)
    np.testing.assert_allclose(measured.values, draws.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(measured.standard_error, stats.sem(draws, axis=0), rtol=1e-13)
    assert measured.replicas == 7
    assert not measured.lost.any()


def test_right_theory_passes():
    comparison = check()
    assert comparison.verdict == "pass"
    difference = comparison.measured.values - TRUTH
    np.testing.assert_allclose(
        comparison.residual, difference / comparison.measured.standard_error, rtol=1e-12
    )


@pytest.mark.parametrize("shift", [0.2, -0.2])
def test_shifted_theory_fails_with_the_sign_of_the_difference(shift):
    comparison = check(predicted=theory(TRUTH + shift))
    assert comparison.verdict == "fail"
    assert np.all(np.sign(comparison.residual) == -np.sign(shift))


def test_one_wrong_point_is_enough_and_is_the_worst():
    values = TRUTH.copy()
    values[1, 2] += 0.5
    comparison = check(predicted=theory(values))
    assert comparison.verdict == "fail"
    assert comparison.worst == (1, 2)
    assert comparison.summary()["at"] == {"dimension": 32, "samples": 32}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_prediction_that_is_not_finite_fails(bad):
    values = TRUTH.copy()
    values[0, 1] = bad
    comparison = check(predicted=theory(values))
    assert comparison.verdict == "fail"
    assert comparison.worst == (0, 1)


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_prediction_without_a_finite_error_fails(error):
    predicted = theory(TRUTH, error).with_bias(10.0, "all")
    assert check(predicted=predicted).verdict == "fail"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_lost_replica_is_counted_left_out_and_fails(bad):
    draws = TRUTH + 0.1 * np.random.default_rng(2).standard_normal((30, 2, 3))
    kept = np.delete(draws, 4, axis=0)
    draws[4, 1, 0] = bad
    measured = Measurement.from_replicas(draws, COORDINATES)
    comparison = check(measured)
    assert measured.lost.tolist() == [[0, 0, 0], [1, 0, 0]]
    np.testing.assert_allclose(measured.values[1, 0], kept[:, 1, 0].mean(), rtol=1e-14)
    np.testing.assert_allclose(measured.standard_error[1, 0], stats.sem(kept[:, 1, 0]), rtol=1e-12)
    assert np.all(np.abs(comparison.residual) < comparison.critical)
    assert comparison.verdict == "fail"
    assert comparison.summary()["lost_replicas"] == 1


def test_point_without_any_replica_fails():
    draws = np.full((5, 2, 3), np.nan)
    comparison = check(Measurement.from_replicas(draws, COORDINATES))
    assert comparison.verdict == "fail"
    assert np.isnan(comparison.residual).all()


def test_spread_that_overflows_fails():
    draws = np.tile(TRUTH, (4, 1, 1))
    draws[0] = 1e200
    comparison = check(Measurement.from_replicas(draws, COORDINATES))
    assert comparison.verdict == "fail"


def test_allowed_bias_covers_its_size_and_no_more():
    # spread so small that only the bias decides
    measured = measure(offset=0.05, spread=1e-6)
    assert check(measured).verdict == "fail"
    assert check(measured, theory().with_bias(0.051, "1/N")).verdict == "pass"
    comparison = check(measured, theory().with_bias(0.049, "1/N"))
    assert comparison.verdict == "fail"
    np.testing.assert_allclose(
        comparison.residual * measured.standard_error, measured.values - TRUTH - 0.049, rtol=1e-9
    )


def test_numerical_error_adds_in_quadrature():
    measured = measure()
    plain, wide = check(measured), check(measured, theory(error=measured.standard_error))
    np.testing.assert_allclose(wide.residual, plain.residual / np.sqrt(2), rtol=1e-12)


def test_equal_numbers_without_spread_pass_and_different_ones_fail():
    measured = Measurement.from_replicas(np.tile(TRUTH, (3, 1, 1)), COORDINATES)
    assert check(measured).verdict == "pass"
    comparison = check(measured, theory(TRUTH + 1e-9))
    assert comparison.verdict == "fail"
    assert np.all(comparison.residual < -1e5)  # in units of rounding


def test_critical_value_is_the_bonferroni_student_quantile():
    comparison = check(false_alarm=0.01)
    expected = stats.t.isf(0.01 / 2 / TRUTH.size, 39)
    np.testing.assert_allclose(comparison.critical, expected, rtol=1e-10)


@pytest.mark.parametrize("replicas", [4, 20])
def test_false_alarms_come_as_often_as_promised(replicas):
    generator = np.random.default_rng(3)
    points, alarm, experiments = 5, 0.1, 3000
    failures = 0
    for _ in range(experiments):
        draws = generator.standard_normal((replicas, points))
        measured = Measurement.from_replicas(draws, {"x": range(points)})
        failures += check(measured, theory(np.zeros(points)), false_alarm=alarm).verdict == "fail"
    rate = 1 - (1 - alarm / points) ** points  # independent points, Bonferroni threshold
    deviation = np.sqrt(rate * (1 - rate) / experiments)
    assert abs(failures / experiments - rate) < 4.5 * deviation


def test_prediction_can_be_cut_where_no_bias_is_left():
    predicted = theory().with_bias(np.array([0.0, 0.1, 0.2]), "1/N")
    assert predicted[:, 0].bias_order == ""
    assert predicted[0].bias.tolist() == [0.0, 0.1, 0.2]
    assert predicted.labelled("limit").label == "limit"


def test_summary_and_arrays_hold_the_same_numbers():
    measured = Measurement.from_replicas(
        np.random.default_rng(4).standard_normal((6, 2)),
        {"remedy": ["none", "ridge"]},
        attributes={"seed": 4},
    )
    comparison = check(measured, theory(np.zeros(2)).with_bias(0.1, "1/N"))
    summary, labelled = comparison.summary(), comparison.to_xarray()
    there = labelled.sel(summary["at"])
    for name in ("measured", "predicted", "standard_error", "allowed_bias", "residual"):
        assert float(there[name]) == summary[name]
    assert labelled.attrs["seed"] == 4
    assert labelled.attrs["verdict"] == comparison.verdict
    assert summary["points"] == 2


def test_plot_writes_a_file(tmp_path):
    check().plot(tmp_path / "loss.svg")
    assert "<svg" in (tmp_path / "loss.svg").read_text()


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Measurement.from_replicas([[1.0, 2.0]], {"x": [0, 1]}), "draws"),
        (lambda: Measurement.from_replicas(3.0, {}), "draws"),
        (lambda: Measurement.from_replicas(np.ones((3, 2)), {"x": [0, 1, 2]}), "draws"),
        (lambda: check(predicted=theory(TRUTH.T)), "predicted"),
        (lambda: check(false_alarm=0.0), "false_alarm"),
        (lambda: check(false_alarm=1.0), "false_alarm"),
        (
            lambda: check(
                Measurement.from_replicas(np.ones((2, 0)), {"x": []}), theory(np.ones(0))
            ),
            "measured",
        ),
        (lambda: theory(TRUTH, -1.0), "numerical_error"),
        (lambda: theory().with_bias(-1.0, "1/N"), "bias"),
        (lambda: theory().with_bias(0.1, ""), "bias_order"),
        (lambda: theory().with_bias(0.0, "1/N"), "bias_order"),
    ],
)
def test_bad_input_names_the_argument(make, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}` must"):
        make()


def test_public_names():
    import learning_dynamics

    assert learning_dynamics.Comparison is Comparison


def test_a_quantity_without_spread_agrees_to_rounding_of_its_type():
    """Four units in the last place, stated; a constant that is wrong by more fails."""
    one, wrong = np.ones((8, 3), np.float32), 1 + 1e-5
    for precision, given, off in (
        (None, one, 1.2e-7),
        ("float32", one.astype(np.float64), 1.2e-7),
        (None, one.astype(np.float64), 4e-16),
        ("bfloat16", one, 8e-3),
    ):
        seen = Measurement.from_replicas(given, {"time": [1, 2, 3]}, precision=precision)
        assert compare(seen, Prediction(np.full(3, 1 + off), np.zeros(3))).verdict == "pass"
        far = compare(seen, Prediction(np.full(3, 1 + 60 * off), np.zeros(3)))
        assert far.verdict == "fail"
        assert far.to_xarray()["rounding"].values[0] == far.summary()["rounding"] > 0
    exact = Measurement.from_replicas(one.astype(np.float64), {"time": [1, 2, 3]})
    assert compare(exact, Prediction(np.full(3, wrong), np.zeros(3))).verdict == "fail"
    counts = Measurement.from_replicas(np.ones((8, 3), np.int64), {"time": [1, 2, 3]})
    assert np.all(counts.rounding == 0)
    with pytest.raises(ValueError, match="precision"):
        Measurement.from_replicas(one, {"time": [1, 2, 3]}, precision="U3")


def test_a_weak_pass_says_so_and_why():
    times = np.linspace(0, 1, 4)
    draws = np.exp(-times) + 0.01 * np.random.default_rng(0).normal(size=(16, 4))
    measured = Measurement.from_replicas(draws, {"time": times}, label="simulation")
    coarse = Prediction(1.3 * np.exp(-times), 0.5 * np.exp(-times), label="coarse")
    weak = compare(measured, coarse)
    assert weak.verdict == "pass"
    assert weak.catches > 1
    assert "weak, because of the numerical error" in repr(weak)
    figure = weak.plot()
    assert "weak: catches" in figure.axes[1].get_title(loc="left")
    assert "bars: numerical error" in figure.legends[0].get_texts()[1].get_text()
    sharp = compare(measured, Prediction(np.exp(-times), label="right"))
    assert sharp.catches < 0.1
    assert "weak" not in repr(sharp)
    assert "weak" not in sharp.plot().axes[1].get_title(loc="left")
    wide = compare(measured, Prediction(np.exp(-times), bias=0.5, bias_order="1/N", label="wide"))
    assert "weak, because of the allowed bias" in repr(wide)
    zero = compare(measured, Prediction(np.zeros(4), label="zero"))
    assert "no relative error" in repr(zero)


def test_controls_have_the_names_of_their_theories():
    shifted, halved = (
        Prediction(v, label=n) for v, n in ((TRUTH + 0.2, "more"), (TRUTH / 2, "half"))
    )
    tests = compare_with_controls(measure(), theory(), shifted, halved, name="loss", quantity="q")
    assert [test.name for test in tests] == ["loss", "more", "half"]
    assert [test.verdict for test in tests] == ["pass", "fail", "fail"]
    assert {test.quantity for test in tests} == {"q"}


def test_units_and_the_place_of_the_replicas_do_not_matter():
    draws = np.random.default_rng(2).normal(1.0, 0.1, (6, 2, 3)).astype(np.float32)
    axes, factor = {"x": [0, 1], "time": [1, 2, 3]}, np.array([[2.0], [0.5]])
    measured = Measurement.from_replicas(draws, axes)
    last = Measurement.from_replicas(np.moveaxis(draws, 0, -1), axes, axis=-1)
    scaled = measured.scaled(factor)
    whole = Measurement.from_replicas(draws * factor, axes, precision=np.float32)
    for name in ("values", "standard_error", "rounding"):
        np.testing.assert_array_equal(getattr(last, name), getattr(measured, name))
        np.testing.assert_allclose(getattr(scaled, name), getattr(whole, name), rtol=1e-12)
    with pytest.raises(ValueError, match="`factor` must be positive"):
        measured.scaled(-1.0)
    with pytest.raises(ValueError, match="`axis` must be one of the 3 axes"):
        Measurement.from_replicas(draws, axes, axis=3)


def test_selected_part_of_a_measurement_keeps_values_and_errors():
    measured = measure()
    part = measured.select(dimension=1, samples=slice(-2, None))
    assert list(part.coordinates) == ["samples"]
    np.testing.assert_array_equal(part.coordinates["samples"], [16, 32])
    np.testing.assert_array_equal(part.values, measured.values[1, -2:])
    np.testing.assert_array_equal(part.standard_error, measured.standard_error[1, -2:])
    np.testing.assert_array_equal(part.rounding, measured.rounding[1, -2:])
    with pytest.raises(ValueError, match="places"):
        measured.select(nothing=0)
    for place in (7, 1.5, [0], True, None):
        with pytest.raises(ValueError, match="places\\['dimension'\\]"):
            measured.select(dimension=place)


def test_axes_of_a_prediction_in_reverse_order():
    law = Prediction(TRUTH, 0.1 * TRUTH, 0.2 * TRUTH, "1/N", "law")
    for name in ("values", "numerical_error", "bias"):
        np.testing.assert_array_equal(getattr(law.T, name), getattr(law, name).T)
    assert (law.T.bias_order, law.T.label) == ("1/N", "law")
