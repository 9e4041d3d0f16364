"""The grid of a sweep, checked, and cut into units of work with the names of their results."""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.identity import Code, code_of, describe, digest, vouched
from learning_dynamics.identity.reach import Walk
from learning_dynamics.identity.settings import settings
from learning_dynamics.validation import positive_integer, reject

__all__ = ["Axis", "Plan", "Unit", "make_plan"]

BATCH = 32  # lanes of a compiled program, unless asked otherwise
CONTEXT = "checkpoint"  # argument that a measure may have without giving it a value


@dataclass(frozen=True, eq=False)
class Axis:
    """One argument of the measure and the values it takes.

    Attributes:
        name: of the argument.
        values: what the measure is given.
        labels: what stands on the axis of the results, numbers or text, shape (values,).
        texts: descriptions for the key.
    """

    name: str
    values: tuple[Any, ...]
    labels: NDArray[Any]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """Cells that are computed in one go: one cell, or one batch of a compiled program.

    Attributes:
        keys: names of the results.
        places: of the cells in the grid.
        labels: one text per cell, for messages.
        arguments: common to all cells.
        lanes: arguments that differ, one mapping per cell; empty for a cell on its own.
        width: lanes of the compiled program, filled up with the first cell; 0 without one.
        checkpoint: whether the measure wants a place to save itself to.
        program: name of the compiled program.
        code: hash of the code that the keys belong to; empty if the user vouches for it.
    """

    keys: tuple[str, ...]
    places: tuple[int, ...]
    labels: tuple[str, ...]
    arguments: Mapping[str, Any]
    lanes: tuple[Mapping[str, Any], ...]
    width: int
    checkpoint: bool
    program: str
    code: str


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that is settled before work starts."""

    measure: Callable[..., Any]
    axes: tuple[Axis, ...]
    together: tuple[str, ...]
    units: tuple[Unit, ...]
    code: Code
    settings: Mapping[str, str]
    version: str
    fixed: Mapping[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return sum(len(unit.keys) for unit in self.units)

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """Names of the results, in the order of the grid."""
        pairs = [pair for unit in self.units for pair in zip(unit.places, unit.keys, strict=True)]
        return tuple(key for _, key in sorted(pairs))

    @property
    def identity(self) -> str:
        """Name of the grid."""
        return digest(*self.keys)[:16]

    def manifest(self) -> dict[str, Any]:
        """What `show` needs to know."""
        return {
            "measure": self.code.name,
            "axes": {axis.name: axis.labels.tolist() for axis in self.axes},
            "together": list(self.together),
            "width": self.units[0].width,
            "fixed": dict(self.fixed),
            "version": self.version,
            "settings": dict(self.settings),
            "code": self.code.vouched,
            "covered": list(self.code.parts),
            "kept": list(self.code.kept),
            "keys": list(self.keys),
        }


def make_plan(
    measure: Callable[..., Any],
    over: Mapping[str, Any],
    *,
    fixed: Mapping[str, Any],
    together: Sequence[str],
    batch_size: int | None,
    version: str,
    code: str | None = None,
) -> Plan:
    """Check the arguments of a sweep and cut it into units.

    Raises:
        ValueError: naming the argument that makes no sense.
    """
    if not callable(measure):
        raise reject("measure", "be a function", repr(measure))
    if not isinstance(over, Mapping) or not over:
        raise reject("over", "map at least one argument of the measure to its values", repr(over))
    if not isinstance(fixed, Mapping):
        raise reject("fixed", "map arguments of the measure to their values", repr(fixed))
    if not isinstance(version, str):
        raise reject("version", "be text", repr(version))
    if code is not None and (not isinstance(code, str) or not code):
        raise reject("code", "be a text that you change with the code", repr(code))
    context = _check_signature(measure, over, fixed)
    identity = code_of(measure).require("measure") if code is None else vouched(measure, code)
    text_of = functools.partial(describe, walk=Walk(), vouched=code is not None)
    axes = tuple(_axis(name, values, text_of) for name, values in over.items())
    together = _check_together(together, axes)
    chosen = [axis for axis in axes if axis.name in together]
    for axis in chosen:
        lanes(axis.name, axis.values)
    if batch_size is not None and not together:
        raise reject("batch_size", "be left out unless axes run `together`", batch_size)
    count = int(np.prod([len(axis.values) for axis in chosen]))
    width = 0
    if together:
        # batches of equal size, so that filling up costs little
        width = (
            -(-count // -(-count // BATCH))
            if batch_size is None
            else positive_integer("batch_size", batch_size)
        )
    texts = {name: text_of(f"fixed[{name!r}]", value) for name, value in fixed.items()}
    texts |= {name: text_of(name, value) for name, value in _defaults(measure, over, fixed).items()}
    known = settings()
    base = digest(
        identity.name, identity.digest, version, repr(sorted(known.items())),
        repr((sorted(together), width)),
    )  # fmt: skip
    followed = "" if code is not None else identity.digest
    units = _units(axes, together, width, dict(fixed), texts, base, context, followed)
    return Plan(measure, axes, together, units, identity, known, version, texts)


def _check_signature(
    measure: Callable[..., Any], over: Mapping[str, Any], fixed: Mapping[str, Any]
) -> bool:
    """Check names against the arguments of the measure; whether it wants a checkpoint.

    Raises:
        ValueError: if a name is no argument, is given twice, or a value is missing.
    """
    known = inspect.signature(measure).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for name, parameter in known.items():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise reject("measure", "take its arguments by name", f"positional-only `{name}`")
    usable = [n for n, p in known.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for argument, names in (("over", over), ("fixed", fixed)):
        for name in names:
            if not isinstance(name, str) or not name.isidentifier():
                raise reject(argument, "name arguments of the measure", repr(name))
            if name not in usable and not open_ended:
                raise reject(
                    argument, f"name arguments of the measure ({', '.join(usable)})", repr(name)
                )
    both = set(over) & set(fixed)
    if both:
        raise reject("fixed", "name no axis of `over`", ", ".join(sorted(both)))
    context = CONTEXT in usable and CONTEXT not in over and CONTEXT not in fixed
    for name, parameter in known.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        given = name in over or name in fixed or (name == CONTEXT and context)
        if parameter.default is parameter.empty and not given:
            raise reject(
                "over", "give a value to every argument of the measure", f"none for `{name}`"
            )
    return context


def _defaults(
    measure: Callable[..., Any], over: Mapping[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """Defaults in use: they belong to the arguments, so that an axis may be added later."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(measure).parameters.items()
        if parameter.default is not parameter.empty
        and name not in over
        and name not in fixed
        and name != CONTEXT
    }


