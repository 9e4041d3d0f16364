"""Figures of one convention: markers = simulation, line of the same colour = theory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.comparison_panels import (
    LETTER,
    draw_levels,
    draw_numerical_error,
    fit_logarithmic,
    is_inexact,
    name_ticks,
    residual_panel,
    series_handles,
    smooth_lines,
    spans_decades,
)
from learning_dynamics.evidence.drawing import (
    GREY,
    Dashes,
    SeriesStyle,
    Width,
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
    save_figure,
    series_style,
    shrink_letters,
    width_in_inches,
)
from learning_dynamics.validation import finite_array, one_of, real_array, reject

if TYPE_CHECKING:
    from learning_dynamics.evidence.comparison import Comparison

__all__ = [
    "SeriesStyle",
    "draw_simulation",
    "draw_theory",
    "figure_style",
    "image_grid",
    "legend_below",
    "new_figure",
    "plot_comparison",
    "plot_comparisons",
    "save_figure",
    "series_style",
]

Array = NDArray[np.float64]
# of trajectories, and of data sets of several sizes
X_LABELS = {"time": r"time $\tau$ = updates / $N$", "N_over_d": "N/d", "d_over_N": "d/N"}
FEW = 6  # points along x that are all labelled on a logarithmic axis
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")  # of the theories in one panel
SERIES_MOST, ACROSS_MOST = 8, 3  # series in a panel, panels side by side


def plot_comparison(
    comparison: Comparison,
    *,
    x: str | None = None,
    series: str | None = None,
    x_label: str | None = None,
    logx: bool | None = None,
    logy: bool | None = None,
    title: str | None = None,
    legend: Sequence[str] | None = None,
    fine: tuple[ArrayLike, ArrayLike] | None = None,
    width: float | Width | None = None,
) -> Figure:
    """Draw simulation and theory, and below them the residuals with the accepted band.

    The line of a limit is drawn through further times, where order parameters are compared along
    time; other lines connect the predictions. Points that a logarithmic axis cannot show stay
    visible in the residual panel; crosses on its lower edge are points without a finite residual.
    Symmetric entries, such as norms[0,1] and norms[1,0], are drawn once; more than eight series
    are drawn in small multiples.

    Args:
        comparison: with one coordinate, or with two, one along x and one as the series.
        x: coordinate along x; of two, by default the time, or else the longer one.
        series: coordinate that tells series apart; by default the other one.
        x_label: axis label with units (default: the name of the coordinate).
        logx: logarithmic x; by default when all is positive and spans more than 1.5 decades.
        logy: logarithmic values; same default.
        title: by default the name of the comparison.
        legend: one label per series (default: "series = value").
        fine: dense theory curve (x, values), shapes (fine,) and (fine,) or (series, fine), drawn
            in place of the line through the predictions.
        width: inches, or "column" or "page" of a journal, with letters to match; by default 6.4,
            and 4.6 for each of several panels.

    Raises:
        ValueError: with no or more than two coordinates, with unknown names, or if `legend` or
            `fine` do not fit the number of series.
    """
    table = _Table(comparison, x, series, legend, fine)
    panels = min(len(table.groups), ACROSS_MOST)
    cells = [
        (divmod(i, panels), comparison, group, "") for i, group in enumerate(table.groups)
    ]  # fmt: skip
    name = comparison.name if title is None else title
    if width is None:
        width = 6.4 if panels == 1 else 4.6 * panels
    return _figure(cells, table, x_label, logx, logy, name, width)


def plot_comparisons(
    comparisons: Sequence[Comparison],
    *,
    x: str | None = None,
    series: str | None = None,
    x_label: str | None = None,
    logx: bool | None = None,
    logy: bool | None = None,
    title: str | None = None,
    legend: Sequence[str] | None = None,
    overlay: bool = False,
    width: float | Width | None = None,
) -> Figure:
    """Draw one measurement beside each of its predictions, a column each, residuals below.

    With `overlay` all predictions are lines of one panel, told apart by their dashes, over a panel
    of residuals for each.

    Args:
        comparisons: of one measurement with one or more predictions.
        x: coordinate along x, as in `plot_comparison`.
        series: as in `plot_comparison`.
        x_label: as in `plot_comparison`.
        logx: as in `plot_comparison`.
        logy: as in `plot_comparison`.
        title: by default the name of the first comparison.
        legend: as in `plot_comparison`.
        overlay: whether to draw all predictions into one panel.
        width: as in `plot_comparison`; by default 5.2 inches for each column.
    """
    first = comparisons[0]
    table = _Table(first, x, series, legend, None)
    if overlay:
        name = first.name if title is None else title
        return _overlay(comparisons, table, x_label, logx, logy, name, width)
    cells = [
        ((row, column), comparison, group, comparison.predicted.label)
        for column, comparison in enumerate(comparisons)
        for row, group in enumerate(table.groups)
    ]
    name = first.name if title is None else title
    width = 5.2 * len(comparisons) if width is None else width
    return _figure(cells, table, x_label, logx, logy, name, width)


class _Table:
    """What is drawn along x and as series, and which series share a panel."""

    def __init__(
        self,
        comparison: Comparison,
        x: str | None,
        series: str | None,
        legend: Sequence[str] | None,
        fine: tuple[ArrayLike, ArrayLike] | None,
    ) -> None:
        self.x, self.series = _axes_names(comparison, x, series)
        self.positions, self.names = _positions(comparison.measured.coordinates[self.x])
        count = self.rows(comparison, comparison.residual).shape[0]
        self.labels = _series_labels(comparison, self.series, legend, count)
        self.fine = None if fine is None else _fine_lines(fine, count)
        keep = np.arange(count)
        if legend is None and fine is None:
            keep = keep[[not self._mirrored(comparison, int(i)) for i in keep]]
        self.groups = np.array_split(keep, -(-len(keep) // SERIES_MOST))

    def rows(self, comparison: Comparison, values: Array) -> Array:
        """Values in the shape (series, points)."""
        return _rows(comparison, values, self.x, self.series)

    def _mirrored(self, comparison: Comparison, i: int) -> bool:
        """Whether a series is the lower half of a symmetric matrix, "norms[1,0]"."""
        match = re.fullmatch(r"(.*)\[(\d+),(\d+)\]", self.labels[i] if self.labels else "")
        if match is None or int(match[2]) <= int(match[3]):
            return False
        twin = f"{match[1]}[{match[3]},{match[2]}]"
        if twin not in self.labels:
            return False
        j = self.labels.index(twin)
        both = (comparison.measured.values, comparison.predicted.values)
        tables = [self.rows(comparison, values) for values in both]
        return all(np.allclose(t[i], t[j], rtol=1e-6, equal_nan=True) for t in tables)


Cell = tuple[tuple[int, int], "Comparison", NDArray[np.int64], str]


def _figure(
    cells: Sequence[Cell],
    table: _Table,
    x_label: str | None,
    logx: bool | None,
    logy: bool | None,
    title: str,
    width: float | Width,
) -> Figure:
    """Pairs of panels, values above residuals."""
    rows, columns = (1 + max(place[axis] for place, *_ in cells) for axis in (0, 1))
    several, split = rows * columns > 1, len(table.groups) > 1
    inches = width_in_inches(width)
    scale = min(1.0, inches / columns / 4.6)
    labels = [] if split else [table.labels[i] for i in table.groups[0] if table.labels]
    figure, grid = new_figure(
        2 * rows, columns, width=inches,
        height=rows * 5.4 * max(scale, 0.6) + 0.2 * ((len(labels) + 2) // 3),
        sharex=True, height_ratios=[3, 1.1] * rows, title=title if several else None,
    )  # fmt: skip
    used = set()
    for (row, column), comparison, group, name in cells:
        upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
        used |= {upper, lower}
        _draw(upper, lower, comparison, table, group, logx, logy)
        with figure_style():
            upper.set_title(title if not several else "" if split else name)
            upper.set_ylabel(comparison.quantity)
            lower.set_xlabel(X_LABELS.get(table.x, table.x) if x_label is None else x_label)
            if split:
                upper.legend(
                    handles=series_handles([table.labels[i] for i in group]), title=name,
                    loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=7.5,
                    handlelength=1.2, columnspacing=1.0,
                )  # fmt: skip
    for axes in set(grid.ravel()) - used:
        axes.remove()
    compared = [comparison for _, comparison, *_ in cells]
    handles = _handles(compared, labels, split)
    longest = max(len(handle.get_label()) for handle in handles) + 6
    legend_below(figure, handles, columns=int(np.clip(inches / LETTER // longest, 1, 3)))
    if scale < 1:
        shrink_letters(figure, max(scale, 0.75))
    return figure


def _overlay(
    comparisons: Sequence[Comparison],
    table: _Table,
    x_label: str | None,
    logx: bool | None,
    logy: bool | None,
    title: str,
    width: float | Width | None,
) -> Figure:
    """All theories in one panel for each group of series, residuals below, a panel for each."""
    count, columns = len(comparisons), len(table.groups)
    inches = width_in_inches(max(6.4, 4.6 * columns) if width is None else width)
    scale = min(1.0, inches / columns / 4.6)
    figure, grid = new_figure(
        1 + count, columns, width=inches, height=(4.0 + 1.4 * count) * max(scale, 0.6),
        sharex=True, height_ratios=[3] + [1.1] * count, title=title,
    )  # fmt: skip
    if logy is None:
        tables = [(c.measured.values, c.predicted.values) for c in comparisons]
        logy = spans_decades(*(array for pair in tables for array in pair))
    for group, (main, *lower) in zip(table.groups, grid.T, strict=True):
        drawn: list[tuple[dict[str, Array], list[Array]]] = []
        for i, (comparison, below) in enumerate(zip(comparisons, lower, strict=True)):
            dashes = DASHES[i % len(DASHES)]
            drawn.append(_draw(main, below, comparison, table, group, logx, logy, dashes, i == 0))
            with figure_style():
                told = f"{comparison.predicted.label}: {below.get_title(loc='left')}"
                below.set_title(told, fontsize=8.5, color="#444444", loc="left")
        with figure_style():
            main.set_ylabel(comparisons[0].quantity)
            lower[-1].set_xlabel(X_LABELS.get(table.x, table.x) if x_label is None else x_label)
            if logy:
                fit_logarithmic(main, drawn[0][0], [array for _, shown in drawn for array in shown])
            if columns > 1:
                labels = [table.labels[i] for i in group]
                main.legend(handles=series_handles(labels), ncols=3, fontsize=7.5)
    labels = [] if columns > 1 else [table.labels[i] for i in table.groups[0] if table.labels]
    points, _, *others = _handles(comparisons, labels, columns > 1)
    lines = [
        Line2D([], [], color=GREY, linewidth=1.5, linestyle=DASHES[i % len(DASHES)], label=label)
        for i, label in enumerate(comparison.predicted.label for comparison in comparisons)
    ]
    legend_below(figure, [points, *lines, *others], columns=3)
    if scale < 1:
        shrink_letters(figure, max(scale, 0.75))
    return figure


def _draw(
    main: Axes,
    below: Axes,
    comparison: Comparison,
    table: _Table,
    group: NDArray[np.int64],
    logx: bool | None,
    logy: bool | None,
    dashes: Dashes = "-",
    points: bool = True,
) -> tuple[dict[str, Array], list[Array]]:
    """Some series in a pair of panels; what was drawn, and what its logarithmic axis must show."""
    positions, names = table.positions, table.names
    drawn = {
        name: table.rows(comparison, values)[group]
        for name, values in {
            "measured": comparison.measured.values,
            "error": comparison.measured.standard_error,
            "predicted": comparison.predicted.values,
            "bias": comparison.predicted.bias,
            "numerical": comparison.predicted.numerical_error,
            "residual": comparison.residual,
        }.items()
    }
    lines = None if table.fine is None else (table.fine[0], table.fine[1][group])
    shown = [drawn["measured"], drawn["predicted"], *([] if lines is None else [lines[1]])]
    logx = spans_decades(positions) if logx is None and names is None else bool(logx)
    logy = spans_decades(*shown) if logy is None else logy
    dense, smooth = positions, dict[str, Array]()
    if table.x == "time" and names is None and lines is None:
        dense, smooth = smooth_lines(comparison.theory, positions, logx)
        dense = np.append(dense, positions[-1])
    for i, label in enumerate([table.labels[j] if table.labels else "" for j in group]):
        if points:
            draw_simulation(main, positions, drawn["measured"][i], drawn["error"][i], index=i)
        draw_numerical_error(main, positions, drawn, i)
        style: Any = {"index": i, "linestyle": dashes}
        if names is not None:
            draw_levels(main, positions, drawn["predicted"][i], drawn["bias"][i], i, dashes)
        elif label in smooth:
            bias = np.interp(dense, positions, drawn["bias"][i])
            end = drawn["predicted"][i][-1]
            draw_theory(main, dense, np.append(smooth[label], end), bias=bias, **style)
        elif lines is None:
            draw_theory(main, positions, drawn["predicted"][i], bias=drawn["bias"][i], **style)
        else:
            draw_theory(main, lines[0], lines[1][i], **style)
    with figure_style():
        if logx:
            # left out, not moved far to the left, where they stretch the layout
            main.set_xscale("log", nonpositive="mask")
            if positions.size <= FEW:  # default labels of a decade or two run into each other
                visible = positions[positions > 0]
                below.set_xticks(visible, [f"{p:.4g}" for p in visible])
                below.xaxis.set_minor_locator(NullLocator())
        if logy:
            main.set_yscale("log")
            fit_logarithmic(main, drawn, shown)
        if names is not None:
            name_ticks(below, positions, names)
        residual_panel(below, comparison, positions, drawn["residual"])
    return drawn, shown


def image_grid(
    images: Sequence[ArrayLike],
    row_labels: Sequence[str],
    *,
    column_labels: Sequence[str] | None = None,
    title: str | None = None,
    scale: Literal["row", "image"] = "row",
) -> Figure:
    """Show rows of grey patches, each row with its label.

    Args:
        images: one array per row, shape (columns, height, width); rows may differ in all three.
        row_labels: one label per row.
        column_labels: labels over the first row.
        title: title over all.
        scale: whether black and white mean the same along a "row", or are those of each "image".

    Raises:
        ValueError: if there is no row, a row is not finite of rank 3, or the labels do not fit.
    """
    one_of("scale", scale, ("row", "image"))
    rows = [finite_array("images", row, ndim=3) for row in images]
    if not rows or not all(row.size for row in rows):
        raise reject("images", "hold at least one row of images", f"{[r.shape for r in rows]}")
    columns = max(len(row) for row in rows)
    if len(row_labels) != len(rows):
        raise reject("row_labels", f"hold {len(rows)} labels", len(row_labels))
    if column_labels is not None and len(column_labels) != len(rows[0]):
        raise reject("column_labels", f"hold {len(rows[0])} labels", len(column_labels))
    side = min(1.0, 8.0 / columns)
    aspect = max(row.shape[1] / row.shape[2] for row in rows)
    figure, grid = new_figure(
        len(rows),
        columns,
        width=max(4.0, side * columns + 1.4),
        height=(side * aspect + 0.08) * len(rows) + 0.3 * bool(title) + 0.3 * bool(column_labels),
        title=title,
    )
    with figure_style():
        for axes in grid.ravel():
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        for i, row in enumerate(rows):
            limits = {"vmin": row.min(), "vmax": row.max()} if scale == "row" else {}
            for axes, image in zip(grid[i], row, strict=False):
                axes.imshow(image, cmap="gray", interpolation="nearest", **limits)
            grid[i, 0].set_ylabel(row_labels[i], rotation=0, ha="right", va="center")
        for axes, label in zip(grid[0], column_labels or (), strict=False):
            axes.set_title(label, fontsize=9)
    return figure


def _axes_names(
    comparison: Comparison, x: str | None, series: str | None
) -> tuple[str, str | None]:
    coordinates = comparison.measured.coordinates
    known = tuple(coordinates)
    if len(known) not in (1, 2):
        raise reject("comparison", "have one or two coordinates to be plotted", f"{known}")
    for argument, name in (("x", x), ("series", series)):
        if name is not None:
            one_of(argument, name, known)
    if len(known) == 1:
        if series is not None:
            raise reject("series", "be left out with a single coordinate", repr(series))
        return known[0], None
    if x is not None and x == series:
        raise reject("series", f"differ from x = {x!r}", repr(series))
    if x is None:
        # max keeps the first of equals
        free = [name for name in known if name != series]
        x = max(free, key=lambda name: (name in X_LABELS, np.size(coordinates[name])))
    return x, next(name for name in known if name != x)


def _rows(comparison: Comparison, values: Array, x: str, series: str | None) -> Array:
    """Values in the shape (series, points)."""
    if series is None:
        return np.asarray(values)[None]
    first = next(iter(comparison.measured.coordinates))
    return np.asarray(values) if first == series else np.asarray(values).T


def _positions(axis: NDArray[Any]) -> tuple[Array, list[str] | None]:
    """Numbers along x; for a coordinate of names their places, and the names."""
    if np.issubdtype(axis.dtype, np.number):
        return axis.astype(np.float64), None
    return np.arange(axis.size, dtype=np.float64), [str(name) for name in axis]


def _fine_lines(fine: tuple[ArrayLike, ArrayLike], count: int) -> tuple[Array, Array]:
    across = finite_array("fine", fine[0], ndim=1)
    values = np.atleast_2d(real_array("fine", fine[1]))
    if values.shape != (count, across.size):
        raise reject("fine", f"hold values of shape {(count, across.size)}", f"{values.shape}")
    return across, values


def _series_labels(
    comparison: Comparison, series: str | None, legend: Sequence[str] | None, count: int
) -> list[str]:
    if legend is not None:
        if isinstance(legend, str) or len(legend) != count:
            raise reject("legend", f"be a list of {count} label(s)", repr(legend))
        return list(legend)
    if series is None:
        return []
    return [
        f"{series} = {v:g}" if isinstance(v, int | float) else f"{v}"
        for v in comparison.measured.coordinates[series].tolist()
    ]


def _handles(compared: Sequence[Comparison], labels: list[str], split: bool) -> list[Any]:
    """Legend entries: what marker and line mean, then one entry per series."""
    comparison = compared[0]
    first, several = series_style(0), len(labels) > 1 or split
    colour, marker = (GREY, "o") if several else (first.colour, first.marker)
    theories = list(dict.fromkeys(item.predicted.label for item in compared))
    # several theories have a column each, with its name above
    names = [comparison.measured.label, theories[0] if len(theories) == 1 else "theory above"]
    if len(labels) == 1:
        names = [f"{name}, {labels[0]}" for name in names]
    if any(map(is_inexact, compared)):
        names[1] += ", bars: numerical error"
    point: dict[str, Any] = {"marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.6}
    handles: list[Any] = [
        Line2D([], [], color=colour, linestyle="none", label=names[0], **point),
        Line2D([], [], color=colour, linewidth=1.5, label=names[1]),
    ]
    orders = dict.fromkeys(i.predicted.bias_order for i in compared if i.predicted.bias_order)
    if orders:
        text = f"allowed bias {next(iter(orders))}" if len(orders) == 1 else "allowed bias"
        handles.append(Patch(color=colour, alpha=0.16, linewidth=0, label=text))
    return handles + (series_handles(labels) if len(labels) > 1 else [])
