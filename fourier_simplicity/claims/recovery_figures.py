"""Samples to recovery of neurons against N, beside laws and the diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

import learning_dynamics as ld
from fourier_simplicity.claims.searches import Search
from learning_dynamics.evidence import drawing

if TYPE_CHECKING:
    import xarray as xr


def samples_of_searches(searches: Sequence[Search]) -> Figure:
    """Quantiles 0.4 and 0.2 of n* against N, markers for runs and lines for the laws."""
    drawn, grid = drawing.new_figure(1, 1, width=6.4, height=4.8)
    axes = grid[0, 0]
    with drawing.figure_style():
        for i, each in enumerate(searches):
            sizes, power = each.times.dimensions, each.case.order - 1.0
            fine = np.geomspace(sizes[0] / 1.2, sizes[-1] * 1.2, 50)
            for level, line in ((0.2, ":"), (0.4, "-")):
                law = np.quantile(each.law, level) * fine**power
                drawing.draw_theory(axes, fine, law, index=i, linestyle=line)
                scaled = ld.collapse(sizes, each.times.samples, power)
                quantiles = [np.quantile(c, level, method="inverted_cdf") for c in scaled]
                label = each.case.label if level == 0.4 else None
                drawing.draw_simulation(
                    axes, sizes, quantiles * sizes**power, None, index=i, filled=level == 0.4,
                    label=label,
                )  # fmt: skip
        axes.plot([], [], "-", color="#777777", label="law: quantile 0.4")
        axes.plot([], [], ":", color="#777777", label="law: quantile 0.2 (open markers)")
        axes.set(xscale="log", yscale="log", xlabel="N", ylabel="samples to recovery n*")
    drawing.legend_below(drawn, columns=2)
    return drawn


def samples_in_spectra(table: xr.Dataset, flat: xr.Dataset) -> Figure:
    """n* against N and against N_eff, markers for runs and lines for the diffusion."""
    drawn, ((left, right),) = drawing.new_figure(1, 2, width=9.0, height=4.8, sharey=True)
    with drawing.figure_style():
        right.plot(
            flat.dimension, flat.samples, color="#AAAAAA", linewidth=2.5,
            label="isotropic, N = N_eff",
        )  # fmt: skip
        for low, place in ((True, "low"), (False, "high")):
            for i, gamma in enumerate(np.unique(table.gamma)):
                shown = table.isel(case=(table.gamma == gamma) & (table.low == low))
                error, colour = shown.measured_error, drawing.series_style(i).colour
                bars = shown.measured.values * np.stack([1 - np.exp(-error), np.exp(error) - 1])
                label = f"γ = {gamma:g}, {place} modes" if len(shown.case) else None
                for axes, sizes in ((left, shown.N), (right, shown.N_eff)):
                    drawing.draw_simulation(
                        axes, sizes, shown.measured, bars, index=i, filled=low,
                        label=label if axes is left else None,
                    )  # fmt: skip
                    line = "-" if low else "none"
                    axes.plot(sizes, shown.predicted, line, color=colour, marker="_", markersize=11)
        left.set(xscale="log", yscale="log", xlabel="N", ylabel="samples n* (0.35 know the tie)")
        right.set(xscale="log", yscale="log", xlabel="N_eff = tr Σ / λ_S")
        left.set_xticks(np.unique(table.N), np.unique(table.N).astype(int).astype(str))
        right.set_xticks([10, 20, 40, 80], ["10", "20", "40", "80"])
        left.minorticks_off()
        right.minorticks_off()
    drawing.legend_below(drawn, columns=3)
    return drawn
