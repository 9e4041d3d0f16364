"""Forces on the overlaps, as the claim of the information exponent measures them."""

import jax
import numpy as np
import pytest

from diffusion_theory import MixedCumulant, TiedDenoiser
from diffusion_theory.claims.information_exponent import PLACES
from diffusion_theory.claims.settings import PAIRS, QUICK
from diffusion_theory.forces import measured_force, predicted_force
from diffusion_theory.theory import information_exponents, loss_terms


def test_predicted_force_is_the_gradient_of_the_loss():
    inputs, learner = MixedCumulant(2.0), TiedDenoiser("tanh", sign=-1)
    found = predicted_force(inputs, learner, PLACES)
    for i, alpha in enumerate(PLACES):
        gradient = loss_terms(inputs, learner, alpha).gradient[i]
        assert found.values[i] == pytest.approx(-gradient, rel=0.05, abs=2e-3)
        assert found.numerical_error[i] < 1e-3 * abs(gradient) + 1e-6


@pytest.mark.slow
def test_measured_force_has_the_predicted_mean():
    inputs, learner = MixedCumulant(2.0), TiedDenoiser("tanh", sign=-1)
    seen = measured_force(inputs, learner, PLACES, 200, jax.random.key(2))
    found = predicted_force(inputs, learner, PLACES)
    error = np.hypot(seen.std(axis=0, ddof=1) / np.sqrt(200), found.numerical_error)
    assert np.all(np.abs(seen.mean(axis=0) - found.values) < 4 * error + found.bias)


@pytest.mark.slow
def test_forces_of_the_claim_have_the_signs_of_the_exponents():
    """Attracted: the force at the claim's overlaps is positive; repelled: negative."""
    for law, activation, target in QUICK:
        for sign in (1, -1):
            inputs = MixedCumulant(2.0, pair=PAIRS[law])
            learner = TiedDenoiser(activation, sign=sign, target=target)
            force = predicted_force(inputs, learner, PLACES).values
            known = information_exponents(inputs, learner)
            for value, name in zip(force, "uv", strict=True):
                found = known[name]
                if found.verdict == "flat":
                    assert abs(value) < 1e-6
                elif found.order is not None and found.order % 2 == 0:
                    assert (value > 0) == (found.verdict == "attractive")


@pytest.mark.parametrize("starts", [[0.1, 0.2], [[0.1, 0.2]], [[1.0, 0.0]], [[0.1, 0.0, 0.0]]])
def test_starts_with_more_than_one_overlap_are_refused(starts):
    inputs = MixedCumulant(2.0)
    for call in (
        lambda: predicted_force(inputs, None, starts),
        lambda: measured_force(inputs, None, starts, 3, jax.random.key(0)),
    ):
        with pytest.raises(ValueError, match="Argument `starts"):
            call()
