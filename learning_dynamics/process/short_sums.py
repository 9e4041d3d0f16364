"""Sums over few terms as additions, for compilers that give each sum a kernel of its own."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

__all__ = ["with_short_sums_added"]

FEW = 16  # terms up to which a sum is written as additions
INLINED = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call", "core_call")


def with_short_sums_added(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with sums over at most `FEW` terms written as additions.

    A device whose kernels are launched one by one spends an update of the overlaps on launches:
    its compiler ends a kernel at every sum, and fuses additions.

    Args:
        function: of pytrees of arrays; it is traced once for each call.
    """

    def added(*arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        shapes: list[Any] = []

        def flat(*leaves: Any) -> list[Any]:
            result, out = jax.tree.flatten(function(*jax.tree.unflatten(structure, leaves)))
            shapes.append(out)
            return result

        closed = jax.make_jaxpr(flat)(*leaves)
        return jax.tree.unflatten(shapes[0], _evaluate(closed.jaxpr, closed.consts, leaves))

    return added


def _evaluate(jaxpr: core.Jaxpr, constants: Any, arguments: Any) -> list[Any]:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= dict(zip(jaxpr.invars, arguments, strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        inputs = [value(atom) for atom in equation.invars]
        name, parameters = equation.primitive.name, equation.params
        inner = parameters.get("jaxpr", parameters.get("call_jaxpr"))
        if name == "reduce_sum" and 0 < _terms(equation) <= FEW:
            outputs = [_sum(inputs[0], parameters["axes"])]
        elif name in INLINED and inner is not None:
            outputs = _evaluate(inner.jaxpr, inner.consts, inputs)
        else:
            outputs = equation.primitive.bind(*inputs, **parameters)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        known |= dict(zip(equation.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _terms(equation: Any) -> int:
    shape = equation.invars[0].aval.shape
    return int(np.prod([shape[axis] for axis in equation.params["axes"]]))


def _sum(array: Any, axes: tuple[int, ...]) -> Any:
    for axis in sorted(axes, reverse=True):
        terms = [lax.index_in_dim(array, i, axis, keepdims=False) for i in range(array.shape[axis])]
        array = terms[0]
        for term in terms[1:]:
            array = array + term
    return array
