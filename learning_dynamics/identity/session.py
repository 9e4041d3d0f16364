"""Edits within a session: compiled programs are forgotten once what they were made from changed.

JAX compiles the values of global names, methods and tables into its programs and keeps programs by
function object, inner ones (`jax.jit` in a helper, bodies of `scan`, rules of `custom_vjp`) too. A
call therefore compares what its functions reach by name with what they reached before, and clears
JAX's caches where that differs. The comparison costs some thousand comparisons of identities.
"""

import functools
import inspect
import operator
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import repeat
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.identity.arrays import checksum
from learning_dynamics.identity.bytecode import digest
from learning_dynamics.identity.objects import forget_memo
from learning_dynamics.identity.origin import attribute
from learning_dynamics.identity.reach import MISSING, Walk
from learning_dynamics.identity.values import Writer
from learning_dynamics.pytrees import is_traced

__all__ = [
    "Footprint",
    "WhileUnedited",
    "fixed_by_structure",
    "forget_with",
    "notice_edits",
    "require_unedited",
    "sees_edits",
]

P = ParamSpec("P")
R = TypeVar("R")
MOST_RECORDS, MOST_STATES = 256, 100_000
_NUMBERS = (bool, int, float, complex, np.ndarray, np.generic, jax.Array)
_PLAIN = (
    *_NUMBERS, str, bytes, type(None), type, np.dtype, FunctionType, MethodType,
    BuiltinFunctionType, ModuleType,
)  # fmt: skip


class Footprint:
    """What one function, class, object or structure reached when it was last walked.

    Attributes:
        digest: hash of everything.
        entries: qualified name -> hash.
        states: hash of a function's own code -> hash of what it uses by name.
        own: functions and classes, with hashes of functions' own code and of classes' members.
        mutable: whether the root itself may change.
        memos: functions and objects that keep what they worked out, with hashes of all they reach.
    """

    def __init__(self, root: Any) -> None:
        walk = Walk(guarded=True)
        writer = walk.writer()
        writer.write(root, "argument")
        reach = walk.reach(writer.children)
        self.root = root
        self.entries = {"itself": digest(writer.text)} | reach.entries()
        self.digest = digest(*(f"{name}={text}" for name, text in self.entries.items()))
        found = list(zip(reach.nodes, reach.states, reach.classes, strict=True))
        classes = {
            id(node.thing): node.key + state
            for node, state, _ in found
            if isinstance(node.thing, type)
        }
        self.states = {
            node.key: digest(state, *sorted(classes[c] for c in used))
            for node, state, used in found
            if id(node.thing) not in classes
        }
        # classes of one name may exist side by side, each with its own programs
        self.own = [(node.thing, classes.get(id(node.thing), node.key)) for node, _, _ in found]
        kinds: dict[str, dict[Any, Any]] = {}
        for kind, *parts in [*reach.guards, *(writer.guards or [])]:
            mark = (id(parts[0]), parts[1] if kind in ("name", "attribute") else 0)
            kinds.setdefault(kind, {})[mark] = tuple(parts)
        memos = [memo for (memo,) in kinds.pop("memo", {}).values()]
        self.memos = [(memo, _digest_of(memo)) for memo in memos]
        spaces: dict[int, list[tuple[Any, ...]]] = {}
        for row in kinds.pop("name", {}).values():
            spaces.setdefault(id(row[0]), []).append(row)
        self._names = [  # (namespace, its names, their values)
            (rows[0][0], *list(zip(*rows, strict=True))[1:]) for rows in spaces.values()
        ]
        functions = list(zip(*kinds.pop("function", {}).values(), strict=True))
        self._functions = list(zip(_FUNCTION, functions[1:], strict=False))
        self._called = functions[0] if functions else ()
        self._guards = {kind: list(rows.values()) for kind, rows in kinds.items()}
        self.mutable = not isinstance(root, FunctionType | type) and bool(writer.guards)

    def holds(self) -> bool:
        """Whether nothing of it changed since."""
        try:
            return self._holds()
        except Exception:  # an emptied cell or slot, a comparison that raises
            return False

    def _holds(self) -> bool:
        # thousands of names a call: their loops run inside `map`
        for namespace, names, values in self._names:
            now = map(namespace.get, names, repeat(MISSING))
            if not all(map(operator.is_, now, values)):
                return False
        for read, values in self._functions:
            if not all(map(operator.is_, map(read, self._called), values)):
                return False
        rows = self._guards.get
        return all(check(*row) for kind, check in _CHECKS.items() for row in rows(kind, ()))


def _digest_of(thing: Any) -> str:
    walk = Walk()
    writer = walk.writer()
    writer.write(thing, "memo")
    entries = walk.reach(writer.children).entries()
    return digest(writer.text, *(f"{name}={text}" for name, text in entries.items()))


