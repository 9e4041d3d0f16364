"""Comparisons as text, and as the last line of a notebook cell: a table of verdicts, the figure."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from learning_dynamics import short_text

if TYPE_CHECKING:  # imported where it is used: the command line must start fast
    from learning_dynamics.evidence.comparison import Comparison, Comparisons

__all__ = ["WEAK", "about_comparison", "about_comparisons", "bundle", "percent"]

_HEAD = (
    "theory", "verdict", "largest residual", "accepted", "at", "catches", "allowed bias", "lost",
)  # fmt: skip
WEAK = 0.1  # relative error of the theory above which a pass says little when it is not caught
_COLOUR = {"pass": "#00805A", "fail": "#C1440E"}


def bundle(result: "Comparison | Comparisons", items: "Sequence[Comparison]") -> dict[str, Any]:
    """Text, table and picture of comparisons, by kind of content.

    Without picture where there are no one or two coordinates to draw along.
    """
    shown: dict[str, Any] = {"text/plain": repr(result)}
    table = _table(items)
    if len(items[0].measured.coordinates) in (1, 2):
        figure: Any = result.plot()
        shown["image/png"] = picture = figure._repr_png_()
        text = base64.b64encode(picture).decode("ascii")
        width = int(figure.get_figwidth() * figure.dpi)
        table += f'<img width="{width}" alt="figure" src="data:image/png;base64,{text}">'
    shown["text/html"] = table
    return shown


def _table(items: "Sequence[Comparison]") -> str:
    measured = items[0].measured
    title = f"{items[0].name}: {measured.label}, {measured.replicas} replicas"
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    rows = "".join(f"<tr>{_row(item)}</tr>" for item in items)
    return f"<table><caption>{escape(title)}</caption><tr>{head}</tr>{rows}</table>"


def _row(item: "Comparison") -> str:
    worst = item.summary()
    cells = [
        item.predicted.label, item.verdict, f"{abs(worst['residual']):.3g}",
        f"{item.critical:.3g}", _place(worst["at"]), percent(item.catches),
        item.predicted.bias_order, str(worst["lost_replicas"]),
    ]  # fmt: skip
    texts = [f"<td>{escape(cell)}</td>" for cell in cells]
    texts[1] = f'<td style="color:{_COLOUR[item.verdict]}"><b>{item.verdict}</b></td>'
    return "".join(texts)


def about_comparison(item: "Comparison") -> tuple[str, short_text.Rows]:
    """Headline and rows of the representation of a comparison."""
    size, lost = abs(float(item.residual[item.worst])), int(np.max(item.measured.lost))
    place = _place(item.summary()["at"])
    return f"{item.name}: {item.verdict}" if item.name else item.verdict, {
        "measured": f"{item.measured.label}, {item.measured.replicas} replicas",
        "predicted": item.predicted.label,
        "allowed bias": item.predicted.bias_order,
        "points": f"{item.measured.values.size}, quantity: {item.quantity}",
        "residual": _residual(size, item.critical, place),
        "catches": power(item),
        "lost": f"up to {lost} replicas" if lost else "",
    }


def _residual(size: float, critical: float, place: str) -> str:
    if size == 0:
        return f"0 of {critical:.3g} accepted: all within the allowed bias"
    return f"at most {size:.3g} of {critical:.3g} accepted, at {place}"


def about_comparisons(result: "Comparisons") -> tuple[str, short_text.Rows]:
    """Headline and rows of the representation of several comparisons of one measurement."""
    items = result.items
    first = items[0].measured
    rows = {"measured": f"{first.label}, {first.replicas} replicas"}
    for i, item in enumerate(items[:9], 1):
        size = abs(float(item.residual[item.worst]))
        rows[f"theory {i}"] = (
            f"{item.verdict}: {item.predicted.label}, residuals at most {size:.3g} of "
            f"{item.critical:.3g} accepted, catches {percent(item.catches)}"
        )
    more = len(items) - 9
    if more > 0:
        rows["more"] = f"{more}, of which {sum(i.verdict == 'fail' for i in items[9:])} fail"
    name = items[0].name
    return f"{name}: {result.verdict}" if name else result.verdict, rows


def percent(share: float) -> str:
    """A relative error as text."""
    if not np.isfinite(share):
        return "nothing"
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def power(item: "Comparison") -> str:
    """Which theories a comparison tells from the right one, and what limits it."""
    if not np.isfinite(item.catches):
        return "" if item.predicted.values.any() else "no relative error: the prediction is zero"
    told = f"a theory that is off by {percent(item.catches)} everywhere"
    if item.catches <= WEAK:
        return told
    kinds = {
        "standard": np.hypot(item.measured.standard_error, item.measured.rounding),
        "numerical": item.predicted.numerical_error,
    }
    sizes = {kind: float(np.median(error)) for kind, error in kinds.items()}
    bias = float(np.median(item.predicted.bias))
    largest = max(sizes, key=lambda kind: sizes[kind])
    what = "allowed bias" if bias > item.critical * sizes[largest] else f"{largest} error"
    return f"{told}: weak, because of the {what}"


def _place(at: Mapping[str, Any]) -> str:
    """Coordinates of a point as text."""
    return ", ".join(
        f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in at.items()
    )
