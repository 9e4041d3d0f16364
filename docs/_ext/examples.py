"""Shows the scripts of `docs/examples` with what they did, on pages and as cards.

    ```{example} NAME
    :figure: text for those who do not see the figure
    :caption: sentence below it
    :hide: code
    ```

shows the code of `examples/NAME.py`, what it printed and the figures it wrote into its working
folder, with the script and a notebook to download. `:hide:` leaves out any of "code", "output" and
"figure".

    ```{cards}
    NAME
    PACKAGE/CLAIM
    ```

shows one card for each script or recorded claim: its sentence, its figure or what it prints, and
where to find it.
"""

import json
from typing import Any, ClassVar

import jupytext
from docutils import nodes
from docutils.parsers.rst import directives
from example_runs import DOCS, RESULTS, SCRIPTS, run
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import OptionSpec

logger = logging.getLogger(__name__)


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


def _without_docstring(text: str) -> str:
    code = text.split('"""', 2)[2] if text.startswith('"""') else text
    return code.lstrip("\n").removeprefix("# %%\n")


def _hidden(argument: str) -> set[str]:
    return {directives.choice(word, ("code", "output", "figure")) for word in argument.split()}


class Example(SphinxDirective):
    """Code, output and figures of one script."""

    required_arguments = 1
    option_spec: ClassVar[OptionSpec] = {
        "figure": directives.unchanged_required,
        "caption": directives.unchanged_required,
        "hide": _hidden,
    }

    def run(self) -> list[nodes.Node]:
        """Return what is shown."""
        name = self.arguments[0]
        script, folder = SCRIPTS / f"{name}.py", RESULTS / name
        if not script.exists():
            raise self.error(f"There is no example {name!r}.")
        self.env.note_dependency(str(script))
        self.env.note_dependency(str(folder / "output.txt"))
        shown: list[nodes.Node] = []
        hidden, printed = self.options.get("hide", set()), folder / "output.txt"
        if not hidden & {"code", "figure"}:  # the place where a card leads
            label = f"example-{name}"
            shown.append(nodes.target("", "", ids=[label]))
            domain = self.env.domains.standard_domain
            domain.anonlabels[label] = self.env.docname, label
            domain.labels[label] = self.env.docname, label, name
        if "code" not in hidden:
            code = _without_docstring(script.read_text("utf-8"))
            shown.append(nodes.literal_block(code, code, language="python"))
            shown.append(_downloads(name, self.env.docname))
        if "output" not in hidden and printed.exists() and printed.stat().st_size:
            text = printed.read_text("utf-8").rstrip()
            shown.append(nodes.literal_block(text, text, language="text", classes=["printed"]))
        pictures = [] if "figure" in hidden else sorted(folder.glob("*.png"))
        if pictures and "figure" not in self.options:
            raise self.error(f"Example {name!r} makes a figure, which needs a `figure` text.")
        for picture in pictures:
            figure = nodes.figure("", nodes.image(uri=f"/_build/examples/{name}/{picture.name}",
                                                  alt=self.options["figure"]))  # fmt: skip
            if picture is pictures[-1] and "caption" in self.options:
                text, _ = self.state.inline_text(self.options["caption"], self.lineno)
                figure += nodes.caption("", "", *text)
            shown.append(figure)
        return shown


def _downloads(name: str, page: str) -> nodes.container:
    files = {"script": f"/examples/{name}.py", "notebook": f"/_build/examples/{name}/{name}.ipynb"}
    line = nodes.paragraph()
    for word, target in files.items():
        line += nodes.Text(" · " if len(line) else "")
        line += addnodes.download_reference(
            "", word, reftarget=target, refdoc=page, refdomain="", reftype=""
        )
    return nodes.container("", line, classes=["downloads"])


class Cards(SphinxDirective):
    """Cards of scripts and of recorded claims, in the order of the lines."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a list with one entry for each card."""
        return [nodes.bullet_list("", *map(self._card, self.content), classes=["cards"])]

    def _card(self, name: str) -> nodes.list_item:
        if "/" in name:
            record = CLAIMS[name]
            label, sentence = f"claim-{name.replace('/', '-')}", record["statement"]
            shown: nodes.Node = nodes.image(uri=f"/gallery/{record['figures'][0]['file']}", alt="")
            below: nodes.Node = nodes.paragraph("", "", nodes.literal("", name))
        else:
            label, sentence = f"example-{name}", (SCRIPTS / f"{name}.py").read_text("utf-8")
            sentence = sentence.split('"""')[1]
            self.env.note_dependency(str(RESULTS / name / "output.txt"))
            below = _downloads(name, self.env.docname)
            if pictures := sorted((RESULTS / name).glob("*.png")):
                shown = nodes.image(uri=f"/_build/examples/{name}/{pictures[0].name}", alt="")
            else:
                text = (RESULTS / name / "output.txt").read_text("utf-8").rstrip()
                shown = nodes.literal_block(text, text, language="text", classes=["printed"])
        title = addnodes.pending_xref(
            "", nodes.inline("", sentence), refdomain="std", reftype="ref", reftarget=label,
            refexplicit=True, refwarn=True, refdoc=self.env.docname,
        )  # fmt: skip
        return nodes.list_item("", nodes.paragraph("", "", title), shown, below)


CLAIMS = {
    record["id"]: record for record in json.loads((DOCS / "gallery/claims.json").read_text("utf-8"))
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("example", Example)
    app.add_directive("cards", Cards)
    app.connect("builder-inited", run_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
