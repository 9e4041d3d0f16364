"""All claims at quick size: they hold, their controls fail, at every seed tried."""

from dataclasses import replace

import pytest

from learning_dynamics import compare
from learning_dynamics.report.claims import load_claims, run_claim

IDS = (
    "diffusion/correlated-latents-are-linear",
    "diffusion/covariance-is-linear",
    "diffusion/cumulant-is-cubic",
    "diffusion/images-pairwise-first",
    "diffusion/information-exponent",
    "diffusion/mixed-cumulant-pairwise-first",
    "diffusion/noise-schedule",
    "fourier/amplitudes-before-phases",
    "fourier/deep-networks",
    "fourier/input-model",
    "fourier/phases-cost-n-cubed",
    "fourier/power-law-speeds-up-phases",
    "linear/exact-errors",
    "linear/kl-linear-above-dimension",
    "linear/mode-dynamics",
    "linear/networks-follow",
    "linear/remedies-below-dimension",
    "linear/spike-recovery",
    "linear/transition-at-dimension",
    "protocols/momentum-is-a-larger-rate",
    "protocols/optimal-schedule",
    "protocols/reuse-lowers-the-exponent",
)
PACKAGES = {
    "diffusion": "diffusion_theory",
    "fourier": "fourier_simplicity",
    "linear": "linear_diffusion",
    "protocols": "learning_dynamics",
}
FAST = {("linear/remedies-below-dimension", 0)}  # the report runs the others


def test_claims_are_registered_through_the_entry_points():
    claims = {name: claim.package for name, claim in load_claims().items()}
    assert claims.items() >= {name: PACKAGES[name.split("/")[0]] for name in IDS}.items()


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(name, seed, marks=[pytest.mark.slow] * ((name, seed) not in FAST))
        for name in IDS
        for seed in (0, 1, 2)
    ],
)
def test_a_claim_holds_and_its_controls_fail(name, seed):
    outcome = run_claim(load_claims()[name], seed=seed)
    assert (outcome.verdict, outcome.control_verdict) == ("pass", "fail")
    assert outcome.evidence.panels


# comparison -> relative error of the theory, up or down, that the quick size catches
CATCHES = {
    "fourier/phases-cost-n-cubed": {
        "prefactors at the largest N": 0.35,
        "local exponents": 0.2,
        "detection in the window": 0.4,
    },
    "fourier/power-law-speeds-up-phases": {"common factor of all spectra": 0.4},
    "linear/spike-recovery": {
        "overlap of the generated law": 0.03,
        "KL": 0.01,
        "sharpness in the dimension": 0.02,
        "generated samples": 0.25,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CATCHES)
def test_a_theory_that_is_wrong_by_that_much_is_caught(name):
    """With the errors of the simulation, and its values on the right theory."""
    evidence = run_claim(load_claims()[name]).evidence
    found = {comparison.name: comparison for comparison in evidence.comparisons}
    for part, most in CATCHES[name].items():
        right = found[part].predicted
        assert found[part].catches < most
        exact = replace(found[part].measured, values=right.values)
        assert compare(exact, right, name=part, quantity="q").verdict == "pass"
        for factor in (1 + most, 1 - most):
            wrong = replace(right, values=right.values * factor)
            assert compare(exact, wrong, name=part, quantity="q").verdict == "fail"
