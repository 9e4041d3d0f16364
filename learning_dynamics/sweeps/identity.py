"""What a result depends on, as text: values, and the code of functions reachable by name.

A cell of a sweep is named by a hash of this text. Values must be reproducible from it: a function
without a name, an open file or an object of unknown type is refused.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType, ModuleType, UnionType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.validation import reject

__all__ = ["Code", "code_of", "describe", "digest", "qualified_name"]

LARGEST = 2**20  # bytes of an array that still may be part of a key
_OUTSIDE = tuple(
    str(Path(path).resolve())
    for name, path in sysconfig.get_paths().items()
    if name in {"stdlib", "platstdlib", "purelib", "platlib"}
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def digest(*texts: str) -> str:
    """Hexadecimal hash of texts, 128 bits."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def qualified_name(function: Any) -> str:
    """Name "module.name" of a function or class; a script counts as the module of its file."""
    module = function.__module__
    if module in ("__main__", "__mp_main__"):
        file = getattr(sys.modules[module], "__file__", None)
        module = Path(file).stem if file else "__main__"
    return f"{module}.{function.__qualname__}"


def describe(argument: str, value: Any, *, largest: float = LARGEST) -> str:
    """Text shared by values that no result can tell apart, the same in every process.

    Args:
        argument: name for error messages.
        value: number, text, small array, random key, named function, frozen dataclass, or tuples,
            lists, sets and mappings of such.
        largest: bytes of the largest array.

    Raises:
        ValueError: on anything else, naming `argument`.
    """
    if isinstance(value, enum.Enum):
        return f"{qualified_name(type(value))}.{value.name}"
    if value is None or isinstance(value, bool | int | bytes):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, str):
        return f"str:{str(value)!r}"
    if isinstance(value, float):
        return f"float:{float(value).hex()}"
    if isinstance(value, complex):
        return f"complex:{value.real.hex()},{value.imag.hex()}"
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _array(argument, value, largest)
    if isinstance(value, np.dtype | range | slice | PurePath | UnionType):
        return f"{type(value).__name__}:{value!s}"
    if isinstance(value, re.Pattern):
        return f"pattern:{value.pattern!r}:{value.flags}"
    if isinstance(value, functools.partial):
        inner = (value.func, value.args, dict(value.keywords))
        return f"partial{describe(argument, inner, largest=largest)}"
    if isinstance(value, Mapping):
        pairs = sorted(
            (
                describe(argument, k, largest=largest),
                describe(f"{argument}[{k!r}]", v, largest=largest),
            )
            for k, v in value.items()
        )
        return "{" + ",".join(f"{k}={v}" for k, v in pairs) + "}"
    if isinstance(value, tuple | list):
        name = type(value).__name__
        parts = [describe(f"{argument}[{i}]", v, largest=largest) for i, v in enumerate(value)]
        return f"{name}({','.join(parts)})"
    if isinstance(value, set | frozenset):
        return f"set({','.join(sorted(describe(argument, v, largest=largest) for v in value))})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(argument, value, largest)
    if isinstance(value, type) or callable(value):
        return _named(argument, value)
    raise reject(
        argument,
        "be a number, text, a small array, a named function, a frozen dataclass, or tuples, lists "
        "and mappings of them, so that it can be told apart from another one",
        f"an object of type {type(value).__module__}.{type(value).__qualname__}",
    )


def _array(argument: str, value: Any, largest: float) -> str:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(value))
        return f"key:{jax.random.key_impl(value)}:{data.tolist()}"
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise reject(argument, "hold no Python objects", f"an array of type {array.dtype}")
    if array.nbytes > largest:
        raise reject(
            argument,
            f"be small enough for a key, at most {int(largest):,} bytes (make large data inside "
            "the measure, from a seed or a path)",
            f"an array of {array.nbytes:,} bytes",
        )
    if not array.shape and array.dtype.kind not in "USV":
        return f"array:{array.dtype.str}:{array.tobytes().hex()}"
    sha = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"array:{array.dtype.str}{array.shape}:{sha}"


def _dataclass(argument: str, value: Any, largest: float) -> str:
    cls = type(value)
    if "<locals>" in cls.__qualname__:
        raise reject(argument, "be of a class defined at the top of a module", cls.__qualname__)
    parts = []
    for name in (field.name for field in dataclasses.fields(value)):
        text = describe(f"{argument}.{name}", getattr(value, name), largest=largest)
        parts.append(f"{name}={text}")
    return f"{qualified_name(cls)}#{code_of(cls).digest}({','.join(parts)})"


