"""Growth of the updates with the effective dimension of images that share a spectrum."""

from types import SimpleNamespace

import numpy as np
import pytest

from fourier_simplicity.networks import (
    CueLearning,
    SharedSpectra,
    leading_dimension,
    learn_spectra,
    plot_spectra,
)

STEPS = np.unique(np.rint(np.geomspace(1, 10_000, 400)).astype(int))
EFFECTIVE = np.array([10.0, 20.0, 40.0])


def learned_at(step):
    """Two seeds, the second learning after twice the time."""
    late = np.array([[step], [2 * step]])
    accuracy = np.where(late <= STEPS, 0.9, 0.1)
    return CueLearning(STEPS, {"phases": accuracy}, 0.1)


def test_updates_that_grow_as_a_square_have_the_exponent_two():
    runs = [learned_at(n**2) for n in EFFECTIVE]
    spectra = SharedSpectra((1.0, 0.5, 0.0), runs, EFFECTIVE, level=0.2)
    updates = spectra.updates()
    np.testing.assert_allclose(updates[:, 0], EFFECTIVE**2, rtol=0.03)
    np.testing.assert_allclose(updates[:, 1], 2 * EFFECTIVE**2, rtol=0.03)
    np.testing.assert_allclose(spectra.growth(), 2, atol=0.05)
    exponent = spectra.exponent("one layer")
    np.testing.assert_allclose(exponent.values, [spectra.growth().mean()])
    assert exponent.coordinates["network"].tolist() == [exponent.label] == ["one layer"]
    left, right = plot_spectra({"one layer": spectra}).axes
    assert len(left.get_legend_handles_labels()[1]) == 3
    assert [text.get_text() for text in right.texts] == ["β=1", "β=0.5", "β=0"]


def test_what_is_never_learned_counts_as_the_end_of_training():
    spectra = SharedSpectra((0.0,), [learned_at(10**6)], EFFECTIVE[:1], level=0.2)
    np.testing.assert_allclose(spectra.updates(), [[10_000, 10_000]])


def test_leading_dimension_of_a_known_spectrum():
    rng = np.random.default_rng(0)
    variances = np.array([8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    rows = rng.normal(size=(200_000, 9)) * np.sqrt(variances)
    sets = SimpleNamespace(train=(rows.reshape(-1, 3, 3),))
    exact = variances.sum() / np.prod(variances[:4]) ** 0.25
    assert leading_dimension(sets) == pytest.approx(exact, rel=0.01)
    assert leading_dimension(sets, tied=1) == pytest.approx(20 / 8, rel=0.01)


def test_one_set_for_each_exponent(key):
    with pytest.raises(ValueError, match="Argument `sets` must hold one for each of 2 exponents"):
        learn_spectra([], (0.0, 1.0), None, level=0.1, key=key)
    with pytest.raises(ValueError, match="Argument `learned`"):
        plot_spectra({})
