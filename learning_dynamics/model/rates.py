"""Rates of a problem at one moment: schedules are replaced by their values."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.optimisers import lenient
from learning_dynamics.pytrees import is_traced
from learning_dynamics.schedules import corners_of, later
from learning_dynamics.validation import reject

__all__ = [
    "at_time",
    "at_update",
    "check_rates",
    "corners",
    "from_time",
    "schedules_of",
    "with_mean_rates",
]

_TIMES = 64  # of an average over a run


def schedules_of(problem: Problem) -> dict[str, Any]:
    """Rates that depend on the time, by the name of their argument."""
    rates = {
        "learning_rate": problem.learning_rate,
        "weight_decay": problem.weight_decay,
        **{f"parameter_rates[{name!r}]": rate for name, rate in problem.parameter_rates.items()},
    }
    return {name: rate for name, rate in rates.items() if callable(rate)}


def at_time(problem: Problem, tau: Any, dtype: Any = jnp.float64) -> Problem:
    """The problem with the rates of one time as numbers; itself if its rates are constant."""
    return _with_values(problem, lambda rate: value_at(rate, tau, dtype))


def at_update(problem: Problem, number: jax.Array, dimension: int, dtype: Any) -> Problem:
    """The problem with the rates of update `number`, counted from zero, as numbers."""
    return _with_values(problem, lambda rate: value_of_update(rate, number, dimension, dtype))


def with_mean_rates(problem: Problem, end: Any, dtype: Any = jnp.float64) -> Problem:
    """The problem with averages of its rates over [0, end] as numbers, to judge a quadrature by."""

    def average(rate: Any) -> jax.Array:
        shares = (np.arange(_TIMES) + 0.5) / _TIMES
        times = jnp.asarray(shares, dtype) * jnp.asarray(end, dtype)
        return jnp.mean(jax.vmap(lambda tau: value_at(rate, tau, dtype))(times))

    return _with_values(problem, average)


def from_time(problem: Problem, tau: Any) -> Problem:
    """The problem with a clock that reads `tau` when it starts."""
    return _with_values(problem, lambda rate: later(rate, tau))


def _with_values(problem: Problem, function: Any) -> Problem:
    if not schedules_of(problem):
        return problem

    def value(rate: Any) -> Any:
        return function(rate) if callable(rate) else rate

    return changed(
        problem,
        learning_rate=value(problem.learning_rate),
        weight_decay=value(problem.weight_decay),
        parameter_rates={name: value(rate) for name, rate in problem.parameter_rates.items()},
    )


def corners(problem: Problem) -> jax.Array | None:
    """Times at which a rate jumps or bends, shape (corners,); None if there are none."""
    times = [t for rate in schedules_of(problem).values() for t in corners_of(rate)]
    return jnp.concatenate([jnp.ravel(jnp.asarray(t)) for t in times]) if times else None


def check_rates(problem: Problem, end: float) -> None:
    """Refuse schedules that are negative or not finite somewhere in [0, end], or zero throughout.

    Raises:
        ValueError: naming the argument and the time.
    """
    for name, rate in schedules_of(problem).items():
        if not is_traced(rate):
            check_values(f"problem.{name}", rate, end)


def value_at(rate: Any, tau: Any, dtype: Any) -> jax.Array:
    """A rate, or the value of a schedule at a time, as an array of a type."""
    with lenient():
        return jnp.asarray(rate(jnp.asarray(tau, dtype)) if callable(rate) else rate, dtype)


def value_of_update(rate: Any, number: jax.Array, dimension: int, dtype: Any) -> jax.Array:
    """The rate of update `number`, counted from zero: the value at tau = number / N."""
    if hasattr(rate, "of_update"):
        with lenient():
            return jnp.asarray(rate.of_update(number, dimension), dtype)
    tau = number.astype(dtype) / dimension
    return value_at(rate, tau * (1 + 4 * jnp.finfo(dtype).eps), dtype)  # a jump at j / N is met


def check_values(argument: str, schedule: Any, end: float) -> None:
    """Refuse a schedule that is negative or not finite somewhere, or zero everywhere, in [0, end].

    Looks at a thousand times and next to all corners.

    Raises:
        ValueError: naming the argument and the time.
    """
    corners = [np.ravel(np.asarray(times, np.float64)) for times in corners_of(schedule)]
    known = np.concatenate([np.zeros(0), *corners])
    known = np.concatenate([np.nextafter(known, -np.inf), known])
    times = np.union1d(np.linspace(0, end, 1001), known[(known >= 0) & (known <= end)])
    with jax.enable_x64(True), lenient():
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), schedule)
        values = np.asarray(jax.vmap(lambda tau: jnp.asarray(cast(tau)))(jnp.asarray(times)))
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        got = f"{values[wrong][0]:g} at tau = {times[wrong][0]:g}"
        raise reject(argument, "be finite and not negative at all times of the run", got)
    if end > 0 and not values.any():
        raise reject(argument, "be positive at some time of the run", f"zero up to tau = {end:g}")
