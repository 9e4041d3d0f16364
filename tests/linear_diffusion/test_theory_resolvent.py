"""The implicit ridge kappa against 50 digits, and in its limits."""

import numpy as np
import pytest

from learning_dynamics.testing import assert_honest
from linear_diffusion.theory import degrees_of_freedom, implicit_ridge, power_law_kappa

from . import witnesses as w

SPECTRA = ["white", "power1", "power2", "power3", "spiked"]


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("samples", [2, 7, 20, 21, 22, 50, 10**6])
@pytest.mark.parametrize("mean_known", [False, True])
def test_kappa_has_an_honest_error(name, samples, mean_known):
    spectrum = w.spectrum(name, 20)
    ridges = np.array([1e-12, 1e-6, 1e-3, 1.0, 1e4])
    degrees = samples if mean_known else samples - 1
    reference = [w.implicit_ridge_reference(spectrum, samples, r, degrees) for r in ridges]
    kappa = implicit_ridge(spectrum, samples, ridges, mean_known=mean_known)
    assert_honest(kappa, reference, relative=1e-8)  # at n = d kappa is a root of a small number


@pytest.mark.parametrize("name", SPECTRA)
def test_kappa_without_ridge(name):
    spectrum = w.spectrum(name, 20)
    samples = np.array([2, 5, 19, 20])
    kappa = implicit_ridge(spectrum, samples, 0.0)
    reference = [w.implicit_ridge_reference(spectrum, n, 0.0, n - 1) for n in samples]
    assert_honest(kappa, reference, relative=1e-9)
    df1, _ = degrees_of_freedom(spectrum, kappa.values)
    np.testing.assert_allclose(df1, samples - 1, rtol=1e-9)
    assert np.all(implicit_ridge(spectrum, [21, 22, 500], 0.0).values == 0)


@pytest.mark.parametrize("exponent", [2, 3])
def test_kappa_of_a_power_law_far_below_the_dimension(exponent):
    n = 200
    spectrum = np.arange(1, 200_001, dtype=np.float64) ** -exponent
    kappa = implicit_ridge(spectrum, n, 0.0, mean_known=True).values
    width = exponent * np.sin(np.pi / exponent) / np.pi
    leading = (width * n) ** -exponent
    assert kappa == pytest.approx(leading, rel=exponent / n)
    # sum over nu instead of the integral: n -> n + 1/2
    assert kappa == pytest.approx((width * (n + 0.5)) ** -exponent, rel=1e-3 * exponent)
    assert kappa != pytest.approx(leading, rel=1e-3 * exponent)


def test_white_kappa_is_a_quadratic_root():
    d, samples, lam = 30, np.array([4, 31, 200]), np.array([[1e-3], [0.5]])
    n = samples - 1
    b = n - d - samples * lam
    root = (-b + np.sqrt(b**2 + 4 * n * samples * lam)) / (2 * n)
    np.testing.assert_allclose(implicit_ridge(np.ones(d), samples, lam).values, root, rtol=1e-10)


def test_kappa_counts_the_mean():
    spectrum = w.spectrum("power1", 20)
    estimated = implicit_ridge(spectrum, 10, 0.1).values
    known = implicit_ridge(spectrum, 10, 0.1, mean_known=True).values
    assert abs(estimated / known - 1) > 0.01


def test_degrees_of_freedom_by_definition():
    spectrum, kappa = w.spectrum("power2", 9), np.array([[0.0, 1e-3], [1.0, 1e6]])
    df1, df2 = degrees_of_freedom(spectrum, kappa)
    for index, k in np.ndenumerate(kappa):
        smoother = np.diag(spectrum) @ np.linalg.inv(np.diag(spectrum + k))
        assert df1[index] == pytest.approx(np.trace(smoother), rel=1e-13)
        assert df2[index] == pytest.approx(np.trace(smoother @ smoother), rel=1e-13)


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_power_law_formula_for_few_samples(exponent):
    spectrum, samples = np.arange(1, 200_001) ** -exponent, np.array([6, 20, 60])
    formula = power_law_kappa(1.0, exponent, samples)
    solved = implicit_ridge(spectrum, samples, 0.0).values
    cut_off = (samples / spectrum.size) ** (exponent - 1)
    np.testing.assert_array_less(
        np.abs(formula.values - solved), formula.bias + 2 * cut_off * solved
    )
    with pytest.raises(ValueError, match="`exponent` must exceed 1"):
        power_law_kappa(1.0, 1.0, 10)
