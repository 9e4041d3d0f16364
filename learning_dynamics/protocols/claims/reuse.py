"""`protocols/reuse-lowers-the-exponent`: with samples used twice He_3 costs order N of them."""

from dataclasses import replace
from typing import Any

import numpy as np

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import slopes_of_law
from learning_dynamics.protocols.claims.repeated_steps import THRESHOLD, Protocol, stop
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.search.recovery_diffusion import quantiles_of_laws

BIAS = "$6/N$"  # relative, of the drift of order 1/N that the law leaves out
LEVELS, MOMENTS = np.array([0.25, 0.5, 0.75]), np.array([8.0, 16.0])

# the rate of the search of order three, and a rate of order one
ONLINE = Protocol(
    steps=1, rate=1.2, decay=0.5, exponent=2, followed=40.0, sizes=(32, 64), points=2**10
)
REUSED = Protocol(
    steps=2, rate=0.3, decay=0.0, exponent=1, followed=60.0, sizes=(64, 256), points=2**12
)


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
    options: dict[str, Any] = {"replicas": 120, "stop": stop, "key": run.key}
    if not run.quick:  # cells of a second are not worth keeping
        options |= {"replicas": 600, "sweep": run.sweep}
    tests, words, panels, recoveries = [], [], {}, {}
    for name, protocol in (("two steps", REUSED), ("one step", ONLINE)):
        recoveries[name] = times = ld.recovery_times(
            protocol.problem, dimensions=protocol.sizes, longest=protocol.longest, **options
        )
        sizes = times.dimensions.astype(np.float64)
        laws = quantiles_of_laws([protocol.law(n) for n in protocol.sizes], LEVELS).values
        fit = ld.fit_exponent(sizes, times.samples)
        exponents = slopes_of_law(sizes, laws[1], left_out=6 / sizes, order=BIAS)
        other = np.full(exponents.values.shape, 3.0 - protocol.exponent)
        quartiles = ld.recovered_quantiles(sizes, times.samples, LEVELS)
        expected = ld.Prediction(laws, 0.0, 6 * laws / sizes, BIAS, "diffusion at each N")
        tests += [
            ld.compare_with_controls(
                fit.measurement(), exponents,
                ld.Prediction(other, label=f"exponent of the other protocol, {name}"),
                name=f"exponents, {name}", quantity="exponent of n* in N",
            ),
            ld.compare_with_controls(
                quartiles, expected, name=f"quartiles, {name}", quantity="n*"
            ),
        ]  # fmt: skip
        panels[name.replace(" ", "-")] = Panel(
            ld.plot_samples(quartiles, [(expected.label, sizes, laws)]),
            f"Quartiles of the number of samples until |m| exceeds {THRESHOLD:g}, {name} with each "
            "sample. Lines: one-dimensional diffusion at each N, no free constants.",
        )
        words.append(f"{name}: fitted exponent {fit.exponent:.2f}")
    n = REUSED.sizes[-1]
    once = replace(REUSED, steps=1, points=ONLINE.points).law(n).probability(MOMENTS * n)
    unchanged = ld.compare(
        ld.recovered_share([n], [recoveries["two steps"].samples[:, -1]], MOMENTS * n),
        ld.Prediction(once[None], label="one step at the same rate"),
        name="reuse changes nothing", quantity="share recovered",
    )  # fmt: skip
    if not run.quick:
        steps = ld.information_exponent(REUSED.problem(1), highest=1, points=2**13)
        words.append(
            f"drift of two steps at rate {REUSED.rate:g}: order {steps.order}, coefficient "
            f"{steps.coefficient:.3f} +- {steps.error:.1g}"
        )
    notes = (
        "; ".join(words) + ".",
        "Label He_3(e.x)/6^(1/2), student -sin(2^(1/2) w.x): its gradient is bounded, so that a "
        "label of heavy tails does no harm. Online the rate falls as N^(-1/2).",
        "Laws: time at which a diffusion of |m| from a random start reaches the threshold, drift "
        f"and noise from the limit at each m. Allowed bias {BIAS} of n*.",
    )
    evidence = Evidence.of(tests, panels, notes)
    return replace(evidence, controls=[*evidence.controls, unchanged])
