"""Replaces the line `<!-- modules of PACKAGE -->` by one section for each of its public modules.

`<!-- modules of PACKAGE except ONE TWO -->` leaves subpackages to other pages.
"""

import re
from types import ModuleType
from typing import Any

from docstrings import modules
from sphinx.application import Sphinx

LINE = re.compile(r"^<!-- modules of ([\w.]+)(?: except ([\w. ]+))? -->$", re.MULTILINE)


def _section(module: ModuleType) -> str:
    """Heading and autodoc of one module; a package lists what it offers, with links."""
    name, offered = module.__name__, ""
    options = "   :no-members:\n" if hasattr(module, "__path__") else ""
    if options:
        links = []
        for entry in getattr(module, "__all__", []):
            home = getattr(getattr(module, entry), "__module__", None)
            links.append(f"{{py:obj}}`{entry} <{home or name}.{entry}>`")
        offered = f"Import from here: {', '.join(links)}.\n" if links else ""
    return f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n{options}```\n\n{offered}"


def expand(app: Sphinx, document: str, source: list[str]) -> None:
    """Expand the line in the text of a page."""

    def sections(match: re.Match[str]) -> str:
        return "\n".join(map(_section, modules(match[1], (match[2] or "").split())))

    source[0] = LINE.sub(sections, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the expansion."""
    app.connect("source-read", expand)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
