"""Sections of the shared package against laws whose numbers are known."""

import re

import jax
import numpy as np
import pytest

from learning_dynamics.inspection.samples import as_samples, in_blocks
from learning_dynamics.inspection.shared.amplitudes import fourier_amplitudes, stationary_part
from learning_dynamics.inspection.shared.covariance import covariance
from learning_dynamics.inspection.shared.gaussianity import (
    contrast_spread,
    distance_from_gaussian,
)
from learning_dynamics.spectra import degrees_of_freedom, participation_ratio, power_law

KEY = jax.random.key(0)


def numbers(findings):
    return {number.name: (number.value, number.error) for number in findings.numbers}


def fields(exponent, count=100, side=32, seed=0):
    """Stationary Gaussian fields with amplitude |k|^-exponent on a torus four times as large."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(2 * side)[:, None], np.fft.fftfreq(2 * side))
    k[0, 0] = np.inf
    noise = np.fft.fft2(rng.standard_normal((count, 2 * side, 2 * side)))
    found = np.fft.ifft2(noise * k**-exponent).real[:, :side, :side]
    return (found - found.min()) / np.ptp(found)


@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_power_law_spectrum_of_rows(exponent):
    rng = np.random.default_rng(1)
    truth = power_law(40, exponent)
    turn = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    rows = (rng.standard_normal((2000, 40)) * np.sqrt(truth)) @ turn
    found = numbers(covariance(as_samples(rows), KEY))
    expected = {
        "exponent of the power law": exponent,
        "participation ratio": participation_ratio(truth),
    }
    for k, dimension in enumerate(degrees_of_freedom(truth, [1 / 9]), 1):
        expected[f"$df_{k}$ at noise level alpha_bar = 0.9"] = float(dimension[0])
    for name, value in expected.items():
        measured, error = found[name]
        assert abs(measured - value) < 5 * error, name
        assert error < 0.1 * abs(value)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_radial_amplitudes_of_fields(exponent):
    value, error = numbers(fourier_amplitudes(as_samples(fields(exponent)), KEY))[
        "exponent of the amplitudes"
    ]
    assert abs(value - exponent) < 0.03 + 5 * error
    assert error < 0.05


def test_stationary_part_is_a_projection_onto_stationary_covariances():
    y, x = (axis.ravel() for axis in np.mgrid[:4, :6])
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    stationary = np.exp(-distance)
    np.testing.assert_allclose(stationary_part(stationary, (4, 6)), stationary, rtol=1e-12)
    rng = np.random.default_rng(0)
    other = rng.standard_normal((24, 24))
    part = stationary_part(other, (4, 6))
    np.testing.assert_allclose(stationary_part(part, (4, 6)), part, rtol=1e-12)
    np.testing.assert_allclose(np.sum((other - part) * part), 0, atol=1e-10)


def test_distance_from_translation_invariance():
    free = fields(0.5, count=400, side=8, seed=2)
    name = "distance from translation invariance"
    distance, error = numbers(fourier_amplitudes(as_samples(free), KEY))[name]
    assert distance < 5 * error
    [number] = [n for n in fourier_amplitudes(as_samples(free), KEY).numbers if n.name == name]
    told = re.search(r"its square is (\S+) ± (\S+) \(", number.meaning)
    square, spread = (float(text.replace("−", "-")) for text in told.groups())
    assert distance**2 == pytest.approx(max(square, 0), abs=spread / 10)
    assert number.below**2 == pytest.approx(max(square, 0) + 4 * spread, rel=0.1)
    window = np.hanning(10)[1:-1]
    aligned = 0.5 + (free - free.mean()) * np.outer(window, window)
    distance, error = numbers(fourier_amplitudes(as_samples(aligned), KEY))[name]
    assert distance > 0.2
    [number] = [n for n in fourier_amplitudes(as_samples(aligned), KEY).numbers if n.name == name]
    assert number.below is None
    assert distance > 10 * error


@pytest.mark.parametrize(("law", "excess"), [("normal", 0.0), ("laplace", 3.0)])
def test_kurtosis_of_independent_coordinates(law, excess):
    rows = getattr(np.random.default_rng(4), law)(size=(4000, 6))
    found = numbers(distance_from_gaussian(as_samples(rows), KEY))
    apart = found["distance from the clones"][0]
    # unit directions u of whitened independent coordinates: kurtosis times the mean of sum u^4
    value, error = found["excess kurtosis of random projections"]
    assert abs(value - 3 / 8 * excess) < 0.12 * excess + 5 * error
    assert apart > 10 if excess else abs(apart) < 5


def test_spread_of_the_contrast_against_its_closed_form():
    rng = np.random.default_rng(5)
    scale = np.where(rng.random((4000, 1)) < 0.5, 0.6, np.sqrt(2 - 0.36))
    gaussian = rng.standard_normal((4000, 10))
    for rows, truth in ((gaussian, 0.0), (scale * gaussian, (0.6**4 + 1.64**2) / 2 - 1)):
        value, error = contrast_spread(rows, in_blocks(4000))
        assert abs(value - truth) < 5 * error
        assert error < 0.05


def test_features_without_order_have_no_fourier_spectrum():
    found = fourier_amplitudes(as_samples(np.random.default_rng(0).random((30, 4))), KEY)
    assert not found.numbers
    assert "no order" in found.notes[0]


def test_few_rows_and_tiny_images_pass_through_every_section():
    rng = np.random.default_rng(6)
    for data in (rng.random((16, 2)), rng.random((17, 60)), rng.random((70, 2, 3))):
        samples = as_samples(data)
        for look in (covariance, fourier_amplitudes, distance_from_gaussian):
            assert all(np.isfinite(number.value) for number in look(samples, KEY).numbers)
