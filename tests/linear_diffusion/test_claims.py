"""The claims at quick size: slow, and the report's contract holds for them."""

import numpy as np
import pytest

from learning_dynamics.report.claims import load_claims, run_claim
from linear_diffusion.claims.common import finite_size
from linear_diffusion.theory import kl

IDS = (
    "linear/exact-errors",
    "linear/kl-linear-above-dimension",
    "linear/mode-dynamics",
    "linear/remedies-below-dimension",
    "linear/transition-at-dimension",
)


def test_five_claims_are_registered_through_the_entry_point():
    claims = load_claims()
    assert set(IDS) <= set(claims)
    assert all(claims[i].package == "linear_diffusion" for i in IDS)


def test_a_remedy_claim_holds_and_its_controls_fail():
    outcome = run_claim(load_claims()["linear/remedies-below-dimension"])
    assert outcome.holds
    assert len(outcome.evidence.panels) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_claims_hold_for_other_seeds(name, seed):
    outcome = run_claim(load_claims()[name], seed=seed)
    assert outcome.verdict == "pass"
    assert outcome.control_verdict == "fail"


def test_allowed_bias_falls_with_the_square_of_the_smaller_number():
    spectrum = np.ones(100)
    found = finite_size(kl(spectrum, [10, 1000], 1.0, direction="forward"), [10, 1000], 100)
    np.testing.assert_allclose(found.bias / found.values, [0.1, 1e-3])
