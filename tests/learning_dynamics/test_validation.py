import jax.numpy as jnp
import numpy as np
import pytest

from learning_dynamics.validation import (
    finite_array,
    integers,
    non_negative,
    one_of,
    positive_integer,
    reject,
    spectrum_array,
)


def test_message_names_argument_demand_and_value():
    error = reject("rate", "be positive", -1)
    assert isinstance(error, ValueError)
    assert str(error) == "Argument `rate` must be positive, but got -1."


@pytest.mark.parametrize("value", [1, 2.5, [1, 2], np.float32(3), jnp.array([1.0, 2.0])])
def test_finite_array_is_double(value):
    found = finite_array("x", value)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.asarray(value, np.float64))


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        ("abc", {}, "be an array of real numbers"),
        (None, {}, "be an array of real numbers"),
        ([[1, 2], [3]], {}, "be an array of real numbers"),
        (1 + 2j, {}, "be real"),
        ([1.0, np.nan], {}, "be finite"),
        (-np.inf, {}, "be finite"),
        ([1.0], {"ndim": 0}, r"have 0 dimension\(s\), but got shape \(1,\)"),
        (1.0, {"ndim": 2}, r"have 2 dimension\(s\)"),
    ],
)
def test_finite_array_refuses(value, options, message):
    with pytest.raises(ValueError, match=f"`x` must {message}"):
        finite_array("x", value, **options)


def test_non_negative():
    np.testing.assert_array_equal(non_negative("x", [0, 1.5]), [0, 1.5])
    with pytest.raises(ValueError, match=r"`x` must not be negative, but got -0\.5"):
        non_negative("x", [1, -0.5])


def test_integers():
    found = integers("n", [3.0, 5], least=3)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [3, 5])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2.5, r"be whole numbers, but got 2\.5"),
        ([3, 1], "be at least 2, but got 1"),
        (1e30, r"be below 2\^63, but got 1e\+30"),
        (np.nan, "be finite"),
    ],
)
def test_integers_refuses(value, message):
    with pytest.raises(ValueError, match=f"`n` must {message}"):
        integers("n", value, least=2)


def test_positive_integer():
    found = positive_integer("n", np.int32(7))
    assert found == 7
    assert type(found) is int
    assert positive_integer("n", 3.0) == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "be at least 1"), (-2, "be at least 1"), (1.5, "be whole"), ([1, 2], "be a single")],
)
def test_positive_integer_refuses(value, message):
    with pytest.raises(ValueError, match=f"`n` must {message}"):
        positive_integer("n", value)


def test_spectrum_array():
    np.testing.assert_array_equal(spectrum_array("s", [3, 1, 1]), [3, 1, 1])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "hold at least one eigenvalue"),
        (1.0, "have 1 dimension"),
        ([1.0, 0.0], "be positive"),
        ([1.0, -1.0], "be positive"),
        ([2.0, 1.0, 1.5], r"be sorted, largest first, but got 1\.0 before a larger value"),
        ([np.inf, 1.0], "be finite"),
    ],
)
def test_spectrum_array_refuses(value, message):
    with pytest.raises(ValueError, match=f"`s` must {message}"):
        spectrum_array("s", value)


def test_one_of():
    assert one_of("mode", "b", ("a", "b")) == "b"
    with pytest.raises(ValueError, match="`mode` must be one of 'a', 'b', but got 'c'"):
        one_of("mode", "c", ("a", "b"))
