"""`diffusion/cumulant-is-cubic`: a whitened cumulant spike costs of order d^3 samples."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE, growth_of, within_ten_percent
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.laws import ThreePoint
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.evidence.comparison import Measurement, Prediction, compare
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.recovery_diffusion import RecoveryLaw
from learning_dynamics.search.recovery_times import Recoveries, recovery_times
from learning_dynamics.search.sample_complexity import (
    collapse,
    fit_exponent,
    recovered_quantiles,
    recovered_share,
)
from learning_dynamics.search.sample_figures import plot_collapse, plot_samples

Array = NDArray[np.float64]
INPUTS = MixedCumulant(pair=ThreePoint(0.03))
LEARNER, WRONG = TiedDenoiser("tanh", sign=1), TiedDenoiser("tanh", sign=-1)
RATE, THRESHOLD = 3.0, 0.6  # delta', about the best; overlap that counts as recovery
BLIND = [48, 64]  # at d = 16 a random start is beyond the threshold once in twenty
UNTIL = 0.85  # share of the limit law up to which runs are followed
LEVELS = np.array([0.25, 0.5, 0.75])


@claim(
    "diffusion/cumulant-is-cubic",
    statement=(
        "A denoiser finds a whitened higher-order spike only with a number of samples at least "
        "cubic in the dimension."
    ),
    source=SOURCE,
    seconds=35,
)
def cumulant_is_cubic(run: Run) -> Evidence:
    """Recovery times against laws without free constants, exponents, prefactor, wrong sign."""
    dimensions = [16, 32, 64, 128] if run.quick else [16, 32, 64, 128, 256]
    limit = theory.explosion_law(INPUTS, LEARNER, RATE, 10.0)
    longest = float(limit.quantile(UNTIL))
    recoveries = _times(run, LEARNER, dimensions, 150 if run.quick else 300, longest)
    blind = _times(run, WRONG, BLIND, 100, longest)
    laws = _laws(dimensions, longest)
    scaled = collapse(recoveries.dimensions, recoveries.samples, 3.0)
    grid = limit.quantile([0.1, 0.25, 0.5, 0.75])
    share = recovered_share(recoveries.dimensions, scaled, grid)
    shares = compare(
        share,
        _shares(laws, recoveries, grid),
        name="distribution of n*/d³ at each d",
        quantity="share of runs recovered",
    )
    fit = fit_exponent(recoveries.dimensions, recoveries.samples)
    medians = np.array([float(law.quantile(0.5)) for law in laws])
    exponents, linear, words = growth_of(fit, medians, 1.0, "order of a covariance spike")
    quantiles = recovered_quantiles(recoveries.dimensions, recoveries.samples, LEVELS)
    prefactor = within_ten_percent(
        quantiles, float(limit.quantile(0.5)) * dimensions[-1] ** 3, "search-phase law"
    )
    never = recovered_share(blind.dimensions, collapse(BLIND, blind.samples, 3.0), [longest])
    silent = compare(
        never,
        Prediction([[0.0], [0.0]], label="never"),
        name="wrong sign",
        quantity="share recovered",
    )
    loud = compare(
        never,
        _shares(_laws(BLIND, longest), blind, np.array([longest])),
        name="wrong sign against the law",
        quantity="share recovered",
    )
    panels = {
        "samples": Panel(
            plot_samples(quantiles, _lines(quantiles, laws, limit), x_label="dimension d"),
            "Quartiles of the number of samples until the overlap with v exceeds "
            f"{THRESHOLD:g}, random starts. Solid: one-dimensional diffusion at each d; dashed: "
            "its limit, of slope 3; dotted: a slope of 1 through the first median.",
        ),
        "collapse": Panel(
            plot_collapse(
                recoveries.dimensions,
                scaled,
                [("limit law", limit.times, limit.share)],
                x_label="n / d³",
                symbol="d",
            ),
            "Share of runs that have found v after n samples, against n/d³: one curve, that of the "
            "search phase, in which no d is left.",
        ),
    }
    fractions = ", ".join(
        f"{f:.2f} at d = {d}" for d, f in zip(dimensions, fit.fraction, strict=True)
    )
    notes = (
        "Data: a spike v alone, three-point latent of mass 0.03 (fourth cumulant "
        f"{INPUTS.cumulants()[0, 4]:.1f}), noise prediction with +tanh, step 3/d over d per "
        "sample. A large cumulant makes d = 128 affordable: n* scales as one over its square.",
        f"Share that recovered within {longest:.3g} d³ samples: {fractions}.",
        words,
        "Allowed bias of the shares: half the squared step, (δ'/d)²/2. Controls: a number of "
        "samples of order d; the law held against runs of the denoiser of the other sign, which "
        "never recover.",
    )
    return Evidence([shares, exponents, prefactor, silent], [linear, loud], panels, notes)


def _overlap(state: ld.Overlaps) -> jax.Array:
    return jnp.abs(jnp.sum(state.signal))


def _times(
    run: Run, learner: TiedDenoiser, dimensions: list[int], replicas: int, longest: float
) -> Recoveries:
    return recovery_times(
        partial(_problem, learner=learner),
        dimensions=dimensions,
        replicas=replicas,
        longest=partial(_longest, factor=longest),
        stop=_stop,
        key=run.key,
        sweep=run.sweep,
    )


def _problem(d: int, learner: TiedDenoiser) -> ld.Problem:
    return ld.Problem(INPUTS, learner, RATE / d, update="spherical")


def _longest(d: int, factor: float) -> float:
    return factor * d**3


def _stop(d: int) -> ld.Stop:
    return ld.Stop(_overlap, THRESHOLD)


def _laws(dimensions: list[int], longest: float) -> list[RecoveryLaw]:
    return [
        theory.recovery_law(INPUTS, LEARNER, RATE / d, d, THRESHOLD, longest * d**3)
        for d in dimensions
    ]


def _shares(laws: list[RecoveryLaw], recoveries: Recoveries, grid: Array) -> Prediction:
    """Shares of the law at each d, times over d^3."""
    d = recoveries.dimensions.astype(np.float64)
    values = np.array([law.probability(grid * n**3) for law, n in zip(laws, d, strict=True)])
    errors = np.array([[law.error] for law in laws]) * np.ones(grid.shape)
    bias = ((RATE / d) ** 2 / 2)[:, None] * np.ones(grid.shape)
    return Prediction(values, errors, bias, r"$(\delta'/d)^2/2$", "diffusion at finite d")


def _lines(
    quantiles: Measurement, laws: list[RecoveryLaw], limit: RecoveryLaw
) -> list[tuple[str, Array, Array]]:
    d = quantiles.coordinates["dimension"]
    finite = np.array([law.quantile(LEVELS) for law in laws]).T
    median = float(finite[1, 0])
    return [
        ("diffusion at each d", d, finite),
        ("search-phase law, d³", d, limit.quantile(LEVELS)[:, None] * d**3),
        ("slope 1", d, median * d / d[0]),
    ]
