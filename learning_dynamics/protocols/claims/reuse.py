"""`protocols/reuse-lowers-the-exponent`: with samples used twice He_3 costs order N of them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.comparison import Prediction, compare
from learning_dynamics.evidence.statistics import slopes_of_law
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.overlap_diffusion import overlap_law
from learning_dynamics.search.recovery_diffusion import RecoveryLaw
from learning_dynamics.search.recovery_times import recovery_times
from learning_dynamics.search.sample_complexity import (
    fit_exponent,
    recovered_quantiles,
    recovered_share,
)
from learning_dynamics.search.sample_figures import plot_samples

Array = NDArray[np.float64]
ONCE, TWICE = 1.2, 0.3  # delta' online, and the learning rate with reuse
THRESHOLD = 0.5
BIAS = "$6/N$"  # relative, of the drift of order 1/N that the law leaves out
SMALL, LARGE = [32, 64], [64, 256]
LEVELS, MOMENTS = np.array([0.25, 0.5, 0.75]), np.array([8.0, 16.0])


@ld.configuration
class CubicTeacher(ld.InputModel):
    """Gaussian inputs with the label He_3(e.x) / 6^(1/2)."""

    @property
    def directions(self) -> int:
        """The teacher."""
        return 1

    def latents(self) -> dict[str, ld.Normal]:
        """X along the teacher."""
        return {"x": ld.Normal((1,))}

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """C and the label."""
        x = latents["x"]
        return x[None], (x[0] ** 3 - 3 * x[0]) / 6**0.5


@ld.configuration
class SineStudent(ld.Learner):
    """Correlation loss y sin(2^(1/2) w.x), whose gradient is bounded in w.x."""

    @property
    def neurons(self) -> int:
        """One."""
        return 1

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: ld.Sample) -> jax.Array:
        """Minus the correlation of label and output."""
        value: jax.Array = sample.label * jnp.sin(2**0.5 * fields[0, 0])
        return value


def online(dimension: int) -> ld.Problem:
    """One step per sample, eta = delta' / N^(1/2), as the search phase of order three takes it."""
    rate = ONCE / dimension**0.5
    return ld.Problem(CubicTeacher(), SineStudent(), rate, update="spherical")


def reused(_: int) -> ld.Problem:
    """Two steps per sample."""
    return ld.Problem(CubicTeacher(), SineStudent(), TWICE, update="spherical", repeats=2)


def overlap(state: ld.Overlaps) -> jax.Array:
    """Size of the overlap with the teacher."""
    return jnp.abs(state.signal[0, 0])


def _stop(_: int) -> ld.Stop:
    return ld.Stop(overlap, THRESHOLD)


def _cubically(dimension: int) -> float:
    return 40.0 * dimension**2


def _linearly(dimension: int) -> float:
    return 60.0 * dimension


@claim(
    "protocols/reuse-lowers-the-exponent",
    statement=(
        "A teacher He₃ that online SGD on the correlation loss finds with a number of samples of "
        "order N² is found with a number of order N if every sample is used twice in a row."
    ),
    source="Dandi, Troiani, Arnaboldi, Pesce, Zdeborova and Krzakala (2024); laws derived here",
    seconds=9,
)
def reuse_lowers_the_exponent(run: Run) -> Evidence:
    """Exponents in N and medians of the samples to recovery, each with one and with two steps."""
    options: dict[str, Any] = {"replicas": 120, "stop": _stop, "key": run.key}
    if not run.quick:  # cells of a second are not worth keeping
        options |= {"replicas": 600, "sweep": run.sweep}
    twice = recovery_times(reused, dimensions=LARGE, longest=_linearly, **options)
    once = recovery_times(online, dimensions=SMALL, longest=_cubically, **options)
    laws = [_law(reused(n), n, _linearly(n)) for n in LARGE]
    slow = [_law(online(n), n, _cubically(n)) for n in SMALL]
    single = ld.Problem(CubicTeacher(), SineStudent(), TWICE, update="spherical")
    lost = _law(single, LARGE[-1], _linearly(LARGE[-1]))
    shown = [("two steps", twice, laws), ("one step", once, slow)]
    comparisons, controls, words, panels = [], [], [], {}
    for (name, recoveries, law), exponent in zip(shown, (2.0, 1.0), strict=True):
        sizes = recoveries.dimensions.astype(np.float64)
        fit = fit_exponent(sizes, recoveries.samples)
        quantity = "exponent of n* in N"
        medians = [float(x.quantile(0.5)) for x in law]
        slopes = slopes_of_law(sizes, medians, left_out=6 / sizes, order=BIAS)
        measured = fit.measurement()
        comparisons.append(compare(measured, slopes, name=f"exponents, {name}", quantity=quantity))
        other = Prediction(np.full(slopes.values.shape, exponent), label=f"exponent {exponent:g}")
        reason = f"exponent of the other protocol, {name}"
        controls.append(compare(measured, other, name=reason, quantity=quantity))
        quantiles = recovered_quantiles(sizes, recoveries.samples, LEVELS)
        comparisons.append(
            compare(quantiles, _quantiles(law, sizes), name=f"quartiles, {name}", quantity="n*")
        )
        lines = [("diffusion at each N", sizes, np.array([x.quantile(LEVELS) for x in law]).T)]
        panels[name.replace(" ", "-")] = Panel(
            plot_samples(quantiles, lines),
            f"Quartiles of the number of samples until |m| exceeds {THRESHOLD:g}, {name} with each "
            "sample. Lines: one-dimensional diffusion at each N, no free constants.",
        )
        words.append(f"{name}: fitted exponent {fit.exponent:.2f}")
    early = recovered_share(LARGE[-1:], [twice.samples[:, -1]], MOMENTS * LARGE[-1])
    shares = lost.probability(MOMENTS * LARGE[-1])
    online_law = Prediction(shares[None], label="one step at the same rate")
    controls.append(
        compare(early, online_law, name="reuse changes nothing", quantity="share recovered")
    )
    if not run.quick:
        steps = ld.information_exponent(reused(1), highest=1, points=2**13)
        words.append(
            f"drift of two steps at rate {TWICE:g}: order {steps.order}, coefficient "
            f"{steps.coefficient:.3f} +- {steps.error:.1g}"
        )
    notes = (
        "; ".join(words) + ".",
        "Label He_3(e.x)/6^(1/2), student -sin(2^(1/2) w.x): its gradient is bounded, so that a "
        "label of heavy tails does no harm. Online the rate falls as N^(-1/2).",
        "Laws: time at which a diffusion of |m| from a random start reaches the threshold, drift "
        f"and noise from the limit at each m. Allowed bias {BIAS} of n*.",
    )
    return Evidence(comparisons, controls, panels, notes)


def _law(problem: ld.Problem, dimension: int, longest: float) -> RecoveryLaw:
    """Law of n* at N."""
    points = 2**10 if problem.repeats == 1 else 2**12  # of two steps it takes more
    law = overlap_law(problem, dimension, THRESHOLD, longest / dimension, points=points)
    return RecoveryLaw(law.times * dimension, law.share, law.error)


def _quantiles(laws: list[RecoveryLaw], sizes: Array) -> Prediction:
    values = np.array([law.quantile(LEVELS) for law in laws]).T
    return Prediction(values, label="diffusion at each N").with_bias(6 * values / sizes, BIAS)
