"""`diffusion/covariance-is-linear` and `diffusion/correlated-latents-are-linear`."""

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE, compare_exponents, compare_median
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.searches import CovarianceSearch, simulate_search
from diffusion_theory.theory.escape import EscapeLaw
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.recovery_diffusion import quantiles_of_laws

Array = NDArray[np.float64]
LEARNER = TiedDenoiser("tanh", sign=-1)
RATE, THRESHOLD = 0.4, 0.4
LEVELS = np.array([0.25, 0.5, 0.75])
BIAS = r"$1 / (g \sqrt{d})$"  # of n* / d
WRONG = (3.0, "order of a cumulant spike")
QUANTITY = r"samples to recovery $n^* / d$"
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
    recoveries, quartiles = _recoveries(run, search)
    d = recoveries.dimensions
    laws = [search.law_at(n) for n in d.tolist()]
    exact = quantiles_of_laws(laws, LEVELS, label="diffusion at each d").scaled(1 / d)
    recovery = ld.compare_with_controls(quartiles, exact, name="recovery of u", quantity=QUANTITY)
    exponents, words = compare_exponents(
        recoveries, exact.values[1] * d, wrong=WRONG, logarithm=True
    )  # fmt: skip
    median = compare_median(quartiles, float(search.law.quantile(0.5, d[-1])), "escape law")
    panels = {
        "recovery": _quartiles_panel(
            recovery[0],
            search.law,
            "Quartiles of the number of samples per dimension until the overlap with u stays above "
            f"{THRESHOLD}, random starts. Line: escape law, straight in log d, with slope, "
            "prefactor and spread (no free constant); residuals: from the diffusion at each d.",
        ),
        "collapse": _collapse_panel(recoveries, search.law),
    }
    return Evidence.of([recovery, exponents, median], panels, (*NOTES, words))


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
    inputs, uncorrelated, dependent = (
        MixedCumulant(2.0, pair=pair) for pair in ("sign", "rademacher", "cube")
    )  # fmt: skip
    search, u_alone = (
        CovarianceSearch(data, LEARNER, RATE, THRESHOLD) for data in (inputs, uncorrelated)
    )  # fmt: skip
    recoveries, quartiles = _recoveries(run, search)
    d = recoveries.dimensions.astype(np.float64)
    law, without = _quartiles(search.law, d), _quartiles(u_alone.law, d, "uncorrelated latents")
    recovery = ld.compare_with_controls(
        quartiles, law, without, name="recovery of u with v", quantity=QUANTITY
    )  # fmt: skip
    medians = law[1]
    exponents, words = compare_exponents(
        recoveries, medians.values * d, wrong=WRONG, logarithm=True,
        left_out=medians.bias / medians.values, order=BIAS,
    )  # fmt: skip
    median = compare_median(quartiles, float(medians.values[-1]), "escape law")
    correlation = _along(run, inputs, uncorrelated, 4 / search.law.rate, "correlation")
    dependence = _along(run, dependent, uncorrelated, 16.0, "dependence")
    panels = {
        "recovery": _quartiles_panel(
            recovery[0],
            search.law,
            "Quartiles of the number of samples per dimension until the overlap with the growing "
            f"mixture of u and v stays above {THRESHOLD}, nu = sign(lambda), random starts.",
        ),
        "overlaps": _overlaps_panel(
            correlation[0],
            "Overlaps with both spikes from a small start along u alone: v comes with u.",
        ),
        "dependent": _overlaps_panel(
            dependence[0],
            "The same for latents that depend on each other without correlation, E λν = 0 but "
            "E λ³ν ≠ 0: once u is found, v gets a small overlap, of the sign of -c_4 E λ³ν.",
        ),
        "collapse": _collapse_panel(recoveries, search.law),
    }
    tests = [recovery, exponents, median, correlation, dependence]
    return Evidence.of(tests, panels, (*NOTES, words))


def _recoveries(run: Run, search: CovarianceSearch) -> tuple[ld.Recoveries, ld.Measurement]:
    """Numbers of samples to recovery, and the quartiles of n*/d."""
    dimensions = [128, 512, 4096] if run.quick else [128, 256, 512, 1024, 2048, 4096, 8192]
    replicas = 256 if run.quick else 2048
    recoveries = simulate_search(
        search, dimensions, replicas=replicas, key=run.key, sweep=run.sweep
    )  # fmt: skip
    scaled = recoveries.samples / recoveries.dimensions
    return recoveries, ld.recovered_quantiles(recoveries.dimensions, scaled, LEVELS)


def _quartiles(law: EscapeLaw, d: Array, label: str = "escape law") -> ld.Prediction:
    values = law.quantile(LEVELS[:, None], d)
    return ld.Prediction(values, 1e-4, 1 / (law.rate * np.sqrt(d)), BIAS, label)


def _along(
    run: Run, inputs: MixedCumulant, uncorrelated: MixedCumulant, end: float, name: str
) -> ld.Comparisons:
    """Both overlaps from alpha = (0.2, 0), beside the flow of the data and that of other data."""
    d, start = 2000, np.array([0.2, 0.0])
    trajectory = ld.simulate(
        ld.Problem(inputs, LEARNER, RATE, update="spherical"),
        dimension=d, times=np.linspace(1, end, 6), replicas=128 if run.quick else 1024,
        level="overlaps", key=jax.random.fold_in(run.key, len(name)),
        start=ld.order_parameters(start[None], [[1.0]]),
    )  # fmt: skip
    measured = ld.Measurement.from_replicas(
        trajectory.values["signal"][:, :, 0].swapaxes(1, 2),
        {"direction": np.array(["u", "v"]), "time": trajectory.times},
        label=f"overlap chain, d = {d}",
    )
    labels = {"two-overlap flow": inputs, f"{name}, as if without": uncorrelated}
    flows = [
        theory.overlap_flow(data, LEARNER, RATE, start, trajectory.times).labelled(label)
        for label, data in labels.items()
    ]
    laws = [flow.with_bias(5 / d, "5/d").T for flow in flows]
    return ld.compare_with_controls(measured, *laws, name=f"overlaps, {name}", quantity="overlap")


def _quartiles_panel(comparison: ld.Comparison, law: EscapeLaw, caption: str) -> Panel:
    dimensions = comparison.measured.coordinates["dimension"]
    d = np.geomspace(float(dimensions[0]), float(dimensions[-1]), 60)
    figure = comparison.plot(
        x="dimension", series="quantile", logx=True, logy=False, x_label="dimension d",
        fine=(d, law.quantile(LEVELS[:, None], d)),
    )  # fmt: skip
    return Panel(figure, caption)


def _overlaps_panel(comparison: ld.Comparison, caption: str) -> Panel:
    figure = comparison.plot(
        x="time", series="direction", logx=False, logy=False, x_label=r"$n / d$"
    )  # fmt: skip
    return Panel(figure, caption)


def _collapse_panel(recoveries: ld.Recoveries, law: EscapeLaw) -> Panel:
    """Shares recovered against n/d less the logarithm."""
    d = recoveries.dimensions.astype(np.float64)
    shifted = recoveries.samples / d - np.log(d / d[0]) / (2 * law.rate)
    levels = np.linspace(0.005, 0.95, 150)
    return Panel(
        ld.plot_collapse(
            recoveries.dimensions,
            [np.sort(column) for column in shifted.T],
            [("escape law", law.quantile(levels, d[0]), levels)],
            x_label=f"n / d - log(d / {d[0]:g}) / (2 g)",
            symbol="d",
            logx=False,
        ),
        "Share of runs that have recovered, with the logarithm of d taken off: one curve.",
    )
