"""Style of the figures, and the pieces from which claims build their own panels."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.textpath import TextToPath
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.measurement import Measurement, Prediction, spread_over
from learning_dynamics.validation import one_of, positive_number, real_array, reject

__all__ = [
    "GREY",
    "WIDTHS",
    "Dashes",
    "InlineFigure",
    "SeriesStyle",
    "Width",
    "draw_curves",
    "draw_measurement",
    "draw_panels",
    "draw_simulation",
    "draw_theory",
    "figure_style",
    "legend_below",
    "new_figure",
    "save_figure",
    "series_style",
    "shrink_letters",
    "width_in_inches",
]

Dashes = Literal["-", "--", ":", "-."]

# Okabe and Ito's colours, told apart by colour-blind readers, without the yellow that vanishes in
# print. There are more markers than colours, so that pairs repeat late and grey prints stay clear.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#A6498D", "#222222", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
Width = Literal["column", "page"]
WIDTHS: dict[str, float] = {"column": 3.4, "page": 7.0}  # inches, of most journals
GREY = "#6E6E6E"
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.labelsize": 10,
    "figure.titlesize": 11.5,
    "font.size": 10,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "pdf.fonttype": 42,  # outlines of the letters: what journals take
    "ps.fonttype": 42,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "svg.hashsalt": "learning-dynamics",
    "text.usetex": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@dataclass(frozen=True)
class SeriesStyle:
    """Colour and marker of a series; no two of the first 63 series share both."""

    colour: str
    marker: str


def series_style(index: int) -> SeriesStyle:
    """Colour and marker of series number `index`, counted from zero."""
    return SeriesStyle(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])


class InlineFigure(Figure):
    """A figure that a notebook shows as the last line of a cell, whatever pyplot's backend is."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with figure_style():
            self.savefig(content, format="png")
        return content.getvalue()