def _same(values: Any, others: tuple[Any, ...]) -> bool:
    return len(values) == len(others) and all(map(operator.is_, values, others))


def _text_of(value: Any) -> str:
    writer = Writer()
    writer._reduced(value, "")
    return writer.text


_FUNCTION = [operator.attrgetter(name) for name in ("__code__", "__defaults__", "__kwdefaults__")]
_CHECKS: dict[str, Callable[..., bool]] = {
    "attribute": lambda module, name, value: attribute(module, name, MISSING) is value,
    "thread": lambda local, state: vars(local) is state,
    "context": lambda variable, value: variable.get(None) is value,
    "referent": lambda reference, value: reference() is value,
    "cell": lambda cell, value: cell.cell_contents is value,
    "size": lambda members, count: len(members) == count,
    "items": _same,
    "dict": lambda value, keys, items: _same(value, keys) and _same(value.values(), items),
    "equal": lambda value, copy: value == copy,
    "array": lambda value, total: checksum(value) == total,
    "slots": lambda read, value, items: (
        _same(read(value), items) if isinstance(items, tuple) else read(value) is items
    ),
    "text": lambda value, text: _text_of(value) == text,
}

_lock = threading.RLock()
_records: OrderedDict[Any, Footprint] = OrderedDict()
_states: dict[str, str] = {}  # a function's own code -> what it used by name
_own: dict[int, tuple[Any, str]] = {}  # id of a function or class -> reference, own code
_equals: dict[Any, str] = {}  # an object that compares by value -> hash of all it reached
_memos: dict[int, tuple[Callable[[], Any], str]] = {}  # id -> reference, what it was filled under
_forget: list[Callable[[], None]] = [jax.clear_caches]


def forget_with(action: Callable[[], None]) -> None:
    """Add an action that forgets compiled programs."""
    _forget.append(action)


def fixed_by_structure(function: Callable[..., R]) -> Callable[..., R]:
    """Keep the results of a function of a pytree that the values of its leaves do not change.

    Further arguments must be hashable. Like a compiled program, a result is forgotten once code is
    edited; it is not kept where types and static parts cannot be hashed.
    """
    results: dict[Any, R] = {}
    forget_with(results.clear)

    @functools.wraps(function)
    def called(tree: Any, **options: Any) -> R:
        leaves, structure = jax.tree.flatten(tree)
        if not _hashable(structure):
            return function(tree, **options)
        key = structure, tuple(np.shape(leaf) for leaf in leaves), tuple(sorted(options.items()))
        if key not in results:
            results[key] = function(tree, **options)
        return results[key]

    return called


def notice_edits(*things: Any) -> tuple[Footprint, ...]:
    """Forget all compiled programs if what some things reach by name changed in this session.

    Args:
        things: functions, classes, objects, or pytrees of them with numbers, which do not count.

    Returns:
        What each of them reaches now.
    """
    with _lock:
        records: list[Footprint] = []
        edited = False
        for thing in things:
            for key, make_root in _roots(thing):
                record = _records.get(key)
                if record is None or not record.holds():
                    new = Footprint(make_root())
                    _forget_older(new)
                    edited |= _edited(record, new)
                    record = _records[key] = new
                    _remember(record)
                _records.move_to_end(key)
                records.append(record)
                edited |= _differs_from_its_equal(record)
        if len(_records) > MOST_RECORDS:
            _, oldest = _records.popitem(last=False)
            edited |= oldest.mutable  # nothing else would notice its changes
        if edited:
            for memo, _ in [m for record in (*_records.values(), *records) for m in record.memos]:
                forget_memo(memo)
        if edited or len(_states) > MOST_STATES:
            _forget_all()
            for record in records:
                _remember(record)
                _differs_from_its_equal(record)
        return tuple(records)


def _forget_older(record: Footprint) -> None:
    """Empty caches that may hold what other code than that of now has worked out."""
    if len(_memos) > MOST_STATES:
        _memos.clear()
    for memo, now in record.memos:
        reference, earlier = _memos.get(id(memo), (lambda: None, ""))
        if reference() is not memo or earlier != now:
            forget_memo(memo)
            try:
                _memos[id(memo)] = (weakref.ref(memo), now)
            except TypeError:  # an object with slots
                _memos[id(memo)] = (functools.partial(_itself, memo), now)


def _forget_all() -> None:
    with _lock:
        _states.clear()
        _own.clear()
        _records.clear()
        _equals.clear()
        for action in _forget:
            action()


