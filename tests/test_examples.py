"""Every example of the documentation runs, and what the pages print is what it prints."""

import re
import runpy
import sys
from pathlib import Path

import example_runs
import jax
import pytest

from learning_dynamics.report import claims

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))
# Run here where `make docs` left no result of the same code; the others take longer than 5 seconds.
SHORT = {
    "early_stopping", "generate_samples", "image_patches", "kl_of_a_linear_model",
    "own_comparison", "own_tests",
}  # fmt: skip
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _is_slow(example):
    return example.stem not in SHORT and example_runs.folder_of(example) is None


@pytest.mark.parametrize(
    "example",
    [pytest.param(p, marks=pytest.mark.slow) if _is_slow(p) else p for p in EXAMPLES],
    ids=[path.stem for path in EXAMPLES],
)
def test_example_runs_and_prints_what_the_pages_show(example, tmp_path, monkeypatch, capsys):
    folder = example_runs.folder_of(example)
    if folder:
        printed = (folder / "output.txt").read_text("utf-8")
        figures = [path for path in folder.iterdir() if path.suffix in (".pdf", ".png")]
    else:
        printed, figures = _run(example, tmp_path, monkeypatch, capsys)
    assert printed or figures
    assert all(figure.suffix in (".pdf", ".png") for figure in figures)
    assert all(figure.stat().st_size > 10_000 for figure in figures)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for shown in re.findall(rf"<!-- prints: {example.stem} -->\n```text\n(.*?)```", text, re.S):
            assert _same(shown, printed), f"{page.name} shows:\n{shown}\nprinted:\n{printed}"
        for code in re.findall(rf"<!-- code: {example.stem} -->\n```python\n(.*?)```", text, re.S):
            assert _statements(code) == _statements(example.read_text()), page.name


def _run(example, tmp_path, monkeypatch, capsys):
    """What a script prints, and what it writes into its working folder besides checkpoints."""
    monkeypatch.setattr(sys, "argv", [str(example)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(example.parent)
    monkeypatch.setattr(claims, "_registry", dict(claims._registry))  # a script may add a claim
    wide = jax.config.values["jax_enable_x64"]
    try:
        runpy.run_path(str(example), run_name="__main__")
    finally:
        jax.config.update("jax_enable_x64", wide)
    files = [path for path in tmp_path.iterdir() if path.suffix != ".npz"]  # no checkpoints
    return capsys.readouterr().out, files


def test_a_result_belongs_to_its_code(tmp_path, monkeypatch):
    """An edit of the script or of one that it imports asks for another run."""
    monkeypatch.setattr(example_runs, "RESULTS", tmp_path / "results")
    base, script = tmp_path / "base.py", tmp_path / "script.py"
    base.write_text("NUMBER = 1\n")
    script.write_text("from base import NUMBER\n\nprint(NUMBER)\n")
    assert example_runs.folder_of(script) is None
    assert example_runs.run([script]) == {}
    assert (example_runs.folder_of(script) / "output.txt").read_text() == "1\n"
    base.write_text("NUMBER = 2\n")
    assert example_runs.folder_of(script) is None
    base.write_text("1 / 0\n")
    assert "ZeroDivisionError" in example_runs.run([script])["script"]
    assert example_runs.folder_of(script) is None


def test_examples_are_short():
    lines = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES}
    assert {name: count for name, count in lines.items() if count >= 40} == {}


def test_figure_of_the_first_page_is_small():
    assert (ROOT / "docs/_static/ten_lines.png").stat().st_size < 200_000


def _same(shown, printed):
    """Equal words, and numbers equal to 5 %: machines differ in the last digits."""
    number = r"\d+\.\d+"
    return re.sub(number, "#", shown).split() == re.sub(number, "#", printed).split() and [
        float(n) for n in re.findall(number, shown)
    ] == pytest.approx([float(n) for n in re.findall(number, printed)], rel=0.05)


def _statements(text):
    """Lines of code without docstring, comments and blank lines."""
    code = re.sub(r'\A""".*?"""', "", text, flags=re.S)
    lines = (line.split("  #")[0].rstrip() for line in code.splitlines())
    return [line for line in lines if line and not line.lstrip().startswith("#")]
