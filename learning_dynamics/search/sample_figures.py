"""Figures of sample complexity: collapse of recovery times, and quantiles against N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics.evidence.measurement import Measurement
from learning_dynamics.search.sample_complexity import times_by_dimension
from learning_dynamics.validation import increasing_integers, real_array

if TYPE_CHECKING:  # imported where it is used: the command line must start fast
    from matplotlib.figure import Figure

__all__ = ["plot_collapse", "plot_samples"]


def plot_collapse(
    dimensions: ArrayLike,
    scaled: Sequence[ArrayLike],
    laws: Sequence[tuple[str, ArrayLike, ArrayLike]] = (),
    *,
    x_label: str = "n / N",
    symbol: str = "N",
    logx: bool = True,
) -> Figure:
    """Draw the share of replicas recovered against scaled time: steps per N, lines for laws.

    Args:
        dimensions: N, shape (sizes,).
        scaled: from `collapse`, one array of shape (replicas,) per N; positive on a logarithmic
            axis.
        laws: (label, scaled times, shares) of each law.
        x_label: axis label of the scaled time.
        symbol: letter of the dimension.
        logx: logarithmic axis.
    """
    from learning_dynamics.evidence.figures import (
        figure_style,
        legend_below,
        new_figure,
        series_style,
    )

    sizes = increasing_integers("dimensions", dimensions)
    columns = times_by_dimension(scaled, sizes.size, positive=logx)
    figure, grid = new_figure(1, 1, width=6.4, height=4.8)
    axes = grid[0, 0]
    with figure_style():
        for i, (n, column) in enumerate(zip(sizes, columns, strict=True)):
            found = np.sort(column[np.isfinite(column)])
            share = np.arange(1, found.size + 1) / column.size
            colour = series_style(i).colour
            axes.step(found, share, where="post", color=colour, label=f"{symbol} = {n}")
        for i, (label, across, chance) in enumerate(laws):
            style = ("--", ":", "-.")[i % 3]
            axes.plot(np.asarray(across), np.asarray(chance), style, color="black", label=label)
        if logx:
            axes.set_xscale("log")
            kept = [c[np.isfinite(c)] for c in columns if np.isfinite(c).any()]
            if kept:  # a few early runs must not squeeze all others
                low = min(float(np.quantile(c, 0.02)) for c in kept)
                axes.set_xlim(low / 1.5, max(float(c.max()) for c in kept) * 1.3)
        axes.set(xlabel=x_label, ylabel="share of runs recovered", ylim=(0, 1.02))
    legend_below(figure, columns=4)
    return figure


def plot_samples(
    measured: Measurement,
    lines: Sequence[tuple[str, ArrayLike, ArrayLike]],
    *,
    y_label: str = "samples to recovery n*",
    x_label: str = "dimension N",
) -> Figure:
    """Draw quantiles of n* against N on logarithmic axes: markers per level, lines for laws.

    Args:
        measured: from `recovered_quantiles`.
        lines: (label, N, values) with values of shape (levels, points), in the colours of the
            levels, or (points,), in grey.
        y_label: axis label of the values.
        x_label: axis label of N.
    """
    from learning_dynamics.evidence.drawing import GREY
    from learning_dynamics.evidence.figures import (
        draw_simulation,
        figure_style,
        legend_below,
        new_figure,
        series_style,
    )

    figure, grid = new_figure(1, 1, width=6.4, height=5.0)
    axes = grid[0, 0]
    sizes = measured.coordinates["dimension"]
    for i, level in enumerate(measured.coordinates["quantile"]):
        label = f"{measured.label}, quantile {level:g}"
        draw_simulation(
            axes, sizes, measured.values[i], measured.standard_error[i], index=i, label=label
        )
    with figure_style():
        for j, (label, across, values) in enumerate(lines):
            rows, style = np.atleast_2d(real_array("lines", values)), ("-", "--", ":")[j % 3]
            for i, row in enumerate(rows):
                colour = series_style(i).colour if rows.shape[0] > 1 else GREY
                axes.plot(across, row, style, color=colour, zorder=2)
            axes.plot([], [], style, color=GREY, label=label)
        axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        axes.set_xticks(sizes, [f"{n:g}" for n in sizes])
        axes.minorticks_off()
    legend_below(figure, columns=2)
    return figure
