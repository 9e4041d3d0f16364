"""Python on the written pages: it runs, or says why not; and it calls what there is."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import diffusion_theory
import fourier_simplicity
import learning_dynamics as ld
from tests.learning_dynamics.kernel.linear_regression import Linear

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
BLOCK = re.compile(r"(?:<!-- not run: ([^\n]+) -->\n)?```python\n(.*?)```", re.S)
BLOCKS = [
    pytest.param(page, *match.groups(), id=f"{page.stem}-{number}")
    for page in PAGES
    for number, match in enumerate(BLOCK.finditer(page.read_text("utf-8")))
]


@ld.configuration
class _Regression(ld.InputModel):
    directions = 2

    def latents(self):
        return {"x": ld.Normal((2,))}

    def signal(self, latents):
        return latents["x"][None], latents["x"].sum()


def _short_run():
    """What `save_and_show.md` names: runs, limits and comparisons, all short."""
    problem = ld.Problem(_Regression(), Linear(), 0.2)
    start = ld.order_parameters(signal=[[0.2, 0.1]], norms=[[1.0]])
    run = {"dimension": 400, "times": [0.1, 0.2, 1.0], "replicas": 32, "start": start}
    seen = ld.simulate(problem, **run, level="overlaps", key=jax.random.key(1))
    limit = ld.integrate(problem, start=seen, finite_size=False)
    times = np.array([1.0, 2.0])
    return {
        "problem": problem, "key": jax.random.key(2), "seen": seen, "ambient": seen,
        "overlaps": seen, "limit": limit, "result": ld.compare(seen, limit),
        "values": np.exp(-times), "times": times, "np": np, "ld": ld,
    }  # fmt: skip


# What a page has made or imported before its first block.
BEFORE = {
    "diffusion_theory": lambda: dict(vars(diffusion_theory)),
    "fourier_simplicity": lambda: dict(vars(fourier_simplicity)),
    "save_and_show": _short_run,
}


LONG = {"save_and_show"}  # half a minute, of fluctuations and figures


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow) if p.stem in LONG else p for p in PAGES],
    ids=[page.stem for page in PAGES],
)
def test_blocks_run(page, tmp_path, monkeypatch):
    codes = [code for reason, code in BLOCK.findall(page.read_text("utf-8")) if not reason]
    if not codes:
        return
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem, **BEFORE.get(page.stem, dict)()}
    for code in codes:
        exec(compile(code, page.name, "exec"), names)
    for name, function in list(names.items()):
        if name.startswith("test_"):
            function()


@pytest.mark.parametrize(("page", "reason", "code"), BLOCKS)
def test_blocks_call_what_there_is(page, reason, code):
    """Imports succeed, and functions of this project take the keywords that they are given."""
    if code.startswith(">>>"):
        assert reason
        return
    tree = ast.parse(code)
    names = {"ld": ld, **vars(diffusion_theory), **vars(fourier_simplicity)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and "learning" in node.module:
            module = importlib.import_module(node.module)
            names |= {entry.name: getattr(module, entry.name) for entry in node.names}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        text = ast.unparse(call.func)
        function = names.get(text)
        if re.fullmatch(r"ld\.\w+", text):
            function = getattr(ld, text.removeprefix("ld."))
        if function is None:
            continue
        taken = inspect.signature(function).parameters
        free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        given = {keyword.arg for keyword in call.keywords if keyword.arg}
        assert free or given <= set(taken), f"{page.name}: {text} takes no {given - set(taken)}"
