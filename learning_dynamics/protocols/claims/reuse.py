"""`protocols/reuse-lowers-the-exponent`: with samples used twice He_3 costs order N of them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import slopes_of_law
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.overlap_diffusion import overlap_law
from learning_dynamics.search.recovery_diffusion import RecoveryLaw, quantiles_of_laws

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
    twice = ld.recovery_times(reused, dimensions=LARGE, longest=_linearly, **options)
    once = ld.recovery_times(online, dimensions=SMALL, longest=_cubically, **options)
    laws = [_law(reused(n), n, _linearly(n)) for n in LARGE]
    slow = [_law(online(n), n, _cubically(n)) for n in SMALL]
    single = ld.Problem(CubicTeacher(), SineStudent(), TWICE, update="spherical")
    lost = _law(single, LARGE[-1], _linearly(LARGE[-1]))
    tests, words, panels = [], [], {}
    for name, recoveries, protocol, other in (
        ("two steps", twice, laws, 2.0), ("one step", once, slow, 1.0),
    ):  # fmt: skip
        sizes = recoveries.dimensions.astype(np.float64)
        times = quantiles_of_laws(protocol, LEVELS).values
        fit = ld.fit_exponent(sizes, recoveries.samples)
        law = slopes_of_law(sizes, times[1], left_out=6 / sizes, order=BIAS)
        wrong = np.full(law.values.shape, other)
        exponents = ld.compare_with_controls(
            fit.measurement(), law,
            ld.Prediction(wrong, label=f"exponent of the other protocol, {name}"),
            name=f"exponents, {name}", quantity="exponent of n* in N",
        )  # fmt: skip
        quantiles = ld.recovered_quantiles(sizes, recoveries.samples, LEVELS)
        expected = ld.Prediction(times, 0.0, 6 * times / sizes, BIAS, "diffusion at each N")
        quartiles = ld.compare_with_controls(
            quantiles, expected, name=f"quartiles, {name}", quantity="n*"
        )
        tests += [exponents, quartiles]
        panels[name.replace(" ", "-")] = Panel(
            ld.plot_samples(quantiles, [(expected.label, sizes, times)]),
            f"Quartiles of the number of samples until |m| exceeds {THRESHOLD:g}, {name} with each "
            "sample. Lines: one-dimensional diffusion at each N, no free constants.",
        )
        words.append(f"{name}: fitted exponent {fit.exponent:.2f}")
    moments = MOMENTS * LARGE[-1]
    unchanged = ld.compare(
        ld.recovered_share(LARGE[-1:], [twice.samples[:, -1]], moments),
        ld.Prediction(lost.probability(moments)[None], label="one step at the same rate"),
        name="reuse changes nothing", quantity="share recovered",
    )  # fmt: skip
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
    controls = [control for test in tests for control in test[1:]]
    return Evidence([test[0] for test in tests], [*controls, unchanged], panels, notes)


def _law(problem: ld.Problem, dimension: int, longest: float) -> RecoveryLaw:
    """Law of n* at N."""
    points = 2**10 if problem.repeats == 1 else 2**12  # of two steps it takes more
    law = overlap_law(problem, dimension, THRESHOLD, longest / dimension, points=points)
    return RecoveryLaw(law.times * dimension, law.share, law.error)
