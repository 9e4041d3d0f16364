"""Comparisons as the last line of a notebook cell: a table of verdicts, and the figure."""

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where it is used: the command line must start fast
    from learning_dynamics.comparison import Comparison, Comparisons

__all__ = ["bundle"]

_HEAD = ("theory", "verdict", "largest residual", "accepted", "at", "allowed bias", "lost")
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
    place = ", ".join(f"{name} = {value}" for name, value in worst["at"].items())
    cells = [
        item.predicted.label, item.verdict, f"{abs(worst['residual']):.3g}",
        f"{item.critical:.3g}", place, item.predicted.bias_order, str(worst["lost_replicas"]),
    ]  # fmt: skip
    texts = [f"<td>{escape(cell)}</td>" for cell in cells]
    texts[1] = f'<td style="color:{_COLOUR[item.verdict]}"><b>{item.verdict}</b></td>'
    return "".join(texts)
