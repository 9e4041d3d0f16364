"""`diffusion/covariance-is-linear` and `diffusion/correlated-latents-are-linear`."""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE, growth_of, within_ten_percent
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.escape import EscapeLaw
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.recovery_times import Recoveries, recovery_times
from learning_dynamics.search.sample_complexity import (
    fit_exponent,
    recovered_quantiles,
)
from learning_dynamics.search.sample_figures import plot_collapse

Array = NDArray[np.float64]
LEARNER = TiedDenoiser("tanh", sign=-1)
RATE, THRESHOLD = 0.4, 0.4
LEVELS = np.array([0.25, 0.5, 0.75])
BIAS = r"$1 / (g \sqrt{d})$"
QUANTITY = r"samples to recovery $n^* / d$"


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
    inputs = MixedCumulant(4.0, None)
    law = Growing(inputs).law
    recoveries = _recovery_times(run, inputs)
    d = recoveries.dimensions
    finite = [
        theory.recovery_law(inputs, LEARNER, RATE, n, THRESHOLD, t, sustained=_lasting(n))
        for n, t in zip(d.tolist(), recoveries.followed.tolist(), strict=True)
    ]
    times = np.array([p.quantile(LEVELS) for p in finite]).T / d
    spread = np.array([p.quantile(LEVELS + p.error) - p.quantile(LEVELS) for p in finite]).T / d
    exact = Prediction(times, spread, label="diffusion at each d")
    measured, exponents, cubic, median, words = _growth(recoveries, law, times[1] * d)
    recovery = compare(measured, exact, name="recovery of u", quantity=QUANTITY)
    panels = {
        "recovery": Panel(
            _plot(recovery, law),
            "Quartiles of the number of samples per dimension until the overlap with u stays above "
            f"{THRESHOLD}, random starts. Line: escape law, straight in log d, with slope, "
            "prefactor and spread (no free constant); residuals: from the diffusion at each d.",
        ),
        "collapse": _collapse_panel(recoveries, law),
    }
    return Evidence([recovery, exponents, median], [cubic], panels, (*NOTES, words))


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
    inputs, apart = MixedCumulant(2.0, pair="sign"), MixedCumulant(2.0)
    law = Growing(inputs).law
    recoveries = _recovery_times(run, inputs)
    measured, exponents, cubic, median, words = _growth(recoveries, law)
    recovery = compare(
        measured, _quantiles(law, measured), name="recovery of u with v", quantity=QUANTITY
    )
    alone = Growing(apart).law
    control = compare(
        measured, _quantiles(alone, measured), name="uncorrelated latents", quantity=QUANTITY
    )
    both, without = _along(run, inputs, apart, 4 / law.rate, "correlation")
    cube, free = _along(run, MixedCumulant(2.0, pair="cube"), apart, 16.0, "dependence")
    panels = {
        "recovery": Panel(
            _plot(recovery, law),
            "Quartiles of the number of samples per dimension until the overlap with the growing "
            f"mixture of u and v stays above {THRESHOLD}, nu = sign(lambda), random starts.",
        ),
        "overlaps": Panel(
            both.plot(x="time", series="direction", logx=False, logy=False, x_label=r"$n / d$"),
            "Overlaps with both spikes from a small start along u alone: v comes with u.",
        ),
        "dependent": Panel(
            cube.plot(x="time", series="direction", logx=False, logy=False, x_label=r"$n / d$"),
            "The same for latents that depend on each other without correlation, E λν = 0 but "
            "E λ³ν ≠ 0: once u is found, v gets a small overlap, of the sign of -c_4 E λ³ν.",
        ),
        "collapse": _collapse_panel(recoveries, law),
    }
    return Evidence(
        [recovery, exponents, median, both, cube],
        [control, cubic, without, free],
        panels,
        (*NOTES, words),
    )


