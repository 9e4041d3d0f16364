"""What code reaches by name: functions, classes, constants, followed from one to the next."""

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any

from learning_dynamics.identity.bytecode import Facts, digest, facts_of
from learning_dynamics.identity.objects import class_members
from learning_dynamics.identity.origin import attribute, installed, installed_file, label
from learning_dynamics.identity.values import CONTAINERS, Problem, Writer

__all__ = ["MISSING", "Binding", "Node", "Walk"]


class _Missing:
    """Type of a name that nothing has."""


MISSING = _Missing()
Guards = list[tuple[Any, ...]]


@dataclass(eq=False)
class Binding:
    """One name that code uses, and what it stands for.

    Attributes:
        place: qualified name.
        slot: namespace and name in it; code that writes to it keeps state there.
        value: what the name stands for.
        text: of the value.
        children: functions and classes in the value.
        modules: names of the modules of what is in the value.
        problems: parts of the value that have no text.
        guards: conditions under which all of this stays the same.
    """

    place: str
    slot: tuple[int, str]
    value: Any
    text: str
    children: list[Any]
    modules: set[str]
    problems: list[Problem]
    guards: Guards


@dataclass(eq=False)
class Node:
    """A function or a class, with all it uses by name.

    Attributes:
        thing: the function or class.
        name: qualified name.
        structure: text of its own code, defaults and closure, or of its bases.
        bindings: what it uses by name, or its members.
        rebound: slots that it assigns.
        written: slots that it assigns or whose contents it changes.
    """

    thing: Any
    name: str
    structure: Writer
    bindings: list[Binding] = field(default_factory=list)
    rebound: set[tuple[int, str]] = field(default_factory=set)
    written: set[tuple[int, str]] = field(default_factory=set)

    @cached_property
    def key(self) -> str:
        """Hash of name and structure."""
        return digest(self.name, self.structure.text)


@dataclass(eq=False)
class Reach:
    """Everything that some functions and classes reach.

    Attributes:
        nodes: functions and classes.
        states: hash of what each node uses by name, in the order of `nodes`.
        classes: ids of the classes that each node uses, in the order of `nodes`.
        modules: names of all modules that were met.
        problems: what has no text.
        kept: names of state that the code itself writes, and which is left out.
        guards: conditions under which nothing of this changes.
    """

    nodes: list[Node]
    states: list[str]
    classes: list[set[int]]
    modules: set[str]
    problems: list[Problem]
    kept: set[str]
    guards: Guards

    def entries(self) -> dict[str, str]:
        """Qualified name -> hash; functions of one name share an entry."""
        texts: dict[str, list[str]] = {}
        for node, state in zip(self.nodes, self.states, strict=True):
            texts.setdefault(node.name, []).append(node.key + state)
        return {name: digest(*sorted(set(parts))) for name, parts in sorted(texts.items())}


