"""Examples in docstrings run and print what they show."""

import doctest
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert found.attempted
    assert found.failed == 0


def test_the_checks_show_an_example_each():
    import learning_dynamics.testing as checks

    for name in checks.__all__:
        entry = getattr(checks, name)
        assert isinstance(entry, type) or ">>> " in entry.__doc__, name
