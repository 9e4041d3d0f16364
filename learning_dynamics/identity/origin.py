"""Where code comes from: an installed package, counted by its version, or the user's own files."""

import importlib.metadata
import importlib.util
import sys
import sysconfig
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

__all__ = [
    "attribute",
    "installed",
    "installed_file",
    "label",
    "public_name",
    "qualified_name",
    "version_of",
]

_OUTSIDE = tuple(
    str(Path(path).resolve())
    for name, path in sysconfig.get_paths().items()
    if name in {"stdlib", "platstdlib", "purelib", "platlib"}
)
_HERE = __package__  # looks at code, and is no part of what it computes
_SCRIPT = ("__main__", "__mp_main__")
_found_installed: set[str] = set()


def label(module: str | None) -> str:
    """Name of a module, one for a script whether it runs by itself or in a worker process."""
    return "__main__" if module in _SCRIPT else module or ""


def attribute(thing: Any, name: str, default: Any = None) -> Any:
    """Attribute of an object whose own code may raise anything when it is asked for one."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


def qualified_name(thing: Any) -> str:
    """Name "module.name" of a function or class; a script counts as the module of its file."""
    if not isinstance(attribute(thing, "__qualname__"), str):
        thing = type(thing)
    module = attribute(thing, "__module__") or "builtins"
    if module in _SCRIPT:
        file = getattr(sys.modules[module], "__file__", None)
        module = Path(file).stem if file else "__main__"
    return f"{module}.{thing.__qualname__}"


@lru_cache(maxsize=4096)
def installed_file(file: str) -> bool:
    """Whether a file belongs to the standard library or an installed package."""
    if file.startswith("<frozen"):
        return True
    path = str(Path(file).resolve())
    return path.startswith(_OUTSIDE) or "site-packages" in path or "dist-packages" in path


@lru_cache(maxsize=8192)
def _installed_module(name: str, module: Any) -> bool:
    if name.split(".")[0] in sys.stdlib_module_names:
        return name not in _SCRIPT
    file = getattr(module, "__file__", None)
    if file is None:  # a namespace package, a notebook, or built in
        paths = list(getattr(module, "__path__", ()))
        return bool(paths) and all(installed_file(str(path)) for path in paths)
    return installed_file(file)


def installed(name: str | None) -> bool:
    """Whether the module of this name is part of the standard library or an installed package."""
    if not name or name in _SCRIPT:
        return False
    if name.split(".")[0] in sys.stdlib_module_names or name.startswith(_HERE):
        return True
    module = sys.modules.get(name)
    if module is None:  # a function may import it later, which must change nothing
        return _would_be_installed(name.split(".")[0])
    return _installed_module(name, module)


def _would_be_installed(top: str) -> bool:
    """Whether an import of a top-level module finds it in an installed package."""
    if top in sys.modules:
        return installed(top)
    if top not in _found_installed:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        files = [place for place in places if place]
        if not files or not all(map(installed_file, files)):
            return False  # asked again: a module of this name may be written meanwhile
        _found_installed.add(top)
    return True


def public_name(thing: Any) -> str | None:
    """Name under which an installed package has this very object; None if it has none."""
    module = attribute(thing, "__module__")
    name = attribute(thing, "__qualname__") or attribute(thing, "__name__")
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if not installed(module):
        return None
    place: Any = sys.modules.get(module)
    for part in name.split("."):
        place = attribute(place, "__dict__", {}).get(part)
    return f"{module}.{name}" if place is thing else None


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


@cache
def version_of(top: str) -> str:
    """Versions of the distributions that bring a top-level module; empty if there are none."""
    try:
        return importlib.metadata.version(top)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        if top in sys.stdlib_module_names:
            return ""
    names = sorted(set(_distributions().get(top, [])))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