class Walk:
    """Nodes by object, each worked out once.

    Args:
        guarded: whether to collect guards.
        bare: function whose defaults do not count (they belong to its arguments).
    """

    def __init__(self, *, guarded: bool = False, bare: Any = None) -> None:
        self.guarded, self.bare = guarded, bare
        self._nodes: dict[int, Node] = {}
        self._values: dict[int, tuple[Any, Writer]] = {}

    def writer(self, namespace: Mapping[str, Any] | None = None, **options: Any) -> Writer:
        """A writer that collects guards if this walk does."""
        return Writer(namespace, guards=[] if self.guarded else None, **options)

    def reach(self, roots: Iterable[Any]) -> Reach:
        """Follow functions and classes to everything they reach."""
        roots = list(roots)
        met = self._follow(roots, set(), set())
        while True:  # state that the code writes to leads nowhere
            rebound = {slot for node in met for slot in node.rebound}
            written = {slot for node in met for slot in node.written}
            found = self._follow(roots, rebound, written)
            if len(found) == len(met):
                break
            met = found
        out = Reach(found, [], [], set(), [], set(), [])
        for node in found:
            out.modules |= node.structure.modules
            out.problems += node.structure.problems
            out.guards += node.structure.guards or []
            lines = []
            used = {id(child) for child in node.structure.children if isinstance(child, type)}
            for binding in node.bindings:
                if _excluded(binding, rebound, written):
                    out.kept.add(binding.place)
                    continue
                out.guards += binding.guards
                out.modules |= binding.modules
                out.problems += binding.problems
                used |= {id(child) for child in binding.children if isinstance(child, type)}
                lines.append(f"{binding.place}={binding.text}")
            out.states.append(digest(*sorted(set(lines))))
            out.classes.append(used)
        return out

    def _follow(self, roots: Iterable[Any], rebound: set[Any], written: set[Any]) -> list[Node]:
        nodes: list[Node] = []
        waiting, known = list(roots), set()
        while waiting:
            thing = waiting.pop()
            if id(thing) in known:
                continue
            known.add(id(thing))
            node = self.node(thing)
            nodes.append(node)
            waiting += node.structure.children
            for binding in node.bindings:
                if not _excluded(binding, rebound, written):
                    waiting += binding.children
        return nodes

    def node(self, thing: Any) -> Node:
        """The node of a function or class."""
        node = self._nodes.get(id(thing))
        if node is None:
            make = self._function if isinstance(thing, FunctionType) else self._class
            node = self._nodes[id(thing)] = make(thing)
        return node

    def _function(self, function: FunctionType) -> Node:
        name = _name_of(function)
        writer = self.writer(function.__globals__)
        writer.function(function, name, defaults=function is not self.bare)
        writer.children.remove(function)
        node = Node(function, name, writer)
        facts, namespace = facts_of(function.__code__), function.__globals__
        node.rebound = {(id(namespace), n) for n in facts.rebound}
        node.written = {(id(namespace), n) for n in facts.written}
        done: set[tuple[Any, ...]] = set()
        for chain in facts.chains:
            if chain[0] in facts.written and isinstance(namespace.get(chain[0]), CONTAINERS):
                chain = chain[:1]
            for binding in self._chain(namespace, chain, facts):
                if (binding.place, binding.slot) not in done:
                    done.add((binding.place, binding.slot))
                    node.bindings.append(binding)
        for module, level, names in facts.imports:
            node.bindings += self._import(namespace, module, level, names, facts)
        return node

    def _class(self, cls: type) -> Node:
        name = _name_of(cls)
        writer = self.writer()
        if type(cls) is not type:
            writer.write(type(cls), name)
        for base in cls.__bases__:
            writer.write(base, name)
        members = vars(cls)
        writer.watch("size", members, len(members))
        node = Node(cls, name, writer)
        for member, value in class_members(cls):
            node.bindings.append(self._bind(f"{name}.{member}", members, member, value))
        fields = members.get("__dataclass_fields__", {})
        for member, one in fields.items():
            node.bindings.append(self._bind(f"{name}.{member}", fields, member, one))
        return node

    def _bind(
        self, place: str, namespace: Mapping[str, Any], name: str, value: Any,
        earlier: Guards | None = None,
    ) -> Binding:  # fmt: skip
        guards: Guards = [*(earlier or [])]
        if name in namespace and namespace[name] is value:
            guards.append(("name", namespace, name, value))
        entry = self._values.get(id(value))
        if entry is None or entry[0] is not value:
            writer = self.writer(namespace)
            writer.write(value, place)
            entry = self._values[id(value)] = (value, writer)
        writer = entry[1]
        guards += writer.guards or []
        slot = (id(namespace), name)
        return Binding(
            place,
            slot,
            value,
            writer.text,
            writer.children,
            writer.modules,
            writer.problems,
            guards,
        )

    def _chain(
        self, namespace: dict[str, Any], chain: tuple[str, ...], facts: Facts
    ) -> Iterator[Binding]:
        first, rest = chain[0], list(chain[1:])
        place = f"{label(namespace.get('__name__'))}.{first}"
        if first not in namespace:
            guards = [("name", namespace, first, MISSING)]
            text = "builtin" if hasattr(builtins, first) else "absent"
            yield Binding(place, (id(namespace), first), None, text, [], set(), [], guards)
            return
        value = namespace[first]
        if not isinstance(value, ModuleType):
            yield self._bind(place, namespace, first, value)
            return
        yield from self._in_module(value, rest, facts, [("name", namespace, first, value)])

    def _in_module(
        self, module: ModuleType, rest: list[str], facts: Facts, guards: Guards
    ) -> Iterator[Binding]:
        """What attributes of a module stand for."""
        members = vars(module)
        if installed(module.__name__):
            # the path as it is written: which inner modules are loaded so far must not count
            text = ".".join(["named " + module.__name__, *rest])
            slot = (id(members), rest[0] if rest else "")
            modules = {module.__name__}
            yield Binding(module.__name__, slot, None, text, [], modules, [], guards)
            return
        for name in rest[:1] or sorted(facts.attributes & members.keys()):
            value = members[name] if name in members else attribute(module, name, MISSING)
            if isinstance(value, ModuleType):
                deeper = [*guards, ("name", members, name, value)]
                if rest or value.__name__.startswith(f"{module.__name__}."):
                    yield from self._in_module(value, rest[1:], facts, deeper)
                continue
            place = f"{label(module.__name__)}.{name}"
            looked_up = [*guards]
            if name not in members:
                looked_up.append(("name", members, name, MISSING))
                if "__getattr__" in members:
                    looked_up.append(("attribute", module, name, value))
            if value is MISSING:
                yield Binding(place, (id(members), name), None, "absent", [], set(), [], looked_up)
                continue
            binding = self._bind(place, members, name, value, looked_up)
            binding.modules = binding.modules | {module.__name__}
            yield binding

    def _import(
        self, namespace: dict[str, Any], name: str, level: int, names: tuple[str, ...], facts: Facts
    ) -> Iterator[Binding]:
        """What an import statement inside a function stands for."""
        module = own_module(absolute_name(name, level, namespace), load=True)
        place = f"import {name}"
        if module is None:
            text = f"{'.' * level}{name}({','.join(names)})"
            yield Binding(place, (0, text), None, text, [], {name.split(".")[0]}, [], [])
            return
        guards: Guards = [("name", sys.modules, module.__name__, module)]
        for member in names:
            own_module(f"{module.__name__}.{member}", load=True)
            yield from self._in_module(module, [member], facts, guards)
        if not names:
            yield from self._in_module(sys.modules[name.split(".")[0]], [], facts, guards)


def _name_of(thing: Any) -> str:
    return f"{label(thing.__module__)}.{thing.__qualname__}"


def _excluded(binding: Binding, rebound: set[Any], written: set[Any]) -> bool:
    """Whether a name holds state that the code itself keeps."""
    if binding.slot in rebound:
        return True
    return binding.slot in written and isinstance(binding.value, CONTAINERS)


def absolute_name(name: str, level: int, namespace: Mapping[str, Any]) -> str:
    """Full name of a module in an import statement."""
    if not level:
        return name
    package = namespace.get("__package__") or namespace.get("__name__", "").rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * level + name, package)
    except ImportError:
        return name


def own_module(name: str, *, load: bool = False) -> ModuleType | None:
    """A module of the user's own, imported if asked for; None if it is none."""
    module = sys.modules.get(name)
    if module is None and load:
        if installed(name.split(".")[0]):
            return None
        try:
            spec = importlib.util.find_spec(name)
            file = spec.origin if spec is not None else None
            if file is None or not file.endswith(".py") or installed_file(file):
                return None
            module = importlib.import_module(name)
        except Exception:  # the module's own code may raise anything
            return None
    return None if module is None or installed(module.__name__) else module
