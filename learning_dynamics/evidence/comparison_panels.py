"""Pieces of a comparison's figure: names along x, logarithmic limits, residuals below."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from learning_dynamics.evidence.comparison_text import WEAK, percent
from learning_dynamics.evidence.drawing import GREY, Dashes, series_style
from learning_dynamics.evidence.measurement import component_names

if TYPE_CHECKING:
    from learning_dynamics.evidence.comparison import Comparison

__all__ = [
    "LETTER",
    "draw_levels",
    "draw_numerical_error",
    "fit_logarithmic",
    "is_inexact",
    "name_ticks",
    "residual_panel",
    "series_handles",
    "smooth_lines",
    "spans_decades",
]

Array = NDArray[np.float64]
LINE = 96  # points of a smooth line, about
PARTS = 2, 12  # fewest and most of them between two times; each takes a solution of its own
SECONDS = 5.0  # that all of them may take
STARTS_MOST = 64  # starts solved again for a smooth line
ACROSS, LETTER = 5.4, 0.075  # inches: the room for names along x, and a letter of them


def name_ticks(axes: Axes, positions: Array, names: Sequence[str]) -> None:
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


def draw_levels(
    axes: Axes, places: Array, values: Array, bias: Array, index: int, dashes: Dashes = "-"
) -> None:
    """Theory as a level across each category: a line between names would mean nothing."""
    colour = series_style(index).colour
    axes.hlines(values, places - 0.3, places + 0.3, color=colour, linestyles=dashes, zorder=2)
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


def is_inexact(item: "Comparison") -> bool:
    """Whether bars of a theory's own error are drawn."""
    theory = item.predicted
    return bool(np.any(_large(theory.values, theory.numerical_error, item.measured.standard_error)))


def _large(values: Array, error: Array, seen: Array) -> NDArray[np.bool_]:
    """Where a theory's own error is above that of the simulation, and visible."""
    return np.asarray(error > np.maximum(seen, 0.05 * np.abs(values)))


def draw_numerical_error(axes: Axes, x: Array, drawn: dict[str, Array], index: int) -> None:
    """Bars of the theory's own error where it is large."""
    values, error, seen = (drawn[kind][index] for kind in ("predicted", "numerical", "error"))
    large = _large(values, error, seen)
    if large.any():
        ends = values[large] - error[large], values[large] + error[large]
        axes.vlines(x[large], *ends, color=series_style(index).colour, alpha=0.4, lw=4, zorder=1)


def fit_logarithmic(axes: Axes, table: dict[str, Array], shown: list[Array]) -> None:
    """Fit a logarithmic axis to the points: an error bar down to zero must not stretch it."""
    ends = [table["measured"] - table["error"], table["measured"] + table["error"]]
    values = np.concatenate([np.ravel(array) for array in (*shown, *ends)])
    floor = np.concatenate([np.ravel(array) for array in shown])
    floor = floor[np.isfinite(floor) & (floor > 0)]
    if floor.size:
        values = values[np.isfinite(values) & (values > floor.min() / 10)]
        margin = (values.max() / values.min()) ** 0.06
        axes.set_ylim(values.min() / margin, values.max() * max(margin, 1.02))


def residual_panel(axes: Axes, comparison: "Comparison", x: Array, residual: Array) -> None:
    """Residuals with the accepted band; far ones on a compressed axis."""
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
    weak = np.isfinite(comparison.catches) and comparison.catches > WEAK
    axes.set_title(
        f"{bias if comparison.predicted.bias_order else ''}shaded: accepted, ±{critical:.2g}"
        + (f"; up to {lost} of {drawn} replicas lost" if lost else "")
        + (f"; weak: catches {percent(comparison.catches)}" if weak else ""),
        fontsize=8.5,
        color="#444444",
        loc="left",
    )
    axes.set_ylabel("residual\n(combined errors)", fontsize=9)


def smooth_lines(theory: Any, times: Array, logarithmic: bool) -> tuple[Array, dict[str, Array]]:
    """Components of the order parameters of a limit at dense times, averaged over its starts.

    Empty where the theory is no limit, carries no equation, or where solving it again takes long.

    Args:
        theory: what was compared.
        times: of the comparison, shape (times,).
        logarithmic: whether the dense times are spaced in the logarithm.

    Returns:
        Dense times, and label of a component -> values at them.
    """
    paths = getattr(theory, "paths", {})
    solvable = getattr(theory, "solve", None) is not None and times.size > 2
    if not solvable or not paths or next(iter(paths.values())).shape[0] > STARTS_MOST:
        return times, {}
    # each call of `at` asks for as many times as the limit has: its compiled program serves again
    count = int(np.clip(-(-LINE // (times.size - 1)), *PARTS))
    each = getattr(theory, "attributes", {}).get("seconds_again") or 0.0
    count = min(count, int(SECONDS / max(each, 1e-9)))
    if count < PARTS[0]:
        return times, {}
    pairs = itertools.pairwise(np.sort(times))
    steps = np.stack(
        [  # a logarithmic axis leaves out time zero, and no geometric sequence begins there
            (np.geomspace if logarithmic and a > 0 else np.linspace)(a, b, count, endpoint=False)
            for a, b in pairs
        ],
        axis=1,
    )
    try:
        parts = [theory.at(row) for row in steps]
    except ValueError:  # its code was edited meanwhile
        return times, {}
    dense = steps.T.ravel()
    lines: dict[str, Array] = {}
    for name in ("signal", "norms", *parts[0].parameters):
        rows = [
            part.parameters[name] if name in part.parameters else getattr(part, name)
            for part in parts
        ]
        mean = np.stack([np.asarray(row, np.float64).mean(axis=0) for row in rows], axis=1)
        labels = component_names(name, mean.shape[2:])
        lines |= dict(zip(labels, mean.reshape(dense.size, -1).T, strict=True))
    return dense, lines


def spans_decades(*arrays: Array) -> bool:
    """Whether positive numbers ask for a logarithmic axis."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    values = values[np.isfinite(values)]
    if values.size == 0 or values.min() <= 0:
        return False
    return bool(np.log10(values.max() / values.min()) > 1.5)


def series_handles(labels: Sequence[str]) -> list[Any]:
    """One legend entry per series."""
    point: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.6, "linewidth": 1.5}
    styles = [series_style(i) for i in range(len(labels))]
    return [
        Line2D([], [], color=style.colour, marker=style.marker, label=label, **point)
        for style, label in zip(styles, labels, strict=True)
    ]
