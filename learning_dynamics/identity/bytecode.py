"""Compiled functions as text, without line numbers, comments and docstrings; the names they use."""

import dis
import hashlib
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

__all__ = [
    "Facts",
    "all_code",
    "code_digest",
    "digest",
    "facts_of",
    "import_statements",
    "literal",
]

# a class body and a module store these; they hold line numbers, documentation, an unordered set
_REMARKS = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_DOCUMENTED = 0x4000000  # flag of code with a docstring, from Python 3.13 on
_MUTATORS = frozenset(
    (
        "append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "add",
        "discard", "popitem", "move_to_end", "appendleft", "popleft", "sort", "reverse",
    )
)  # fmt: skip
_LOAD_NAMES = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_LOAD_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_PUSH_ONE = frozenset(
    (
        "LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_CONST", "LOAD_SMALL_INT",
        "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME",
    )
)  # fmt: skip


def digest(*texts: str) -> str:
    """Hexadecimal hash of texts, 128 bits."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _shifts() -> dict[int, int]:
    """Low bits of an argument that are no part of the name's index, by instruction."""
    shifts = {"LOAD_GLOBAL": 1}
    if sys.version_info >= (3, 12):
        shifts |= {"LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}
    return {dis.opmap[name]: bits for name, bits in shifts.items() if name in dis.opmap}


_SHIFT = _shifts()
_CONST, _NAME = frozenset(dis.hasconst), frozenset(dis.hasname)
_EXTENDED, _STORE = dis.opmap["EXTENDED_ARG"], dis.opmap["STORE_NAME"]
_IMPORT, _SMALL = dis.opmap["IMPORT_NAME"], {dis.opmap.get("LOAD_SMALL_INT", -1)}


@dataclass(frozen=True)
class Facts:
    """What the instructions of a function say.

    Attributes:
        digest: of instructions, constants and names, those of inner functions included.
        chains: global names and the attributes that follow them, such as ("jnp", "linalg", "eigh").
        imports: (module, level, names) of import statements.
        attributes: all names used after a dot.
        rebound: global names that the code itself assigns.
        written: those, and global names whose contents it changes.
        cells_rebound: variables of enclosing functions that the code itself assigns.
        cells_written: those, and such variables whose contents it changes.
    """

    digest: str
    chains: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    attributes: frozenset[str]
    rebound: frozenset[str]
    written: frozenset[str]
    cells_rebound: frozenset[str]
    cells_written: frozenset[str]


_known: dict[int, tuple[CodeType, Facts]] = {}


def facts_of(code: CodeType) -> Facts:
    """Facts about a code object, worked out once."""
    entry = _known.get(id(code))
    if entry is None or entry[0] is not code:
        if len(_known) > 20_000:
            _known.clear()
        entry = _known[id(code)] = (code, _facts(code))
    return entry[1]


def all_code(code: CodeType) -> Iterator[CodeType]:
    """A code object and all inner ones."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_code(constant)


class _Scan:
    """What the instructions of a code object and of its inner ones say."""

    def __init__(self, code: CodeType) -> None:
        self.chains: dict[tuple[str, ...], None] = {}
        self.imports: dict[tuple[str, int, tuple[str, ...]], None] = {}
        self.attributes: set[str] = set()
        self.rebound: set[str] = set()
        self.filled: set[str] = set()
        self.cells_rebound: set[str] = set()
        self.cells_filled: set[str] = set()
        self._part(code, frozenset(code.co_freevars))

    def _part(self, code: CodeType, enclosing: frozenset[str]) -> None:
        """Scan one code object; `enclosing` names its variables from outside of the whole scan.

        A variable that an inner function takes from the one around it is no name of a module, and
        is new with each call.
        """
        steps = [
            i for i in dis.get_instructions(code) if i.opname not in ("EXTENDED_ARG", "PUSH_NULL")
        ]
        # names of the body of a class hide global ones
        local = {i.argval for i in steps if i.opname in ("STORE_NAME", "DELETE_NAME")}
        for at, step in enumerate(steps):
            name = step.opname
            if name in _LOAD_ATTRIBUTES:
                self.attributes.add(step.argval)
            elif name == "IMPORT_NAME":
                level, names = steps[at - 2].argval, steps[at - 1].argval
                self.imports[(step.argval, level or 0, tuple(names or ()))] = None
            elif name in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                self.rebound.add(step.argval)
            elif name in ("STORE_DEREF", "DELETE_DEREF") and step.argval in enclosing:
                self.cells_rebound.add(step.argval)
            elif name in _LOAD_NAMES or name == "LOAD_DEREF":
                chain, end = [step.argval], at + 1
                while end < len(steps) and steps[end].opname in _LOAD_ATTRIBUTES:
                    chain.append(steps[end].argval)
                    end += 1
                if name in _LOAD_NAMES:
                    self.chains[tuple(chain)] = None
                if not (len(chain) == 2 and chain[1] in _MUTATORS) and not _item_set(steps, at + 1):
                    continue
                if name in _LOAD_NAMES and step.argval not in local:
                    self.filled.add(step.argval)
                elif name == "LOAD_DEREF" and step.argval in enclosing:
                    self.cells_filled.add(step.argval)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._part(constant, enclosing & frozenset(constant.co_freevars))


def _item_set(steps: list[dis.Instruction], at: int) -> bool:
    """Whether instructions set or delete an item of what was loaded just before them."""
    if at + 1 >= len(steps) or steps[at].opname not in _PUSH_ONE:
        return False
    if steps[at + 1].opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
        return True
    augmented = [(step.opname, step.arg) for step in steps[at + 1 : at + 3]]
    return augmented == [("COPY", 2), ("COPY", 2)]  # of table and index: `table[index] += value`


def _facts(code: CodeType) -> Facts:
    scan = _Scan(code)
    return Facts(
        code_digest(code),
        tuple(scan.chains),
        tuple(scan.imports),
        frozenset(scan.attributes),
        frozenset(scan.rebound),
        frozenset(scan.rebound | scan.filled),
        frozenset(scan.cells_rebound),
        frozenset(scan.cells_rebound | scan.cells_filled),
    )


def import_statements(code: CodeType) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """(module, level, names) of all import statements in a code object."""
    for part in all_code(code):
        raw = part.co_code
        if _IMPORT not in raw[::2]:
            continue
        constants: list[Any] = [0, ()]
        extended = 0
        for at in range(0, len(raw), 2):
            operation, argument = raw[at], raw[at + 1] | extended << 8
            extended = argument if operation == _EXTENDED else 0
            if operation in _CONST:
                constants.append(part.co_consts[argument])
            elif operation in _SMALL:
                constants.append(argument)
            elif operation == _IMPORT:
                yield part.co_names[argument], constants[-2] or 0, tuple(constants[-1] or ())


_digests: dict[int, tuple[CodeType, str]] = {}


def code_digest(code: CodeType) -> str:
    """Hash of what a code object does.

    Constants and names enter where an instruction uses them, so that a docstring, which nothing
    uses, does not shift those after it.
    """
    entry = _digests.get(id(code))
    if entry is None or entry[0] is not code:
        if len(_digests) > 50_000:
            _digests.clear()
        entry = _digests[id(code)] = (code, _code_digest(code))
    return entry[1]


def _code_digest(code: CodeType) -> str:
    out: list[str] = []
    places: list[int] = []  # unit of the instructions -> entry of `out`
    extended = 0
    raw = code.co_code
    for at in range(0, len(raw), 2):
        places.append(len(out))
        operation, argument = raw[at], raw[at + 1] | extended << 8
        if operation == _EXTENDED:
            extended = argument
            continue
        extended = 0
        if operation in _CONST:
            out.append(f"{operation} {literal(code.co_consts[argument])}")
        elif operation in _NAME:
            shift = _SHIFT.get(operation, 0)
            used = code.co_names[argument >> shift]
            if operation == _STORE and used in _REMARKS and out:
                out.pop()
                continue
            out.append(f"{operation} {used} {argument & ((1 << shift) - 1)}")
        else:
            out.append(f"{operation} {argument}")
    places.append(len(out))
    blocks = [
        tuple(places[min(unit, len(places) - 1)] for unit in entry[:3]) + entry[3:]
        for entry in _exceptions(code.co_exceptiontable)
    ]
    head = (
        code.co_name, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
        code.co_flags & ~_DOCUMENTED, code.co_varnames, code.co_freevars, code.co_cellvars,
    )  # fmt: skip
    return digest(repr(head), repr(blocks), *out)


def _exceptions(table: bytes) -> Iterator[tuple[int, ...]]:
    """Entries (start, end, handler, depth) of a table of exceptions, in units of instructions."""
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = value << 6 | byte & 63
        if not byte & 64:
            numbers.append(value)
            value = 0
    for start, length, handler, depth in zip(*[iter(numbers)] * 4, strict=True):
        yield start, start + length, handler, depth


def literal(constant: Any) -> str:
    """Text of a constant, the same in every process."""
    if isinstance(constant, CodeType):
        return code_digest(constant)
    if isinstance(constant, frozenset):
        return f"frozenset({','.join(sorted(map(literal, constant)))})"
    if isinstance(constant, tuple):
        return f"({','.join(map(literal, constant))})"
    if isinstance(constant, float):
        return f"float:{struct.pack('>d', constant).hex()}"
    if isinstance(constant, complex):
        return f"complex:{struct.pack('>2d', constant.real, constant.imag).hex()}"
    if isinstance(constant, slice):
        return f"slice({literal((constant.start, constant.stop, constant.step))})"
    return f"{type(constant).__name__}:{constant!r}"
