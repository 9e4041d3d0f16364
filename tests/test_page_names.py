"""Names of modules and functions on the written pages exist."""

import pydoc
import re
from pathlib import Path

import learning_dynamics as ld

PAGES = [*sorted((Path(__file__).parents[1] / "docs").glob("*.md"))]
PAGES += [Path(__file__).parents[1] / "README.md"]
# `search.relaxation.relaxation_path` stands for learning_dynamics.search...
INSIDE = re.compile(r"`((?:model|process|limit|search|evidence|hermite)\.[\w.]+)`")
# `ld.integrate` and `ld.integrate(...)`, in text and in code
OFFERED = re.compile(r"\bld\.(\w+)")


def test_names_inside_the_package_exist():
    for page in PAGES:
        for name in sorted(set(INSIDE.findall(page.read_text("utf-8")))):
            assert pydoc.locate(f"learning_dynamics.{name}"), f"{page.name} mentions {name}"


def test_names_of_ld_exist():
    for page in PAGES:
        for name in sorted(set(OFFERED.findall(page.read_text("utf-8")))):
            assert hasattr(ld, name), f"{page.name} mentions ld.{name}"


def test_every_offered_name_is_importable_and_listed():
    assert {name for name in dir(ld) if name != "__version__"} == set(ld.__all__)
    assert all(hasattr(ld, name) for name in ld.__all__)


def test_the_version_is_that_of_the_installed_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", ld.__version__)
