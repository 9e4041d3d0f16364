import numpy as np
import pytest

from learning_dynamics.spectra import (
    degrees_of_freedom,
    from_data,
    participation_ratio,
    power_law,
)


@pytest.mark.parametrize("exponent", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize("trace", [None, 2.5])
def test_power_law(exponent, trace):
    spectrum = power_law(40, exponent, trace=trace)
    assert spectrum.dtype == np.float64
    np.testing.assert_allclose(spectrum.sum(), 40 if trace is None else trace, rtol=1e-14)
    np.testing.assert_allclose(spectrum / spectrum[0], np.arange(1, 41.0) ** -exponent, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [
        ((0, 1), {}, "dimension"),
        ((2.5, 1), {}, "dimension"),
        ((4, -1), {}, "exponent"),
        ((4, np.inf), {}, "exponent"),
        ((4, 1), {"trace": 0}, "trace"),
        ((4, 1), {"trace": -3}, "trace"),
        ((4, 1), {"trace": np.nan}, "trace"),
    ],
)
def test_bad_power_law(arguments, options, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        power_law(*arguments, **options)


def test_data_spectrum_rebuilds_the_covariance():
    rng = np.random.default_rng(3)
    data = rng.standard_normal((50, 6)) @ rng.standard_normal((6, 6)) + 100
    found = from_data(data)
    np.testing.assert_allclose(found.mean, data.mean(axis=0), rtol=1e-14)
    rebuilt = (found.basis * found.spectrum) @ found.basis.T
    np.testing.assert_allclose(rebuilt, np.cov(data.T, bias=True), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.basis.T @ found.basis, np.eye(6), atol=1e-13)
    assert np.all(np.diff(found.spectrum) <= 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((1, 3)), "two samples"),
        (np.ones(3), "2 dimension"),
        (np.full((4, 2), np.nan), "finite"),
        (np.ones((4, 2)), "vary"),
        (np.full((40, 2), 0.1), "vary"),
        (np.full((3, 9), 0.1), "vary"),
    ],
    ids=["one sample", "vector", "nan", "constant", "rounded constant", "few constant"],
)
def test_bad_data(data, message):
    with pytest.raises(ValueError, match=f"`data` must .*{message}"):
        from_data(data)


def test_floor_is_adjustable():
    data = np.random.default_rng(1).standard_normal((100, 2)) * [1.0, 1e-4]
    assert from_data(data).spectrum[1] < 1e-7
    assert from_data(data, floor=1e-6).spectrum.shape == (1,)


def test_degrees_of_freedom_against_traces_of_matrices():
    rng = np.random.default_rng(5)
    root = rng.standard_normal((5, 5))
    sigma = root @ root.T
    spectrum = np.linalg.eigvalsh(sigma)[::-1]
    kappa = np.array([[0.01, 0.3], [2.0, 50.0]])
    found = degrees_of_freedom(spectrum, kappa)
    for index in np.ndindex(kappa.shape):
        share = sigma @ np.linalg.inv(sigma + kappa[index] * np.eye(5))
        np.testing.assert_allclose(found[0][index], np.trace(share), rtol=1e-10)
        np.testing.assert_allclose(found[1][index], np.trace(share @ share), rtol=1e-10)


def test_degrees_of_freedom_limits_and_bad_kappa():
    df1, df2 = degrees_of_freedom([3.0, 1.0], 0.0)
    assert df1 == df2 == 2
    assert df1.shape == ()
    with pytest.raises(ValueError, match="`kappa` must not be negative"):
        degrees_of_freedom([1.0], [-0.1])
    with pytest.raises(ValueError, match="`spectrum` must be sorted"):
        degrees_of_freedom([1.0, 2.0], 1.0)


def test_participation_ratio():
    assert participation_ratio(np.full(7, 0.3)) == pytest.approx(7)
    assert participation_ratio([1.0, 1e-9]) == pytest.approx(1)
    assert participation_ratio([3.0, 1.0]) == pytest.approx(16 / 10)
    with pytest.raises(ValueError, match="`spectrum` must be positive"):
        participation_ratio([1.0, 0.0])
