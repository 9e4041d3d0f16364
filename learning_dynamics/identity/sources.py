"""Source of the user's own modules that some modules import, directly or through others.

The walk by name cannot follow names that a program makes up while it runs. The source of every
module that could hold what it finds counts therefore as a whole, without comments and docstrings.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from learning_dynamics.identity.bytecode import all_code, code_digest, import_statements
from learning_dynamics.identity.origin import installed, installed_file
from learning_dynamics.identity.reach import absolute_name

__all__ = ["changed_on_disk", "sources"]

# assignments that say what is run, at the top of a file for `learning-dynamics sweep`
_OPTIONS = (
    "over", "fixed", "together", "batch_size", "attempts", "version", "units", "code",
)  # fmt: skip
_RUNS = re.compile(rb"__main__|^(%s)\b" % b"|".join(n.encode() for n in _OPTIONS), re.MULTILINE)
_DEFINITIONS = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Source:
    """Source of one module as it was when this process first looked at it.

    Attributes:
        spec: import specification of the module at that time; `importlib.reload` makes another.
        digest: hash of what counts.
        whole: code of the whole file.
        imports: names of the modules that it may import.
    """

    spec: Any
    digest: str
    whole: CodeType
    imports: tuple[str, ...]

    @cached_property
    def functions(self) -> frozenset[str]:
        """Hashes of all functions in the file."""
        return frozenset(code_digest(code) for code in all_code(self.whole))


_known: dict[str, Source] = {}


def sources(modules: Iterable[str]) -> dict[str, str]:
    """Module name -> hash of its source, for all of the user's own that are imported from these."""
    found: dict[str, str] = {}
    waiting = list(modules)
    known = set(waiting)
    while waiting:
        name = waiting.pop()
        source = _source(name)
        if source is None:
            continue
        found[name] = source.digest
        for other in source.imports:
            if other not in known:
                known.add(other)
                waiting.append(other)
    return found


def _source(name: str) -> Source | None:
    """The source of a module as it was imported; None unless it is a file of the user's own."""
    if not name or installed(name) or name.split(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return None
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    earlier = _known.get(name)
    if earlier is not None and earlier.spec is spec:
        return earlier
    file = _file(name, module)
    source = None if file is None else _read(name, module, spec, file)
    if source is not None:
        _known[name] = source
    return source


def _file(name: str, module: ModuleType | None) -> str | None:
    """File of a module of the user's own, found without importing anything."""
    if module is not None:
        file = getattr(module, "__file__", None)
    else:
        parent, _, last = name.rpartition(".")
        folders = _folders(parent) if parent else [path or "." for path in sys.path]
        places = (Path(f, last + e) for f in folders for e in ("/__init__.py", ".py"))
        file = next((str(place) for place in places if place.is_file()), None)
    return file if file and file.endswith(".py") and not installed_file(file) else None


def _folders(package: str) -> list[str]:
    """Where the modules of a package lie."""
    module = sys.modules.get(package)
    if module is not None:
        return [str(path) for path in getattr(module, "__path__", ())]
    file = _file(package, None)
    return [str(Path(file).parent)] if file and Path(file).name == "__init__.py" else []


def _read(name: str, module: ModuleType | None, spec: Any, file: str) -> Source | None:
    try:
        text = Path(file).read_bytes()
        code = whole = compile(text, file, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return None
    script = name in ("__main__", "__mp_main__")
    if script or _RUNS.search(text):
        tree = ast.parse(text)
        tree.body = [statement for statement in tree.body if _counts(statement, script)]
        code = compile(tree, file, "exec", dont_inherit=True)
    package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
    return Source(spec, code_digest(code), whole, tuple(_imports(code, package)))


def _counts(statement: ast.stmt, script: bool) -> bool:
    """Whether a statement at the top of a module is part of it, not of what is run with it.

    What the statements of a script leave behind counts by value where code refers to it.
    """
    if script:
        return isinstance(statement, _DEFINITIONS)
    if isinstance(statement, ast.If):
        return "'__main__'" not in ast.unparse(statement.test)
    if isinstance(statement, ast.Assign):
        names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
        return len(names) < len(statement.targets) or not names <= set(_OPTIONS)
    return True


def _imports(code: CodeType, package: str) -> Iterator[str]:
    namespace = {"__package__": package}
    for name, level, names in import_statements(code):
        base = absolute_name(name, level, namespace)
        if installed(base.split(".")[0]):
            continue
        parts = base.split(".")
        yield from (".".join(parts[: i + 1]) for i in range(len(parts)))
        yield from (f"{base}.{label}" for label in names)


def changed_on_disk(function: FunctionType) -> str | None:
    """Name of the module of a function whose file no longer holds its code; None if it does."""
    name = function.__globals__.get("__name__", "")
    source, module = _source(name), sys.modules.get(name)
    loader: Any = getattr(module, "__loader__", None)
    if source is None or type(loader) is not SourceFileLoader:
        return None  # another loader may rewrite what it loads
    if getattr(module, "__dict__", None) is not function.__globals__:
        return None
    if Path(function.__code__.co_filename).name != Path(source.whole.co_filename).name:
        return None  # made by another module
    if code_digest(function.__code__) in source.functions:
        return None
    # autoreload may have put the new code into the old functions, without a new import
    source = _read(name, module, source.spec, source.whole.co_filename)
    if source is None or code_digest(function.__code__) not in source.functions:
        return name
    _known[name] = source
    return None
