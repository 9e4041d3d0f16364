"""The section on phases against fields whose spectrum is known."""

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from fourier_simplicity import FourierInputs, effective_dimension, inspections, power_law_spectrum
from fourier_simplicity.inspections import _tie, phases
from learning_dynamics.inspection.samples import as_samples

KEY = jax.random.key(0)


def torus_fields(gamma, side=16, count=300):
    """Periodic Gaussian fields with power |k|^-gamma."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)) * side
    k[0, 0] = np.inf
    noise = np.fft.fft2(np.random.default_rng(0).standard_normal((count, side, side)))
    found = np.fft.ifft2(noise * k ** (-gamma / 2)).real
    return (found - found.min()) / np.ptp(found)


@pytest.mark.parametrize("gamma", [1.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_effective_dimension_of_fields(gamma):
    found = phases(as_samples(torus_fields(gamma)), KEY)
    numbers = {number.name: number for number in found.numbers}
    spectrum = power_law_spectrum((16, 16), gamma)
    assert numbers["number of modes d"].value == 2 * spectrum.size
    for name, scale in (("long", 1), ("short", 3)):
        inputs = FourierInputs((16, 16), _tie(scale), spectrum)
        size = numbers[f"effective dimension d_eff, {name} waves tied"]
        # the periodic component takes a little of fields that are periodic already: the more of
        # them is at the borders, the whiter they are (28 % of d_eff at gamma = 0)
        assert abs(size.value / effective_dimension(inputs) - 1) < 0.1 + 5 * size.error / size.value
        assert size.error < 0.1 * size.value
        cost = numbers[f"cost of phases, {name} waves tied, relative to white inputs"]
        np.testing.assert_allclose(cost.value, (size.value / (2 * spectrum.size)) ** 3)
    assert set(found.panels) == {"effective-dimension", "surrogates"}


def test_rows_of_features_have_no_phases():
    found = phases(as_samples(np.random.default_rng(0).random((40, 6))), KEY)
    assert not found.panels
    assert "rows of features" in found.notes[0]


def test_tiny_images_get_a_sentence(monkeypatch):
    monkeypatch.setattr(inspections, "_sheet", lambda pictures, key: Figure())
    found = phases(as_samples(np.random.default_rng(0).random((70, 4, 4))), KEY)
    assert not found.numbers
    assert "hold no quartet" in found.notes[0]
