"""Single components of quantities, defaults of errors, and one return type of `compare`."""

import inspect
import pickle
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


def test_what_is_compared_by_default_and_what_is_chosen():
    """All that both hold, M and Q among them; what one of them alone observes only by its name."""
    seen, theory = pair()
    error, values = np.ones((3,)), seen.values
    both = replace(seen, values={**values, "error": np.ones((4, 3))})
    known = {**theory.values, "error": error}
    zero = {name: np.zeros(np.shape(array)) for name, array in known.items()}
    full = ld.Limit(TIMES, known, zero, zero, {})
    labels = ["signal[0,0]", "signal[0,1]", "norms[0,0]", "error"]
    assert list(ld.compare(both, full).measured.coordinates["quantity"]) == labels
    assert list(ld.compare(both, theory).measured.coordinates["quantity"]) == labels[:-1]
    alone = ld.compare(both, full, quantities="error")
    assert list(alone.measured.coordinates["quantity"]) == ["error"]
    assert alone.critical < ld.compare(both, full).critical
    text = r"`quantities` must name some of \['signal', 'norms'\], which all results hold"
    with pytest.raises(ValueError, match=text + r".*got \['error'\]"):
        ld.compare(both, theory, quantities=["signal", "error"])


def test_a_shape_that_differs_is_named():
    """Also where the number of components is the same, and their order is not."""
    seen, theory = pair()
    for shape in ((1, 1), (2, 1)):
        other = {**theory.values, "signal": np.ones((3, *shape))}
        small = {name: np.zeros(np.shape(array)) for name, array in other.items()}
        odd = ld.Limit(TIMES, other, small, small, {})
        text = rf"'signal' of shape \(1, 2\) at each time.*got 'signal' of shape \({shape[0]}, 1\)"
        for asked in (None, "signal", ["norms", "signal[0,0]"]):
            with pytest.raises(ValueError, match=text):
                ld.compare(seen, odd, quantities=asked)
        assert ld.compare(seen, odd, quantities="norms").measured.values.shape == (3, 1)
    exact = replace(seen, values={**seen.values, "norms": np.ones((4, 3, 2, 2))})
    with pytest.raises(ValueError, match=r"'norms' of shape \(1, 1\).*'norms' of shape \(2, 2\)"):
        ld.compare_each(seen, theory, exact)
    text = r"3 of time by quantity \['signal\[0,0\]'.*`quantities` chooses"
    with pytest.raises(ValueError, match=text):
        ld.compare(seen, ld.Prediction(np.ones(3)))
    with pytest.raises(ValueError, match=r"shape \(3,\): 3 of x, but got"):
        ld.compare(ld.Measurement(np.ones(3), 0.1, 4, {"x": TIMES}), ld.Prediction(np.ones(2)))


def test_every_result_that_is_compared_can_be_given_a_name():
    """Nothing else changes; the bias of a limit is worked out once for all its names."""
    seen, theory = pair()
    calls = []

    def bias():
        calls.append(1)
        return theory.bias

    law = replace(theory, work_out_bias=bias)
    named = law.labelled("wrong sign")
    assert not calls
    assert law.label == "limit"
    assert repr(named).splitlines()[0].startswith("Limit: wrong sign: N -> infinity")
    result = ld.compare_each(seen.labelled("mine"), law, named, seen.labelled("exact"), name="a")
    assert len(calls) == 1
    assert [test.predicted.label for test in result] == ["limit", "wrong sign", "exact"]
    assert {test.measured.label for test in result} == {"mine"}
    assert "mine" in repr(seen.labelled("mine")).splitlines()[0]
    np.testing.assert_array_equal(result[0].residual, result[1].residual)
    assert result[0].predicted.bias.any()
    assert result[1].predicted.bias_order == result[0].predicted.bias_order
    assert replace(theory, work_out_bias=None).labelled("b").bias == {}
    assert pickle.loads(pickle.dumps(theory.labelled("b"))).bias.keys() == theory.bias.keys()
    assert seen.measurement().labelled("c").label == "c"
    assert seen.measurement().label == "overlaps, N = 100"


def test_names_are_saved(tmp_path):
    seen, theory = pair()
    for number, result in enumerate((seen.labelled("a"), theory.labelled("a"))):
        ld.save(tmp_path / f"{number}.nc", result)
        assert ld.load(tmp_path / f"{number}.nc").label == "a"


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
