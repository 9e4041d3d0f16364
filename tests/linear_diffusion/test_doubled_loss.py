"""Number of samples at which the test loss is twice the best: predicted and measured."""

import jax
import numpy as np
import pytest

from linear_diffusion import theory
from linear_diffusion.data import EmpiricalLaw
from linear_diffusion.doubled_loss import measure_doubling, population_loss, predict_doubling
from linear_diffusion.simulation import losses_of_modes, modes_of

LEVEL = 0.9
SPECTRUM = np.arange(1.0, 25.0) ** -1.0


def population(contrast=0.0):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, 24)) * np.sqrt(SPECTRUM)
    rows *= np.exp(contrast * rng.standard_normal((20_000, 1)))
    rows -= rows.mean(axis=0)
    values, basis = np.linalg.eigh(rows.T @ rows / len(rows))
    return rows @ basis[:, ::-1], values[::-1]


@pytest.mark.parametrize("count", [2, 6, 24, 25, 60])
def test_loss_is_that_of_the_modes(count):
    rows, spectrum = population()
    data = rows[:count] + 0.1
    law = EmpiricalLaw.of(rows)
    _, expected = losses_of_modes(modes_of(data @ law.basis.T, law), 0.0, LEVEL)
    turned = (data @ law.basis.T) @ law.basis  # the signs of the eigenvectors are free
    assert population_loss(turned, spectrum, LEVEL) == pytest.approx(float(expected[0, 0]))


@pytest.mark.parametrize("spectrum", [SPECTRUM, np.ones(300), np.geomspace(1, 1e-4, 700)])
def test_predicted_number_is_the_last_with_twice_the_loss(spectrum):
    N = predict_doubling(spectrum, LEVEL)
    best = theory.bayes_loss(spectrum, LEVEL).values
    later = theory.losses(spectrum, np.arange(N, N + 200), 0.0, LEVEL).test.values
    assert later[0] >= 2 * best
    assert np.all(later[1:] < 2 * best)


def test_without_a_crossing_there_is_no_number():
    """At much noise a prediction of zero is nearly the best, and two samples do not spoil it."""
    best = theory.bayes_loss(np.ones(5), 1e-4).values
    assert theory.losses(np.ones(5), 2, 0.0, 1e-4).test.values < 2 * best
    assert predict_doubling(np.ones(5), 1e-4) is None


def test_measured_number_is_the_predicted_one_for_gaussian_data():
    rows, spectrum = population()
    predicted = predict_doubling(spectrum, LEVEL)
    sizes = np.arange(predicted - 6, predicted + 8)
    key = jax.random.key(0)
    found = measure_doubling(rows, spectrum, sizes, LEVEL, replicas=60, key=key)
    assert found.reached == "between"
    assert 0.02 < found.error < 0.5
    assert abs(found.samples - predicted - 0.5) < 5 * found.error + 0.5  # a whole number


def test_contrast_that_fluctuates_moves_the_measured_number_alone():
    rows, spectrum = population(contrast=0.7)
    predicted = predict_doubling(spectrum, LEVEL)
    sizes = np.unique(np.rint(predicted * np.geomspace(0.5, 4, 9)).astype(int))
    found = measure_doubling(rows, spectrum, sizes, LEVEL, replicas=24, key=jax.random.key(1))
    assert found.samples - predicted > 5 * found.error
    for size, reached in ((4, "above"), (16 * predicted, "below")):
        only = measure_doubling(
            rows, spectrum, [size], LEVEL, replicas=4, key=jax.random.key(1)
        )  # fmt: skip
        assert (only.reached, only.samples) == (reached, size)


def test_bad_data():
    with pytest.raises(ValueError, match="`data` must hold at least two rows of 3"):
        population_loss(np.ones((1, 3)), np.ones(3), LEVEL)
    with pytest.raises(ValueError, match="`sizes` must"):
        measure_doubling(
            np.ones((9, 3)), np.ones(3), [4, 4], LEVEL, replicas=2, key=jax.random.key(0)
        )
