"""Three levels of description, a part of `diffusion/mixed-cumulant-pairwise-first`."""

from dataclasses import replace

import jax
import numpy as np

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.overlaps import Level, overlaps_along
from learning_dynamics.evidence.levels import plot_levels
from learning_dynamics.report.claims import Evidence, Panel, Run

LEARNER, RATE = TiedDenoiser("tanh", sign=-1), 0.4
QUICK: dict[Level, int] = {"ambient": 48, "overlaps": 512}  # replicas
FULL: dict[Level, int] = {"ambient": 400, "overlaps": 4000}
DIMENSION, START, TIMES = 400, [0.2, 0.1], np.linspace(0.5, 5.0, 10)
CAPTION = (
    "Overlaps of one neuron with u and v: simulation of all weights, overlap chain and the "
    "limit, from common starts."
)


def three_levels(run: Run, inputs: MixedCumulant) -> Evidence:
    """All weights beside the overlap chain, and the chain beside the limit and another flow.

    Args:
        run: size and key.
        inputs: the model, with two spikes.
    """
    weights, chain = (
        overlaps_along(
            inputs, LEARNER, RATE, START, TIMES, dimension=DIMENSION, replicas=replicas,
            level=level, key=jax.random.fold_in(run.key, 100 + replicas),
        )
        for level, replicas in (QUICK if run.quick else FULL).items()
    )  # fmt: skip
    limit = ld.integrate(
        ld.Problem(inputs, LEARNER, RATE, update="spherical"), times=TIMES, points=2**13,
        start=ld.order_parameters([START], [[1.0]]), tolerance=1e-4, finite_size=False,
    ).prediction(["signal"])  # fmt: skip
    uncorrelated = replace(inputs, pair="rademacher")
    wrong = theory.overlap_flow(uncorrelated, LEARNER, RATE, START, TIMES)
    exact = ld.Prediction(chain.values, chain.standard_error, label="overlap chain")
    of_weights = ld.compare_with_controls(
        weights, exact, name="all weights against overlap chain", quantity="overlap"
    )
    of_chain = ld.compare_with_controls(
        chain,
        limit.labelled("limit").with_bias(5 / DIMENSION, "5/d"),
        wrong.labelled("overlaps, as if latents were uncorrelated").with_bias(5 / DIMENSION, "5/d"),
        name="overlap chain against limit", quantity="overlap",
    )  # fmt: skip
    figure = plot_levels(
        [weights, chain], of_chain[0].predicted, x_label="n / d", y_label="overlap"
    )
    return Evidence.of([of_weights, of_chain], {"overlaps": Panel(figure, CAPTION)})
