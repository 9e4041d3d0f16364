"""Docstrings are written to be read in the source; this makes them safe for the pages.

Formulas, which stand indented between blank lines, become literal blocks; bars, stars and trailing
underscores of mathematics lose their meaning as markup; types are shown by their short names; and a
package ends with what is imported from it.
"""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

SECTION = re.compile(
    r"^(Args|Arguments|Attributes|Example|Examples|Raises|Returns|Yields|Note|Notes):\s*$"
)
CODE = re.compile(r"(``[^`]+``|`[^`]+`|(?<![\w*])\*\w+\*(?![\w*]))")


def _escape(line: str) -> str:
    parts = CODE.split(line)
    for i in range(0, len(parts), 2):
        text = parts[i].replace("\\", r"\\")
        text = re.sub(r"([|*])", r"\\\1", text)
        parts[i] = re.sub(r"_(?=\W|$)", r"\\_", text)
    # a single letter with a full stop would begin an enumerated list
    return re.sub(r"(^\s*|^\s+\w+: )([A-Za-z])\.(?=\s|$)", r"\1\\\2.", "".join(parts))


def rewrite(lines: list[str]) -> list[str]:
    """Return the docstring's lines in markup that says what the source shows."""
    done: list[str] = []
    section, literal, formula = False, False, False
    for line in [*lines, ""]:
        indented = line.startswith(" ")
        if line and not indented:
            if formula and done[-1]:
                done.append("")
            # code of an example stays as it is
            section, literal = bool(SECTION.match(line)), line.startswith("Example")
            formula = False
        elif indented and not section and not literal:
            deep = line.startswith("    ")  # less is the second line of an entry in a list
            if not done or not done[-1] or deep:
                done += [""] * bool(done and done[-1]) + ["::", ""]
                literal = formula = True
        done.append(line if literal else _escape(line))
    return done[:-1]


def _offered(package: Any) -> list[str]:
    """What a package lists for import, with links to where it lives."""
    names = getattr(package, "__all__", [])
    homes = [getattr(getattr(package, n), "__module__", package.__name__) for n in names]
    links = [f":py:obj:`{n} <{home}.{n}>`" for n, home in zip(names, homes, strict=True)]
    return ["", f"Import from here: {', '.join(links)}.", ""] if links else []


def _process(app: Sphinx, kind: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    if lines and lines[0].startswith("Alias for field number"):  # of a NamedTuple
        lines.clear()
    if kind in ("attribute", "property") and lines:
        # napoleon takes what stands before a colon for the type
        lines[0] = lines[0].replace(": ", "; ")
    lines[:] = rewrite(lines)
    if kind == "module" and hasattr(found, "__path__"):
        lines += _offered(found)


ARRAY = re.compile(
    r"~?[\w.]*\bndarray\[tuple\[~?[\w.]*\bAny, \.\.\.\], ~?[\w.]*\bdtype\[~?[\w.]*?\b(\w+)\]\]"
)


ARRAY_LIKE = re.compile(r"~?[\w.]*\b_?Buffer \|.*?bytes \| str \| ~?[\w.]*Sequence\[[^\]]*str\]")
DTYPE_LIKE = re.compile(
    r"~?[\w.]*\b(str \| ~?[\w.]*)?type\[~?[\w.]*Any\] \|"
    r".*?(SupportsDType( \| None)?|_DTypeDict \| str)"
)
FUNCTION = re.compile(r"= <function .*?>(?=[,)])")


def _shorter(annotation: str) -> str:
    text = ARRAY.sub(r"NDArray[\1]", annotation)
    text = DTYPE_LIKE.sub("DTypeLike", ARRAY_LIKE.sub("ArrayLike", text))
    return FUNCTION.sub("= ...", text).replace("NDArray[_ScalarT]", "NDArray")


def _signature(
    app: Sphinx, kind: str, name: str, found: Any, options: Any, signature: str, returned: str
) -> tuple[str | None, str | None]:
    return signature and _shorter(signature), returned and _shorter(returned)


def _attributes(app: Sphinx, doctree: nodes.document, document: str) -> None:
    """Shorten the types of attributes, which have no signature."""
    for node in doctree.findall(addnodes.desc_annotation):
        short = _shorter(node.astext())
        if short != node.astext():
            node.clear()
            node += nodes.Text(short)


def setup(app: Sphinx) -> dict[str, Any]:
    """Run before napoleon, which has the default priority of 500."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-resolved", _attributes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
