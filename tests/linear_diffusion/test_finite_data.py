"""Curves of two denoisers on finite data, beside the linear theory."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from learning_dynamics.evidence.comparison import Prediction
from linear_diffusion import LatentLaw, theory
from linear_diffusion.data_sets import finite_size
from linear_diffusion.finite_data import FiniteDataCurves, learn_over_sizes
from linear_diffusion.networks import minibatch_excess

SPECTRUM, SIZES, LEVEL, MODES = np.linspace(2.0, 0.1, 15), np.array([4, 15, 60]), 0.8, [0, 3]
NOTHING = np.zeros((2, 2, 3))
CURVES = FiniteDataCurves(
    SPECTRUM, SIZES, LEVEL, np.array(MODES), 500, 16, NOTHING, NOTHING, NOTHING[:, 0], NOTHING[:, 0]
)


def test_the_best_gains_minimise_the_loss_of_each_mode():
    """E (w y - eps)^2 of y = q x + eps, q^2 = level / (1 - level), on a grid of w."""
    w = np.linspace(0, 1, 100_001)
    for share in (1.0, 0.5):
        ratio = share * LEVEL / (1 - share * LEVEL)
        losses = w**2 * ratio * SPECTRUM[MODES, None] + (w - 1) ** 2
        found = CURVES.best_gains(share)
        np.testing.assert_allclose(found, w[losses.argmin(axis=1)], atol=2e-5)
    np.testing.assert_allclose(
        replace(CURVES, samples=np.array([10**8])).expected_gains().values, 1, rtol=1e-5
    )


def test_the_onset_is_where_the_gap_crosses_its_share():
    loss = theory.bayes_loss(SPECTRUM, LEVEL).values
    power = 0.5 * loss * (SIZES / 15 / 0.7) ** -1.3  # a power law is a line in the logarithms
    assert CURVES.onset(power) == pytest.approx(np.log(0.7))
    assert CURVES.onset(power, share=0.5 * 2**-1.3) == pytest.approx(np.log(1.4))
    assert CURVES.onset(np.full(3, 1e3)) == pytest.approx(np.log(4))  # not below the last size
    moved = replace(CURVES, samples=4 * SIZES)
    np.testing.assert_allclose(CURVES.expected_gap(4), moved.expected_gap())
    with pytest.raises(ValueError, match="`gap` must have shape"):
        CURVES.onset([1.0, 2.0])


def test_the_allowance_adds_finite_size_and_minibatches():
    law = Prediction(np.ones((3, 2)))
    found = CURVES.allow(law)
    excess = minibatch_excess(
        SPECTRUM, theory.bayes_loss(SPECTRUM, LEVEL).values, LEVEL, steps=500, batch=16
    )
    assert found.bias[:, 1] == pytest.approx(10 / np.array([16, 225, 225]) + 1.25 * excess)
    np.testing.assert_allclose(
        finite_size(law, SIZES[:, None], 15).bias[:, 0], [10 / 16] + [2 / 45] * 2
    )


@pytest.mark.slow
def test_the_linear_denoiser_lies_on_its_theory():
    curves = learn_over_sizes(
        LatentLaw(SPECTRUM), SIZES, LEVEL, modes=MODES, draws=8, steps=400, averaged=160,
        key=jax.random.key(2),
    )  # fmt: skip
    expected = curves.expected_losses()
    for i, law in enumerate((expected.train, expected.test)):
        seen = curves.linear_losses[:, i]
        error = seen.std(axis=0, ddof=1) / np.sqrt(8)
        law = curves.allow(law)
        assert np.all(np.abs(seen.mean(axis=0) - law.values) < 5 * error + law.bias)
    assert curves.gaps.shape == (8, 3)
    assert np.all(np.diff(curves.gaps.mean(axis=0)) < 0)
