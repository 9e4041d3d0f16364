"""`diffusion/information-exponent`: signs and orders of the drifts that the exponent predicts."""

from collections.abc import Iterator

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE, measured_force, predicted_force
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.latents import Coupling
from diffusion_theory.laws import ThreePoint, TwoPoint
from diffusion_theory.learners import Target, TiedDenoiser
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

Array = NDArray[np.float64]
PAIRS = {
    "Rademacher": "rademacher",
    "three-point": ThreePoint(0.1),
    "two-point": TwoPoint(0.2),
    "Student t": ld.StudentT(8.0),
    "sign": "sign",
    "correlated": Coupling(0.4),
    "square": "square",
    "cube": "cube",
}
QUICK: tuple[tuple[str, str, Target], ...] = (
    ("Rademacher", "tanh", "eps"),
    ("three-point", "erf", "eps"),
    ("two-point", "softplus", "eps"),
    ("Student t", "tanh", "x0"),
    ("sign", "tanh", "eps"),
    ("Rademacher", "relu", "eps"),
)
BIAS = r"$(r + 1)/d$ of the contraction"
PLACES = np.array([[0.6, 0.0], [0.0, 0.75]])  # along u, along v


def _settings(run: Run) -> tuple[tuple[str, str, Target], ...]:
    if run.quick:
        return QUICK
    activations = ("tanh", "erf", "relu", "softplus")
    grid: list[tuple[str, str, Target]] = [(p, a, "eps") for p in PAIRS for a in activations]
    return tuple(grid + [(p, "tanh", "x0") for p in PAIRS])


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
    drifts, flipped, note = _drifts(run)
    order, other = _order(run)
    panels = {
        "drifts": Panel(
            drifts.plot(x="setting", series="direction", logx=False, logy=False),
            "Force on the overlap with u (at 0.6) and with v (at 0.75), measured from drifts of "
            "the overlap chain, for laws of the latents, activations, targets and signs of the "
            "denoiser. Above zero: attractive; below: repelled (odd orders attract on one side).",
        ),
        "order": Panel(
            order.plot(x="overlap", logx=True, logy=True, x_label=r"overlap $\alpha_v$"),
            "Force along the whitened cumulant spike against the overlap (Rademacher, -tanh, "
            "noise prediction): cubic at small overlaps, the signature of exponent four.",
        ),
    }
    notes = (
        note,
        "Controls: the sign of the denoiser flipped; a force linear in the overlap, as along a "
        "covariance spike, through the largest measured point.",
    )
    return Evidence([drifts, order], [flipped, other], panels, notes)


def _cases(run: Run) -> Iterator[tuple[str, MixedCumulant, TiedDenoiser]]:
    for law, activation, target in _settings(run):
        for sign in (1, -1):
            name = f"{law}, {'+' if sign > 0 else '-'}{activation}, {target}"
            inputs = MixedCumulant(2.0, pair=PAIRS[law])
            yield name, inputs, TiedDenoiser(activation, sign=sign, target=target)


def _drifts(run: Run) -> tuple[Comparison, Comparison, str]:
    cases = list(_cases(run))
    replicas = 500 if run.quick else 4000
    drawn, forces, flipped, words = [], [], [], []
    for i, (name, inputs, learner) in enumerate(run.track(cases, "drifts")):
        key = jax.random.fold_in(run.key, i)
        drawn.append(measured_force(inputs, learner, PLACES, replicas, key))
        forces.append(predicted_force(inputs, learner, PLACES))
        other = TiedDenoiser(learner.activation, sign=-learner.sign, target=learner.target)
        flipped.append(predicted_force(inputs, other, PLACES).values)
        known = theory.information_exponents(inputs, learner)
        words.append(f"{name}: " + ", ".join(f"{k} {known[k].verdict}" for k in known))
    coordinates = {
        "direction": np.array(["u", "v"]),
        "setting": np.array([name for name, _, _ in cases]),
    }
    measured = Measurement.from_replicas(
        np.stack(drawn, axis=1).swapaxes(1, 2), coordinates, label="overlap chain, d = 1000"
    )
    values, errors, biases = (np.array(x).T for x in zip(*forces, strict=True))
    line = Prediction(values, errors, label="two-overlap flow").with_bias(biases, BIAS)
    control = Prediction(np.array(flipped).T, errors, label="sign flipped")
    quantity = r"force $-\partial L / \partial\alpha$"
    note = "Verdicts of the exponent: " + "; ".join(words) + "."
    return (
        compare(measured, line, name="force along each spike", quantity=quantity),
        compare(measured, control, name="denoiser of the other sign", quantity=quantity),
        note,
    )


def _order(run: Run) -> tuple[Comparison, Comparison]:
    """Drift of alpha_v against alpha_v."""
    inputs, learner = MixedCumulant(2.0), TiedDenoiser("tanh", sign=-1)
    overlaps = np.geomspace(0.35, 0.8, 6)
    starts = np.stack([np.zeros_like(overlaps), overlaps], axis=1)
    replicas = 1000 if run.quick else 20_000
    key = jax.random.fold_in(run.key, 10**6)
    force = measured_force(inputs, learner, starts, replicas, key)
    flow = predicted_force(inputs, learner, starts)
    measured = Measurement.from_replicas(
        force, {"overlap": overlaps}, label="overlap chain, d = 1000"
    )
    predicted = Prediction(flow.values, flow.error, label="two-overlap flow")
    predicted = predicted.with_bias(flow.bias, BIAS)
    line = predicted.values[-1] * overlaps / overlaps[-1]
    linear = Prediction(line, label="order of a covariance spike")
    quantity = r"$-\partial L / \partial \alpha_v$"
    return (
        compare(measured, predicted, name="order along v", quantity=quantity),
        compare(measured, linear, name="exponent of the other spike", quantity=quantity),
    )
