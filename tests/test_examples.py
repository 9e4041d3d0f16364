"""Every example of the documentation runs, and what the pages print is what it prints."""

import re
import runpy
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))
LONG = {
    "committee_plateau",
    "cubic_search",
    "heavy_tails",
    "paper_figure",
    "parting_of_clones",
    "schedule_in_pieces",
    "search_rates",
    "ten_lines",
    "time_to_recovery",
}  # `make docs` runs them
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    "example",
    [pytest.param(p, marks=pytest.mark.slow) if p.stem in LONG else p for p in EXAMPLES],
    ids=[path.stem for path in EXAMPLES],
)
def test_example_runs_and_prints_what_the_pages_show(example, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(example)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(example.parent)
    wide = jax.config.values["jax_enable_x64"]
    try:
        runpy.run_path(str(example), run_name="__main__")
    finally:
        jax.config.update("jax_enable_x64", wide)
    printed = capsys.readouterr().out
    figures = list(tmp_path.iterdir())  # written into the working folder
    assert printed or figures
    assert all(figure.suffix in (".pdf", ".png") for figure in figures)
    assert all(figure.stat().st_size > 10_000 for figure in figures)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for shown in re.findall(rf"<!-- prints: {example.stem} -->\n```text\n(.*?)```", text, re.S):
            assert _same(shown, printed), f"{page.name} shows:\n{shown}\nprinted:\n{printed}"
        for code in re.findall(rf"<!-- code: {example.stem} -->\n```python\n(.*?)```", text, re.S):
            assert _statements(code) == _statements(example.read_text()), page.name


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short(example):
    assert len(example.read_text().splitlines()) < 40


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
