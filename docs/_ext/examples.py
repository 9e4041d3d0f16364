"""Runs the scripts of `docs/examples` when the pages are built and shows them with what they did.

    ```{example} NAME
    :figure: text for those who do not see the figure
    :caption: sentence below it
    :hide: code
    ```

shows the code of `examples/NAME.py`, what it printed and the figures it wrote into its working
folder, with the script and a notebook to download. `:hide:` leaves out any of "code", "output" and
"figure".
Scripts run while other pages are read (`example_runs`).
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import jupytext
from docutils import nodes
from docutils.parsers.rst import directives
from example_runs import RESULTS, SCRIPTS, folder_of, run
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import OptionSpec

logger = logging.getLogger(__name__)
# The longest run first, so that none of them is left over at the end.
LONG = ("time_to_recovery", "cubic_search", "parting_of_clones", "ten_lines", "best_rate")

_runs: dict[str, Future[str]] = {}
_again: set[str] = set()  # scripts without a result of this code


def _run(script: Path) -> str:
    error, folder = run(script), RESULTS / script.stem
    if not error:
        notebook = jupytext.reads(script.read_text("utf-8"), fmt="py:percent")
        jupytext.write(notebook, folder / f"{script.stem}.ipynb", fmt="ipynb")
    return error


def run_all(app: Sphinx) -> None:
    """Begin to run all scripts, one on each core; a page waits for those that it shows."""
    if app.builder.format != "html":
        return
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    scripts = sorted(SCRIPTS.glob("*.py"), key=lambda path: (path.stem not in LONG, path.stem))
    _again.update(script.name for script in scripts if folder_of(script) is None)
    _runs.update({script.stem: pool.submit(_run, script) for script in scripts})
    pool.shutdown(wait=False)


def pages_to_read_again(
    app: Sphinx,
    environment: BuildEnvironment,
    added: set[str],
    changed: set[str],
    removed: set[str],
) -> list[str]:
    """Pages that show a script which runs again."""
    return [
        page
        for page, paths in environment.dependencies.items()
        if _again & {Path(path).name for path in paths}
    ]


def wait_for_all(app: Sphinx, environment: BuildEnvironment) -> None:
    """Warn of every script that failed, once all pages are read."""
    for name, running in _runs.items():
        if error := running.result():
            logger.warning("example %s.py failed: %s", name, error)


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
        if name in _runs:
            _runs[name].result()
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
    app.connect("env-get-outdated", pages_to_read_again)
    app.connect("env-updated", wait_for_all)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