def _edited(old: Footprint | None, new: Footprint) -> bool:
    """Whether something that was met before is no longer what it was."""
    if old is not None:
        return old.digest != new.digest
    if any(_states.get(key, state) != state for key, state in new.states.items()):
        return True
    for thing, key in new.own:
        reference, earlier = _own.get(id(thing), (None, key))
        if reference is not None and reference() is thing and earlier != key:
            return True
    return False


def _differs_from_its_equal(record: Footprint) -> bool:
    """Whether JAX takes an object for an earlier one that holds something else."""
    root = record.root
    kinds = FunctionType | MethodType | type | tuple  # tuples: structures of pytrees
    if isinstance(root, kinds) or type(root).__eq__ is object.__eq__:
        return False
    try:
        earlier = _equals.setdefault(root, record.digest)
    except Exception:  # no hash, or a comparison that raises
        return False
    return earlier != record.digest or len(_equals) > MOST_RECORDS


def _remember(record: Footprint) -> None:
    _states.update(record.states)
    for thing, key in record.own:
        _own[id(thing)] = (weakref.ref(thing), key)


def _roots(thing: Any) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Structure and functions of a pytree, each with a key under which its footprint is kept."""
    leaves, structure = jax.tree.flatten(thing)
    if not jax.tree_util.treedef_is_leaf(structure):
        key = ("tree", structure) if _hashable(structure) else ("once", object())
        yield key, functools.partial(_without_leaves, structure)
        for part in _compared_by_value(_without_leaves(structure)):
            yield ("id", id(part)), functools.partial(_itself, part)
    for leaf in leaves:
        if isinstance(leaf, (*_NUMBERS, str, bytes)):
            continue
        if isinstance(leaf, MethodType):  # made anew whenever it is asked for
            yield ("method", id(leaf.__self__), id(leaf.__func__)), functools.partial(_itself, leaf)
        else:
            yield ("id", id(leaf)), functools.partial(_itself, leaf)


def _without_leaves(structure: Any) -> Any:
    """Types and static parts of a pytree."""
    node = structure.node_data()
    return None if node is None else (*node, *map(_without_leaves, structure.children()))


def _compared_by_value(part: Any) -> Iterator[Any]:
    """Objects among static parts for which JAX may take others that hold something else."""
    if isinstance(part, tuple | list | frozenset | set):
        for each in part:
            yield from _compared_by_value(each)
    elif isinstance(part, dict):
        yield from _compared_by_value([*part.values()])
    elif not isinstance(part, _PLAIN) and type(part).__eq__ is not object.__eq__:
        yield part


def _hashable(structure: Any) -> bool:
    """Whether JAX could keep a program for a structure."""
    try:
        hash(structure)
    except TypeError:
        return False
    return True


def _itself(thing: Any) -> Any:
    return thing


def require_unedited(
    before: tuple[Footprint, ...], now: tuple[Footprint, ...], what: str, remedy: str
) -> None:
    """Check that code is what it was earlier.

    Raises:
        ValueError: naming what was edited.
    """
    changed: set[str] = set()
    for old, new in zip(before, now, strict=True):
        if old.digest != new.digest:
            names = old.entries.keys() | new.entries.keys()
            changed |= {n for n in names if old.entries.get(n) != new.entries.get(n)}
    if changed:
        raise ValueError(
            f"The code behind {what} was edited meanwhile ({', '.join(sorted(changed))}): {remedy}."
        )


def sees_edits(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that edits of the code in some of its arguments are noticed first."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        places = {name: i for i, name in enumerate(inspect.signature(function).parameters)}
        where = [(name, places[name]) for name in names]

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            if is_traced((args, kwargs)):  # the function that traces has looked
                return function(*args, **kwargs)
            given = [
                args[place] if place < len(args) else kwargs.get(name) for name, place in where
            ]
            try:
                notice_edits(function, *given)
            except Exception:  # code that cannot be looked at may have changed
                _forget_all()
            if not is_traced(jnp.zeros(())):
                return function(*args, **kwargs)
            with jax.ensure_compile_time_eval():  # inside somebody's `jit`, with numbers alone
                return function(*args, **kwargs)

        return called

    return decorate


class WhileUnedited:
    """A function that refuses to run once the code of some things was edited.

    A result that works something out later must not mix the code it came from with other code.
    What is pickled takes the code of the process that loads it.
    """

    def __init__(self, function: Callable[..., Any], what: str, things: tuple[Any, ...]) -> None:
        self.parts = (function, what, things)
        self.before = notice_edits(*things)

    def __call__(self, *args: Any) -> Any:
        """Call the function, if nothing was edited."""
        function, what, things = self.parts
        require_unedited(self.before, notice_edits(*things), what, "make it anew")
        return function(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return WhileUnedited, self.parts