def _axis(name: str, given: Any, text_of: Callable[[str, Any], str]) -> Axis:
    """Values and labels of one axis.

    Raises:
        ValueError: if it is empty, holds a value twice or one without a description.
    """
    argument = f"over[{name!r}]"
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise reject(argument, "be a list of values", repr(given))
    if isinstance(given, Mapping):
        names, values = [str(label) for label in given], list(given.values())
    else:
        names, values = None, list(given)
    if not values:
        raise reject(argument, "hold at least one value", "none")
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    values = [
        v.item() if isinstance(v, np.ndarray | jax.Array) and _is_scalar(v) else v for v in values
    ]
    if all(type(v) in (int, float) for v in values) and any(type(v) is float for v in values):
        values = [float(v) for v in values]
    texts = [text_of(f"{argument}[{i}]", value) for i, value in enumerate(values)]
    seen: dict[str, int] = {}
    for i, text in enumerate(texts):
        if seen.setdefault(text, i) != i:
            raise reject(argument, "hold every value once", f"{values[i]!r} twice")
    return Axis(name, tuple(values), _labels(values, names), tuple(texts))


def _is_scalar(value: Any) -> bool:
    key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return value.ndim == 0 and not key


def _labels(values: Sequence[Any], names: Sequence[str] | None) -> NDArray[Any]:
    if names is not None:
        return np.asarray(names)
    if len({type(v) for v in values}) == 1 and isinstance(values[0], bool | int | float | str):
        labels = np.asarray(values)
        if labels.dtype.kind in "biufU":
            return labels
    named = [getattr(v, "__name__", None) or (v if isinstance(v, str) else None) for v in values]
    if all(named) and len(set(named)) == len(named):
        return np.asarray(named)
    return np.arange(len(values))  # arrays, configurations: give a mapping to name them


