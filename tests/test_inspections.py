"""The sections of this project, through the entry points that pyproject.toml declares."""

import importlib
import tomllib
from pathlib import Path

from learning_dynamics.inspection import sections

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
MODULES = PROJECT["project"]["entry-points"][sections.GROUP]
IMPORTED = [importlib.import_module(module) for module in MODULES.values()]
REGISTERED = dict(sections._registry)
PAGE = (Path(__file__).parents[1] / "docs/inspect.md").read_text("utf-8")


def test_sections_are_registered_and_on_the_page_of_the_documentation():
    assert set(REGISTERED) >= {
        "data/covariance", "data/fourier", "data/gaussian", "diffusion/orders", "fourier/phases",
        "linear/finite-samples",
    }  # fmt: skip
    for id, section in REGISTERED.items():
        home = section.look.__module__
        assert any(home == module or home.startswith(f"{module}.") for module in MODULES.values())
        assert f"`{id}`" in PAGE


def test_shared_sections_know_no_model():
    for module in IMPORTED:
        name = module.__name__.split(".")[0]
        homes = {
            value.__module__ for value in vars(module).values() if hasattr(value, "__module__")
        }
        tops = {home.split(".")[0] for home in homes if home}
        models = {"linear_diffusion", "fourier_simplicity", "diffusion_theory"} - {name}
        assert not tops & models
