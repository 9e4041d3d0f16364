"""Check built pages: nothing is loaded from elsewhere, a keyboard and a screen reader find the way.

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
COLOUR = re.compile(r"(?<![\w-])(--[\w-]+|color|background(?:-color)?)\s*:\s*(#[0-9a-fA-F]{3,6})\b")
# Variables of the report's pages: text on paper.
READ = (
    ("ink", "paper"), ("ink", "card"), ("ink", "code"), ("soft", "paper"), ("soft", "code"),
    ("soft", "card"), ("link", "paper"), ("link", "card"), ("good", "good-paper"),
    ("bad", "bad-paper"),
)  # fmt: skip
LEAST = 4.5  # contrast of text, WCAG 2 level AA


class Page(HTMLParser):
    """What is wrong with one page, line by line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: Counter[str] = Counter()
        self.levels: list[int] = []
        self.language = ""
        self.open: list[list[str]] = []  # tag, place and what is spoken of links and buttons
        self.tables: list[Counter[str]] = []  # what the open tables hold
        self.reached: list[str] = []  # places of links and buttons, in the order of the tab key
        self.kinds: set[str] = set()  # classes of spans, such as those of highlighted code
        self.feed(text)
        self.problems += [f"id {name} stands twice" for name, n in self.ids.items() if n > 1]
        self.problems += [] if self.language else ["no language"]
        self.problems += faint(text)
        if self.levels and self.levels.count(1) != 1:  # the search writes its headings later
            self.problems.append(f"{self.levels.count(1)} main headings")
        for above, level in zip([0, *self.levels], self.levels, strict=False):
            if level > above + 1:
                self.problems.append(f"a heading of level {level} below one of level {above}")
        first = (self.reached or [""])[0]
        if not first.startswith("#") or first[1:] not in self.ids:
            self.problems.append(f"the tab key comes to {first or 'nothing'} before a skip link")

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
        elif tag == "aside" and "aria-label" not in values:
            self.problems.append("a column without a name")
        elif tag == "pre" and "tabindex" not in values:
            self.problems.append("code that the tab key does not reach")
        elif re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        elif tag == "span":
            self.kinds.update(values.get("class", "").split())
        self._table(tag, values)
        if values.get("role") == "heading" and "aria-level" not in values:
            self.problems.append("a heading by role without a level")
        if int(values.get("tabindex") or 0) > 0:
            self.problems.append(f"the tab key comes to a {tag} out of the order of reading")
        if tag in SPOKEN and "aria-hidden" not in values:
            place = values.get("href", values.get("class", ""))
            said = values.get("aria-label", "") or values.get("title", "")
            self.open.append([tag, place, said])
            if values.get("tabindex") != "-1" and (tag == "button" or "href" in values):
                self.reached.append(place)
        for _, alternative in [pair for pair in attributes if pair[0] in ("alt", "aria-label")]:
            self.handle_data(alternative or "")

    def _table(self, tag: str, values: dict[str, str]) -> None:
        """Count what tables hold; Markdown has no captions, and Sphinx's index is no table."""
        if tag == "table":
            kind = values.get("class", "")
            index = "indextable" in kind or kind == "domainindex-table"
            self.tables.append(Counter(caption=index or "docutils" in kind, th=index))
        elif self.tables and tag in ("caption", "th"):
            self.tables[-1][tag] += 1
            if tag == "th" and "scope" not in values:
                self.problems.append("a header cell without a scope")

    def handle_data(self, data: str) -> None:
        """Add the text to the links that are open."""
        for entry in self.open:
            entry[2] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        """See that a link or button says where it leads, and that a table has its heads."""
        if tag == "table" and self.tables:
            held = self.tables.pop()
            self.problems += [f"a table without a {part}" for part in ("th", "caption")
                              if not held[part]]  # fmt: skip
        if tag in SPOKEN and self.open and self.open[-1][0] == tag:
            _, place, said = self.open.pop()
            if place and not said:
                self.problems.append(f"no words for the {tag} {place}")


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb, WCAG 2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21, WCAG 2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def faint(text: str) -> list[str]:
    """Pairs of the colours that a page defines in `:root` which are hard to read."""
    colours = [dict(COLOUR.findall(block)) for block in re.findall(r":root\s*{([^}]*)}", text)]
    return [
        f"{ink} {block['--' + ink]} on {paper} {block['--' + paper]} is faint"
        for block in colours
        for ink, paper in READ
        if {f"--{ink}", f"--{paper}"} <= block.keys()
        and contrast(block[f"--{ink}"], block[f"--{paper}"]) < LEAST
    ]


def faint_code(css: str, kinds: set[str]) -> list[str]:
    """Colours of code, of the classes that occur, that are hard to read in light or dark."""
    paper, lines = "#ffffff", []
    for selector, block in re.findall(r"([^{}]+){([^}]*)}", css):
        colours = {("paper" if k[0] == "b" else k): v for k, v in COLOUR.findall(block)}
        if re.search(r"\.highlight\s*$", selector):
            paper = colours.get("paper", paper)
        name = selector.split(".")[-1].strip()
        seen = name in kinds - {"w"}  # blanks
        if (
            seen
            and "color" in colours
            and contrast(colours["color"], colours.get("paper", paper)) < LEAST
        ):
            lines.append(f"code .{name} {colours['color']} on {paper} is faint")
    return lines


def problems(root: Path) -> list[str]:
    """What is wrong with the pages below a folder, one line each."""
    paths = sorted(path for path in root.rglob("*.html") if "_modules" not in path.parts)
    pages = {path: Page(path.read_text("utf-8")) for path in paths}
    lines = [
        f"{path.relative_to(root)}: {x}" for path, page in pages.items() for x in page.problems
    ]
    for css in root.rglob("pygments.css"):
        kinds = set().union(*(page.kinds for page in pages.values()))
        lines += [
            f"{css.relative_to(root)}: {x}" for x in faint_code(css.read_text("utf-8"), kinds)
        ]
    return lines if pages else [f"{root}: no pages"]


if __name__ == "__main__":
    complaints = problems(Path(sys.argv[1]).resolve())
    print("\n".join(complaints) or "all pages are whole, and can be read aloud")
    sys.exit(bool(complaints))
