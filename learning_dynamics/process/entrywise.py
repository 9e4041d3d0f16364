"""Arithmetic of a few small arrays, entry by entry: what one kernel does without leaving registers.

A kernel that keeps the weights of a replica in registers knows vectors of one length, a power of
two, and single numbers. Here a function of arrays is evaluated in these terms: a small array by its
entries, an array with one long axis, its last, by pieces of that axis.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from numpy.typing import NDArray

from learning_dynamics.process.entries import (
    Array,
    UnsupportedError,
    Wide,
    add,
    entries_of,
    is_narrow,
    long_axis_last,
    made,
    pieces,
    spread,
    sum_of_pieces,
)
from learning_dynamics.process.entry_products import product
from learning_dynamics.process.short_sums import INLINED

__all__ = ["ELEMENTWISE", "OWN", "evaluate"]

ELEMENTWISE = {
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bitcast_convert_type", "cbrt", "ceil", "clamp", "convert_element_type", "cos", "cosh", "div",
    "eq", "erf", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le",
    "log", "log1p", "log2", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not",
    "one_minus_square", "or", "polynomial", "pow", "rem", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "sub",
    "tan", "tanh", "xor",
}  # fmt: skip
FOLDED: dict[str, Callable[..., Any]] = {
    "reduce_sum": lax.add, "reduce_prod": lax.mul, "reduce_max": lax.max, "reduce_min": lax.min,
    "reduce_and": lax.bitwise_and, "reduce_or": lax.bitwise_or,
}  # fmt: skip
# x p(x^2) / q(x^2) = erf x for |x| < 3.84, where erf x is one in float32
ERF_BOUND = 3.832506856900711
ERF_ABOVE = np.array(
    [
        *(-1.60960333262415e-02, -2.95459980854025e-03, -7.34990630326855e-04),
        *(-5.69250639462346e-05, -2.10102402082508e-06, 2.77068142495902e-08),
        -2.72614225801306e-10,
    ]
)
ERF_BELOW = np.array(
    [
        *(-1.42647390514189e-02, -7.37332916720468e-03, -1.68282697438203e-03),
        *(-2.13374055278905e-04, -1.45660718464996e-05),
    ]
)


def evaluate(
    jaxpr: core.Jaxpr, constants: Sequence[Array], arguments: Sequence[Array], lanes: int
) -> list[Array]:
    """Results of a function written as a jaxpr.

    Args:
        jaxpr: of the function.
        constants: what it closes over.
        arguments: by entries or pieces.
        lanes: numbers in a piece, a power of two.

    Raises:
        UnsupportedError: if it holds an operation or a shape that is not known here.
    """
    known: dict[Any, Array] = dict(zip(jaxpr.constvars, constants, strict=True))
    known |= dict(zip(jaxpr.invars, arguments, strict=True))

    def value(atom: Any) -> Array:
        if not isinstance(atom, core.Literal):
            return known[atom]
        return _constant(np.asarray(atom.val, _type(atom).dtype))

    for equation in jaxpr.eqns:
        inputs = [value(atom) for atom in equation.invars]
        name, parameters = equation.primitive.name, equation.params
        inner = parameters.get("jaxpr", parameters.get("call_jaxpr"))
        if name in INLINED and inner is not None:
            consts = [_constant(np.asarray(c)) for c in getattr(inner, "consts", ())]
            outputs = evaluate(getattr(inner, "jaxpr", inner), consts, inputs, lanes)
        else:
            for variable in equation.outvars:
                is_narrow(_type(variable).shape)
            outputs = _applied(equation, inputs, lanes)
        known |= dict(zip(equation.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _type(atom: Any) -> Any:
    return atom.aval


def _constant(array: NDArray[Any]) -> NDArray[Any]:
    is_narrow(array.shape)
    return entries_of(array.shape, lambda index: array[index])


def _applied(equation: Any, inputs: list[Array], lanes: int) -> list[Array]:
    name, parameters = equation.primitive.name, equation.params
    shape = equation.outvars[0].aval.shape
    moved = any(isinstance(array, Wide) and array.axis is not None for array in inputs)
    if moved and name not in ("dot_general", "reshape", "squeeze", "transpose"):
        raise UnsupportedError(f"{name} of an array whose long axis is not the last")
    if name in ELEMENTWISE:
        return [_elementwise(equation, inputs, lanes)]
    if name in ("copy", "stop_gradient"):
        return [inputs[0]]
    if name in FOLDED:
        return [_folded(FOLDED[name], inputs[0], parameters["axes"])]
    if name == "dot_general":
        return [product(*inputs, *parameters["dimension_numbers"])]
    if name == "broadcast_in_dim":
        return [_broadcast(inputs[0], shape, parameters["broadcast_dimensions"], lanes)]
    if name in ("reshape", "squeeze"):
        return [_reshaped(inputs[0], shape)]
    if name == "transpose":
        return [_transposed(inputs[0], parameters["permutation"])]
    if name == "concatenate":
        return [_joined(inputs, parameters["dimension"])]
    if name == "stack":
        axis = parameters["axis"]
        apart = (*shape[:axis], 1, *shape[axis + 1 :])
        return [_joined([_reshaped(array, apart) for array in inputs], axis)]
    if name == "unstack":
        axis, whole = parameters["axis"], tuple(slice(0, n, 1) for n in inputs[0].shape)
        return [
            _reshaped(
                _sliced(inputs[0], (*whole[:axis], slice(i, i + 1, 1), *whole[axis + 1 :])), shape
            )
            for i in range(len(equation.outvars))
        ]
    if name == "slice":
        strides = parameters["strides"] or (1,) * len(shape)
        cuts = zip(parameters["start_indices"], parameters["limit_indices"], strides, strict=True)
        return [_sliced(inputs[0], tuple(slice(*cut) for cut in cuts))]
    if name == "iota" and is_narrow(shape):
        numbers = np.broadcast_to(
            np.arange(shape[parameters["dimension"]]).reshape(
                [-1 if axis == parameters["dimension"] else 1 for axis in range(len(shape))]
            ),
            shape,
        )
        return [_constant(numbers.astype(parameters["dtype"]))]
    narrow = [array for array in inputs if not isinstance(array, Wide)]
    if len(narrow) == len(inputs):
        if name == "pad":
            return [_padded(narrow[0], narrow[1], parameters["padding_config"], shape)]
        if name == "cumsum":
            return [_summed_up(narrow[0], parameters["axis"], parameters["reverse"])]
        if name == "rev":
            return [np.flip(narrow[0], parameters["dimensions"])]
        if name == "split":
            ends = np.cumsum(parameters["sizes"])[:-1]
            return [*np.split(narrow[0], ends, parameters["axis"])]
    raise UnsupportedError(name)


def _elementwise(equation: Any, inputs: list[Array], lanes: int) -> Array:
    def one(*entries: Any) -> Any:
        if any(jnp.ndim(entry) for entry in entries):
            entries = tuple(spread(entry, lanes) for entry in entries)
        if equation.primitive.name in OWN:
            return OWN[equation.primitive.name](*entries)
        return made(partial(equation.primitive.bind, **equation.params), *entries)

    wide = [array for array in inputs if isinstance(array, Wide)]
    parts = [array.parts if isinstance(array, Wide) else array for array in inputs]
    full = np.broadcast_shapes(*(part.shape for part in parts))
    parts = [np.broadcast_to(part, full) for part in parts]
    result = entries_of(full, lambda index: one(*(part[index] for part in parts)))
    return Wide(result, wide[0].length, wide[0].lanes) if wide else result


def _erf(x: Any) -> Any:
    """Erf in float32; kernels have none."""
    if x.dtype != np.float32:
        raise UnsupportedError(f"erf of {x.dtype}")
    x = lax.clamp(jnp.full_like(x, -ERF_BOUND), x, jnp.full_like(x, ERF_BOUND))
    above, below = (
        reduce(
            lambda value, coefficient: value * (x * x) + float(coefficient),
            coefficients[-2::-1],
            jnp.full_like(x, coefficients[-1]),
        )
        for coefficients in (ERF_ABOVE, ERF_BELOW)
    )
    return x * above / below


def _polynomial(x: Any, *coefficients: Any) -> Any:
    """The sum of a_k x^k over k, by Horner's rule."""
    *lower, value = coefficients
    for coefficient in reversed(lower):
        value = add(made(lax.mul, value, x), coefficient)
    return value


