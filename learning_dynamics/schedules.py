"""Schedules: rates as functions of the time tau = updates / N, for `Problem(learning_rate=...)`.

The numbers of a schedule are leaves of a pytree: they are differentiated, batched and optimised
like all numbers of a problem, and a new number needs no new program. Any other function of one
number is a schedule too: a function, `jax.tree_util.Partial`, or an object of a class decorated
with `ld.configuration` that has `__call__`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics.optimisers import lenient
from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = [
    "PerUpdate",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "later",
    "per_time",
    "per_update",
    "piecewise_constant",
    "piecewise_linear",
    "power",
    "warm_up",
]

Formula = Callable[..., jax.Array]


@configuration
class Schedule:
    """A rate eta(tau) given by a formula and its numbers.

    Attributes:
        formula: function of the numbers and of tau.
        numbers: arguments of the formula by name; the leaves of the pytree.
    """

    formula: Formula = static()
    numbers: Any = None

    def __call__(self, tau: ArrayLike) -> jax.Array:
        """The rate at a time, or at several."""
        with lenient():
            return jnp.asarray(self.formula(jnp.asarray(tau), **(self.numbers or {})))

    def __repr__(self) -> str:
        name = getattr(self.formula, "__qualname__", repr(self.formula)).lstrip("_")
        shown = (f"{key}={_short(value)}" for key, value in (self.numbers or {}).items())
        return f"{name}({', '.join(shown)})"


@configuration
class PerUpdate:
    """A rate that counts updates, for runs of N = `dimension`: eta(tau) = function(tau N).

    A simulation of this N calls the function with the whole number of its update.

    Attributes:
        function: of the number of updates made, such as a schedule of optax.
        dimension: N.
        first: updates made before time zero.
    """

    function: Formula = static()
    dimension: int = static()
    first: Any = 0.0

    def __call__(self, tau: ArrayLike) -> jax.Array:
        """The rate at a time, or at several."""
        with lenient():
            return jnp.asarray(self.function(jnp.asarray(tau) * self.dimension + self.first))

    def of_update(self, number: jax.Array, dimension: int) -> jax.Array:
        """The rate of update `number`, counted from zero, in a run of N = `dimension`."""
        with lenient():
            if dimension != self.dimension:
                return self(number * (1 / dimension))
            first = jnp.rint(jnp.asarray(self.first)).astype(jnp.int32)
            return jnp.asarray(self.function(number + first))

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"per_update({name.split('.')[0]}, dimension={self.dimension})"


def _short(value: Any) -> str:
    if isinstance(value, Schedule | PerUpdate) or is_traced(value) or callable(value):
        return repr(value)
    array = np.asarray(value)
    if array.ndim == 0:
        return f"{array:.4g}" if array.dtype.kind in "fiu" else repr(value)
    return f"[{array.ravel()[0]:.4g}, ..., {array.ravel()[-1]:.4g}]" if array.size else "[]"


def _number(name: str, value: Any, *, least: float = -np.inf, open_end: bool = False) -> Any:
    """A finite number of at least `least`, or above it; a traced one as it comes."""
    if is_traced(value):
        return value
    number = float(finite_array(name, value, ndim=0))
    if number < least or (open_end and number == least):
        raise reject(name, "be positive" if open_end else f"be at least {least:g}", value)
    return number


def constant(value: Any) -> Schedule:
    """The rate eta(tau) = value.

    Raises:
        ValueError: if it is negative or not finite.
    """
    return Schedule(_constant, {"value": _number("value", value, least=0.0)})


def _constant(tau: jax.Array, value: Any) -> jax.Array:
    return jnp.broadcast_to(value, tau.shape)


def power(start: Any, exponent: Any, scale: Any = 1.0) -> Schedule:
    """The rate eta(tau) = start (1 + tau / scale)^(-exponent).

    Raises:
        ValueError: if `start` is negative, `scale` not positive, or a number not finite.
    """
    numbers = {
        "start": _number("start", start, least=0.0),
        "exponent": _number("exponent", exponent),
        "scale": _number("scale", scale, least=0.0, open_end=True),
    }
    return Schedule(_power, numbers)


def _power(tau: jax.Array, start: Any, exponent: Any, scale: Any) -> jax.Array:
    return start * jnp.exp(-exponent * jnp.log1p(tau / scale))


def exponential(start: Any, scale: Any, last: Any = 0.0) -> Schedule:
    """The rate eta(tau) = last + (start - last) exp(-tau / scale).

    Raises:
        ValueError: if `start` or `last` is negative, `scale` not positive, or a number not finite.
    """
    numbers = {
        "start": _number("start", start, least=0.0),
        "scale": _number("scale", scale, least=0.0, open_end=True),
        "last": _number("last", last, least=0.0),
    }
    return Schedule(_exponential, numbers)


def _exponential(tau: jax.Array, start: Any, scale: Any, last: Any) -> jax.Array:
    return last + (start - last) * jnp.exp(-tau / scale)


def cosine(start: Any, time: Any, last: Any = 0.0) -> Schedule:
    """Half a period of a cosine: eta(tau) = last + (start - last) (1 + cos(pi tau / time)) / 2.

    After `time` the rate stays at `last`.

    Raises:
        ValueError: if `start` or `last` is negative, `time` not positive, or a number not finite.
    """
    numbers = {
        "start": _number("start", start, least=0.0),
        "time": _number("time", time, least=0.0, open_end=True),
        "last": _number("last", last, least=0.0),
    }
    return Schedule(_cosine, numbers)


def _cosine(tau: jax.Array, start: Any, time: Any, last: Any) -> jax.Array:
    share = jnp.minimum(tau / time, 1.0)
    return last + (start - last) * (1 + jnp.cos(jnp.pi * share)) / 2


def warm_up(then: Any, time: Any) -> Schedule:
    """A rate times min(1, tau / time).

    Args:
        then: a number or a schedule.
        time: when the whole rate is reached.

    Raises:
        ValueError: if `time` is not positive, or `then` no schedule.
    """
    if not callable(then):
        then = _number("then", then, least=0.0)
    numbers = {
        "then": as_schedule("then", then),
        "time": _number("time", time, least=0.0, open_end=True),
    }
    return Schedule(_warm_up, numbers)


def _warm_up(tau: jax.Array, then: Any, time: Any) -> jax.Array:
    return jnp.minimum(tau / time, 1.0) * (then(tau) if callable(then) else then)


def piecewise_linear(times: ArrayLike, values: ArrayLike) -> Schedule:
    """Straight lines between values at some times; constant before the first and after the last.

    Args:
        times: increasing, shape (times,).
        values: rates at these times, shape (times,).

    Raises:
        ValueError: if the times do not increase, a value is negative, or the shapes differ.
    """
    return Schedule(_piecewise_linear, _table(times, values, 0))


def _piecewise_linear(tau: jax.Array, times: Any, values: Any) -> jax.Array:
    return jnp.interp(tau, jnp.asarray(times), jnp.asarray(values))


def piecewise_constant(times: ArrayLike, values: ArrayLike) -> Schedule:
    """A rate that changes at some times: values[i] from times[i - 1] on, until before times[i].

    Args:
        times: increasing, shape (times,).
        values: rates, shape (times + 1,).

    Raises:
        ValueError: if the times do not increase, a value is negative, or the shapes do not fit.
    """
    return Schedule(_piecewise_constant, _table(times, values, 1))


def _piecewise_constant(tau: jax.Array, times: Any, values: Any) -> jax.Array:
    return jnp.asarray(values)[jnp.searchsorted(jnp.asarray(times), tau, side="right")]


def _table(times: Any, values: Any, more: int) -> dict[str, Any]:
    for name, array in (("times", times), ("values", values)):
        if np.ndim(array) != 1:
            raise reject(name, "have 1 dimension(s)", f"shape {np.shape(array)}")
    if np.shape(values)[0] != np.shape(times)[0] + more or not np.shape(values)[0]:
        demand = f"have {np.shape(times)[0] + more} entries for these times, at least one"
        raise reject("values", demand, np.shape(values)[0])
    if not is_traced(times):
        times = finite_array("times", times)
        if np.any(np.diff(times) <= 0):
            raise reject("times", "increase strictly", times.tolist())
    if not is_traced(values):
        values = finite_array("values", values)
        if np.any(values < 0):
            raise reject("values", "not be negative", values.min())
    return {"times": times, "values": values}


def per_update(function: Formula, *, dimension: int) -> PerUpdate:
    """A schedule that counts updates, such as those of optax, for runs of N = `dimension`.

    Args:
        function: rate as a function of the number of updates made.
        dimension: N, which turns updates into tau.

    Raises:
        ValueError: if it is no function, or N no positive whole number.
    """
    if not _is_function(function):
        raise reject("function", "be a function of the number of updates", repr(function))
    return PerUpdate(function, positive_integer("dimension", dimension))


def per_time(function: Formula) -> Schedule:
    """A function as a schedule that reads tau, also one of optax, whose counts are then times.

    Raises:
        ValueError: if it is no function.
    """
    if not _is_function(function):
        raise reject("function", "be a function of tau", repr(function))
    return Schedule(function)


def later(schedule: Any, time: Any) -> Any:
    """The schedule from some time on: eta(time + tau). A number stays as it is.

    Raises:
        ValueError: if `time` is negative or not finite, or `schedule` no schedule.
    """
    schedule, time = as_schedule("schedule", schedule), _number("time", time, least=0.0)
    if not callable(schedule):
        return schedule
    if isinstance(schedule, PerUpdate):
        first = schedule.first + time * schedule.dimension
        return PerUpdate(schedule.function, schedule.dimension, first)
    if isinstance(schedule, Schedule) and schedule.formula is _later:
        inner = schedule.numbers
        return Schedule(_later, {"schedule": inner["schedule"], "time": inner["time"] + time})
    return Schedule(_later, {"schedule": schedule, "time": time})


def _later(tau: jax.Array, schedule: Any, time: Any) -> jax.Array:
    rate: jax.Array = schedule(tau + time)
    return rate


def _is_function(value: Any) -> bool:
    """Whether a value is a function that can be part of a pytree's structure."""
    if not callable(value) or isinstance(value, type):
        return False
    try:
        hash(value)
    except TypeError:
        return False
    return any(leaf is value for leaf in jax.tree.leaves(value))


