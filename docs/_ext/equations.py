"""Puts below each labelled equation the functions that compute it.

A public function names its equations in its docstring, as ``:eq:`eq:label```. That is the only
place where the pair is written down; the page gets the opposite link from here.
"""

from typing import Any

from docstrings import computed_by
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def _line(names: list[str]) -> nodes.container:
    paragraph = nodes.paragraph("", "computed by ")
    for i, name in enumerate(names):
        short = name.split(".", name.count(".") - (name.split(".")[-2][0].isupper()))[-1]
        link = addnodes.pending_xref(
            "", nodes.literal("", short), refdomain="py", reftype="obj", reftarget=name,
            refexplicit=True, refwarn=True,
        )  # fmt: skip
        paragraph += [nodes.Text(", ")] * bool(i) + [link]
    return nodes.container("", paragraph, classes=["computed-by"])


def add_names(app: Sphinx, doctree: nodes.document) -> None:
    """Append the functions to the equations of one page."""
    if app.env.docname.startswith("api/"):
        return
    for equation in list(doctree.findall(nodes.math_block)):
        names = app.env.computed_by.get(equation.get("label"))  # type: ignore[attr-defined]
        if names:
            line = _line(names)
            for link in line.findall(addnodes.pending_xref):
                link["refdoc"] = app.env.docname
            equation.parent.insert(equation.parent.index(equation) + 1, line)


def collect(app: Sphinx) -> None:
    """Read all docstrings once."""
    app.env.computed_by = computed_by()  # type: ignore[attr-defined]


def changed(app: Sphinx, env: Any, added: Any, old: Any, removed: Any) -> list[str]:
    """Read pages with equations again: docstrings may have changed."""
    return [page for page in env.found_docs if not page.startswith("api/")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the events."""
    app.connect("builder-inited", collect)
    app.connect("env-get-outdated", changed)
    app.connect("doctree-read", add_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
