"""The claims at quick size, with working controls."""

import pytest

from learning_dynamics.report.claims import load_claims, run_claim

IDS = (
    "fourier/amplitudes-before-phases",
    "fourier/deep-networks",
    "fourier/input-model",
    "fourier/phases-cost-n-cubed",
    "fourier/power-law-speeds-up-phases",
)


def test_claims_are_registered_through_the_entry_point():
    claims = load_claims()
    assert set(IDS) <= set(claims)
    assert all(claims[i].package == "fourier_simplicity" for i in IDS)


def test_the_input_model_claim_holds_and_its_controls_fail():
    outcome = run_claim(load_claims()["fourier/input-model"])
    assert outcome.holds
    assert len(outcome.evidence.panels) == 5
    assert len(outcome.evidence.controls) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_claims_hold_for_other_seeds(name, seed):
    outcome = run_claim(load_claims()[name], seed=seed)
    assert outcome.verdict == "pass"
    assert outcome.control_verdict == "fail"
