"""Runs the scripts of `docs/examples` when the pages are built and shows them with what they did.

    ```{example} NAME
    :figure: text for those who do not see the figure
    :caption: sentence below it
    :hide: code
    ```

shows the code of `examples/NAME.py`, what it printed and the figures it wrote into its working
folder, with the script and a notebook to download. `:hide:` leaves out any of "code", "output" and
"figure".
Scripts run in fresh processes, and again only when they or a package changed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import jupytext
from docstrings import PACKAGES
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import OptionSpec

logger = logging.getLogger(__name__)
DOCS = Path(__file__).parents[1]
SCRIPTS = DOCS / "examples"
RESULTS = DOCS / "_build" / "examples"
LIMIT = 600  # seconds for one script, on a busy machine


def _stamp(script: Path) -> str:
    digest = hashlib.sha256(script.read_bytes())
    for package in PACKAGES:
        for path in sorted((DOCS.parent / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(script: Path) -> str:
    """Run one script unless its result is there; return what went wrong."""
    folder, stamp = RESULTS / script.stem, _stamp(script)
    mark = folder / "stamp"
    if mark.exists() and mark.read_text() == stamp:
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "PYTHONWARNINGS": "error",
        "JAX_COMPILATION_CACHE_DIR": str(DOCS / "_build" / "compiled"),
    }
    try:
        done = subprocess.run(
            [sys.executable, str(script)], cwd=folder, env=environment, timeout=LIMIT,
            capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"longer than {LIMIT} seconds"
    if done.returncode:
        return done.stderr[-2000:]
    (folder / "output.txt").write_text(done.stdout, "utf-8")
    notebook = jupytext.reads(script.read_text("utf-8"), fmt="py:percent")
    jupytext.write(notebook, folder / f"{script.stem}.ipynb", fmt="ipynb")
    mark.write_text(stamp)
    return ""


def run_all(app: Sphinx) -> None:
    """Run all scripts, two at a time."""
    if app.builder.format != "html":
        return
    scripts = sorted(SCRIPTS.glob("*.py"))
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for script, error in zip(scripts, pool.map(_run, scripts), strict=True):
            if error:
                logger.warning("example %s failed: %s", script.name, error)


def _without_docstring(text: str) -> str:
    return text.split('"""', 2)[2].lstrip("\n") if text.startswith('"""') else text


def _hidden(argument: str) -> set[str]:
    return {directives.choice(word, ("code", "output", "figure")) for word in argument.split()}


class Example(SphinxDirective):
    """Code, output and figures of one script."""

    required_arguments = 1
    option_spec: ClassVar[OptionSpec] = {
        "figure": directives.unchanged_required,
        "caption": directives.unchanged_required,
        "hide": _hidden,
    }

    def run(self) -> list[nodes.Node]:
        """Return what is shown."""
        name = self.arguments[0]
        script, folder = SCRIPTS / f"{name}.py", RESULTS / name
        self.env.note_dependency(str(script))
        if not script.exists():
            raise self.error(f"There is no example {name!r}.")
        shown: list[nodes.Node] = []
        hidden, printed = self.options.get("hide", set()), folder / "output.txt"
        if "code" not in hidden:
            code = _without_docstring(script.read_text("utf-8"))
            shown.append(nodes.literal_block(code, code, language="python"))
            shown.append(self._downloads(name))
        if "output" not in hidden and printed.exists() and printed.stat().st_size:
            text = printed.read_text("utf-8").rstrip()
            shown.append(nodes.literal_block(text, text, language="text", classes=["printed"]))
        pictures = [] if "figure" in hidden else sorted(folder.glob("*.png"))
        if pictures and "figure" not in self.options:
            raise self.error(f"Example {name!r} makes a figure, which needs a `figure` text.")
        for picture in pictures:
            figure = nodes.figure("", nodes.image(uri=f"/_build/examples/{name}/{picture.name}",
                                                  alt=self.options["figure"]))  # fmt: skip
            if picture is pictures[-1] and "caption" in self.options:
                text, _ = self.state.inline_text(self.options["caption"], self.lineno)
                figure += nodes.caption("", "", *text)
            shown.append(figure)
        return shown

    def _downloads(self, name: str) -> nodes.container:
        files = {
            "script": f"/examples/{name}.py",
            "notebook": f"/_build/examples/{name}/{name}.ipynb",
        }
        line = nodes.paragraph()
        for i, (word, target) in enumerate(files.items()):
            line += [nodes.Text(" · ")] * bool(i) + [
                addnodes.download_reference(
                    "", word, reftarget=target, refdoc=self.env.docname, refdomain="", reftype=""
                )
            ]
        return nodes.container("", line, classes=["downloads"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("example", Example)
    app.connect("builder-inited", run_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
