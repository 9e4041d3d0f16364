"""Laws of the latents, activations, targets and signs of `diffusion/information-exponent`."""

import learning_dynamics as ld
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.latents import Coupling
from diffusion_theory.laws import ThreePoint, TwoPoint
from diffusion_theory.learners import Target, TiedDenoiser
from learning_dynamics.report.claims import Run

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
FULL: tuple[tuple[str, str, Target], ...] = (
    *((law, name, "eps") for law in PAIRS for name in ("tanh", "erf", "relu", "softplus")),
    *((law, "tanh", "x0") for law in PAIRS),
)


def settings(run: Run) -> list[tuple[str, MixedCumulant, TiedDenoiser]]:
    """Name, inputs and learner of each setting, at both signs."""
    return [
        (
            f"{law}, {'+' if sign > 0 else '-'}{activation}, {target}",
            MixedCumulant(2.0, pair=PAIRS[law]),
            TiedDenoiser(activation, sign=sign, target=target),
        )
        for law, activation, target in (QUICK if run.quick else FULL)
        for sign in (1, -1)
    ]
