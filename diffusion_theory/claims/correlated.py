"""`diffusion/correlated-latents-are-linear`: the cumulant spike comes with the covariance."""

from typing import Any

import jax
import numpy as np

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE, compare_exponents, compare_median
from diffusion_theory.claims.covariance import (
    COLLAPSE,
    LEARNER,
    LEVELS,
    NOTES,
    QUANTITY,
    RATE,
    THRESHOLD,
    WRONG,
    recovered,
)
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.overlaps import overlaps_along
from diffusion_theory.searches import CovarianceSearch
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

CORRELATED, UNCORRELATED, DEPENDENT = (
    MixedCumulant(2.0, pair=pair) for pair in ("sign", "rademacher", "cube")
)  # fmt: skip
DIMENSION, START = 2000, np.array([0.2, 0.0])  # of runs along which both overlaps are followed


@claim(
    "diffusion/correlated-latents-are-linear",
    statement=(
        "When the latent variables of the two spikes are correlated, the higher-order spike is "
        "learned with a number of samples linear in the dimension, together with the covariance."
    ),
    source=SOURCE,
    seconds=25,
)
def correlated_latents_are_linear(run: Run) -> Evidence:
    """Recovery times of the growing mixture of u and v; both overlaps along a run."""
    search, u_alone = (
        CovarianceSearch(data, LEARNER, RATE, THRESHOLD) for data in (CORRELATED, UNCORRELATED)
    )
    recoveries, quartiles = recovered(run, search)
    d = recoveries.dimensions
    law, without = (
        each.law.quantiles(LEVELS, d, label=label)
        for each, label in ((search, "escape law"), (u_alone, "uncorrelated latents"))
    )
    recovery = ld.compare_with_controls(
        quartiles, law, without, name="recovery of u with v", quantity=QUANTITY
    )
    medians = law[1]
    exponents, words = compare_exponents(
        recoveries, medians.values * d, wrong=WRONG, logarithm=True,
        left_out=medians.bias / medians.values, order=medians.bias_order,
    )  # fmt: skip
    median = compare_median(quartiles, float(medians.values[-1]), "escape law")
    correlation = _flow(run, CORRELATED, 4 / search.law.rate, "correlation")
    dependence = _flow(run, DEPENDENT, 16.0, "dependence")
    along: dict[str, Any] = {
        "x": "time",
        "series": "direction",
        "logx": False,
        "logy": False,
        "x_label": "$n / d$",
    }
    panels = {
        "recovery": Panel(
            search.plot_quantiles(recovery[0]),
            "Quartiles of the number of samples per dimension until the overlap with the growing "
            f"mixture of u and v stays above {THRESHOLD}, nu = sign(lambda), random starts.",
        ),
        "overlaps": Panel(
            correlation[0].plot(**along),
            "Overlaps with both spikes from a small start along u alone: v comes with u.",
        ),
        "dependent": Panel(
            dependence[0].plot(**along),
            "The same for latents that depend on each other without correlation, E λν = 0 but "
            "E λ³ν ≠ 0: once u is found, v gets a small overlap, of the sign of -c_4 E λ³ν.",
        ),
        "collapse": Panel(search.plot_collapse(recoveries), COLLAPSE),
    }
    tests = [recovery, exponents, median, correlation, dependence]
    return Evidence.of(tests, panels, (*NOTES, words))


def _flow(run: Run, inputs: MixedCumulant, end: float, name: str) -> ld.Comparisons:
    """Both overlaps from alpha = (0.2, 0), beside the flow of the data and that of other data."""
    measured = overlaps_along(
        inputs, LEARNER, RATE, START, np.linspace(1, end, 6), dimension=DIMENSION,
        replicas=128 if run.quick else 1024, key=jax.random.fold_in(run.key, len(name)),
    )  # fmt: skip
    times = measured.coordinates["time"]  # of whole updates
    law, without = (
        theory.overlap_flow(data, LEARNER, RATE, START, times).with_bias(5 / DIMENSION, "5/d")
        for data in (inputs, UNCORRELATED)
    )
    return ld.compare_with_controls(
        measured, law, without.labelled(f"{name}, as if without"), name=f"overlaps, {name}",
        quantity="overlap",
    )  # fmt: skip
