"""Three levels of description, a part of `fourier/phases-cost-n-cubed`."""

from typing import Any, Literal

import jax
import numpy as np
from matplotlib.figure import Figure

import learning_dynamics as ld
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.recovery import TieOverlap
from fourier_simplicity.simulation import even_start, phase_problem
from fourier_simplicity.ties import triad
from learning_dynamics.evidence.comparison import Comparison
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.report.claims import Run

__all__ = ["three_levels"]

SITES, RATE, OVERLAP = 64, 0.03, 0.6
TIMES = np.linspace(40.0, 280.0, 7)


def three_levels(run: Run) -> tuple[list[Comparison], Comparison, Figure]:
    """All weights, the overlap chain and the limit from one start.

    Returns:
        Both simulations against the limit, the chain against the limit at another rate, and the
        figure.
    """
    size = 96 if run.quick else 256
    inputs = FourierInputs(SITES, triad(1, 2))
    watched = TieOverlap(inputs)
    problem = phase_problem(inputs, "he3", learning_rate=RATE)
    start = even_start(inputs, OVERLAP, size)
    common: dict[str, Any] = {
        "dimension": size,
        "times": TIMES,
        "start": start,
        "observe": {"tie": watched},
    }
    many = 256 if run.quick else 2048
    counts: dict[Literal["ambient", "overlaps"], int] = {"ambient": many // 4, "overlaps": many}
    trajectories = {
        level: ld.simulate(
            problem, replicas=count, level=level, key=jax.random.fold_in(run.key, 6000 + i),
            **common,
        )
        for i, (level, count) in enumerate(run.track(list(counts.items()), "levels"))
    }  # fmt: skip
    shift = ld.fluctuations(problem, points=2**12 if run.quick else 2**14, **common)
    allowed = (1.5 * np.abs(shift.shift["tie"]) + shift.shift_error["tie"])[:, None] / size
    limit, slower = (
        ld.integrate(
            phase_problem(inputs, "he3", learning_rate=rate),
            points=points, tolerance=1e-5, **common,
        ).prediction(["tie"]).with_bias(allowed, "1/N, from the fluctuations")
        for rate, points in ((RATE, 2**18), (RATE / 4, 2**15))
    )  # fmt: skip
    weights, chain, control = (
        ld.compare(
            simulated, theory, quantities=["tie"], name=name, quantity="Re v₁ v₂ conj(v₃)"
        )
        for simulated, theory, name in (
            (trajectories["ambient"], limit, "all weights and limit"),
            (trajectories["overlaps"], limit, "overlap chain and limit"),
            (trajectories["overlaps"], slower, "limit at a quarter of the learning rate"),
        )
    )  # fmt: skip
    figure, grid = new_figure(1, 1, width=6.4, height=4.4)
    axes = grid[0, 0]
    with figure_style():
        for i, (level, trajectory) in enumerate(trajectories.items()):
            measured = trajectory.measurement(["tie"])
            shifted = TIMES + 2.0 * (2 * i - 1)  # side by side
            draw_simulation(
                axes, shifted, measured.values[:, 0], measured.standard_error[:, 0], index=i
            )
            label = {"ambient": "all weights", "overlaps": "overlap chain"}[level]
            axes.plot([], [], "os"[i], color=f"C{i}", label=label)
        draw_theory(axes, TIMES, limit.values[:, 0], bias=chain.predicted.bias[:, 0], index=2)
        axes.plot([], [], "-", color="#009E73", label="limit, allowed 1/N")
        axes.axhline(watched.largest, color="#999999", linewidth=0.8)
        axes.set(xlabel="time n / N", ylabel="tie overlap Re v₁ v₂ conj(v₃)")
    legend_below(figure)
    return [weights, chain], control, figure
