"""Public functions and classes of the packages, and the equations that their docstrings name."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

PACKAGES = ("learning_dynamics", "fourier_simplicity", "diffusion_theory", "linear_diffusion")
ROLE = re.compile(r":eq:`([^`]+)`")


def modules(package: str) -> Iterator[ModuleType]:
    """The package and its public modules, at any depth."""
    root = importlib.import_module(package)
    yield root
    for entry in pkgutil.walk_packages(root.__path__, f"{package}."):
        if "._" not in entry.name:
            yield importlib.import_module(entry.name)


def public_objects(package: str) -> dict[str, Any]:
    """Full name -> public functions and classes of a package, with the classes' own methods."""
    found = {}
    for module in modules(package):
        for name in getattr(module, "__all__", []):
            entry = getattr(module, name)
            if getattr(entry, "__module__", None) != module.__name__:
                continue  # offered here, at home elsewhere
            found[f"{module.__name__}.{name}"] = entry
            if inspect.isclass(entry):
                fields = getattr(entry, "__annotations__", {})  # a default may be a function
                found |= {
                    f"{module.__name__}.{name}.{method}": function
                    for method, function in list(vars(entry).items())
                    if not method.startswith("_")
                    and method not in fields
                    and inspect.isfunction(function)
                }
    return found


def equations_of(entry: Any) -> list[str]:
    """Labels that the docstring of a function or class links to."""
    return ROLE.findall(inspect.getdoc(entry) or "")


def computed_by() -> dict[str, list[str]]:
    """Label -> full names of the functions that compute the equation."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for name, entry in public_objects(package).items():
            for label in dict.fromkeys(equations_of(entry)):
                found.setdefault(label, []).append(name)
    return found
