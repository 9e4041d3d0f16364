"""What a conversion to float64 would cut off is refused; what it keeps passes."""

import datetime
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import xarray as xr

from learning_dynamics.validation import channels_last, finite_array, integers, real_array

MASKED = np.ma.array([1.0, 2.0], mask=[False, True])


class Metres(np.ndarray):
    """As the quantities of astropy: an array with a unit, which `np.asarray` drops."""

    unit = "m"


class Pint:
    """As the quantities of pint: a unit, and an array when asked for one."""

    units = "metre"

    def __array__(self, dtype=None, copy=None):
        return np.ones(2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1 + 0j]), r"be real, but got complex numbers \(complex128\)"),
        (jnp.ones(2, jnp.complex64), r"be real, but got complex numbers \(complex64\)"),
        (xr.DataArray([1j]), "be real"),
        ([1, 2j], "be real"),
        (np.array([np.complex64(1j)], object), "be an array of real numbers"),
        (MASKED, "have no masked entries, but got 1 of 2"),
        ([MASKED, [3.0, 4.0]], "have no masked entries"),
        (([MASKED],), "have no masked entries"),
        ([np.ma.masked, 1.0], "have no masked entries"),
        (np.ones(2).view(Metres), "be free of units"),
        (Pint(), "be free of units"),
        (xr.DataArray(np.ones(2).view(Metres)), "be an array of real numbers|be free of units"),
        ("1.5", "be an array of real numbers"),
        (["1", "2"], "be an array of real numbers"),
        (np.array(["1"], object), "be an array of real numbers"),
        (np.array(["1"], np.dtypes.StringDType()), "be an array of real numbers"),
        (b"1", "be an array of real numbers"),
        (None, "be an array of real numbers"),
        ([None, 1.0], "be an array of real numbers"),
        (True, "be a number, but got the truth value True"),
        (np.array([True, 1.5], object), "be an array of real numbers"),
        (np.array(["2020"], "M8[D]"), "be an array of real numbers"),
        (np.array([1], "m8[s]"), "be an array of real numbers"),
        ([datetime.date(2020, 1, 1)], "be an array of real numbers"),
        (scipy.sparse.eye_array(2), "be an array of real numbers"),
        (
            np.array([(1.0,)], [("a", "f8")]),
            r"be an array of real numbers, but got fields \('a',\)",
        ),
        ([[1], [1, 2]], "be an array of real numbers"),
        (jax.random.key(0), "be an array of real numbers"),
        (2**53 + 1, r"be exact in double precision, but got 9007199254740993 \(int64\)"),
        ([-(2**53) - 1, 0.5], "be exact in double precision"),
        (np.array([2**64 - 1], np.uint64), "be exact in double precision"),
        (Decimal("0.1"), "be exact in double precision"),
        ([Fraction(1, 3)], "be exact in double precision"),
    ],
)
def test_refused(value, message):
    with pytest.raises(ValueError, match=rf"`x` must ({message})"):
        real_array("x", value)
    with pytest.raises(ValueError, match=r"Argument `x` must"):
        finite_array("x", value)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="no wider type on this machine")
def test_long_doubles_are_not_rounded():
    assert real_array("x", np.longdouble(0.5)) == 0.5
    with pytest.raises(ValueError, match="be exact in double precision"):
        real_array("x", np.longdouble(1) / 3)
    with pytest.raises(ValueError, match="be exact in double precision"):
        real_array("x", np.longdouble("1e400"))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.ma.array([1.0, 2.0], mask=False), [1.0, 2.0]),
        (xr.DataArray([1.0, np.nan], attrs={"units": "updates / N"}), [1.0, np.nan]),
        (jnp.asarray([0.1], jnp.bfloat16), [0.10009765625]),
        (jnp.asarray([-3], jnp.int4), [-3.0]),
        ([jnp.float32(0.5), np.int8(2), 3], [0.5, 2.0, 3.0]),
        (np.array([True, False]), [1.0, 0.0]),  # events, to be averaged
        (2**60, 2.0**60),
        ([2**70, np.inf], [2.0**70, np.inf]),
        (Fraction(1, 2), 0.5),
        (np.array([Decimal("NaN")]), [np.nan]),
        ([], []),
        (range(3), [0.0, 1.0, 2.0]),
    ],
)
def test_kept_whole(value, kept):
    found = real_array("x", value)
    assert found.dtype == np.float64
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, kept)


def test_whole_numbers_beyond_double_precision_stay():
    assert integers("n", 2**53 + 1, least=0) == 2**53 + 1
    assert integers("n", [2**63 - 1], least=0) == [2**63 - 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**63, r"be below 2\^63, but got 9223372036854775808"),
        ([1e300], r"be below 2\^63, but got 1e\+300"),
        (2**70, r"be below 2\^63"),
        (True, "be whole numbers, but got truth values"),
        ([np.True_], "be whole numbers, but got truth values"),
        ("3", "be an array of real numbers"),
        (3 + 0j, "be real"),
        (np.ma.array([3, 4], mask=[0, 1]), "have no masked entries"),
    ],
)
def test_no_whole_numbers(value, message):
    with pytest.raises(ValueError, match=f"`n` must {message}"):
        integers("n", value, least=0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (4, 8, 6), (2, 5, 7)])
def test_channels_in_front_are_refused(shape):
    with pytest.raises(ValueError, match=r"`image` must have the channels last.*np\.moveaxis"):
        channels_last("image", shape)


@pytest.mark.parametrize(
    "shape", [(32, 32), (3, 32), (32, 32, 3), (3, 3, 64), (8, 8, 31), (2, 9, 4), (1, 1, 5)]
)
def test_other_shapes_pass(shape):
    channels_last("image", shape)
