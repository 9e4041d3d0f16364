"""Degrees of the outputs of a function as polynomials of its inputs: found by tracing it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

__all__ = ["Degrees", "degrees_of", "single_precision"]

_SAME = frozenset(
    {"add", "sub", "add_any", "neg", "reshape", "broadcast_in_dim", "transpose", "squeeze"}
    | {"expand_dims", "slice", "concatenate", "stack", "unstack", "split", "pad", "rev"}
    | {"reduce_sum", "cumsum", "copy", "real"}
)  # linear in all operands together
_PRODUCTS = frozenset({"mul", "dot_general"})
_FIRST = frozenset({"gather", "dynamic_slice", "div"})  # linear in the first, if others are fixed
_SCATTERS = frozenset({"scatter", "scatter-add", "scatter-sub"})
_INTO = _SCATTERS | {"dynamic_update_slice"}  # linear in the target and in what is put there
_LOOPS = frozenset({"scan", "while"})


class Degrees(NamedTuple):
    """How a value depends on named inputs.

    Attributes:
        of: name -> degree, infinite where it is no polynomial (or not seen to be one); inputs that
            the value does not depend on are left out.
        mixed: names that are multiplied by something that depends on an input.
    """

    of: Mapping[str, float]
    mixed: frozenset[str]

    def linear(self, name: str) -> bool:
        """Whether the value is linear in an input, with a coefficient that is fixed."""
        return self.of.get(name, 0) <= 1 and name not in self.mixed


_FIXED = Degrees({}, frozenset())


def degrees_of(function: Callable[..., Any], named: Mapping[str, Any], *others: Any) -> Any:
    """Degrees of the outputs of function(named, *others) in the inputs `named`.

    Args:
        function: what is traced.
        named: name -> array or `jax.ShapeDtypeStruct`.
        others: arguments whose values do not matter.

    Returns:
        `Degrees` for each array that the function returns, as a list.
    """
    names = sorted(named)
    jaxpr = jax.make_jaxpr(function)(dict(named), *others).jaxpr
    inputs = [Degrees({name: 1.0}, frozenset()) for name in names]
    fixed = [_FIXED] * (len(jaxpr.invars) - len(inputs))
    return _follow(jaxpr, [*inputs, *fixed])


def single_precision(tree: Any) -> Any:
    """Shapes of all numbers of a pytree, in float32: what tracing it takes."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.float32), tree)


def _follow(jaxpr: Any, inputs: list[Degrees]) -> list[Degrees]:
    known: dict[Any, Degrees] = dict(zip(jaxpr.invars, inputs, strict=True))

    def of(variable: Any) -> Degrees:
        return _FIXED if isinstance(variable, core.Literal) else known.get(variable, _FIXED)

    for equation in jaxpr.eqns:
        operands = [of(variable) for variable in equation.invars]
        outputs = [_unknown(operands)] * len(equation.outvars)
        bodies = list(core.jaxprs_in_params(equation.params))
        name = equation.primitive.name
        if name == "cond" and not operands[0].of:  # one of the branches, whichever it is
            branches = [_follow(body, operands[1:]) for body in bodies]
            outputs = [_joint(list(results)) for results in zip(*branches, strict=True)]
        elif len(bodies) == 1 and name not in (*_LOOPS, *_INTO):
            if len(bodies[0].invars) == len(operands):
                results = _follow(bodies[0], operands)
                outputs = results if len(results) == len(outputs) else outputs
        elif not bodies or name in _INTO:
            outputs = [_after(equation, operands)] * len(equation.outvars)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [of(variable) for variable in jaxpr.outvars]


def _after(equation: Any, operands: list[Degrees]) -> Degrees:
    """Degrees of the result of one operation."""
    name = equation.primitive.name
    moving = [operand for operand in operands if operand.of]
    if not moving:
        return _FIXED
    if name in _SAME or (name == "select_n" and not operands[0].of):
        return _joint(moving)
    if name == "convert_element_type":
        kinds = [np.dtype(v.aval.dtype).kind for v in (equation.invars[0], equation.outvars[0])]
        return moving[0] if set(kinds) <= {"f", "c"} else _unknown(moving)
    if name in _FIRST and not any(operand.of for operand in operands[1:]):
        return operands[0]
    if name in _INTO and not any(operand.of for operand in _indices(name, operands)):
        return _joint(moving)
    if name in _PRODUCTS:
        return _product(*operands)
    if name == "square":
        return _product(operands[0], operands[0])
    if name == "integer_pow" and equation.params["y"] >= 0:
        power = equation.params["y"]
        return Degrees({n: power * d for n, d in operands[0].of.items()}, frozenset(operands[0].of))
    return _unknown(moving)


def _indices(name: str, operands: list[Degrees]) -> list[Degrees]:
    """Operands that say where something is put: (target, indices, what) or (target, what, ...)."""
    return operands[1:2] if name in _SCATTERS else operands[2:]


def _joint(operands: list[Degrees]) -> Degrees:
    names = {name for operand in operands for name in operand.of}
    degrees = {name: max(operand.of.get(name, 0) for operand in operands) for name in names}
    return Degrees(degrees, frozenset().union(*(operand.mixed for operand in operands)))


def _product(one: Degrees, two: Degrees) -> Degrees:
    names = one.of.keys() | two.of.keys()
    degrees = {name: one.of.get(name, 0) + two.of.get(name, 0) for name in names}
    crossed = frozenset(names) if one.of and two.of else frozenset()
    return Degrees(degrees, one.mixed | two.mixed | crossed)


def _unknown(operands: list[Degrees]) -> Degrees:
    names = {name for operand in operands for name in operand.of}
    return Degrees(dict.fromkeys(names, np.inf), frozenset(names))
