"""Numbers of the inputs and of the learner that change in time: `Problem(protocol=...)`."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np

from learning_dynamics.pytrees import is_traced, number_path
from learning_dynamics.schedules import as_schedule, check_shape
from learning_dynamics.validation import reject

__all__ = ["as_protocol", "check_fixed", "check_model", "with_numbers"]

_BESIDE = ("label_noise", "clip")  # numbers of the problem itself that may change


def as_protocol(problem: Any, protocol: Mapping[str, Any] | None) -> dict[str, Any]:
    """A checked protocol: path of a number -> schedule.

    Raises:
        ValueError: on paths that name no single number of the model, and on values that are no
            schedules.
    """
    if not protocol:
        return {}
    known, schedules = _numbers(problem), {}
    for name, schedule in sorted(protocol.items()):
        argument = f"protocol[{name!r}]"
        if name not in known:
            demand = f"name a number that the problem has: {', '.join(sorted(known)) or 'none'}"
            raise reject("protocol", demand, repr(name))
        if np.ndim(known[name]) != 0:
            raise reject(argument, "replace a single number", f"shape {np.shape(known[name])}")
        if not callable(schedule):
            demand = "be a schedule; a number belongs into the model itself"
            raise reject(argument, demand, repr(schedule))
        schedules[name] = as_schedule(argument, schedule)
        check_shape(argument, schedules[name])
    return schedules


def with_numbers(problem: Any, values: Mapping[str, Any]) -> Any:
    """The problem with other numbers at some paths."""
    paths, structure = jax.tree_util.tree_flatten_with_path(problem)
    leaves = [values.get(number_path(path), leaf) for path, leaf in paths]
    return jax.tree.unflatten(structure, leaves)


def check_fixed(problem: Any, dimension: int | None = None) -> None:
    """Refuse a protocol that changes the law of the latents, the noise blocks, or a beginning.

    They are found once: a quadrature has its nodes from the laws, and R_b its blocks.

    Args:
        problem: a problem.
        dimension: N, for a model whose blocks exist at this one alone.

    Raises:
        ValueError: naming the number and what depends on it.
    """
    known = _numbers(problem) if problem.protocol else {}
    for name in problem.protocol:
        if is_traced(known[name]):
            continue
        depending: list[str] = []

        def look(value: Any, name: str = name, depending: list[str] = depending) -> Any:
            changed = with_numbers(problem, {name: value})
            depending += [what for what, part in _fixed(changed, dimension) if is_traced(part)]
            return value

        jax.jvp(look, (float(known[name]),), (1.0,))
        if depending:
            demand = "leave alone what a run finds once: " + ", ".join(depending)
            raise reject(f"protocol[{name!r}]", demand, "a number that they depend on")


def check_model(problem: Any, values: Mapping[str, Iterable[float]]) -> None:
    """Refuse values of a protocol that the model itself refuses.

    Args:
        problem: a problem.
        values: path -> values to try.

    Raises:
        ValueError: naming the number, with the reason of the model.
    """
    bare = replace(problem, protocol=None)
    for name, tried in values.items():
        for value in tried:
            try:
                _rebuilt(bare, name.split("."), value)
            except ValueError as error:
                demand = "take values that the model allows"
                raise reject(
                    f"problem.protocol[{name!r}]", demand, f"{value:g}: {str(error).rstrip('.')}"
                ) from None


def _numbers(problem: Any) -> dict[str, Any]:
    """Path -> number, of all that a protocol may change."""
    paths = {number_path(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(problem)}
    return {
        name: leaf
        for name, leaf in paths.items()
        if name in _BESIDE or name.partition(".")[0] in ("inputs", "learner")
    }


def _fixed(problem: Any, dimension: int | None) -> list[tuple[str, Any]]:
    inputs = problem.inputs
    parts = [
        ("the laws of the latents", dict(inputs.latents())),
        ("parameters at time zero", dict(problem.learner.parameters())),
    ]
    if problem.learner.normaliser != "weights":
        parts.append(("variances along the signal", inputs.signal_variances()))
    try:
        blocks = inputs.blocks(10**6 + inputs.directions if dimension is None else dimension)
    except ValueError:  # a model of one N
        return parts
    return [*parts, ("the noise blocks", tuple(blocks))]


def _rebuilt(item: Any, names: list[str], value: Any) -> Any:
    """A copy that checks its values again, as far as the path leads through dataclasses."""
    if not names:
        return value
    known = {field.name for field in fields(item)} if hasattr(item, "__dataclass_fields__") else ()
    if names[0] not in known:
        return item
    return replace(item, **{names[0]: _rebuilt(getattr(item, names[0]), names[1:], value)})
