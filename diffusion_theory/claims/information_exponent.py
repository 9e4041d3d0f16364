"""`diffusion/information-exponent`: signs and orders of the drifts that the exponent predicts."""

from dataclasses import replace

import jax
import numpy as np

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE
from diffusion_theory.claims.settings import settings
from diffusion_theory.forces import measured_force, predicted_force
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

PLACES = np.array([[0.6, 0.0], [0.0, 0.75]])  # along u, along v


@claim(
    "diffusion/information-exponent",
    statement=(
        "One scalar, the diffusion information exponent, tells which spike a denoiser is driven "
        "to and at which order in its overlap; directions of the wrong sign are repelled."
    ),
    source=SOURCE,
    seconds=28,
)
def information_exponent(run: Run) -> Evidence:
    """Forces on both overlaps for each law and activation at both signs, and their order."""
    forces, verdicts = _forces(run)
    order = _order(run)
    panels = {
        "drifts": Panel(
            forces[0].plot(x="setting", series="direction", logx=False, logy=False),
            "Force on the overlap with u (at 0.6) and with v (at 0.75), measured from drifts of "
            "the overlap chain, for laws of the latents, activations, targets and signs of the "
            "denoiser. Above zero: attractive; below: repelled (odd orders attract on one side).",
        ),
        "order": Panel(
            order[0].plot(x="overlap", logx=True, logy=True, x_label=r"overlap $\alpha_v$"),
            "Force along the whitened cumulant spike against the overlap (Rademacher, -tanh, "
            "noise prediction): cubic at small overlaps, the signature of exponent four.",
        ),
    }
    notes = (
        verdicts,
        "Controls: the sign of the denoiser flipped; a force linear in the overlap, as along a "
        "covariance spike, through the largest measured point.",
    )
    return Evidence.of([forces, order], panels, notes)


def _forces(run: Run) -> tuple[ld.Comparisons, str]:
    """Forces along both spikes in every setting, and the verdicts of the exponent in words."""
    drifts, laws, flipped, verdicts = [], [], [], {}
    for i, (name, inputs, learner) in enumerate(run.track(settings(run), "drifts")):
        key = jax.random.fold_in(run.key, i)
        drifts.append(measured_force(inputs, learner, PLACES, 500 if run.quick else 4000, key))
        laws.append(predicted_force(inputs, learner, PLACES))
        flipped.append(predicted_force(inputs, replace(learner, sign=-learner.sign), PLACES))
        exponents = theory.information_exponents(inputs, learner)
        verdicts[name] = ", ".join(f"{spike} {exponents[spike].verdict}" for spike in exponents)
    measured = ld.Measurement.from_replicas(
        np.stack(drifts, axis=2),
        {"direction": np.array(["u", "v"]), "setting": np.array(list(verdicts))},
        label="overlap chain, d = 1000",
    )
    law = stack(laws).T
    wrong = ld.Prediction(
        stack(flipped).T.values, law.numerical_error, label="denoiser of the other sign"
    )  # fmt: skip
    tests = ld.compare_with_controls(
        measured, law, wrong, name="force along each spike",
        quantity=r"force $-\partial L / \partial\alpha$",
    )  # fmt: skip
    words = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
    return tests, f"Verdicts of the exponent: {words}."


def _order(run: Run) -> ld.Comparisons:
    """Force along v against the overlap with v."""
    inputs, learner = MixedCumulant(2.0), TiedDenoiser("tanh", sign=-1)
    overlaps = np.geomspace(0.35, 0.8, 6)
    starts = np.stack([np.zeros_like(overlaps), overlaps], axis=1)
    replicas, key = 1000 if run.quick else 20_000, jax.random.fold_in(run.key, 10**6)
    measured = ld.Measurement.from_replicas(
        measured_force(inputs, learner, starts, replicas, key), {"overlap": overlaps},
        label="overlap chain, d = 1000",
    )  # fmt: skip
    law = predicted_force(inputs, learner, starts)
    linear = law.values[-1] * overlaps / overlaps[-1]
    return ld.compare_with_controls(
        measured, law, ld.Prediction(linear, label="exponent of the other spike"),
        name="order along v", quantity=r"$-\partial L / \partial \alpha_v$",
    )  # fmt: skip
