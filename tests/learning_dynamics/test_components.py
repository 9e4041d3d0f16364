"""Single components of quantities, defaults of errors, and one return type of `compare`."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

import learning_dynamics as ld
from tests.learning_dynamics.results_of_each_kind import TIMES, limit, trajectory


def pair():
    """A trajectory and a limit with the same quantities and times."""
    rng = np.random.default_rng(3)
    values = {"signal": rng.normal(size=(4, 3, 1, 2)), "norms": rng.normal(size=(4, 3, 1, 1))}
    return replace(trajectory(), values=values), limit()


def test_single_components_are_compared():
    seen, theory = pair()
    every = ld.compare(seen, theory)
    assert list(every.measured.coordinates["quantity"]) == [
        "signal[0,0]", "signal[0,1]", "norms[0,0]",
    ]  # fmt: skip
    for asked, columns in (
        (["signal[0,1]"], [1]),
        ("signal[0,1]", [1]),
        (["norms", "signal[0,0]"], [2, 0]),
        (["signal"], [0, 1]),
        (["signal", "signal[0,1]"], [0, 1]),
        (iter(["signal[0,1]", "signal[0,0]"]), [1, 0]),
    ):
        some = ld.compare(seen, theory, quantities=asked)
        for a, b in ((some.measured, every.measured), (some.predicted, every.predicted)):
            np.testing.assert_array_equal(a.values, b.values[:, columns])
        np.testing.assert_array_equal(some.predicted.bias, every.predicted.bias[:, columns])
        names = every.measured.coordinates["quantity"][columns]
        np.testing.assert_array_equal(some.measured.coordinates["quantity"], names)
    assert theory.components(["signal[0,1]", "norms"]) == ["signal[0,1]", "norms[0,0]"]
    np.testing.assert_array_equal(seen.prediction(["signal[0,1]"]).values.shape, (3, 1))


@pytest.mark.parametrize("odd", [["signal[0,2]"], ["other[0]"], ["other"], [], "", ["signal[0"]])
def test_components_that_do_not_exist_are_named(odd):
    seen, theory = pair()
    for call in (seen.measurement, theory.prediction, theory.components):
        with pytest.raises(ValueError, match="`quantities` must name some of"):
            call(odd)


def test_errors_and_lost_replicas_are_none_by_default():
    measured = ld.Measurement(np.ones((3, 2)), 0.1, 4, {"time": TIMES, "name": ["a", "b"]})
    predicted = ld.Prediction(np.ones((3, 2)))
    for array in (measured.standard_error, measured.lost, predicted.numerical_error):
        assert array.shape == (3, 2)
    assert measured.lost.dtype == np.int64
    assert not measured.lost.any()
    assert not predicted.numerical_error.any()
    assert ld.compare(measured, predicted).verdict == "pass"
    assert ld.compare(replace(measured, lost=1), predicted).verdict == "fail"
    assert ld.compare(replace(measured, lost=[0, 1]), predicted).verdict == "fail"
    rows = ld.Prediction(np.ones((3, 2)), [[0.1], [0.2], [0.3]], 0.5, "1/N")
    np.testing.assert_array_equal(rows[1].numerical_error, [0.2, 0.2])
    np.testing.assert_array_equal(rows.bias, np.full((3, 2), 0.5))


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: ld.Measurement(np.ones(3), 0.1, 4, {"x": [1, 2]}), "values"),
        (lambda: ld.Measurement(np.ones(3), 0.1, 4, {}), "values"),
        (lambda: ld.Measurement(np.ones(2), [1.0, 2.0, 3.0], 4, {"x": [1, 2]}), "standard_error"),
        (lambda: ld.Measurement(np.ones(2), 0.1, 4, {"x": [1, 2]}, lost=-1), "lost"),
        (lambda: ld.Measurement(np.ones(2), 0.1, 4, {"x": [1, 2]}, lost=0.5), "lost"),
        (lambda: ld.Measurement(np.ones(2), 0.1, 4, {"x": [1, 2]}, lost=[0, 0, 1]), "lost"),
        (lambda: ld.Prediction(np.ones(2), [0.1, 0.1, 0.1]), "numerical_error"),
        (lambda: ld.Prediction(np.ones(2), -0.1), "numerical_error"),
        (lambda: ld.Prediction(np.ones(2), 0.1, [1.0, 1.0, 1.0], "1/N"), "bias"),
    ],
)
def test_shapes_and_signs_are_checked(make, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}` must"):
        make()


def test_compare_returns_one_type():
    seen, theory = pair()
    assert type(ld.compare(seen, theory)) is ld.Comparison
    for count in (1, 2, 3):
        several = ld.compare_each(seen, *[theory] * count)
        assert type(several) is ld.Comparisons
        assert len(several) == count
        assert several[0].summary() == ld.compare(seen, theory).summary()
    assert inspect.signature(ld.compare).return_annotation is ld.Comparison
    with pytest.raises(ValueError, match="`predicted` must be given"):
        ld.compare_each(seen)
    named = ld.compare_each(seen, theory, theory, name=["right", "wrong"])
    assert [comparison.name for comparison in named] == ["right", "wrong"]
    with pytest.raises(ValueError, match="Argument `name` must be one, or one for each of 2"):
        ld.compare_each(seen, theory, theory, name=["right"])
    with pytest.raises(TypeError):
        ld.compare(seen, theory, theory)