def _check_together(together: Sequence[str], axes: Sequence[Axis]) -> tuple[str, ...]:
    names = (together,) if isinstance(together, str) else tuple(together)
    known = [axis.name for axis in axes]
    for name in names:
        if name not in known:
            raise reject("together", f"name axes of `over` ({', '.join(known)})", repr(name))
    return tuple(name for name in known if name in names)


def lanes(name: str, values: Sequence[Any]) -> Any:
    """Stack the values of an axis along a leading axis: arrays, keys or configurations.

    Raises:
        ValueError: if they are no numbers, or differ in more than numbers.
    """
    demand = "hold numbers, arrays of one shape, random keys or configurations of one structure"
    argument = f"together[{name!r}]"
    structures = {str(jax.tree.structure(value)) for value in values}
    if len(structures) != 1:
        raise reject(argument, demand, f"{len(structures)} structures")

    def stack(*leaves: Any) -> Any:
        if isinstance(leaves[0], jax.Array) and jnp.issubdtype(
            leaves[0].dtype, jax.dtypes.prng_key
        ):
            return jnp.stack(leaves)
        try:
            array = np.stack([np.asarray(leaf) for leaf in leaves])
        except ValueError:
            raise reject(argument, demand, "arrays of several shapes") from None
        if array.dtype.kind not in "biufc":
            raise reject(argument, demand, repr(leaves[0]))
        kind = jax.dtypes.canonicalize_dtype(array.dtype)
        if array.dtype.kind in "iu" and not np.array_equal(array, array.astype(kind)):
            raise reject(argument, f"fit into {kind}", f"{array.max()}")
        return array.astype(kind)

    return jax.tree.map(stack, *values)


def _units(
    axes: Sequence[Axis], together: Sequence[str], width: int, fixed: dict[str, Any],
    texts: Mapping[str, str], base: str, context: bool, code: str,
) -> tuple[Unit, ...]:  # fmt: skip
    shape = [len(axis.values) for axis in axes]
    places = np.arange(int(np.prod(shape))).reshape(shape)
    outer = [i for i, axis in enumerate(axes) if axis.name not in together]
    inner = [i for i, axis in enumerate(axes) if axis.name in together]
    units: list[Unit] = []
    given = sorted(texts.items())
    for at in itertools.product(*(range(shape[i]) for i in outer)):
        arguments = fixed | {
            axes[i].name: axes[i].values[j] for i, j in zip(outer, at, strict=True)
        }
        block = places[
            tuple(at[outer.index(i)] if i in outer else slice(None) for i in range(len(axes)))
        ]
        rows = list(
            zip(itertools.product(*(range(shape[i]) for i in inner)), block.ravel(), strict=True)
        )
        common = [(axes[i].name, axes[i].texts[j]) for i, j in zip(outer, at, strict=True)]
        program = digest(base, repr(sorted([*given, *common])))
        size = width or 1
        for start in range(0, len(rows), size):
            cells = []
            for index, place in rows[start : start + size]:
                here = dict(zip(outer, at, strict=True)) | dict(zip(inner, index, strict=True))
                pairs = [(axes[i].name, axes[i].texts[j]) for i, j in here.items()]
                key = digest(base, *(f"{n}={t}" for n, t in sorted([*given, *pairs])))
                label = ", ".join(
                    f"{axes[i].name}={axes[i].labels[here[i]]}" for i in range(len(axes))
                )
                varied = {
                    axes[i].name: axes[i].values[j] for i, j in zip(inner, index, strict=True)
                }
                cells.append((key, int(place), label, varied))
            keys, where, labels, varied_all = zip(*cells, strict=True)
            units.append(
                Unit(
                    keys,
                    where,
                    labels,
                    arguments,
                    varied_all if width else (),
                    width,
                    context,
                    program,
                    code,
                )
            )
    return tuple(units)


def grouped(units: Iterable[Unit]) -> Iterator[list[Unit]]:
    """Units that share a compiled program, one list after the other."""
    for _, group in itertools.groupby(units, key=lambda unit: unit.program):
        yield list(group)
