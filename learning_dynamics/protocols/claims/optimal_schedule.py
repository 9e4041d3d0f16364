"""`protocols/optimal-schedule`: the best learning rate as a function of time."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

import learning_dynamics as ld
from learning_dynamics.evidence.figures import figure_style, new_figure
from learning_dynamics.protocols.claims.optima import (
    LINE,
    OVERLAP,
    SQUARE,
    best_power,
    best_table,
)
from learning_dynamics.protocols.claims.simulated_optimum import law, simulated, under_both
from learning_dynamics.protocols.figures import draw_schedule
from learning_dynamics.protocols.regression import best_rate_on_sphere, regression_on_sphere
from learning_dynamics.report.claims import Evidence, Panel, Run, claim


def error_of_regression(rate: Any) -> float:
    """1 - m^2 at the end of linear regression, exact for a number or a function of tau and m."""
    last = regression_on_sphere(
        [LINE["end"]], rate=rate, overlap=OVERLAP, label_noise=LINE["noise"]
    )
    return float(1 - last[-1] ** 2)


def greedy(_: float, overlap: Any) -> Any:
    """The rate of linear regression that is best at every overlap."""
    return best_rate_on_sphere(overlap, label_noise=LINE["noise"])


@claim(
    "protocols/optimal-schedule",
    statement=(
        "The learning rate that is best as a function of time is found by descent through the "
        "limit: η = (1 - m²) / (m (2 (1 - m) + σ²)) in linear regression on the sphere, "
        "and for a learner on a plateau a rate that falls once it is left. Simulations at finite "
        "N gain what it says."
    ),
    source="Derived here; optimal schedules of committees: Mori, Mignacco and others, 2025.",
    seconds=14,
)
def optimal_schedule(run: Run) -> Evidence:
    """Optimal schedules, their gain over the best constant, and simulations of both."""
    line, square = best_table(LINE), best_table(SQUARE)
    steady = minimize_scalar(error_of_regression, bounds=(0.05, 2.0), method="bounded").fun
    regression = ld.compare_with_controls(
        simulated(line, run, 0),
        law(run, error_of_regression(greedy), "best rate at every overlap"),
        law(run, steady, "regression: constant"),
        name="regression: error", quantity="1 - m²",
    )  # fmt: skip
    tests = [regression, *under_both(square, "phase retrieval", "1 - m²", run, 1)]
    optima = {"regression": line, "phase retrieval": square}
    if not run.quick:
        optima["soft committee"] = committee = best_power()
        tests += under_both(committee, "soft committee", "generalisation error", run, 3)
    panels = {
        "rates": Panel(
            _figure(line, square),
            "Optimal learning rates (markers: values of the table; dashed: best constant). Left: "
            "linear regression on the sphere with the rate that is best at every overlap (line). "
            "Right: a neuron in phase retrieval, which leaves its plateau at a large rate and "
            "then cools.",
        )
    }
    spared = ", ".join(
        f"{1 - each.value / (each.constant_value or np.nan):.0%} in {name} (optimality residual "
        f"{each.residual:.1g})"
        for name, each in optima.items()
    )
    notes = (*NOTES, f"Error that the schedule spares the best constant rate: {spared}.")
    return Evidence.of(tests, panels, notes)


NOTES = (
    "The closed form of regression is that of the greedy rate, which is the best one here: dm/dtau "
    "depends on m alone, and a larger m never hurts later. Both problems are one program: a number "
    "mixes line and square.",
    "The deviation of order 1/N that is allowed is 0.5/N.",
    "The soft committee (two teachers, two neurons, label noise 0.3; a power of the time) is run "
    "at full size: its limit has four fields.",
    "Controls: the value of the best constant rate against the simulation of the schedule.",
)


def _figure(line: ld.Optimum, square: ld.Optimum) -> Figure:
    figure, axes = new_figure(1, 2)
    left, right = axes.ravel()
    draw_schedule(left, line)
    draw_schedule(right, square)
    times = np.linspace(0, LINE["end"], 200)
    overlaps = regression_on_sphere(times, rate=greedy, overlap=OVERLAP, label_noise=LINE["noise"])
    with figure_style():
        left.plot(times, greedy(0.0, overlaps), color="k")
        left.set_ylabel(r"learning rate $\eta$")
    return figure
