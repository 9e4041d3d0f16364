"""Directives that show runs, records and tables; `_templates/shown.md.j2` lays them out.

    ```{example} NAME
    :figure: text for those who do not see the figure
    :caption: sentence below it
    :hide: code
    ```

shows the code of `examples/NAME.py`, what it printed and the figures it wrote into its working
folder, with the script and a notebook to download. `:hide:` leaves out any of "code", "output" and
"figure". `{cards}` shows one card for each line of its content, NAME of a script or PACKAGE/CLAIM.

`<!-- claims -->` and `<!-- inspection -->` become the records of `docs/gallery`, snapshots that
`make gallery` takes; `<!-- benchmarks -->` all files in `benchmarks/results`; `<!-- options -->`
the table of `learning_dynamics.model.options`. They bring headings, which directives cannot.
"""

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import benchmark_tables
import jupytext
from docutils import nodes
from docutils.parsers.rst import directives
from example_runs import DOCS, RESULTS, SCRIPTS, run
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import OptionSpec

from learning_dynamics.markup import duration, explained, number, shown, with_error
from learning_dynamics.model import options

logger = logging.getLogger(__name__)
Record = dict[str, Any]


def run_all(app: Sphinx) -> None:
    """Run the scripts whose results are missing, before any page is read."""
    if app.builder.format != "html":
        return
    for name, error in run(SCRIPTS.glob("*.py")).items():
        logger.warning("example %s.py failed: %s", name, error)
    for script in SCRIPTS.glob("*.py"):
        notebook = RESULTS / script.stem / f"{script.stem}.ipynb"
        if not notebook.exists():
            jupytext.write(jupytext.read(script, fmt="py:percent"), notebook, fmt="ipynb")


def _cell(value: Any) -> str:
    """One cell of a table: bars are escaped, powers of ten are not broken across lines."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    whole = isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**7)
    text = str(value) if whole else number(value, 3)
    return text.replace("|", r"\|").replace(" × 10", "\u00a0×\u00a010")


def _share(part: Any) -> str:
    """A relative error in per cent; a dash where it says nothing."""
    return f"{number(100 * part, 2)} %" if isinstance(part, float) and part < 1 else "–"


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _script(name: str) -> Record:
    """What a script says of itself, the line where its code begins, and what its run left."""
    lines = (SCRIPTS / f"{name}.py").read_text("utf-8").splitlines()
    folder = RESULTS / name
    return {
        "name": name,
        "sentence": lines[0].strip('"'),
        "begins": 4 if lines[2] == "# %%" else 3,
        "prints": (folder / "output.txt").exists() and (folder / "output.txt").stat().st_size > 0,
        "pictures": [path.name for path in sorted(folder.glob("*.png"))],
    }


def _measured() -> list[Record]:
    """What the benchmarks left: heading, environment and tables of each file."""
    files = sorted((DOCS.parent / "benchmarks/results").glob("*.json"))
    return [
        {
            "heading": benchmark_tables.SECTIONS[file.stem],
            "environment": (record := _read(file))["environment"],
            "tables": benchmark_tables.tables(file.stem, record),
        }
        for file in files
    ]


def _macros() -> Any:
    """The macros of the template over all that is recorded."""
    environment = Environment(
        loader=FileSystemLoader(DOCS / "_templates"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "cell": _cell, "share": _share,
        "number": number, "duration": duration, "script": _script,
        "plain": lambda text: re.sub(r"[\[\]\"`$\\]", "", text),
    }  # fmt: skip
    claims = _read(DOCS / "gallery/claims.json")
    return environment.get_template("shown.md.j2").make_module({
        "claim_records": claims,
        "claim_named": {record["id"]: record for record in claims},
        "inspected": _read(DOCS / "gallery/inspection/inspection.json"),
        "measured": _measured(),
        "with_error": with_error,
        "shown": shown,
        "explained": explained,
        "table_of_options": options.table(),
    })  # fmt: skip


def _hidden(argument: str) -> list[str]:
    return [directives.choice(word, ("code", "output", "figure")) for word in argument.split()]


class Shown(SphinxDirective):
    """The macro of the directive's name, as text of the page."""

    optional_arguments = 1
    has_content = True
    option_spec: ClassVar[OptionSpec] = {
        "figure": directives.unchanged_required,
        "caption": directives.unchanged_required,
        "hide": _hidden,
    }

    def run(self) -> list[nodes.Node]:
        """Return what is shown."""
        for name in (*self.arguments, *self.content):
            if "/" not in name:
                if not (SCRIPTS / f"{name}.py").exists():
                    raise self.error(f"There is no example {name!r}.")
                self.env.note_dependency(str(RESULTS / name / "output.txt"))
        given = {**self.options, "names": list(self.content), "name": "".join(self.arguments)}
        macro = getattr(_macros(), self.name)
        text = str(macro(**{name: given[name] for name in macro.arguments if name in given}))
        return self.parse_text_to_nodes(text)


def expand(app: Sphinx, document: str, source: list[str]) -> None:
    """Replace the lines that stand for records and tables in the text of a page."""
    for name in ("claims", "inspection", "benchmarks", "options"):
        if f"<!-- {name} -->" in source[0]:
            source[0] = source[0].replace(f"<!-- {name} -->", str(getattr(_macros(), name)()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives and the expansion."""
    app.add_directive("example", Shown)
    app.add_directive("cards", Shown)
    app.connect("source-read", expand)
    app.connect("builder-inited", run_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
