"""Replaces `<!-- claims -->`, `<!-- inspection -->` and `<!-- benchmarks -->` by records.

The claims and the inspection are those of `docs/gallery`, snapshots that `make gallery` takes; the
benchmarks are all files in `benchmarks/results`. `records.md.j2` lays them out. `<!-- options -->`
becomes the table of `learning_dynamics.model.options`, which the tests check.
"""

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sphinx.application import Sphinx

from learning_dynamics.markup import duration, number, with_error
from learning_dynamics.model import options

DOCS = Path(__file__).parents[1]
Record = dict[str, Any]


def _cell(value: Any) -> str:
    """One cell of a table: bars are escaped, powers of ten are not broken across lines."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    whole = isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**7)
    text = str(value) if whole else number(value, 3)
    return text.replace("|", r"\|").replace(" × 10", "\u00a0×\u00a010")


def _columns(rows: list[Record]) -> list[str]:
    """Names of the columns that hold single values."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [n for n in names if not any(isinstance(row.get(n), dict | list) for row in rows)]


def _heading(name: str) -> str:
    unit = re.sub(r"_(seconds|s)$", " (s)", re.sub(r"_per_s$", " / s", name))
    return unit.replace("_", " ")


def _share(part: Any) -> str:
    """A relative error in per cent; a dash where it says nothing."""
    return f"{number(100 * part, 2)} %" if isinstance(part, float) and part < 1 else "–"


def _records() -> Any:
    """The macros of `records.md.j2` over all that is recorded."""

    def read(path: Path) -> Any:
        return json.loads(path.read_text("utf-8"))

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "cell": _cell, "columns": _columns, "heading": _heading, "share": _share,
        "number": number, "duration": duration,
        "plain": lambda text: re.sub(r"[\[\]\"`$\\]", "", text),
        "values_of": lambda row, names: [row.get(name) for name in names],
    }  # fmt: skip
    return environment.get_template("records.md.j2").make_module({
        "claim_records": read(DOCS / "gallery/claims.json"),
        "inspected": read(DOCS / "gallery/inspection/inspection.json"),
        "measured": map(read, sorted((DOCS.parent / "benchmarks/results").glob("*.json"))),
        "with_error": with_error,
    })  # fmt: skip


def expand(app: Sphinx, document: str, source: list[str]) -> None:
    """Expand the lines in the text of a page."""
    for mark in ("claims", "benchmarks", "inspection", "options"):
        if f"<!-- {mark} -->" in source[0]:
            text = options.table() if mark == "options" else getattr(_records(), mark)()
            source[0] = source[0].replace(f"<!-- {mark} -->", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the expansion."""
    app.connect("source-read", expand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
