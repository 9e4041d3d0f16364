"""What objects and classes are made of: slots, names in packages, members, kept values."""

import enum
import functools
import inspect
import sys
import types
from collections import namedtuple
from collections.abc import Iterator, Mapping
from typing import Any

from learning_dynamics.identity.origin import installed

__all__ = [
    "class_members",
    "forget_memo",
    "global_name",
    "is_cached",
    "is_stream",
    "keeps_values",
    "made_in_python",
    "marker_name",
    "slots_of",
]

_CLASS_NOISE = frozenset(
    (
        "__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__annotate__",
        "__annotate_func__", "__annotations_cache__", "__orig_bases__", "__parameters__",
        "__type_params__", "__firstlineno__", "__slotnames__", "__classcell__", "__classdictcell__",
        "__static_attributes__", "__abstractmethods__",
        "_abc_impl", "_member_map_", "_value2member_map_", "_member_names_", "_hashable_values_",
        "_unhashable_values_", "_unhashable_values_map_",
    )
)  # fmt: skip
_FIELD_OF_TUPLE = type(namedtuple("_Any", "field").__dict__["field"])

_globals: dict[str, tuple[int, dict[int, str]]] = {}


def global_name(value: Any) -> str | None:
    """Name of an object that the module of its class, in an installed package, keeps."""
    home = type(value).__module__
    if not installed(home) or home in ("builtins", "functools", "operator"):
        return None
    members = vars(sys.modules[home])
    known = _globals.get(home)
    if known is None or known[0] != len(members):
        known = _globals[home] = (len(members), {id(v): k for k, v in members.items()})
    name = known[1].get(id(value))
    return f"{home}.{name}" if name is not None and members.get(name) is value else None


def marker_name(value: Any, namespace: Mapping[str, Any]) -> str | None:
    """Name of a bare `object()` in a namespace or in one of the modules that it names."""
    places = [("", namespace)]
    places += [(f"{n}.", vars(m)) for n, m in namespace.items() if isinstance(m, types.ModuleType)]
    return next((p + n for p, names in places for n, v in names.items() if v is value), None)


def is_stream(value: Any) -> bool:
    """Whether a value is a file or something like it."""
    return hasattr(type(value), "readable") and hasattr(type(value), "fileno")


def forget_memo(thing: Any) -> None:
    """Empty a function of `functools.cache`, or drop the cached properties of an object."""
    if isinstance(thing, functools._lru_cache_wrapper):
        thing.cache_clear()
        return
    state = vars(thing)
    for name in [name for name in state if is_cached(type(thing), name)]:
        state.pop(name, None)


def keeps_values(cls: type) -> bool:
    """Whether objects of a class have cached properties."""
    members = (member for base in cls.__mro__ for member in vars(base).values())
    return any(isinstance(member, functools.cached_property) for member in members)


def is_cached(cls: type, name: str) -> bool:
    """Whether an attribute only keeps what a property works out."""
    member = inspect.getattr_static(cls, name, None)
    return isinstance(member, functools.cached_property)


@functools.lru_cache(maxsize=1024)
def slots_of(cls: Any) -> tuple[str, ...]:
    """Names of the slots of a class and of its bases."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        given: Any = base.__dict__.get("__slots__", ())
        for name in (given,) if isinstance(given, str) else given:
            if name in ("__dict__", "__weakref__"):
                continue
            private = name.startswith("__") and not name.endswith("__")
            names[f"_{base.__name__.lstrip('_')}{name}" if private else name] = None
    return tuple(sorted(names))


@functools.lru_cache(maxsize=1024)
def made_in_python(cls: Any) -> bool:
    """Whether all state of an object lies in its `__dict__` and its slots."""
    base = cls.__base__
    if base is None:
        return True
    own = cls.__dict__
    if base is object and "__dict__" not in own and "__slots__" not in own:
        return False
    slots = own.get("__slots__", ())
    count = 1 if isinstance(slots, str) else len(tuple(slots))
    return made_in_python(base) and cls.__basicsize__ - base.__basicsize__ <= 8 * count + 16


def _generated(member: Any) -> bool:
    """Whether a member of a dataclass or named tuple follows from its fields."""
    if type(member) is _FIELD_OF_TUPLE:
        return True
    function = getattr(member, "__func__", member)
    if not isinstance(function, types.FunctionType):
        return False
    home = function.__globals__.get("__name__", "")
    return function.__code__.co_filename == "<string>" or home in ("collections", "reprlib")


def class_members(cls: type) -> Iterator[tuple[str, Any]]:
    """Attributes of a class that its own statements gave it."""
    fields = hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields")
    members = isinstance(cls, enum.EnumMeta)
    for name, member in vars(cls).items():
        if name in _CLASS_NOISE or name.startswith("_abc_"):
            continue
        if fields and _generated(member):
            continue
        if members and name in cls.__members__:  # type: ignore[attr-defined]
            continue
        yield name, member
    if members:
        for name, member in cls.__members__.items():  # type: ignore[attr-defined]
            yield name, (member._value_, {k: v for k, v in vars(member).items() if k[0] != "_"})
