"""Non-Gaussian data on the Gaussian curves, and where they leave them."""

import jax
import numpy as np
import pytest

from learning_dynamics.spectra import power_law
from learning_dynamics.testing import assert_agrees, must_fail
from linear_diffusion import LatentLaw, draw_modes, kl_of_modes, losses_of_modes, theory
from linear_diffusion.data import KURTOSIS, LATENTS

D, SIZES, REPLICAS = 150, np.array([75, 300, 1500]), 40
SPECTRUM = power_law(D, 1.0)


FAST = "rademacher"  # its shift is resolved


@pytest.fixture(
    scope="module",
    params=[n if n == FAST else pytest.param(n, marks=pytest.mark.slow) for n in LATENTS],
)
def drawn(request):
    law = LatentLaw(SPECTRUM, latents=request.param)
    return request.param, draw_modes(law, SIZES, replicas=REPLICAS, key=jax.random.key(61))


def assert_within_two_per_cent(draws, predicted):
    """Within two per cent and three standard errors of one per cent at most."""
    assert_agrees(
        draws, predicted, bias=0.02 * predicted, resolution=0.01 * predicted,
        false_alarm=0.0027 * predicted.size,
    )  # fmt: skip


@pytest.mark.slow
def test_losses_of_any_law_lie_within_two_per_cent_of_the_gaussian_theory(drawn):
    _, modes = drawn
    predicted = theory.losses(SPECTRUM, SIZES, 0.01, 0.9)
    seen = losses_of_modes(modes, 0.01, 0.9)
    for draws, expected in zip(seen, (predicted.train, predicted.test), strict=True):
        assert_within_two_per_cent(draws, expected.values)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_of_any_law_lies_within_two_per_cent_once_its_kurtosis_is_known(drawn, direction):
    kind, modes = drawn
    above = slice(1, None)
    kept = modes._replace(
        variance=modes.variance[:, above],
        mean_error=modes.mean_error[:, above],
        overlap=modes.overlap[:, above],
    )
    draws = kl_of_modes(kept, kept.variance, direction=direction)
    exact = theory.exact_kl(D, SIZES[above], direction=direction).values
    law = theory.kl_of_latents(D, SIZES[above], KURTOSIS[kind] - 3, direction=direction)
    assert_within_two_per_cent(draws, law.values)
    np.testing.assert_allclose(law.bias, 0 if kind == "gaussian" else 2 / D * exact)
    if kind in ("uniform", "rademacher", "laplace"):  # 6/d = 4 % for Student t_5
        assert_within_two_per_cent(draws, exact)
    if kind == "rademacher":  # the shift is resolved: without it the theory would be wrong
        with must_fail():
            assert_agrees(draws, exact, false_alarm=0.0027 * exact.size)


def test_kurtosis_shift_has_the_slope_of_the_fourth_moment_at_large_samples():
    d, N = 40, 10**7
    for direction in ("forward", "reverse"):
        gaussian = theory.kl_slope(np.ones(d), direction=direction).values
        for kurtosis in (-2.0, 6.0):
            fourth = d**2 + (kurtosis + 2) * d
            slope = theory.kl_slope(np.ones(d), direction=direction, fourth_moment=fourth).values
            shift = theory.kurtosis_shift(d, N, kurtosis, direction=direction).values
            np.testing.assert_allclose(N * shift, slope - gaussian, rtol=1e-4)


def test_kurtosis_shift_rejects_what_no_law_has():
    with pytest.raises(ValueError, match="`excess_kurtosis` must be at least -2"):
        theory.kurtosis_shift(10, 20, -2.1, direction="forward")
    with pytest.raises(ValueError, match="`samples` must be at least 12"):
        theory.kurtosis_shift(10, 11, 0.0, direction="forward")
