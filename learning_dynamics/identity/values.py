"""Values as text: the same in every process, different for values that a result can tell apart.

Containers, dataclasses and other objects are taken apart; functions and classes enter by their code
and are noted, so that what they use by name can be followed. What cannot be taken apart is noted
with the place where it was met.
"""

import collections
import contextvars
import dataclasses
import enum
import functools
import logging
import operator
import re
import sys
import threading
import types
import typing
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.identity.arrays import array_text, checksum
from learning_dynamics.identity.bytecode import facts_of, literal
from learning_dynamics.identity.objects import (
    global_name,
    is_cached,
    is_stream,
    keeps_values,
    made_in_python,
    marker_name,
    slots_of,
)  # fmt: skip
from learning_dynamics.identity.origin import attribute, installed, label, public_name

__all__ = ["Problem", "Writer"]

_WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
CONTAINERS = (list, dict, set, bytearray, collections.deque, *_WEAK)
_LITERALS = (type(None), bool, int, str, bytes, float, complex, type(...), type(NotImplemented))
_PLAIN: tuple[Any, ...] = (dict, list, set, tuple, frozenset)
_MAKERS = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset)
_TYPES_AS_TEXT = (range, slice, np.dtype, PurePath, types.UnionType, types.GenericAlias)
_WITHOUT_STATE = (
    type(threading.Lock()), type(threading.RLock()),
    types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType,
    types.MethodDescriptorType, types.ClassMethodDescriptorType, types.MethodWrapperType,
)  # fmt: skip
_INSIDES: tuple[tuple[Any, tuple[str, ...]], ...] = (  # wrappers -> what they wrap
    (property, ("fget", "fset", "fdel")),
    (classmethod, ("__func__",)),
    (staticmethod, ("__func__",)),
    (functools.cached_property, ("func",)),
    (functools.partialmethod, ("func", "args", "keywords")),
    (functools.partial, ("func", "args", "keywords", "__dict__")),
    (functools._lru_cache_wrapper, ("__wrapped__",)),
    (types.MethodType, ("__func__", "__self__")),
)
_FIELD = ("name", "default", "default_factory", "init", "compare", "hash", "kw_only")
_PJIT = type(jax.jit(lambda: None))


class Problem(NamedTuple):
    """Something that has no text: where it was met, what was wanted, what it is."""

    place: str
    demand: str
    got: str


