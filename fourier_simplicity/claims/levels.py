"""Three levels of description, a part of `fourier/phases-cost-n-cubed`."""

from typing import Any, Literal

import jax
import numpy as np

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.levels import plot_levels
from learning_dynamics.report.claims import Evidence, Panel, Run

INPUTS, RATE, OVERLAP = fs.FourierInputs(64, fs.triad(1, 2)), 0.03, 0.6
TIMES = np.linspace(40.0, 280.0, 7)
LABELS: dict[Literal["ambient", "overlaps"], str] = {
    "ambient": "all weights",
    "overlaps": "overlap chain",
}

CAPTION = (
    "A neuron that starts with an overlap with a triad: all weights, the exact process of "
    "the overlaps, and the limit equations with the allowed shift of order 1/N. The grey "
    "line is the largest possible value; noise of the gradient keeps below it."
)


def three_levels(run: Run) -> Evidence:
    """All weights, the overlap chain and the limit from one start.

    Args:
        run: size, key and progress bar.
    """
    size, many, points = (96, 256, 2**12) if run.quick else (256, 2048, 2**14)
    watched, problem = fs.TieOverlap(INPUTS), fs.phase_problem(INPUTS, "he3", learning_rate=RATE)
    common: dict[str, Any] = {
        "dimension": size,
        "times": TIMES,
        "start": fs.even_start(INPUTS, OVERLAP, size),
        "observe": {"tie": watched},
    }
    weights, chain = (
        ld.simulate(
            problem, replicas=many // 4 if level == "ambient" else many, level=level,
            key=jax.random.fold_in(run.key, 6000 + i), **common,
        )
        for i, level in enumerate(run.track(LABELS, "levels"))
    )  # fmt: skip
    shift = ld.fluctuations(problem, points=points, **common)
    allowed = (1.5 * np.abs(shift.shift["tie"]) + shift.shift_error["tie"])[:, None] / size
    limit, slower = (
        ld.integrate(
            fs.phase_problem(INPUTS, "he3", learning_rate=rate), points=points, tolerance=1e-5,
            **common,
        ).prediction(["tie"]).with_bias(allowed, "1/N, from the fluctuations")
        for rate, points in ((RATE, 2**18), (RATE / 4, 2**15))
    )  # fmt: skip
    of_weights, of_chain, control = (
        ld.compare(
            simulated, theory, quantities=["tie"], name=name, quantity="Re v₁ v₂ conj(v₃)"
        )
        for simulated, theory, name in (
            (weights, limit, "all weights and limit"),
            (chain, limit, "overlap chain and limit"),
            (chain, slower, "limit at a quarter of the learning rate"),
        )
    )  # fmt: skip
    figure = plot_levels(
        [
            each.measured.labelled(label)
            for each, label in zip((of_weights, of_chain), LABELS.values(), strict=True)
        ],
        limit.labelled("limit, allowed 1/N"), x_label="time n / N",
        y_label="tie overlap Re v₁ v₂ conj(v₃)",
    )  # fmt: skip
    figure.axes[0].axhline(watched.largest, color=drawing.GREY, linewidth=0.8)
    return Evidence([of_weights, of_chain], [control], {"levels": Panel(figure, CAPTION)})
