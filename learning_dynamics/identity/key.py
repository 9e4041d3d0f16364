"""Identity of a function's code, and of a value: what names a result in a store or a checkpoint."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any

from learning_dynamics.identity.bytecode import digest
from learning_dynamics.identity.origin import installed, qualified_name, version_of
from learning_dynamics.identity.reach import Walk
from learning_dynamics.identity.settings import settings
from learning_dynamics.identity.sources import changed_on_disk, sources
from learning_dynamics.identity.values import Writer
from learning_dynamics.validation import reject

__all__ = ["Code", "Fingerprint", "code_of", "describe", "fingerprint", "vouched"]

LARGEST = 2**20  # bytes of an array that still may be part of an argument


@dataclasses.dataclass(frozen=True)
class Code:
    """Identity of code.

    Attributes:
        name: qualified name of the function or class.
        digest: hash of all parts.
        parts: qualified name -> hash, of every function and class that is reached by name, of the
            source of every own module, of the versions of installed packages.
        uncovered: what is reached by name and has no reproducible description.
        kept: global names and variables that the code itself writes to; they are left out.
        edited: modules whose file no longer holds the code that was imported.
        vouched: the text that a user gives instead of all this; empty if the code was followed.
    """

    name: str
    digest: str
    parts: Mapping[str, str]
    uncovered: tuple[str, ...]
    kept: tuple[str, ...]
    edited: tuple[str, ...]
    vouched: str = ""

    def require(self, argument: str) -> "Code":
        """Return the identity if it is whole.

        Raises:
            ValueError: naming `argument` and what cannot be followed.
        """
        if self.edited:
            raise reject(
                argument,
                "be the code that its files hold: reload the module or start Python again",
                f"{', '.join(self.edited)}, edited after it was imported",
            )
        if self.uncovered:
            raise reject(
                argument,
                'reach only what can be followed by name (or vouch for it with code="v1", another '
                "text after every change)",
                "; ".join(self.uncovered[:5]),
            )
        return self


def code_of(function: Any) -> Code:
    """Identity of the code of a function, class or callable object at this moment.

    It covers code, closures and defaults of the function, and what it refers to by global name, as
    attribute of a module or in an import statement: functions, classes and values, as long as they
    are not part of an installed package (those count by version); further the source of every own
    module that the modules met on the way import, directly or through others.
    """
    return _identity([function], bare=function)


def vouched(function: Any, version: str) -> Code:
    """Identity of code for which the user vouches: a text that changes when results must."""
    name = _name(function)
    return Code(name, digest("vouched", name, version), {}, (), (), (), version)


def _identity(things: Iterable[Any], *, bare: Any = None, walk: Walk | None = None) -> Code:
    things = list(things)
    walk = walk or Walk(bare=bare)
    writers = []
    for thing in things:
        writer = walk.writer()
        if isinstance(thing, FunctionType):
            writer.function(thing, _name(thing), defaults=thing is not bare)
        else:
            writer.write(thing, _name(thing))
        writers.append(writer)
    return _code(_name(things[0]), writers, walk)


def _code(name: str, writers: list[Writer], walk: Walk) -> Code:
    reach = walk.reach(child for writer in writers for child in writer.children)
    modules = reach.modules.union(*(writer.modules for writer in writers))
    functions = [node.thing for node in reach.nodes if isinstance(node.thing, FunctionType)]
    edited = {module for f in functions if (module := changed_on_disk(f)) is not None}
    parts = {"itself": digest(*(writer.text for writer in writers))} | reach.entries()
    parts |= {f"source of {_plain(m)}": text for m, text in sorted(sources(modules).items())}
    tops = {module.split(".")[0] for module in modules if installed(module)}
    parts |= {f"version of {top}": version_of(top) for top in sorted(tops) if version_of(top)}
    problems = [*reach.problems, *(p for writer in writers for p in writer.problems)]
    return Code(
        name,
        digest(*(f"{part}={text}" for part, text in sorted(parts.items()))),
        parts,
        tuple(sorted({f"{p.place}, {p.got}" for p in problems})),
        tuple(sorted(reach.kept)),
        tuple(sorted(edited)),
    )


def _name(thing: Any) -> str:
    if isinstance(thing, functools.partial):
        return _name(thing.func)
    return qualified_name(thing)


def _plain(module: str) -> str:
    return "the script" if module in ("__main__", "__mp_main__") else module


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """All that fixes a run.

    Attributes:
        digest: hash of all parts.
        parts: name of an argument, or qualified name of code -> hash.
    """

    digest: str
    parts: Mapping[str, str]

    def differences(self, earlier: Mapping[str, str]) -> list[str]:
        """Names of the parts that differ from those of an earlier run, arguments first."""
        names = [*self.parts, *(name for name in earlier if name not in self.parts)]
        return [name for name in names if self.parts.get(name) != earlier.get(name)]


def fingerprint(argument: str, things: Mapping[str, Any], code: str | None = None) -> Fingerprint:
    """Hash of all that fixes a run: values, the code they reach by name, versions, settings.

    Args:
        argument: name for error messages.
        things: name of an argument -> value or function.
        code: text that stands for all code; None to follow it.

    Raises:
        ValueError: on what cannot be taken apart, naming `argument`; if `code` is no text.
    """
    if code is not None and (not isinstance(code, str) or not code):
        raise reject("code", "be a text that you change with the code", repr(code))
    writers = {name: Writer(code=code is None) for name in things}
    for name, writer in writers.items():
        writer.write(things[name], argument)
    parts = {f"`{name}`": digest(writer.text) for name, writer in writers.items()}
    if code is None:
        reached = _code(argument, list(writers.values()), Walk()).require(argument).parts
        parts |= {name: text for name, text in reached.items() if name != "itself"}
    else:
        parts["`code`"] = digest(code)
    for writer in writers.values():
        for problem in writer.problems:
            raise reject(*problem)
    parts |= {f"setting {name}": digest(repr(value)) for name, value in settings().items()}
    return Fingerprint(digest(*(f"{part}={text}" for part, text in sorted(parts.items()))), parts)


def describe(
    argument: str,
    value: Any,
    *,
    largest: float = LARGEST,
    walk: Walk | None = None,
    vouched: bool = False,
) -> str:
    """Text shared by values that no result can tell apart, the same in every process.

    Args:
        argument: name for error messages.
        value: number, text, small array, random key, named function, frozen dataclass, or tuples,
            lists, sets and mappings of such, or another object that can be taken apart.
        largest: bytes of the largest array.
        walk: keeps what was worked out for other arguments.
        vouched: whether functions and classes count by their names alone.

    Raises:
        ValueError: on anything else, naming `argument`.
    """
    writer = Writer(largest=largest, named=True, code=not vouched)
    writer.write(value, argument)
    for problem in writer.problems:
        raise reject(*problem)
    if vouched or not writer.children:
        return writer.text
    code = _code(argument, [writer], walk or Walk()).require(argument)
    return f"{writer.text}#{code.digest}"