def _named(argument: str, value: Any) -> str:
    if isinstance(value, MethodType):
        return f"{_named(argument, value.__func__)} of {describe(argument, value.__self__)}"
    name = getattr(value, "__qualname__", None)
    if name is None or "<lambda>" in name or "<locals>" in name:
        raise reject(
            argument,
            "be a function or class with a name at the top of a module, or an object that is no "
            "function",
            f"{_ADDRESS.sub('', repr(value))}",
        )
    return f"{qualified_name(value)}#{code_of(value).digest}"


@dataclasses.dataclass(frozen=True)
class Code:
    """Identity of a function's code.

    Attributes:
        name: qualified name.
        digest: hash of everything in `covers`.
        covers: functions, classes and global constants reachable from it by name that live
            outside the standard library and the installed packages.
        modules: top-level names of the packages it refers to.
        uncovered: global names that hold something without a reproducible description.
    """

    name: str
    digest: str
    covers: tuple[str, ...]
    modules: tuple[str, ...]
    uncovered: tuple[str, ...]


def code_of(function: Any) -> Code:
    """Identity of the code of a function, class or callable object.

    Followed are the bytecode, closures and defaults of the function, and what its code refers to
    by global name or as an attribute of a module: functions and classes with their methods, and
    constants, as long as they are not part of an installed package (those count by version). Not
    followed: calls through objects whose class is not reachable by name, files, environment
    variables, lists and dictionaries whose name starts with an underscore (caches).
    """
    try:
        return _code_of_hashable(function)
    except TypeError:  # an unhashable callable object
        return _walk(function)


@functools.lru_cache(maxsize=256)
def _code_of_hashable(function: Any) -> Code:
    return _walk(function)


def _walk(function: Any) -> Code:
    walk = _Walk()
    bare = _unwrapped(function)
    walk.visit(bare)
    entries = sorted(walk.entries.items())
    name = getattr(bare, "__qualname__", None)
    return Code(
        qualified_name(bare) if name else qualified_name(type(bare)),
        digest(*(f"{key}={text}" for key, text in entries)),
        tuple(key for key, _ in entries),
        tuple(sorted(walk.modules)),
        tuple(sorted(walk.uncovered)),
    )


def _unwrapped(function: Any) -> Any:
    while not isinstance(function, FunctionType | type):
        if isinstance(function, functools.partial):
            return function
        inner = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        if inner is None:
            return function
        function = inner
    return inspect.unwrap(function) if isinstance(function, FunctionType) else function


def _ours(thing: Any) -> bool:
    """Whether something lives outside the standard library and the installed packages."""
    name = getattr(thing, "__module__", None) or ""
    if name in ("__main__", "__mp_main__"):
        return True
    module = sys.modules.get(name)
    if module is None or name.split(".")[0] in sys.stdlib_module_names:
        return False
    file = getattr(module, "__file__", None)
    return file is not None and not _installed(file)


@functools.lru_cache(maxsize=4096)
def _installed(file: str) -> bool:
    path = str(Path(file).resolve())
    return path.startswith(_OUTSIDE) or "site-packages" in path or "dist-packages" in path