def as_schedule(argument: str, value: Any) -> Any:
    """A number as it is; a schedule as a pytree whose leaves are numbers.

    Raises:
        ValueError: on objects whose class JAX does not know, functions of optax without a unit,
            and functions that hold traced numbers.
    """
    if not callable(value):
        return value
    if not _is_function(value):
        return value
    if not (hasattr(value, "__code__") or hasattr(value, "func") or hasattr(value, "__wrapped__")):
        demand = "be a number, a function, or of a class decorated with @ld.configuration"
        raise reject(argument, demand, f"an object of the bare class {type(value).__qualname__}")
    if str(getattr(value, "__module__", "")).partition(".")[0] == "optax":
        demand = "name the unit of a schedule of optax: `ld.schedules.per_update(schedule, "
        demand += "dimension=N)`, or `ld.schedules.per_time(schedule)`"
        raise reject(argument, demand, repr(value))
    return per_time(value)


def corners_of(schedule: Any) -> list[Any]:
    """Times at which a schedule of this module jumps or bends, arrays of shape () or (times,)."""
    if not isinstance(schedule, Schedule):
        return []
    numbers = schedule.numbers or {}
    if is_table(schedule):
        return [numbers["times"]]
    if schedule.formula is _cosine:
        return [numbers["time"]]
    if schedule.formula is _warm_up:
        return [numbers["time"], *corners_of(numbers["then"])]
    if schedule.formula is _later:
        return [times - numbers["time"] for times in corners_of(numbers["schedule"])]
    return []


def check_shape(argument: str, schedule: Any) -> None:
    """Refuse what is no function of one number that gives one number, by tracing it once.

    Raises:
        ValueError: naming the argument.
    """
    demand = "be a function of one number that gives one (written in jax.numpy)"
    number = jax.ShapeDtypeStruct((), jnp.float32)
    try:
        with lenient():
            cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), schedule)
            shape = jax.eval_shape(lambda tau: jnp.asarray(cast(tau)), number)
    except Exception as error:  # raised by code of others
        raise reject(argument, demand, f"{type(error).__name__}: {error}") from error
    real = any(jnp.issubdtype(shape.dtype, kind) for kind in (jnp.floating, jnp.integer))
    if shape.shape != () or not real:
        got = f"{shape.dtype} of shape {shape.shape}"
        raise reject(argument, demand, f"one that gives {got}")


def is_table(schedule: Any) -> bool:
    """Whether a schedule is a table of times and values."""
    tables = (_piecewise_linear, _piecewise_constant)
    return isinstance(schedule, Schedule) and schedule.formula in tables
