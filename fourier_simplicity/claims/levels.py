"""Three levels of description, a part of `fourier/power-law-speeds-up-phases` at full size."""

from typing import Any, Literal

import jax
import numpy as np
from matplotlib.figure import Figure

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.modes import power_law_spectrum
from fourier_simplicity.simulation import TieOverlap, even_start, phase_problem
from fourier_simplicity.ties import triad
from learning_dynamics.claims import Run
from learning_dynamics.comparison import Comparison
from learning_dynamics.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)

__all__ = ["three_levels"]

SITES, RATE, OVERLAP = 66, 0.1, 0.45
TIMES = np.linspace(10.0, 70.0, 5)


def three_levels(run: Run) -> tuple[Comparison, Comparison, Figure]:
    """All weights, the overlap chain and the limit from one start, every untied mode a block.

    Returns:
        The chain against the limit, the same against the limit at another rate, and the figure.
    """
    inputs = FourierInputs(SITES, triad(1, 2), power_law_spectrum(SITES, 0.5))
    n, watched = inputs.dimension, TieOverlap(inputs)
    problem = phase_problem(inputs, "he3", learning_rate=RATE, normalised=True)
    start = even_start(inputs, OVERLAP, n)
    common: dict[str, Any] = {
        "dimension": n,
        "times": TIMES,
        "start": start,
        "observe": {"tie": watched},
    }
    counts: dict[Literal["ambient", "overlaps"], int] = {"ambient": 256, "overlaps": 512}
    seen = {
        level: ld.simulate(
            problem, replicas=count, level=level, key=jax.random.fold_in(run.key, 6000 + i),
            **common,
        )
        for i, (level, count) in enumerate(run.track(list(counts.items()), "levels"))
    }  # fmt: skip
    limit, other = (
        ld.integrate(
            phase_problem(inputs, "he3", learning_rate=rate, normalised=True),
            points=2**14, tolerance=1e-6, **common,
        ).prediction(["tie"])
        for rate in (RATE, 0.5 * RATE)
    )  # fmt: skip
    right, wrong = (
        ld.compare(
            seen["overlaps"], theory.with_bias(3 / n * np.abs(theory.values), "3/N of the value"),
            quantities=["tie"], name=name, quantity="Re v₁ v₂ conj(v₃)",
        )
        for theory, name in ((limit, "limit"), (other, "limit at another learning rate"))
    )  # fmt: skip
    figure, grid = new_figure(1, 1, width=6.4, height=4.4)
    axes = grid[0, 0]
    with figure_style():
        for i, (level, trajectory) in enumerate(seen.items()):
            found = trajectory.measurement(["tie"])
            shifted = TIMES + 0.6 * (2 * i - 1)  # side by side
            draw_simulation(axes, shifted, found.values[:, 0], found.standard_error[:, 0], index=i)
            label = {"ambient": "all weights", "overlaps": "overlap chain"}[level]
            axes.plot([], [], "os"[i], color=f"C{i}", label=label)
        draw_theory(axes, TIMES, limit.values[:, 0], bias=right.predicted.bias[:, 0], index=2)
        axes.plot([], [], "-", color="#009E73", label="limit, allowed 3/N")
        axes.axhline(watched.largest, color="#999999", linewidth=0.8)
        axes.set(xlabel="time n / N", ylabel="tie overlap Re v₁ v₂ conj(v₃)")
    legend_below(figure)
    return right, wrong, figure
