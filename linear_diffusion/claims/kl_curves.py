"""Real patches and all theories of the KL, for `linear/kl-linear-above-dimension`."""

from dataclasses import replace

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Run
from linear_diffusion import theory
from linear_diffusion.claims.common import PATCH
from linear_diffusion.data_sets import DataSets
from linear_diffusion.patches import photograph_law

D = PATCH**2 - 1


def real_patches(run: Run) -> ld.Comparisons:
    """Real patches as data: the linear law with the slope of their own fourth moment."""
    ratios, d = np.array([0.003, 0.006, 0.012]), 63
    sizes = np.rint(d / ratios).astype(int)
    laws = {
        name: photograph_law(
            8, 30_000, key=jax.random.fold_in(run.key, 40 + equal), equal_contrast=bool(equal)
        )
        for equal, name in enumerate(["patches", "patches of equal contrast"])
    }
    sets = DataSets.of(laws, sizes, replicas=16 if run.quick else 128, key=run.key, first=42)
    lines: list[list[ld.Prediction]] = []
    for law in laws.values():
        # the next order of the expansion in d/N, which the heavy contrast multiplies too
        excess = 2 * law.fourth_moment / (d * (d + 2)) * ratios
        slopes = (
            theory.kl_slope(law.spectrum, direction="reverse", fourth_moment=moment)
            for moment in (law.fourth_moment, None)
        )
        each = [slope.scaled(1 / (sizes * d)) for slope in slopes]
        lines.append([line.with_bias(excess * line.values, "next order in $d/N$") for line in each])
    own_slope, universal = (stack(each) for each in zip(*lines, strict=True))
    measured = sets.divergences()["reverse"].scaled(1 / d)
    axes = {"data": measured.coordinates["law"], "d_over_N": ratios}
    return ld.compare_with_controls(
        replace(measured, coordinates=axes),
        own_slope.labelled("(E|y|⁴ + d)/(4N)"),
        universal.labelled("universal slope for real patches"),
        name="reverse KL of real patches", quantity="reverse KL / d (nats)",
    )  # fmt: skip


def universal_figure(comparisons: dict[theory.Direction, ld.Comparison]) -> Figure:
    """KL per dimension of several laws against d/N, with all theories."""
    figure, grid = drawing.new_figure(1, 2, width=9.0, height=4.4)
    ratios = comparisons["reverse"].measured.coordinates["d_over_N"]
    fine = np.geomspace(ratios[0], ratios[-1], 60)
    sizes = np.rint(D / fine).astype(int)
    nudged = ratios * (1 + 0.025 * np.arange(-2, 3)[:, None])  # the points lie on each other
    for axes, (direction, comparison) in zip(grid[0], comparisons.items(), strict=True):
        drawing.draw_measurement(axes, comparison.measured, nudged)
        exact = theory.exact_kl(D, sizes, direction=direction).values / D
        # with a ridge too small to matter, since without one `kl` is the exact value
        equivalent = theory.kl(np.ones(D), sizes, 1e-6, direction=direction).values / D
        limit = theory.kl_proportional(fine, direction=direction).values
        slope = float(theory.kl_slope(np.ones(D), direction=direction).values)
        with drawing.figure_style():
            axes.plot(D / sizes, exact, color="black", linewidth=1.3, label="exact")
            axes.plot(
                D / sizes, equivalent, "-.", color="#C0392B", label="deterministic equivalent"
            )
            axes.plot(fine, limit, "--", color="#777777", label="N, d → ∞")
            axes.plot(fine, slope * fine / D**2, ":", color="#777777", label="linear in d/N")
            axes.set(xscale="log", yscale="log", xlabel="d/N", ylabel=comparison.quantity)
            axes.set_xticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
            axes.xaxis.set_minor_formatter(NullFormatter())
    drawing.legend_below(figure, columns=4)
    return figure