@contextmanager
def figure_style() -> Iterator[None]:
    """Give what is drawn inside the style of this module; the settings outside stay as they are."""
    with mpl.rc_context(STYLE):
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; an SVG comes out the same, byte for byte, whenever it is written.

    Args:
        figure: what to write.
        path: file; its suffix chooses the format.

    Raises:
        ValueError: if `figure` is no whole figure of matplotlib.
    """
    if not isinstance(figure, Figure):
        raise reject("figure", "be a matplotlib.figure.Figure", f"a {type(figure).__name__}")
    path = Path(path)
    with figure_style():
        if path.suffix.lower() == ".svg":
            _save_svg(figure, path)
        else:
            figure.savefig(path)


class _Canvas(FigureCanvasSVG):
    """A canvas whose figures share what is known of the formulas in them.

    Typesetting the labels of logarithmic axes is half of a figure's time, and every renderer of
    matplotlib begins anew.
    """

    letters = TextToPath()

    def get_renderer(self, file: Any = None) -> RendererSVG:
        """Renderer into a file, or of a layout."""
        width, height = 72 * self.figure.get_size_inches()
        renderer = RendererSVG(
            width, height, io.StringIO() if file is None else file,
            image_dpi=STYLE["savefig.dpi"], metadata={"Date": None},
        )  # fmt: skip
        renderer._text2path = self.letters
        return renderer

    def write(self, path: Path) -> None:
        """Draw the figure as it is laid out, as `print_svg` does."""
        width, height = self.figure.get_size_inches()
        with path.open("w", encoding="utf-8") as file:
            renderer: Any = MixedModeRenderer(
                self.figure, width, height, STYLE["savefig.dpi"], self.get_renderer(file)
            )
            self.figure.draw(renderer)
            renderer.finalize()


def _save_svg(figure: Figure, path: Path) -> None:
    """The file that `Figure.savefig` writes, in half of its time: the figure is drawn once.

    `savefig` draws a figure twice where a layout is worked out, which is done here before.
    """
    canvas, layout, dpi = figure.canvas, figure.get_layout_engine(), figure.dpi
    colour = figure.get_facecolor()
    try:
        svg = _Canvas(figure)
        figure.dpi = 72
        figure.set_facecolor(STYLE["savefig.facecolor"])
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        svg.write(path)
    finally:
        if layout is not None:
            figure.set_layout_engine(layout)
        figure.set_facecolor(colour)
        figure.dpi = dpi
        figure.set_canvas(canvas)


def new_figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float | Width | None = None,
    height: float | None = None,
    title: str | None = None,
    **grid: Any,
) -> tuple[Figure, NDArray[Any]]:
    """Make a styled figure; put further drawing in `with figure_style():`.

    Args:
        rows: panels down.
        columns: panels across.
        width: inches, or "column" (3.4) or "page" (7.0) of a journal; by default 4.2 per panel and
            at least 6.
        height: inches, by default 3.4 per panel.
        title: title over all panels.
        **grid: `sharex`, `sharey`, `height_ratios`, `width_ratios`, as `Figure.subplots` has them.

    Returns:
        The figure and its axes, shape (rows, columns).
    """
    with figure_style():
        across = max(6.0, 4.2 * columns) if width is None else width_in_inches(width)
        size = (across, height or 3.4 * rows + 0.6)
        figure = InlineFigure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **grid)
        if title:
            figure.suptitle(title)
    return figure, axes


def width_in_inches(width: float | Width) -> float:
    """Inches of a figure as wide as a "column" or "page" of a journal; a number as it is.

    Args:
        width: of the figure.

    Raises:
        ValueError: if it is neither a number above zero nor one of these names.
    """
    if isinstance(width, str):
        return WIDTHS[one_of("width", width, tuple(WIDTHS))]
    return positive_number("width", width)


def shrink_letters(figure: Figure, factor: float) -> None:
    """Make all letters of a finished figure smaller, as for one column of a journal.

    Args:
        figure: what to change.
        factor: new size over old size.
    """
    for text in figure.findobj(Text):
        text.set_fontsize(float(text.get_fontsize()) * factor)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_tick_params(labelsize=9 * factor)


def draw_simulation(
    axes: Axes,
    x: ArrayLike,
    values: ArrayLike,
    standard_error: ArrayLike | None,
    *,
    index: int = 0,
    filled: bool = True,
    label: str | None = None,
) -> None:
    """Draw markers with bars of one standard error: a simulation.

    Args:
        axes: where to draw.
        x: shape (points,).
        values: shape (points,).
        standard_error: shape (points,), (2, points) for bars down and up, or None for no bars.
        index: number of the series, which chooses marker and colour.
        filled: whether markers are filled.
        label: text for the legend.
    """
    style = series_style(index)
    with figure_style():
        axes.errorbar(
            x,
            real_array("values", values),
            yerr=None if standard_error is None else real_array("standard_error", standard_error),
            fmt=style.marker,
            color=style.colour,
            markerfacecolor=style.colour if filled else "white",
            markeredgecolor="white" if filled else style.colour,
            markeredgewidth=0.6 if filled else 1.0,
            elinewidth=1.1,
            capsize=2.5,
            zorder=3,
            label=label,
        )


def draw_theory(
    axes: Axes,
    x: ArrayLike,
    values: ArrayLike,
    *,
    index: int = 0,
    bias: ArrayLike | None = None,
    label: str | None = None,
    linestyle: str = "-",
) -> None:
    """Draw a line, sorted along x and shaded by the allowed bias: a theory.

    Args:
        axes: where to draw.
        x: shape (points,).
        values: shape (points,).
        index: number of the series, which chooses the colour.
        bias: allowed deviation, shape (points,).
        label: text for the legend.
        linestyle: as in matplotlib.
    """
    colour = series_style(index).colour
    order = np.argsort(np.asarray(x), kind="stable")
    x, values = np.asarray(x)[order], real_array("values", values)[order]
    with figure_style():
        axes.plot(x, values, linestyle=linestyle, color=colour, zorder=2, label=label)
        if bias is not None and np.any(real_array("bias", bias) > 0):
            bias = np.broadcast_to(real_array("bias", bias), order.shape)[order]
            axes.fill_between(
                x, values - bias, values + bias, color=colour, alpha=0.16, linewidth=0, zorder=1
            )


def draw_measurement(
    axes: Axes,
    measured: Measurement,
    x: ArrayLike | None = None,
    *,
    first: int = 0,
    labels: Sequence[str | None] | None = None,
    joined: bool = False,
) -> None:
    """Draw markers with bars of one standard error for every series of a measurement.

    Args:
        axes: where to draw.
        measured: with one coordinate, or with two, of which the first tells series apart.
        x: where the points are, broadcasts against the values; the last coordinate by default.
        first: number of the first series, see `draw_simulation`.
        labels: texts for the legend, one for each series; by default the values of the first of
            two coordinates, or the label of the measurement.
        joined: whether a line joins the points of each series, where no theory draws one.

    Raises:
        ValueError: with another number of coordinates or of labels, or where shapes do not fit.
    """
    if len(measured.coordinates) not in (1, 2):
        raise reject("measured", "have one or two coordinates", list(measured.coordinates))
    series, *along = measured.coordinates.values()
    if labels is None:
        labels = [str(value) for value in series] if along else [measured.label]
    values = np.atleast_2d(measured.values)
    if len(labels) != len(values):
        raise reject("labels", f"be one for each of {len(values)} series", list(labels))
    errors = np.atleast_2d(measured.standard_error)
    points = spread_over("x", (along or [series])[0] if x is None else np.asarray(x), values.shape)
    for i, label in enumerate(labels):
        draw_simulation(axes, points[i], values[i], errors[i], index=first + i, label=label)
        if joined:
            draw_theory(axes, points[i], values[i], index=first + i)


def draw_curves(
    axes: Axes,
    x: ArrayLike,
    curves: ArrayLike,
    *,
    bias: ArrayLike = 0.0,
    first: int = 0,
    label: str | None = None,
    linestyle: str = "-",
) -> None:
    """Draw a line for every series of a theory, in the colours of `draw_measurement`.

    Args:
        axes: where to draw.
        x: shape (points,).
        curves: shape (series, points).
        bias: allowed deviation, broadcasts against the curves.
        first: number of the first series.
        label: text for the legend, at the first line.
        linestyle: as in matplotlib.

    Raises:
        ValueError: where shapes do not fit.
    """
    rows = np.atleast_2d(real_array("curves", curves))
    if rows.ndim != 2:
        raise reject("curves", "have shape (series, points)", f"shape {rows.shape}")
    points = spread_over("x", np.asarray(x), rows.shape[1:])
    allowed = spread_over("bias", real_array("bias", bias), rows.shape)
    for i, (row, size) in enumerate(zip(rows, allowed, strict=True)):
        draw_theory(
            axes, points, row, index=first + i, bias=size, label=None if i else label,
            linestyle=linestyle,
        )  # fmt: skip


def draw_panels(
    measured: Sequence[Measurement],
    laws: Sequence[tuple[ArrayLike, Prediction]],
    *,
    x_label: str,
    y_labels: Sequence[str],
    titles: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    ticks: Mapping[float, str] | None = None,
    width: float = 9.0,
    height: float = 4.4,
) -> tuple[Figure, list[Axes]]:
    """Draw several measurements side by side on logarithmic axes, each with the lines of a theory.

    Args:
        measured: one for each panel, with one or two coordinates, see `draw_measurement`.
        laws: x, shape (points,), and prediction, shape (series, points), for each panel.
        x_label: of all panels.
        y_labels: of as many panels from the left as there are labels.
        titles: of the panels.
        labels: of the series, as of `draw_measurement`.
        ticks: position along x -> its label.
        width: inches.
        height: inches.

    Returns:
        The figure, to be given its legend, and the axes of its panels.

    Raises:
        ValueError: without a measurement, with another number of laws, or more labels or titles
            than panels, and as `draw_measurement` and `draw_curves`.
    """
    if not measured:
        raise reject("measured", "hold at least one measurement", "none")
    if len(laws) != len(measured):
        raise reject("laws", f"be one for each of {len(measured)} panels", len(laws))
    for name, texts in (("y_labels", y_labels), ("titles", titles)):
        if isinstance(texts, str) or len(texts) > len(measured):
            raise reject(name, f"be a list of at most {len(measured)} texts", repr(texts))
    figure, grid = new_figure(1, len(measured), width=width, height=height)
    panels = list(grid[0])
    with figure_style():
        for axes, points, (x, law) in zip(panels, measured, laws, strict=True):
            draw_measurement(axes, points, labels=labels)
            draw_curves(axes, x, law.values, bias=law.bias)
            axes.set(xscale="log", yscale="log", xlabel=x_label)
            if ticks:
                axes.set_xticks(list(ticks), list(ticks.values()))
                axes.xaxis.set_minor_formatter(NullFormatter())
        for axes, label in zip(panels, y_labels, strict=False):
            axes.set_ylabel(label)
        for axes, title in zip(panels, titles, strict=False):
            axes.set_title(title)
    return figure, panels


def legend_below(
    figure: Figure,
    handles: Sequence[Any] | None = None,
    *,
    columns: int = 3,
    title: str | None = None,
) -> None:
    """Put one legend under the panels, where it covers no data.

    Args:
        figure: with panels that are drawn.
        handles: what to list; by default all that has a label.
        columns: entries side by side, at most.
        title: of the legend.
    """
    if handles is None:
        found: dict[str, Any] = {}
        for axes in figure.axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                found.setdefault(label, handle)
        handles, labels = list(found.values()), list(found)
    else:
        labels = [handle.get_label() for handle in handles]
    rows = max(math.ceil(len(labels) / columns), 1)  # columns of equal length
    with figure_style():
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=max(math.ceil(len(labels) / rows), 1),
            title=title,
        )
