"""Examples in docstrings run and print what they show."""

import doctest
import importlib
import importlib.util
import pkgutil
import sys
import types
from pathlib import Path

PACKAGES = ("learning_dynamics", "fourier_simplicity", "diffusion_theory", "linear_diffusion")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules():
    """Names of all modules whose source shows an example."""
    for package in PACKAGES:
        root = importlib.util.find_spec(package)
        yield package, root.origin
        for found in pkgutil.walk_packages(root.submodule_search_locations, package + "."):
            yield found.name, importlib.util.find_spec(found.name).origin


WITH_EXAMPLES = [name for name, path in modules() if ">>>" in Path(path).read_text("utf-8")]


def failures(names):
    """Module -> how many of its examples print something else, or that none was run."""
    found = {}
    for name in names:
        result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
        if result.failed or not result.attempted:
            found[name] = f"{result.failed} of {result.attempted} examples fail"
    return found


def test_examples_in_docstrings():
    assert len(WITH_EXAMPLES) >= 4
    assert failures(WITH_EXAMPLES) == {}


def test_a_wrong_example_is_found(monkeypatch, capsys):
    module = types.ModuleType("wrong", ">>> 1 + 1\n3\n")
    monkeypatch.setitem(sys.modules, "wrong", module)
    assert failures(["wrong"]) == {"wrong": "1 of 1 examples fail"}
    assert "Expected:" in capsys.readouterr().out


def test_the_checks_show_an_example_each():
    import learning_dynamics.testing as checks

    for name in checks.__all__:
        entry = getattr(checks, name)
        assert isinstance(entry, type) or ">>> " in entry.__doc__, name
