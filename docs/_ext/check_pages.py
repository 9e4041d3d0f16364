"""Check built pages: nothing is loaded from elsewhere, and a screen reader finds its way.

python docs/_ext/check_pages.py docs/_build/html

Links are checked by sphinx while it builds.
"""

import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
NAMED = {"canonical", "author", "license", "index", "search", "prev", "next"}
SPOKEN = ("a", "button")


class Page(HTMLParser):
    """What is wrong with one page, line by line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: Counter[str] = Counter()
        self.levels: list[int] = []
        self.language = ""
        self.open: list[list[str]] = []  # tag, place and what is spoken of links and buttons
        self.feed(text)
        self.problems += [f"id {name} stands twice" for name, n in self.ids.items() if n > 1]
        self.problems += [] if self.language else ["no language"]
        if self.levels and self.levels.count(1) != 1:  # the search writes its headings later
            self.problems.append(f"{self.levels.count(1)} main headings")
        for above, level in zip([0, *self.levels], self.levels, strict=False):
            if level > above + 1:
                self.problems.append(f"a heading of level {level} below one of level {above}")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        values = {name: value or "" for name, value in attributes}
        self.ids.update([values["id"]] if "id" in values else [])
        for name in ("href", "src"):
            foreign = (tag, name) in LOADED and urlsplit(values.get(name, "")).netloc
            if foreign and values.get("rel", "") not in NAMED:
                self.problems.append(f"loads {values[name]}")
        if tag == "html":
            self.language = values.get("lang", "")
        elif tag == "img" and "alt" not in values:
            self.problems.append(f"no words for the image {values.get('src')}")
        elif tag == "input" and values.get("type") != "hidden" and "aria-label" not in values:
            self.problems.append(f"no label of the input {values.get('name')}")
        elif re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag in SPOKEN and "aria-hidden" not in values:
            place = values.get("href", values.get("class", ""))
            said = values.get("aria-label", "") or values.get("title", "")
            self.open.append([tag, place, said])
        for _, alternative in [pair for pair in attributes if pair[0] in ("alt", "aria-label")]:
            self.handle_data(alternative or "")

    def handle_data(self, data: str) -> None:
        """Add the text to the links that are open."""
        for entry in self.open:
            entry[2] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        """See that a link or button says where it leads."""
        if tag in SPOKEN and self.open and self.open[-1][0] == tag:
            _, place, said = self.open.pop()
            if place and not said:
                self.problems.append(f"no words for the {tag} {place}")


def problems(root: Path) -> list[str]:
    """What is wrong with the pages below a folder, one line each."""
    paths = sorted(path for path in root.rglob("*.html") if "_modules" not in path.parts)
    pages = {path: Page(path.read_text("utf-8")) for path in paths}
    lines = [
        f"{path.relative_to(root)}: {x}" for path, page in pages.items() for x in page.problems
    ]
    return lines if pages else [f"{root}: no pages"]


if __name__ == "__main__":
    complaints = problems(Path(sys.argv[1]).resolve())
    print("\n".join(complaints) or "all pages are whole, and can be read aloud")
    sys.exit(bool(complaints))
