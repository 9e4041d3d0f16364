"""Mathematics as MathML, made when the pages are built: no script and nothing to load."""

from functools import cache
from html import escape
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


@cache
def _converter(macros: tuple[tuple[str, str], ...]) -> LatexToMathML:
    return LatexToMathML(macros=dict(macros))


def _convert(translator: HTML5Translator, node: nodes.Element, display: bool) -> str:
    latex = node.astext().strip()
    converter = _converter(tuple(translator.config.math_macros.items()))
    try:
        return converter.convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        logger.warning("cannot convert %r: %s", latex, error, location=node)
        return f"<code>{escape(latex)}</code>"


def visit_math(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula in a line of text."""
    formula = _convert(translator, node, display=False)
    after = escape(node.get("after", ""))
    translator.body.append(f'<span class="unbroken">{formula}{after}</span>' if after else formula)
    raise nodes.SkipNode


def keep_punctuation(app: Sphinx, doctree: nodes.document) -> None:
    """Give each formula the punctuation behind it, so that no line begins with a comma."""
    for node in list(doctree.findall(nodes.math)):
        following = node.next_node(descend=False, siblings=True)
        if isinstance(following, nodes.Text):
            rest = following.lstrip(",.;:)?!’”")
            node["after"] = following[: len(following) - len(rest)]
            siblings = following.parent.children  # `replace` would take an equal text before it
            place = next(i for i, sibling in enumerate(siblings) if sibling is following)
            following.parent[place] = nodes.Text(rest)


def visit_displaymath(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula on a line of its own, with its number."""
    body: Any = translator.body
    body.append(translator.starttag({}, "div", CLASS="equation"))  # the target has its id
    body.append(f'<div class="formula">{_convert(translator, node, display=True)}</div>')
    if node["number"]:
        number = get_node_equation_number(translator, node)
        body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        body.append("</span>")
    body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer "mathml"."""
    app.add_config_value("math_macros", {}, "html", types=frozenset({dict}))
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("doctree-read", keep_punctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
