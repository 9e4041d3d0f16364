"""Check built pages: every internal link leads somewhere, and nothing is loaded from elsewhere.

python docs/_ext/check_pages.py docs/_build/html
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
NAMED = {"canonical", "author", "license", "index", "search", "prev", "next"}


class Page(HTMLParser):
    """Anchors, links and loaded files of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect what a tag names and where it points."""
        found = {name: value or "" for name, value in attributes}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        for name in ("href", "src"):
            if name not in found:
                continue
            self.links.append(found[name])
            if (tag, name) in LOADED and found.get("rel", "") not in NAMED:
                self.loaded.append(found[name])


def problems(root: Path) -> list[str]:
    """What is wrong with the pages below a folder, one line each."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(root.rglob("*.html"))}
    found = [] if pages else [f"{root}: no pages"]
    for path, page in pages.items():
        place = path.relative_to(root)
        for address in page.loaded:
            if urlsplit(address).netloc:
                found.append(f"{place}: loads {address}")
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{place}: no file {link}")
            elif parts.fragment and target.suffix == ".html":
                anchors = pages[target].anchors if target in pages else set()
                if unquote(parts.fragment) not in anchors:
                    found.append(f"{place}: no anchor {link}")
    return found


if __name__ == "__main__":
    complaints = problems(Path(sys.argv[1]).resolve())
    print("\n".join(complaints) or "all internal links lead somewhere")
    sys.exit(bool(complaints))
