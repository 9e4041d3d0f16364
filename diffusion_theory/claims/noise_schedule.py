"""`diffusion/noise-schedule`: the best level of the noise as a function of the training time."""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import learning_dynamics as ld
from diffusion_theory.claims.spike_under_noise import (
    END,
    KNOTS,
    OVERLAP,
    PATH,
    RATE,
    SPIKE,
    error,
    flow_error,
    problem,
)
from learning_dynamics.evidence import drawing
from learning_dynamics.protocols.figures import draw_schedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

__all__ = ["noise_schedule"]


@claim(
    "diffusion/noise-schedule",
    statement=(
        "Little noise shows a denoiser the spike of the covariance sooner, much noise lets it come "
        "closer in the end. The best noise grows with the training time, and leaves less error "
        "than the best constant level."
    ),
    source="Derived here; noise schedules of denoisers: Mori, Mignacco and others, 2025.",
    seconds=25,
)
def noise_schedule(run: Run) -> Evidence:
    """The optimal noise schedule beside the best constant level, and simulations of both."""
    size, replicas = (500, 256) if run.quick else (2000, 1024)
    best = ld.optimise(
        problem(np.full(KNOTS.size, 0.4)), over=f"protocol.{PATH}", objective=error,
        bounds={f"protocol.{PATH}": (0.01, 0.95)}, until=END, points=2**8, method="tensor",
        start=ld.Overlaps(np.array([[OVERLAP]]), np.array([[[1 - OVERLAP**2]]]), {}),
        tolerance=1e-5, accuracy=1e-3,
    )  # fmt: skip
    levels = best.numbers[f"protocol.{PATH}"]
    steady = best.constants[f"protocol.{PATH}"]

    grown, held = (
        best.simulate(
            dimension=size, replicas=replicas, key=jax.random.fold_in(run.key, constant),
            constant=constant,
        ).measurement(["objective"])
        for constant in (False, True)
    )  # fmt: skip
    errors = flow_error(levels), flow_error(np.full(KNOTS.size, steady))
    law, constant = (ld.Prediction([[e]], 1e-3 * e, 1 / size, "1/d") for e in errors)
    quantity = "1 - overlap^2"
    schedule = ld.compare_with_controls(
        grown, law.labelled("two-overlap flow"), constant.labelled("schedule and constant level"),
        name="error under the schedule", quantity=quantity,
    )  # fmt: skip
    level = ld.compare_with_controls(
        held, constant.labelled("two-overlap flow, best constant level"),
        name="error at the best constant level", quantity=quantity,
    )  # fmt: skip
    panels = {
        "levels": Panel(
            _figure(best),
            "Left: the best share alpha-bar of the signal in the samples at each training time "
            "(markers: values of the table; dashed: best constant). Right: limits of "
            "1 - overlap^2 under both.",
        )
    }
    notes = (
        f"Spike of strength {SPIKE:g}, learning rate {RATE:g}, overlap {OVERLAP:g} at the start. "
        f"The schedule leaves {best.value:.4f}, the best constant level {best.constant_value:.4f}; "
        f"optimality residual {best.residual:.1g}.",
        "The optimum is found through the limit of the kernel; what it attains is predicted by the "
        "two-overlap flow of the package, in steps of second order. Allowed bias 1/d.",
        "Control: the value of the best constant level against the simulation of the schedule.",
    )
    return Evidence.of([schedule, level], panels, notes)


def _figure(best: ld.Optimum) -> Figure:
    times = np.linspace(0, END, 60)
    figure, axes = drawing.new_figure(1, 2)
    left, right = axes.ravel()
    draw_schedule(left, best, f"protocol.{PATH}")
    with drawing.figure_style():
        left.set(xlabel=r"training time $\tau$", ylabel=r"share of the signal $\bar\alpha$")
        given: Any = {"times": times, "start": best.initial, "observe": {"error": error}}
        for one, line, label, colour in (
            (best.problem, "-", "schedule", drawing.series_style(0).colour),
            (best.constant_problem, "--", "constant", "0.5"),
        ):
            assert one is not None
            limit = ld.integrate(one, points=2**8, method="tensor", accuracy=1e-2, **given)
            right.plot(times, limit.values["error"], line, color=colour, label=label)
        right.set(xlabel=r"training time $\tau$", ylabel=r"$1-m^2$", yscale="log")
        right.legend()
    return figure