def _lasting(d: int) -> int:
    """Consecutive updates that make a recovery."""
    return max(1, d // 50)


NOTES = (
    "Runs on the overlap chain, exact in law at every d. Recovery is a sustained crossing (d/50 "
    "updates). Where the law is that of d → ∞, the allowed bias is a relative error d^(-1/2) of "
    "the scaled start, 1/(g d^(1/2)).",
    "Controls: the exponent three of a fourth-order spike; the law, and the overlaps, "
    "for uncorrelated latents.",
)


def _dimensions(run: Run) -> NDArray[np.int64]:
    return np.array([128, 512, 4096] if run.quick else [128, 256, 512, 1024, 2048, 4096, 8192])


def _recovery_times(run: Run, inputs: MixedCumulant) -> Recoveries:
    """Samples until the overlap with the growing direction stays above the threshold."""
    growing = Growing(inputs)
    return recovery_times(
        growing.problem,
        dimensions=_dimensions(run).tolist(),
        replicas=256 if run.quick else 2048,
        longest=growing.longest,
        stop=growing.stop,
        key=run.key,
        sweep=run.sweep,
    )


@lru_cache(maxsize=8)  # every cell of the sweep asks for it
def _escape_law(inputs: MixedCumulant) -> EscapeLaw:
    return theory.escape_law(inputs, LEARNER, RATE, THRESHOLD)


@dataclass(frozen=True)
class Growing:
    """Runs until the mixture of spikes that grows is found."""

    inputs: MixedCumulant

    @property
    def law(self) -> EscapeLaw:
        """Times to recovery for d to infinity."""
        return _escape_law(self.inputs)

    def problem(self, d: int) -> ld.Problem:
        """One neuron, the same step at every d."""
        return ld.Problem(self.inputs, LEARNER, RATE, update="spherical")

    def longest(self, d: int) -> float:
        """Samples after which nearly every run has recovered."""
        return (1.2 * float(self.law.quantile(0.95, d)) + 1) * d

    def stop(self, d: int) -> ld.Stop:
        """Sustained crossing."""
        mixture = Along(tuple(self.law.direction.tolist()))
        return ld.Stop(mixture, THRESHOLD, sustained=_lasting(d))


@dataclass(frozen=True)
class Along:
    """Size of the overlap with a mixture of the spikes."""

    direction: tuple[float, ...]

    def __call__(self, state: ld.Overlaps) -> jax.Array:
        """Scalar, of one neuron."""
        return jnp.abs(jnp.sum(state.signal[0] * jnp.asarray(self.direction, jnp.float32)))


def _growth(
    recoveries: Recoveries, law: EscapeLaw, medians: Array | None = None
) -> tuple[Measurement, Comparison, Comparison, Comparison, str]:
    """Quartiles of n*/d; exponents of n*/log d beside those of the law and of order three.

    `medians` of n* at each d; those of the escape law, with its allowance, if None.
    """
    d = recoveries.dimensions.astype(np.float64)
    measured = recovered_quantiles(recoveries.dimensions, recoveries.samples / d, LEVELS)
    fit = fit_exponent(recoveries.dimensions, recoveries.samples, logarithm=True)
    leading = law.quantile(0.5, d)
    allowance = (0.0, "") if medians is not None else (_bias(law, d) / leading, BIAS)
    exponents, cubic, words = growth_of(
        fit,
        leading * d if medians is None else medians,
        3.0,
        "order of a cumulant spike",
        logarithm=True,
        allowance=allowance,
    )
    median = within_ten_percent(measured, float(leading[-1]), "escape law")
    return measured, exponents, cubic, median, words


def _collapse_panel(recoveries: Recoveries, law: EscapeLaw) -> Panel:
    """Shares recovered against n/d less the logarithm."""
    d = recoveries.dimensions.astype(np.float64)
    shift = np.log(d / d[0]) / (2 * law.rate)
    moved = [np.sort(c) for c in (recoveries.samples / d - shift).T]
    levels = np.linspace(0.005, 0.95, 150)
    return Panel(
        plot_collapse(
            recoveries.dimensions,
            moved,
            [("escape law", law.quantile(levels, d[0]), levels)],
            x_label=f"n / d - log(d / {d[0]:g}) / (2 g)",
            symbol="d",
            logx=False,
        ),
        "Share of runs that have recovered, with the logarithm of d taken off: one curve.",
    )


def _quantiles(law: EscapeLaw, measured: Measurement) -> Prediction:
    d = measured.coordinates["dimension"]
    values = law.quantile(LEVELS[:, None], d)
    predicted = Prediction(values, 1e-4, label="escape law")
    return predicted.with_bias(np.broadcast_to(_bias(law, d), values.shape), BIAS)


def _bias(law: EscapeLaw, d: Array) -> Array:
    return np.asarray(1 / (law.rate * np.sqrt(d)))


def _plot(comparison: Comparison, law: EscapeLaw) -> Figure:
    dimensions = comparison.measured.coordinates["dimension"]
    d = np.geomspace(float(dimensions[0]), float(dimensions[-1]), 60)
    return comparison.plot(
        x="dimension",
        series="quantile",
        logx=True,
        logy=False,
        x_label="dimension d",
        fine=(d, law.quantile(LEVELS[:, None], d)),
    )


def _along(
    run: Run, inputs: MixedCumulant, apart: MixedCumulant, end: float, name: str
) -> tuple[Comparison, Comparison]:
    """Both overlaps from alpha = (0.2, 0), beside the flow of the data and that of other data."""
    d, start = 2000, np.array([0.2, 0.0])
    times = np.linspace(1, end, 6)
    problem = ld.Problem(inputs, LEARNER, RATE, update="spherical")
    trajectory = ld.simulate(
        problem,
        dimension=d,
        times=times,
        replicas=128 if run.quick else 1024,
        level="overlaps",
        key=jax.random.fold_in(run.key, len(name)),
        start=ld.order_parameters(start[None], [[1.0]]),
    )
    measured = Measurement.from_replicas(
        trajectory.values["signal"][:, :, 0].swapaxes(1, 2),
        {"direction": np.array(["u", "v"]), "time": trajectory.times},
        label=f"overlap chain, d = {d}",
    )
    predictions = []
    for law_of_data in (inputs, apart):
        flow = theory.overlap_flow(law_of_data, LEARNER, RATE, start, trajectory.times)
        turned = Prediction(flow.values.T, flow.numerical_error.T, label="two-overlap flow")
        predictions.append(turned.with_bias(5 / d, "5/d"))
    return (
        compare(measured, predictions[0], name=f"overlaps, {name}", quantity="overlap"),
        compare(measured, predictions[1], name=f"{name}, as if without", quantity="overlap"),
    )
