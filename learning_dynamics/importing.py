"""Python files of users that the command line imports."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["import_file"]


def import_file(argument: str, file: Path) -> ModuleType:
    """Import a file as the module of its name, which worker processes can import as well.

    Raises:
        ValueError: naming the argument, if there is no such file, or its name is taken or no name.
    """
    path = file.resolve()
    if not path.is_file() or path.suffix != ".py" or not path.stem.isidentifier():
        raise ValueError(f"{argument} must be a Python file with a name to import, but got {file}")
    sys.path.insert(0, str(path.parent))
    module = importlib.import_module(path.stem)
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise ValueError(f"{argument} must not have the name of another module, but got {file}")
    return module
