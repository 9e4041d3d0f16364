"""What screen readers miss in the pages of Sphinx and its theme: mended when they are written.

Captions of the navigation are headings of a level, headings of tables are those of columns, and
the lines of a long signature are no list of definitions.
"""

from typing import Any

from sphinx.application import Sphinx

MENDED = {
    "furo_navigation_tree": {'role="heading"': 'role="heading" aria-level="2"'},
    "body": {
        '<th class="head">': '<th class="head" scope="col">',
        '<dl>\n<dd><em class="sig-param">': '<dl role="presentation">\n<dd><em class="sig-param">',
    },
}


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Replace the markup in one page."""
    for part, changes in MENDED.items():
        for before, after in changes.items():
            context[part] = (context.get(part) or "").replace(before, after)


def setup(app: Sphinx) -> dict[str, Any]:
    """Run after the theme, which has the default priority of 500."""
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