OWN = {"erf": _erf, "polynomial": _polynomial}  # kernels have none


def _folded(function: Callable[..., Any], array: Array, axes: Sequence[int]) -> Array:
    """Sum, product, largest or smallest over some axes."""
    axes = tuple(int(axis) for axis in axes)
    if not isinstance(array, Wide):
        return _over(function, array, axes)
    last = len(array.shape) - 1
    short = tuple(axis for axis in axes if axis != last)
    if last not in axes:
        return Wide(_over(function, array.parts, short), array.length, array.lanes)
    if function is not lax.add:
        raise UnsupportedError("other reductions of a long axis than sums")
    rows = array.parts.reshape(-1, array.parts.shape[-1])
    sums = entries_of(rows.shape[:1], lambda index: sum_of_pieces([*rows[index]], array))
    return _over(function, sums.reshape(array.parts.shape[:-1]), short)


def _over(function: Callable[..., Any], array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    moved = array.transpose([*kept, *axes])
    lead = moved.shape[: len(kept)]
    rows = moved.reshape(*lead, -1)
    if rows.shape[-1] == 0 and rows.size == 0 and np.prod(lead):
        raise UnsupportedError("sums of no terms")

    def fold(index: tuple[int, ...]) -> Any:
        return reduce(partial(made, function), list(rows[index]))

    return entries_of(lead, fold)


def _broadcast(array: Array, shape: Sequence[int], places: Sequence[int], lanes: int) -> Array:
    narrow = is_narrow(shape)
    if narrow or not isinstance(array, Wide):
        if isinstance(array, Wide) or (not narrow and len(shape) - 1 in places):
            raise UnsupportedError("a long axis moved or made of a short one")
        lead = tuple(shape) if narrow else (*shape[:-1], pieces(shape[-1], lanes))
        spread = _placed(array, lead, places)
        return spread if narrow else Wide(spread, shape[-1], lanes)
    if tuple(places[-1:]) != (len(shape) - 1,) or array.length != shape[-1]:
        raise UnsupportedError("a long axis moved")
    parts = _placed(array.parts, (*shape[:-1], array.parts.shape[-1]), places)
    return Wide(parts, array.length, array.lanes)


def _placed(array: NDArray[Any], shape: Sequence[int], places: Sequence[int]) -> NDArray[Any]:
    expanded = [1] * len(shape)
    for axis, place in enumerate(places):
        expanded[place] = array.shape[axis]
    return np.broadcast_to(array.reshape(expanded), tuple(shape))


def _reshaped(array: Array, shape: Sequence[int]) -> Array:
    if not isinstance(array, Wide):
        return array.reshape(tuple(shape))
    if array.length not in shape:
        raise UnsupportedError("a long axis reshaped")
    place = [*shape].index(array.length)
    before = array.shape[: len(array.shape) - 1 if array.axis is None else array.axis]
    if np.prod(before) != np.prod(shape[:place]):
        raise UnsupportedError("a long axis moved")
    lead = (*shape[:place], *shape[place + 1 :])
    parts = array.parts.reshape(*lead, array.parts.shape[-1])
    return Wide(parts, array.length, array.lanes, None if place == len(lead) else place)


def _transposed(array: Array, permutation: Sequence[int]) -> Array:
    if not isinstance(array, Wide):
        return array.transpose(permutation)
    array, (permutation,) = long_axis_last(array, [*permutation])
    assert isinstance(array, Wide)
    last = len(permutation) - 1
    place = permutation.index(last)
    lead = [axis for axis in permutation if axis != last]
    parts = array.parts.transpose([*lead, last])
    return Wide(parts, array.length, array.lanes, None if place == last else place)


def _joined(arrays: list[Array], axis: int) -> Array:
    wide = [array for array in arrays if isinstance(array, Wide)]
    if not wide:
        return np.concatenate([array for array in arrays if not isinstance(array, Wide)], axis)
    if len(wide) < len(arrays) or axis == len(wide[0].shape) - 1:
        raise UnsupportedError("a long axis made of parts")
    parts = np.concatenate([array.parts for array in wide], axis)
    return Wide(parts, wide[0].length, wide[0].lanes)


def _sliced(array: Array, cuts: tuple[slice, ...]) -> Array:
    if not isinstance(array, Wide):
        return array[cuts]
    if cuts[-1] != slice(0, array.length, 1):
        raise UnsupportedError("a part of a long axis")
    return Wide(array.parts[cuts[:-1]], array.length, array.lanes)


def _summed_up(array: NDArray[Any], axis: int, reverse: bool) -> NDArray[Any]:
    moved = np.moveaxis(np.flip(array, axis) if reverse else array, axis, -1)
    sums = entries_of(moved.shape, lambda at: reduce(add, moved[at[:-1]][: at[-1] + 1]))
    sums = np.moveaxis(sums, -1, axis)
    return np.flip(sums, axis) if reverse else sums


def _padded(
    array: NDArray[Any], value: NDArray[Any], config: Sequence[Any], shape: Sequence[int]
) -> NDArray[Any]:
    result = np.broadcast_to(value, tuple(shape)).copy()
    if any(low < 0 or high < 0 for low, high, _ in config):
        raise UnsupportedError("negative padding")
    result[tuple(
        slice(low, low + (n - 1) * (inside + 1) + 1 if n else low, inside + 1)
        for (low, _, inside), n in zip(config, array.shape, strict=True)
    )] = array  # fmt: skip
    return result
