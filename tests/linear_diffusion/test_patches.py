"""Coordinates of image patches, their law, and the slope their fourth moment predicts."""

import jax
import numpy as np
import pytest

from learning_dynamics.testing import assert_agrees, must_fail
from linear_diffusion import (
    draw_modes,
    from_coordinates,
    kl_of_modes,
    photograph_law,
    theory,
    to_coordinates,
)


def test_coordinates_are_orthonormal_and_leave_the_mean_out():
    rng = np.random.default_rng(2)
    patches = rng.normal(size=(7, 5, 5))
    found = to_coordinates(patches)
    assert found.shape == (7, 24)
    centred = patches - patches.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(from_coordinates(found), centred, atol=1e-12)
    np.testing.assert_allclose((found**2).sum(axis=1), (centred**2).sum(axis=(1, 2)))


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="`patches` must be square"):
        to_coordinates(np.zeros((2, 4, 5)))
    with pytest.raises(ValueError, match="`coordinates` must have size"):
        from_coordinates(np.zeros((2, 10)))


def test_law_of_photographs_has_trace_d_and_a_falling_spectrum():
    law = photograph_law(6, 2000, key=jax.random.key(0))
    assert law.spectrum.sum() == pytest.approx(35)
    assert law.spectrum[0] > 10 * law.spectrum[-1]


@pytest.mark.parametrize("equal_contrast", [False, True])
def test_kl_of_real_patches_has_the_slope_of_their_fourth_moment(equal_contrast):
    law = photograph_law(6, 8000, key=jax.random.key(1), equal_contrast=equal_contrast)
    d, samples = 35, 7000
    modes = draw_modes(law, [samples], replicas=24, key=jax.random.key(2))
    draws = kl_of_modes(modes, modes.variance, direction="reverse")[:, 0] * samples
    own = theory.kl_slope(law.spectrum, direction="reverse", fourth_moment=law.fourth_moment).values
    universal = theory.kl_slope(law.spectrum, direction="reverse").values
    excess = law.fourth_moment / (d * (d + 2))
    allowed = 2 * excess * d / samples * own
    assert_agrees(draws, own, bias=allowed, order="2 d/N, relative", false_alarm=0.0027)
    with must_fail():
        assert_agrees(draws, universal, false_alarm=1e-4)
