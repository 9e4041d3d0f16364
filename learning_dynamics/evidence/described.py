"""What a figure shows, in words: for those who do not see it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["describe"]


def _plain(text: str) -> str:
    """Text of a label without the signs of mathematical type."""
    without = re.sub(r"\\(?:mathrm|mathbf|hat|bar|left|right|langle|rangle)\b|[${}]", "", text)
    return re.sub(r"\s+", " ", without.replace("\\", " ")).strip()


def _scaled(axes: Axes, axis: str) -> str:
    """Label of an axis, and its scale unless that is linear."""
    label, scale = getattr(axes, f"get_{axis}label")(), getattr(axes, f"get_{axis}scale")()
    words = {"log": " (logarithmic)", "symlog": " (logarithmic, with zero)"}
    return _plain(label) + words.get(scale, "") if label else ""


def _panel(axes: Axes) -> str:
    """Title and axes of one panel; empty where it has neither."""
    title = _plain(axes.get_title() or axes.get_title("left"))
    if not axes.axison:
        return title
    x, y = _scaled(axes, "x"), _scaled(axes, "y")
    plotted = f"{y} against {x}" if x and y else x or y
    return f"{title}: {plotted}" if title and plotted else title or plotted


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]


def describe(figure: Figure) -> str:
    """Number of panels, what each plots against what, and the entries of the legends.

    Args:
        figure: any; axes without data are left out.

    Returns:
        One or two sentences, such as "2 panels: overlap against time; residual against time.
        Legend: simulation, limit."
    """
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.has_data()]
    plotted = "; ".join(_distinct(_panel(axes) for axes in panels))
    count = {0: "No panel", 1: "One panel"}.get(len(panels), f"{len(panels)} panels")
    legends = [*figure.legends, *(axes.get_legend() for axes in panels)]
    entries = _distinct(
        _plain(text.get_text()) for legend in legends if legend for text in legend.get_texts()
    )
    sentence = f"{count}: {plotted}." if plotted else f"{count}."
    return f"{sentence} Legend: {', '.join(entries)}." if entries else sentence