class _Walk:
    """Everything reachable by name from some code."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.modules: set[str] = set()
        self.uncovered: set[str] = set()
        self.seen: set[int] = set()
        self.kept: list[Any] = []  # so that no id is used twice

    def enter(self, name: str, text: str) -> None:
        """Note a text; two closures of one function share a name and are both noted."""
        while self.entries.get(name, text) != text:
            name += "'"
        self.entries[name] = text

    def visit(self, thing: Any) -> None:
        if id(thing) in self.seen:
            return
        self.seen.add(id(thing))
        self.kept.append(thing)
        if isinstance(thing, functools.partial):
            self.enter("partial", describe("measure", (thing.args, dict(thing.keywords))))
            self.visit(_unwrapped(thing.func))
        elif isinstance(thing, FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
        elif callable(thing):
            self._class(type(thing))
            if dataclasses.is_dataclass(thing):
                self.enter("object", describe("measure", thing))

    def _function(self, function: FunctionType) -> None:
        name = qualified_name(function)
        self.modules.add(function.__module__.split(".")[0])
        code = function.__code__
        texts = [_bytecode(code, function.__doc__)]
        for free, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            self._reference(f"{name}.{free}", value, free)
        if self.entries:  # the defaults of the measure itself are among its arguments
            defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
            for default in defaults:
                texts.append(self._constant(f"{name} default", default) or "")
        self.enter(name, digest(*texts))
        names = list(_names(code))
        for used in names:
            if used in function.__globals__:
                value = function.__globals__[used]
                self._reference(f"{function.__module__}.{used}", value, used)
                if isinstance(value, ModuleType):
                    self._attributes(value, names)

    def _attributes(self, module: ModuleType, names: list[str]) -> None:
        self.modules.add(module.__name__.split(".")[0])
        file = getattr(module, "__file__", None)
        if (
            file is None
            or _installed(file)
            or module.__name__.split(".")[0] in sys.stdlib_module_names
        ):
            return
        for name in names:
            value = getattr(module, name, None)
            if value is not None and not isinstance(value, ModuleType):
                self._reference(f"{module.__name__}.{name}", value, name)
            elif (
                isinstance(value, ModuleType)
                and value.__name__.startswith(module.__name__)
                and id(value) not in self.seen
            ):
                self.seen.add(id(value))
                self._attributes(value, names)

    def _class(self, cls: type) -> None:
        if not _ours(cls) or qualified_name(cls) in self.entries:
            return
        self.entries[qualified_name(cls)] = ",".join(qualified_name(base) for base in cls.__bases__)
        for base in cls.__bases__:
            self.visit(base)
        for name, member in vars(cls).items():
            if name.startswith("_abc"):
                continue
            for value in _behind(member):
                if callable(value) or not name.startswith("__"):
                    self._reference(f"{qualified_name(cls)}.{name}", value, name)

    def _reference(self, name: str, value: Any, short: str) -> None:
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__.split(".")[0])
            return
        if isinstance(value, type) or (callable(value) and not dataclasses.is_dataclass(value)):
            bare = _unwrapped(value)
            if isinstance(bare, FunctionType | type | functools.partial):
                self.modules.add((getattr(bare, "__module__", None) or "").split(".")[0])
                if isinstance(bare, functools.partial) or _ours(bare):
                    self.visit(bare)
            return
        cache = short.startswith("_") and short != "_field_defaults"  # of a named tuple
        if cache and isinstance(value, dict | list | set):
            return  # it grows while the program runs
        text = self._constant(name, value)
        if text is not None:
            self.enter(name, text)

    def _constant(self, name: str, value: Any) -> str | None:
        if isinstance(value, TypeVar) or type(value).__module__ == "dataclasses":
            return None  # a marker; what a dataclass makes of it follows from its fields
        try:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                self.visit(type(value))
            return digest(_plain(name, value))
        except ValueError:
            self.uncovered.add(name)
            return None


def _behind(member: Any) -> tuple[Any, ...]:
    """What a member of a class stands for: a value, or the functions that it calls."""
    if isinstance(member, property):
        return tuple(part for part in (member.fget, member.fset) if part is not None)
    if isinstance(member, classmethod | staticmethod):
        return (member.__func__,)
    if isinstance(member, functools.cached_property):
        return (member.func,)
    if inspect.isdatadescriptor(member) and not _ours(type(member)):
        return ()  # the place of a field in a named tuple or in slots
    return (member,)


def _plain(name: str, value: Any) -> str:
    """Description of a constant; dataclasses by their fields, since their class is followed."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        parts = [f"{f.name}={_plain(name, getattr(value, f.name))}" for f in fields]
        return f"{qualified_name(type(value))}({','.join(parts)})"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({','.join(_plain(name, v) for v in value)})"
    if isinstance(value, Mapping):
        return (
            "{"
            + ",".join(sorted(f"{_plain(name, k)}={_plain(name, v)}" for k, v in value.items()))
            + "}"
        )
    if isinstance(value, type) or callable(value):
        return qualified_name(value) if hasattr(value, "__qualname__") else type(value).__qualname__
    return describe(name, value, largest=float("inf"))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _bytecode(code: CodeType, documentation: str | None = None) -> str:
    """Instructions, names and constants of a function, without line numbers and its docstring."""
    constants = [
        _bytecode(constant) if isinstance(constant, CodeType) else _literal(constant)
        for constant in code.co_consts
        if documentation is None or constant != documentation
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return digest(code.co_code.hex(), repr(names), code.co_name, *constants)


def _literal(constant: Any) -> str:
    if isinstance(constant, frozenset):
        return repr(sorted(map(repr, constant)))
    if isinstance(constant, tuple):
        return f"({','.join(map(_literal, constant))})"
    return f"{type(constant).__name__}:{constant!r}"
