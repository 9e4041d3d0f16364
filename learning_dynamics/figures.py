"""Figures of one convention: markers = simulation, line of the same colour = theory."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.comparison import Comparison
from learning_dynamics.drawing import (
    GREY,
    SeriesStyle,
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
    save_figure,
    series_style,
)
from learning_dynamics.validation import finite_array, one_of, real_array, reject

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
X_LABELS = {"time": r"time $\tau$ = updates / $N$"}  # of trajectories
FEW = 6  # points along x that are all labelled on a logarithmic axis
WIDE = 70  # characters of a legend that do not fit side by side
ACROSS, LETTER = 5.4, 0.075  # inches: the room for names along x, and a letter of them


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
) -> Figure:
    """Draw simulation and theory, and below them the residuals with the accepted band.

    Points that a logarithmic axis cannot show stay visible in the residual panel; crosses on its
    lower edge are points without a finite residual.

    Args:
        comparison: with one coordinate, or with two, one along x and one as the series.
        x: coordinate along x; of two, by default the longer one.
        series: coordinate that tells series apart; by default the other one.
        x_label: axis label with units (default: the name of the coordinate).
        logx: logarithmic x; by default when all is positive and spans more than 1.5 decades.
        logy: logarithmic values; same default.
        title: by default the name of the comparison.
        legend: one label per series (default: "series = value").
        fine: dense theory curve (x, values), shapes (fine,) and (fine,) or (series, fine), drawn
            in place of the line through the predictions.

    Raises:
        ValueError: with no or more than two coordinates, with unknown names, or if `legend` or
            `fine` do not fit the number of series.
    """
    x, series = _axes_names(comparison, x, series)
    table = {
        name: _rows(comparison, values, x, series)
        for name, values in {
            "measured": comparison.measured.values,
            "error": comparison.measured.standard_error,
            "predicted": comparison.predicted.values,
            "bias": comparison.predicted.bias,
            "residual": comparison.residual,
        }.items()
    }
    count = table["measured"].shape[0]
    positions, names = _positions(comparison.measured.coordinates[x])
    lines = None if fine is None else _fine_lines(fine, count)
    labels = _series_labels(comparison, series, legend, count)
    shown = [table["measured"], table["predicted"], *([] if lines is None else [lines[1]])]
    logx = _spans_decades(positions) if logx is None and names is None else bool(logx)
    logy = _spans_decades(*shown) if logy is None else logy

    figure, grid = new_figure(
        2, 1, width=6.4, height=5.4 + 0.2 * ((count + 2) // 3), sharex=True, height_ratios=[3, 1.1]
    )
    main, below = grid[:, 0]
    for i in range(count):
        draw_simulation(main, positions, table["measured"][i], table["error"][i], index=i)
        if names is not None:
            _category_theory(main, positions, table["predicted"][i], table["bias"][i], i)
        elif lines is None:
            draw_theory(main, positions, table["predicted"][i], bias=table["bias"][i], index=i)
        else:
            draw_theory(main, lines[0], lines[1][i], index=i)
    with figure_style():
        if logx:
            main.set_xscale("log")
            if positions.size <= FEW:
                # default labels of a decade or two run into each other
                below.set_xticks(positions, [f"{p:.4g}" for p in positions])
                below.xaxis.set_minor_locator(NullLocator())
        if logy:
            main.set_yscale("log")
            _positive_limits(main, table, shown)
        if names is not None:
            _category_ticks(below, positions, names)
        main.set_title(comparison.name if title is None else title)
        main.set_ylabel(comparison.quantity)
        below.set_xlabel(X_LABELS.get(x, x) if x_label is None else x_label)
        _residual_panel(below, comparison, positions, table["residual"])
    handles = _handles(comparison, labels, table["bias"])
    wide = sum(len(handle.get_label()) for handle in handles) > WIDE
    legend_below(figure, handles, columns=2 if count == 1 and wide else 3)
    return figure


def _category_ticks(axes: Axes, positions: Array, names: Sequence[str]) -> None:
    """Names along x, turned and made smaller where they would run into each other."""
    axes.set_xlim(-0.6, len(names) - 0.4)
    room = ACROSS / len(names)
    if max(map(len, names)) * LETTER <= room:
        axes.set_xticks(positions, names)
        return
    size = float(np.clip(0.8 * 72 * room, 5, 8))  # points: lines of text side by side
    axes.set_xticks(
        positions, names, size=size, rotation=45 if size == 8 else 90, rotation_mode="anchor",
        ha="right", va="center",
    )  # fmt: skip


def plot_comparisons(
    comparisons: Sequence[Comparison], *, x: str | None = None, title: str | None = None
) -> Figure:
    """Draw one measurement beside each of its predictions, a column each, residuals below.

    Args:
        comparisons: of one measurement with one or more predictions.
        x: coordinate along x, as in `plot_comparison`.
        title: by default the name of the first comparison.
    """
    first = comparisons[0]
    x, series = _axes_names(first, x, None)
    labels = _series_labels(first, series, None, _rows(first, first.residual, x, series).shape[0])
    figure, grid = new_figure(
        2,
        len(comparisons),
        width=5.2 * len(comparisons),
        height=5.4 + 0.2 * ((len(labels) + 2) // 3),
        sharex=True,
        height_ratios=[3, 1.1],
        title=first.name if title is None else title,
    )
    for column, comparison in enumerate(comparisons):
        upper, lower = grid[0, column], grid[1, column]
        positions, _ = _positions(comparison.measured.coordinates[x])
        measured, errors = comparison.measured, comparison.predicted
        mean = _rows(comparison, measured.values, x, series)
        bars = _rows(comparison, measured.standard_error, x, series)
        theory = _rows(comparison, errors.values, x, series)
        bias = _rows(comparison, errors.bias, x, series)
        for i in range(mean.shape[0]):
            draw_simulation(upper, positions, mean[i], bars[i], index=i)
            draw_theory(upper, positions, theory[i], bias=bias[i], index=i)
        with figure_style():
            if _spans_decades(positions):
                upper.set_xscale("log")
            upper.set_title(errors.label)
            upper.set_ylabel(comparison.quantity)
            lower.set_xlabel(X_LABELS.get(x, x))
            _residual_panel(
                lower, comparison, positions, _rows(comparison, comparison.residual, x, series)
            )
    legend_below(figure, _handles(first, labels, _rows(first, first.predicted.bias, x, series)))
    return figure


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
        x = max((n for n in known if n != series), key=lambda n: np.size(coordinates[n]))
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


def _spans_decades(*arrays: Array) -> bool:
    values = np.concatenate([np.ravel(array) for array in arrays])
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() <= 0:
        return False
    return bool(np.log10(values.max() / values.min()) > 1.5)


def _positive_limits(axes: Axes, table: dict[str, Array], shown: list[Array]) -> None:
    """Fit a logarithmic axis to the points: an error bar down to zero must not stretch it."""
    ends = [table["measured"] - table["error"], table["measured"] + table["error"]]
    values = np.concatenate([np.ravel(array) for array in (*shown, *ends)])
    floor = np.concatenate([np.ravel(array) for array in shown])
    floor = floor[np.isfinite(floor) & (floor > 0)]
    if floor.size:
        values = values[np.isfinite(values) & (values > floor.min() / 10)]
        margin = (values.max() / values.min()) ** 0.06
        axes.set_ylim(values.min() / margin, values.max() * max(margin, 1.02))


def _category_theory(axes: Axes, places: Array, values: Array, bias: Array, index: int) -> None:
    """Theory as a level across each category: a line between names would mean nothing."""
    colour = series_style(index).colour
    axes.hlines(values, places - 0.3, places + 0.3, color=colour, zorder=2)
    for place, value, size in zip(places, values, bias, strict=True):
        if size > 0:
            axes.fill_between(
                [place - 0.3, place + 0.3],
                value - size,
                value + size,
                color=colour,
                alpha=0.16,
                lw=0,
            )


def _residual_panel(axes: Axes, comparison: Comparison, x: Array, residual: Array) -> None:
    critical = comparison.critical
    finite = np.abs(residual[np.isfinite(residual)])
    largest = max(float(finite.max(initial=0.0)), critical)
    compressed = largest > 6 * critical
    if compressed:
        axes.set_yscale("symlog", linthresh=critical, linscale=1.0)
        decades = np.arange(np.ceil(np.log10(critical)), np.floor(np.log10(largest)) + 1)
        powers = 10.0 ** decades[:: len(decades) // 3 + 1]
        axes.set_yticks([*-powers[::-1], 0.0, *powers])
        axes.yaxis.set_minor_locator(NullLocator())
    top = largest * (2.5 if compressed else 1.25)
    axes.set_ylim(-top, top)
    axes.axhspan(-critical, critical, color="#E9E9E9", linewidth=0, zorder=0)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    for i, row in enumerate(residual):
        style = series_style(i)
        markers: list[tuple[Any, Any, str]] = [
            (np.isfinite(row), row, style.marker),
            (np.isposinf(row), np.full(row.shape, top), "^"),
            (np.isneginf(row), np.full(row.shape, -top), "v"),
            (np.isnan(row), np.full(row.shape, -top), "x"),
        ]
        for chosen, height, marker in markers:
            if not chosen.any():  # an empty line would pull the layout towards the corner
                continue
            edge = style.colour if marker == "x" else "white"
            axes.plot(
                x[chosen],
                height[chosen],
                marker,
                color=style.colour,
                markersize=4.5,
                markeredgecolor=edge,
                markeredgewidth=1.2 if marker == "x" else 0.5,
                clip_on=False,
                zorder=4,
            )
    lost, drawn = int(np.max(comparison.measured.lost)), comparison.measured.replicas
    bias = f"beyond the allowed bias {comparison.predicted.bias_order}; "
    axes.set_title(
        f"{bias if comparison.predicted.bias_order else ''}shaded: accepted, "
        f"±{critical:.2g}" + (f"; up to {lost} of {drawn} replicas lost" if lost else ""),
        fontsize=8.5,
        color="#444444",
        loc="left",
    )
    axes.set_ylabel("residual\n(standard errors)", fontsize=9)


def _handles(comparison: Comparison, labels: list[str], bias: Array) -> list[Any]:
    """Legend entries: what marker and line mean, then one entry per series."""
    first, several = series_style(0), len(labels) > 1
    colour, marker = (GREY, "o") if several else (first.colour, first.marker)
    names = [comparison.measured.label, comparison.predicted.label]
    if len(labels) == 1:
        names = [f"{name}, {labels[0]}" for name in names]
    point: dict[str, Any] = {"marker": marker, "markeredgecolor": "white", "markeredgewidth": 0.6}
    handles: list[Any] = [
        Line2D([], [], color=colour, linestyle="none", label=names[0], **point),
        Line2D([], [], color=colour, linewidth=1.5, label=names[1]),
    ]
    if np.any(bias > 0):
        text = f"allowed bias {comparison.predicted.bias_order}"
        handles.append(Patch(color=colour, alpha=0.16, linewidth=0, label=text))
    if several:
        for i, label in enumerate(labels):
            style = series_style(i)
            point["marker"] = style.marker
            handles.append(Line2D([], [], color=style.colour, linewidth=1.5, label=label, **point))
    return handles
