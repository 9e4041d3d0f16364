"""`diffusion/covariance-is-linear`: a covariance spike costs of order d samples, up to a log."""

import numpy as np

import learning_dynamics as ld
from diffusion_theory.claims.common import SOURCE, compare_exponents, compare_median
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.searches import CovarianceSearch, simulate_search
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.recovery_diffusion import quantiles_of_laws

LEARNER = TiedDenoiser("tanh", sign=-1)
RATE, THRESHOLD = 0.4, 0.4
LEVELS = np.array([0.25, 0.5, 0.75])
WRONG = (3.0, "order of a cumulant spike")
QUANTITY = r"samples to recovery $n^* / d$"
COLLAPSE = "Share of runs that have recovered, with the logarithm of d taken off: one curve."
NOTES = (
    "Runs on the overlap chain, exact in law at every d. Recovery is a sustained crossing (d/50 "
    "updates). Where the law is that of d → ∞, the allowed bias is a relative error d^(-1/2) of "
    "the scaled start, 1/(g d^(1/2)).",
    "Controls: the exponent three of a fourth-order spike; the law, and the overlaps, "
    "for uncorrelated latents.",
)


@claim(
    "diffusion/covariance-is-linear",
    statement=(
        "A denoiser finds a covariance spike with a number of samples linear in the dimension, up "
        "to a logarithm."
    ),
    source=SOURCE,
    seconds=10,
)
def covariance_is_linear(run: Run) -> Evidence:
    """Quartiles, exponent and prefactor of the recovery time over a decade and a half in d."""
    search = CovarianceSearch(MixedCumulant(4.0, None), LEARNER, RATE, THRESHOLD)
    recoveries, quartiles = recovered(run, search)
    d = recoveries.dimensions
    laws = [search.law_at(n) for n in d.tolist()]
    exact = quantiles_of_laws(laws, LEVELS, label="diffusion at each d").scaled(1 / d)
    recovery = ld.compare_with_controls(quartiles, exact, name="recovery of u", quantity=QUANTITY)
    exponents, words = compare_exponents(
        recoveries, exact.values[1] * d, wrong=WRONG, logarithm=True
    )  # fmt: skip
    median = compare_median(quartiles, float(search.law.quantile(0.5, d[-1])), "escape law")
    panels = {
        "recovery": Panel(
            search.plot_quantiles(recovery[0]),
            "Quartiles of the number of samples per dimension until the overlap with u stays above "
            f"{THRESHOLD}, random starts. Line: escape law, straight in log d, with slope, "
            "prefactor and spread (no free constant); residuals: from the diffusion at each d.",
        ),
        "collapse": Panel(search.plot_collapse(recoveries), COLLAPSE),
    }
    return Evidence.of([recovery, exponents, median], panels, (*NOTES, words))


def recovered(run: Run, search: CovarianceSearch) -> tuple[ld.Recoveries, ld.Measurement]:
    """Numbers of samples to recovery, and the quartiles of n*/d."""
    dimensions = [128, 512, 4096] if run.quick else [128, 256, 512, 1024, 2048, 4096, 8192]
    recoveries = simulate_search(
        search, dimensions, replicas=256 if run.quick else 2048, key=run.key, sweep=run.sweep
    )  # fmt: skip
    scaled = recoveries.samples / recoveries.dimensions
    return recoveries, ld.recovered_quantiles(recoveries.dimensions, scaled, LEVELS)
