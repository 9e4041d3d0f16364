"""What screen readers miss in the pages of Sphinx and its theme: mended when they are written.

Captions of the navigation are headings of a level, headings of tables are those of columns, the
lines of a long signature are no list of definitions, the tab key comes to code that may have to be
scrolled, and both columns beside the text have a name.
"""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MENDED = {
    "furo_navigation_tree": {'role="heading"': 'role="heading" aria-level="2"'},
    "body": {
        '<th class="head">': '<th class="head" scope="col">',
        "<pre>": '<pre tabindex="0">',
        '<dl>\n<dd><em class="sig-param">': '<dl role="presentation">\n<dd><em class="sig-param">',
    },
}


COLUMNS = {  # of the frame of the theme
    "sidebar-drawer": "All pages",
    "toc-drawer": "On this page",
    "toc-drawer no-toc": "On this page",
}


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Replace the markup in one page."""
    for part, changes in MENDED.items():
        for before, after in changes.items():
            context[part] = (context.get(part) or "").replace(before, after)


def name_columns(app: Sphinx, error: Exception | None) -> None:
    """Name the columns beside the text in all pages."""
    for page in Path(app.outdir).rglob("*.html"):
        text = before = page.read_text()
        for column, name in COLUMNS.items():
            named = f'<aside class="{column}" aria-label="{name}">'
            text = text.replace(f'<aside class="{column}">', named)
        if text != before:
            page.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Run after the theme, which has the default priority of 500."""
    app.connect("html-page-context", mend, priority=900)
    app.connect("build-finished", name_columns)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
