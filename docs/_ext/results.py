"""Replaces `<!-- claims -->` by the recorded claims and `<!-- benchmarks -->` by the benchmarks.

`<!-- inspection -->` becomes the recorded inspection of the bundled photographs,
`<!-- options -->` becomes the table of `learning_dynamics.model.options`, which the tests check.

The claims are those of `docs/gallery`, a snapshot that `make gallery` takes of a report; the
benchmarks are all files in `benchmarks/results`.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from learning_dynamics.markup import duration, number, with_error
from learning_dynamics.model.options import table as options

DOCS = Path(__file__).parents[1]
GALLERY = DOCS / "gallery"
BENCHMARKS = DOCS.parent / "benchmarks" / "results"
Record = dict[str, Any]


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the heading. Powers of ten are not broken across lines."""
    cells = [[c.replace("|", r"\|").replace(" × 10", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10")
              for c in row] for row in rows]  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


# ------------------------------------------------------------------ claims


def claims() -> str:
    """The snapshot of a report as Markdown, one section for each claim."""
    records = json.loads((GALLERY / "claims.json").read_text("utf-8"))
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["package"], []).append(record)
    sections = [_overview(records)]
    for package, members in groups.items():
        sections += [f"## {package}", *(part for r in members for part in _claim(r))]
    return "\n\n".join(sections)


def _overview(records: list[Record]) -> str:
    rows = [["claim", "says", "verdict", "controls", "time"]]
    for r in records:
        control = "fail, as they must" if r["control_verdict"] == "fail" else "**pass**"
        link = f"[`{r['id']}`](#{_anchor(r['id'])})"
        rows.append([link, r["statement"], r["verdict"], control, duration(r["seconds"])])
    return table(rows)


def _anchor(id: str) -> str:
    return "claim-" + id.replace("/", "-")


def _claim(record: Record) -> Iterator[str]:
    yield f"({_anchor(record['id'])})=\n### `{record['id']}`"
    yield f"**{record['statement']}**"
    controls = (
        "controls fail, as they must"
        if record["control_verdict"] == "fail"
        else ("**a control passes**")
    )
    yield (
        f"Verdict: **{record['verdict']}**, {controls}. {duration(record['seconds'])} on "
        f"{record['versions']['device']}, {record['size']} size, {record['date'][:10]}. "
        f"Source: {record['source']}."
    )
    for figure in record["figures"]:
        yield _figure(figure)
    yield _comparisons(record)
    for note in record["notes"]:
        yield f"* {note}"
    yield f"```console\n$ learning-dynamics report {record['id']} --size {record['size']}\n```"


def inspection() -> str:
    """The snapshot of an inspection as Markdown, one section for each of its own."""
    found = json.loads((GALLERY / "inspection" / "inspection.json").read_text("utf-8"))
    parts = [f"**{found['name']}**", *(f"* {note}" for note in found["notes"])]
    for record in found["sections"]:
        parts += [f"## {record['title']}"]
        verdict = record["verdict"] or "measured"
        parts += [f"`{record['id']}`: **{verdict}**, {duration(record['seconds'])}."]
        if record["numbers"]:
            rows = [["number", "value", "meaning"]]
            for entry in record["numbers"]:
                value, error = entry["value"], entry["error"]
                text = number(value) if error is None else with_error(value, error)
                rows.append([entry["name"], text, entry["meaning"]])
            parts.append(table(rows))
        parts += [_figure(figure, "inspection/") for figure in record["figures"]]
        for each in record["tables"]:
            parts += [f"**{each['title']}**", table([each["columns"], *each["rows"]])]
        compared = record["comparisons"] + record["unclaimed"]
        if compared:
            claimed = {c["name"] for c in record["comparisons"]}
            shown = [
                c if c["name"] in claimed else {**c, "verdict": "not claimed here"}
                for c in compared
            ]
            parts.append(_comparisons({"comparisons": shown, "controls": []}))
        reasons = dict.fromkeys(entry["reason"] for entry in record["unclaimed"])
        parts += [f"Not claimed: {reason}" for reason in reasons]
        parts += [f"* {note}" for note in record["notes"]]
    return "\n\n".join(parts)


def _figure(figure: Record, below: str = "") -> str:
    alt = re.sub(r"[\[\]\"`$\\]", "", figure["caption"])
    return (
        f"```{{figure}} /gallery/{below}{figure['file']}\n:alt: {alt}\n\n{figure['caption']}\n```"
    )


def _comparisons(record: Record) -> str:
    rows = [["at its worst point", "measured", "predicted", "residual", "accepted", "catches"]]
    rows[0].append("verdict")
    for kind in ("comparisons", "controls"):
        for c in record[kind]:
            name = c["name"] if kind == "comparisons" else f"control: {c['name']}"
            rows.append(
                [
                    f"{name}, {c['quantity']}",
                    with_error(c["measured"], c["standard_error"]),
                    number(c["predicted"]),
                    number(c["residual"], 2),
                    number(c["critical"], 2),
                    _share(c.get("catches")),
                    c["verdict"],
                ]
            )
    return table(rows)


def _share(part: Any) -> str:
    """A relative error in per cent; a dash where it says nothing."""
    return f"{number(100 * part, 2)} %" if isinstance(part, float) and part < 1 else "–"


# ------------------------------------------------------------------ benchmarks


def benchmarks() -> str:
    """All benchmark results as Markdown: what was measured, and on which machine."""
    return "\n\n".join(_benchmark(path) for path in sorted(BENCHMARKS.glob("*.json")))


def _benchmark(path: Path) -> str:
    found = json.loads(path.read_text("utf-8"))
    machine = found["environment"]
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items() if v)
    parts = [
        f"## `{found['name']}`",
        f"{machine['processor']}, {machine['cores']} cores, device {machine['device']}, "
        f"{machine['date'][:10]}; {versions}.",
    ]
    for key, rows in found.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            parts += [f"**{key.replace('_', ' ')}**"] * (key != "rows") + [_rows(rows)]
    return "\n\n".join(parts)


def _rows(rows: list[Record]) -> str:
    """A table of the columns that hold single values."""
    names = dict.fromkeys(name for row in rows for name in row)
    shown = [n for n in names if not any(isinstance(row.get(n), dict | list) for row in rows)]
    heading = [_heading(name) for name in shown]
    cells = [[_cell(row.get(name)) for name in shown] for row in rows]
    return table([heading, *cells])


def _heading(name: str) -> str:
    unit = re.sub(r"_(seconds|s)$", " (s)", re.sub(r"_per_s$", " / s", name))
    return unit.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**7):
        return str(value)
    return number(value, 3)


def expand(app: Sphinx, document: str, source: list[str]) -> None:
    """Expand the lines in the text of a page."""
    made: dict[str, Callable[[], str]] = {
        "claims": claims, "benchmarks": benchmarks, "inspection": inspection, "options": options,
    }  # fmt: skip
    for mark, make in ((f"<!-- {name} -->", function) for name, function in made.items()):
        if mark in source[0]:
            source[0] = source[0].replace(mark, make())


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the expansion."""
    app.connect("source-read", expand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
