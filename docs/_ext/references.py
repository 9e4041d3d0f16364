"""Names in docstrings become links where they name something of this project.

Docstrings speak of arguments, of other libraries and of functions by their short names. A short
name that belongs to exactly one documented object becomes a link to it; other names stay code. On
the written pages, and for full names of this project, a reference that leads nowhere is an error.
"""

import pydoc
from typing import Any

from docstrings import PACKAGES
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode


def resolve(
    app: Sphinx, env: Any, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Find a short name's home, accept foreign names, and leave the rest to the warning."""
    page, target = node.get("refdoc", ""), node.get("reftarget", "")
    if node.get("refdomain") != "py" or not page.startswith("api/"):
        return None
    objects = env.get_domain("py").objects
    homes = [name for name in objects if name == target or name.endswith(f".{target}")]
    documented = [name for name in homes if objects[name].objtype != "attribute"]
    if len(documented) == 1:
        home = objects[documented[0]]
        return make_refnode(app.builder, page, home.docname, home.node_id, content, target)
    if target.split(".")[0] in PACKAGES and "." in target and pydoc.locate(target) is None:
        return None  # a full name of ours that does not exist
    return content


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the resolver."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