class Writer:
    """Text of one value.

    Args:
        namespace: global names of the code that holds the value; they name a bare `object()`.
        guards: list to which conditions are added under which the text stays the same.
        largest: bytes of the largest array.
        named: whether functions and classes must be found at the top of a module.
        code: whether the instructions of functions count, not their names alone.

    Attributes:
        children: functions and classes that were met and are not part of an installed package.
        modules: names of the modules of what was met.
        problems: what has no text.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any] | None = None,
        *,
        guards: list[tuple[Any, ...]] | None = None,
        largest: float = float("inf"),
        named: bool = False,
        code: bool = True,
    ) -> None:
        self.namespace, self.guards, self.largest = namespace or {}, guards, largest
        self.named, self.code = named, code
        self.parts: list[str] = []
        self.children: list[Any] = []
        self.modules: set[str] = set()
        self.problems: list[Problem] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # temporaries, so that no id is used twice

    @property
    def text(self) -> str:
        """Everything that was written."""
        return "".join(self.parts)

    def watch(self, *guard: Any) -> None:
        """Note a condition under which the text stays the same."""
        if self.guards is not None:
            self.guards.append(guard)

    def refuse(self, place: str, value: Any, demand: str = "") -> None:
        """Note a value without a text."""
        demand = demand or (
            "be a number, text, a small array, a named function, a frozen dataclass, or tuples, "
            "lists and mappings of them, so that it can be told apart from another one"
        )
        kind = type(value)
        self.problems.append(
            Problem(place, demand, f"an object of type {kind.__module__}.{kind.__qualname__}")
        )

    def write(self, value: Any, place: str) -> None:
        """Add the text of a value that was met at `place`; refuse one whose own code raises."""
        try:
            self._write(value, place)
        except Exception:
            self.refuse(place, value)

    def _write(self, value: Any, place: str) -> None:
        out = self.parts.append
        if type(value) in _LITERALS:
            out(literal(value))
        elif isinstance(value, enum.Enum):
            self.reference(type(value))
            out(f".{value.name or literal(value.value)}")
        elif isinstance(value, np.ndarray | np.generic | jax.Array):
            self._array(value, place)
        elif type(value) is tuple:
            self._sequence("tuple", value, place)
        elif isinstance(value, types.ModuleType):
            out(f"module {value.__name__}")
            self.modules.add(value.__name__)
        elif (name := public_name(value)) is not None:
            out(f"named {name}")
            self.modules.add(value.__module__)
        elif isinstance(value, type):
            self.reference(value, place)
        elif id(value) in self._numbers:
            out(f"#{self._numbers[id(value)]}")
        else:
            self._numbers[id(value)] = len(self._numbers)
            self._kept.append(value)
            self._compound(value, place)

    def _compound(self, value: Any, place: str) -> None:
        out = self.parts.append
        if isinstance(value, types.FunctionType):
            self.function(value, place)
        elif type(value) in (list, collections.deque):
            self.watch("items", value, tuple(value))
            self._sequence(type(value).__name__, value, place)
        elif type(value) is dict:
            self.watch("dict", value, tuple(value), tuple(value.values()))
            self._mapping(value, place)
        elif type(value) in (set, frozenset):
            self._set(value, place)
        elif isinstance(value, _TYPES_AS_TEXT):
            out(f"{type(value).__name__} {value!r}")
        elif isinstance(value, np.ufunc):
            self._ufunc(value, place)
        elif isinstance(value, _PJIT):
            state: Any = value.__getstate__()
            out(f"jit {state['static_argnums']} {state['static_argnames']} ")
            self.write(vars(value)["__wrapped__"], place)
        elif isinstance(value, re.Pattern):
            out(f"pattern {value.pattern!r} {value.flags}")
        elif isinstance(value, bytearray):
            self.watch("equal", value, bytes(value))
            out(f"bytearray {bytes(value)!r}")
        elif isinstance(value, types.BuiltinFunctionType):
            out(f"builtin {value.__name__} of ")
            self.write(value.__self__, place)
        elif isinstance(value, logging.Logger | logging.LoggerAdapter):
            out(f"logger {getattr(value, 'name', '')}")
        elif isinstance(value, threading.local):
            self.refuse(place, value, "not be of another value in another thread")
            state = vars(value)  # of this thread
            self.watch("thread", value, state)
            self.watch("dict", state, tuple(state), tuple(state.values()))
            self._mapping(state, place, ordered=False)
        elif isinstance(value, contextvars.ContextVar):
            self.refuse(place, value, "not be of another value in another context")
            self.watch("context", value, value.get(None))
            self.write(value.get(None), place)
        elif isinstance(value, weakref.ref):
            self.watch("referent", value, value())
            out("weak ")
            self.write(value(), place)
        elif isinstance(value, _WEAK):
            self._weak(value, place)
        elif isinstance(value, _WITHOUT_STATE):
            out(f"{type(value).__name__} {getattr(value, '__qualname__', '')}")
        elif any(value is stream for stream in (sys.stdout, sys.stderr, sys.stdin)):
            out("standard stream")
        elif type(value).__module__ in ("typing", "jax.typing") or isinstance(
            value, jax.tree_util.PyTreeDef | jax.Device | typing.TypeVar
        ):
            out(f"{type(value).__name__} {value}")
        elif isinstance(value, jax.core.Tracer):
            out("traced")
        elif isinstance(value, Iterator) or is_stream(value):
            self.refuse(place, value)
        else:
            self._object(value, place)

    def _ufunc(self, value: np.ufunc, place: str) -> None:
        home = next(
            (
                name
                for name in ("numpy", "scipy.special")
                if getattr(sys.modules.get(name), value.__name__, None) is value
            ),
            None,
        )
        if home is None:
            self.refuse(place, value)
        self.parts.append(f"named {home}.{value.__name__}")

    def _array(self, value: Any, place: str) -> None:
        if isinstance(value, jax.core.Tracer):
            self.parts.append("traced")
            return
        nbytes = 0 if jnp.issubdtype(value.dtype, jax.dtypes.prng_key) else value.nbytes
        if nbytes > self.largest:
            demand = (
                f"be small enough for a key, at most {int(self.largest):,} bytes (make large data "
                "inside the measure, from a seed or a path)"
            )
            self.problems.append(Problem(place, demand, f"an array of {nbytes:,} bytes"))
            return
        if getattr(value.dtype, "hasobject", False):
            got = f"an array of type {value.dtype}"
            self.problems.append(Problem(place, "hold no Python objects", got))
            return
        if isinstance(value, np.ndarray):
            if type(value) is not np.ndarray or not isinstance(
                value.base, bytes
            ):  # others can be made writable, and back
                self.watch("array", value, checksum(value))
            if type(value) is not np.ndarray:
                self.reference(type(value))
            if isinstance(value, np.ma.MaskedArray):
                parts = (np.ma.getmaskarray(value), value.fill_value)
                self.write(parts, place)
                value = value.data
        self.parts.append(array_text(value))

    def _sequence(self, name: str, values: Iterable[Any], place: str) -> None:
        self.parts.append(f"{name}(")
        for i, item in enumerate(values):
            self.write(item, f"{place}[{i}]")
            self.parts.append(",")
        self.parts.append(")")

    def _mapping(self, value: Mapping[Any, Any], place: str, *, ordered: bool = True) -> None:
        self.parts.append("{")
        items = value.items() if ordered else sorted(value.items())
        for key, item in items:
            self.write(key, place)
            self.parts.append("=")
            self.write(item, f"{place}[{key!r}]" if ordered else f"{place}.{key}")
            self.parts.append(",")
        self.parts.append("}")

    def _weak(self, value: Any, place: str) -> None:
        """Add the items of a collection that does not keep them alive."""
        self.parts.append(type(value).__name__)
        if isinstance(value, weakref.WeakSet):
            references = vars(value)["data"]
            self.watch("equal", references, frozenset(references))
            self._set(frozenset(value), place)
        else:
            self.watch("dict", value.data, tuple(value.data), tuple(value.data.values()))
            self._sequence("", value.items(), place)
        if type(value) not in _WEAK:
            self.reference(type(value), place)

    def _set(self, value: Any, place: str) -> None:
        if isinstance(value, set):
            self.watch("equal", value, frozenset(value))
        texts = []
        for item in value:
            inner = Writer(
                self.namespace,
                guards=self.guards,
                largest=self.largest,
                named=self.named,
                code=self.code,
            )
            inner.write(item, place)
            texts.append(inner.text)
            self.take(inner)
        self.parts.append(f"{type(value).__name__}({','.join(sorted(texts))})")

    def take(self, other: "Writer") -> None:
        """Take over what another writer noted, but for its text."""
        self.children += other.children
        self.modules |= other.modules
        self.problems += other.problems

    def reference(self, cls: type, place: str = "") -> None:
        """Add the name of a class; its code is followed unless it is part of a package."""
        if self.named and place and "<locals>" in cls.__qualname__:
            demand = "be of a class defined at the top of a module"
            self.problems.append(Problem(place, demand, cls.__qualname__))
        self.parts.append(f"class {label(cls.__module__)}.{cls.__qualname__}")
        self.modules.add(cls.__module__)
        if not installed(cls.__module__):
            self.children.append(cls)

    def function(self, function: types.FunctionType, place: str, *, defaults: bool = True) -> None:
        """Add code, defaults, closure and attributes of a function."""
        code = function.__code__
        facts = facts_of(code)
        if self.named and (
            "<lambda>" in function.__qualname__ or "<locals>" in function.__qualname__
        ):
            demand = (
                "be a function or class with a name at the top of a module, or an object that is "
                "no function"
            )
            self.problems.append(Problem(place, demand, f"<function {function.__qualname__}>"))
        named, self.named = self.named, False
        values, by_name = function.__defaults__, function.__kwdefaults__
        self.watch("function", function, code, values, by_name)
        self.parts.append(f"def {function.__qualname__} {facts.digest if self.code else ''}")
        self.modules.add(function.__globals__.get("__name__", ""))
        if not installed(function.__globals__.get("__name__")):
            self.children.append(function)
        outer, self.namespace = self.namespace, function.__globals__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            if name in facts.cells_rebound or (
                name in facts.cells_written and isinstance(value, CONTAINERS)
            ):
                continue  # state that the function keeps for itself
            self.watch("cell", cell, value)
            self.parts.append(f" {name}=")
            self.write(value, f"{place}.{name}")
        if defaults and (values or by_name):
            self.parts.append(" defaults ")
            self.write((values, by_name and tuple(sorted(by_name.items()))), f"{place} default")
        if function.__dict__:
            self.watch(
                "dict", function.__dict__, tuple(function.__dict__),
                tuple(function.__dict__.values()),
            )  # fmt: skip
            self._mapping(function.__dict__, place, ordered=False)
        self.namespace, self.named = outer, named

    def _object(self, value: Any, place: str) -> None:
        cls: Any = type(value)
        if cls is object:
            name = marker_name(value, self.namespace)
            if name is None:
                self.refuse(place, value)
            self.parts.append(f"object {name}")
            return
        if (name := global_name(value)) is not None:
            self.parts.append(f"named {name}")
            self.modules.add(cls.__module__)
            return
        self.reference(cls, place)
        if isinstance(value, functools._lru_cache_wrapper) and not installed(value.__module__):
            self.watch("memo", value)
        for kind, names in _INSIDES:
            if isinstance(value, kind):
                self.write(tuple(getattr(value, name) for name in names), place)
                return
        if isinstance(value, dataclasses.Field):
            inside = [getattr(value, name) for name in _FIELD]
            self.write((*inside, *value.metadata.items()), place)
            return
        if isinstance(value, types.MappingProxyType):
            self.watch("dict", value, tuple(value), tuple(value.values()))
            self._mapping(value, place)
            return
        if not made_in_python(cls):
            self._reduced(value, place)
            return
        state = attribute(value, "__dict__")
        if isinstance(state, dict):
            self.watch("dict", state, tuple(state), tuple(state.values()))
            if keeps_values(cls):
                self.watch("memo", value)
            kept = {k: v for k, v in state.items() if not is_cached(cls, k)}
            self._mapping(kept, place, ordered=False)
        filled = [name for name in slots_of(cls) if attribute(value, name, self) is not self]
        if filled:
            read = operator.attrgetter(*filled)
            self.watch("slots", read, value, read(value))
            self._mapping({n: getattr(value, n) for n in filled}, place, ordered=False)

    def _reduced(self, value: Any, place: str) -> None:
        """Take an object apart as pickling does."""
        try:
            parts = value.__reduce_ex__(4)
        except Exception:
            plain = next((kind for kind in _PLAIN if isinstance(value, kind)), None)
            if plain is None:
                self.refuse(place, value)
                return
            inside = dict(dict.items(value)) if plain is dict else plain(plain.__iter__(value))
            parts = (type(value), inside, attribute(value, "__dict__"))
        if isinstance(value, collections.defaultdict) and isinstance(parts, tuple):
            parts = (*parts[:-1], iter(_chosen_items(value)))
        if self.guards is not None:
            inner = Writer(self.namespace)
            inner._reduced(value, place)
            self.watch("text", value, inner.text)
        if isinstance(parts, str):
            self.parts.append(f"named {type(value).__module__}.{parts}")
            return
        for part in parts:
            plain = list(part) if isinstance(part, Iterator) else part
            self._kept.append(plain)
            self.write(plain, place)


def _chosen_items(table: collections.defaultdict[Any, Any]) -> list[tuple[Any, Any]]:
    """Items of a table but for those that reading it has put there."""
    make: Any = table.default_factory
    facts = facts_of(make.__code__) if isinstance(make, types.FunctionType) else None
    plain = facts is not None and not (facts.chains or facts.imports or make.__closure__)
    if make is None or not (plain or make in _MAKERS):
        return list(table.items())
    start = Writer()
    start.write(make(), "")
    items = []
    for key, value in table.items():
        item = Writer()
        item.write(value, "")
        if item.text != start.text:
            items.append((key, value))
    return items
