"""A problem at one moment: schedules are replaced by their values."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.model.protocol import check_model, with_numbers
from learning_dynamics.optimisers import lenient
from learning_dynamics.pytrees import is_traced
from learning_dynamics.schedules import constant, corners_of, later
from learning_dynamics.validation import reject

__all__ = [
    "at_time",
    "at_update",
    "check_rates",
    "corners",
    "from_time",
    "held_constant",
    "schedule_paths",
    "schedules_of",
    "with_mean_rates",
]

Array = NDArray[np.float64]
_TIMES = 64  # of an average over a run


def schedules_of(problem: Problem) -> dict[str, Any]:
    """Rates and other numbers that depend on the time, by the name of their argument."""
    return {argument: rate for _, argument, rate in _rates(problem) if callable(rate)}


def schedule_paths(problem: Problem) -> dict[str, Any]:
    """The same by the paths of their numbers: "parameter_rates.v", "protocol.inputs.strength"."""
    return {path: rate for path, _, rate in _rates(problem) if callable(rate)}


def _rates(problem: Problem) -> list[tuple[str, str, Any]]:
    """Path, name of the argument, and what it is, of all that may depend on the time."""
    rates = [(name, name, getattr(problem, name)) for name in ("learning_rate", "weight_decay")]
    for part in ("parameter_rates", "protocol"):
        entries = getattr(problem, part).items()
        rates += [(f"{part}.{name}", f"{part}[{name!r}]", rate) for name, rate in entries]
    return rates


def at_time(problem: Problem, tau: Any, dtype: Any = jnp.float64) -> Problem:
    """The problem with the numbers of one time; itself if none depends on the time."""
    return _placed(problem, lambda rate: value_at(rate, tau, dtype))


def at_update(problem: Problem, number: jax.Array, dimension: int, dtype: Any) -> Problem:
    """The problem with the numbers of update `number`, counted from zero."""
    return _placed(problem, lambda rate: value_of_update(rate, number, dimension, dtype))


def with_mean_rates(problem: Problem, end: Any, dtype: Any = jnp.float64) -> Problem:
    """The problem with averages over [0, end] of its schedules, to judge a quadrature by."""
    return _placed(problem, lambda rate: _average(rate, end, dtype))


def held_constant(problem: Problem, paths: Collection[str], end: float) -> Problem:
    """The problem with some of its schedules held at their averages over [0, end]."""

    def value(rate: Any) -> Any:
        with jax.enable_x64(True):
            return replace(constant(0.0), numbers={"value": float(_average(rate, end))})

    return _with_values(problem, value, paths)


def _average(rate: Any, end: Any, dtype: Any = jnp.float64) -> jax.Array:
    shares = (np.arange(_TIMES) + 0.5) / _TIMES
    times = jnp.asarray(shares, dtype) * jnp.asarray(end, dtype)
    return jnp.mean(jax.vmap(lambda tau: value_at(rate, tau, dtype))(times))


def from_time(problem: Problem, tau: Any) -> Problem:
    """The problem with a clock that reads `tau` when it starts."""
    return _with_values(problem, lambda rate: later(rate, tau))


def _with_values(problem: Problem, function: Any, paths: Collection[str] | None = None) -> Problem:
    """The problem with a function of its schedules in their place, of all or of some of them."""
    chosen = {
        path: function(rate)
        for path, rate in schedule_paths(problem).items()
        if paths is None or path in paths
    }
    if not chosen:
        return problem

    def of(part: str) -> dict[str, Any]:
        entries = getattr(problem, part).items()
        return {name: chosen.get(f"{part}.{name}", rate) for name, rate in entries}

    return changed(
        problem,
        learning_rate=chosen.get("learning_rate", problem.learning_rate),
        weight_decay=chosen.get("weight_decay", problem.weight_decay),
        parameter_rates=of("parameter_rates"),
        protocol=of("protocol"),
    )


def _placed(problem: Problem, function: Any) -> Problem:
    """The same with the numbers of the protocol in the places that they replace."""
    now = _with_values(problem, function)
    if not problem.protocol:
        return now
    placed: Problem = with_numbers(changed(now, protocol={}), now.protocol)
    return placed


def corners(problem: Problem) -> jax.Array | None:
    """Times at which a rate jumps or bends, shape (corners,); None if there are none."""
    times = [t for rate in schedules_of(problem).values() for t in corners_of(rate)]
    return jnp.concatenate([jnp.ravel(jnp.asarray(t)) for t in times]) if times else None


def check_rates(problem: Problem, end: float) -> None:
    """Refuse rates that are negative or not finite somewhere in [0, end], or zero throughout.

    Other numbers must be finite, and such that the model takes them.

    Raises:
        ValueError: naming the argument and the time.
    """
    for name, rate in schedules_of(problem).items():
        if not is_traced(rate) and not name.startswith("protocol"):
            check_values(f"problem.{name}", rate, end)
    for name, schedule in problem.protocol.items():
        if is_traced((schedule, problem.inputs, problem.learner)):
            continue
        times, values = _values_on(schedule, end)
        if not np.isfinite(values).all():
            argument = f"problem.protocol[{name!r}]"
            raise reject(argument, *_where("be finite", ~np.isfinite(values), times, values))
        check_model(problem, {name: (values[0], values.min(), values.max())})


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
    times, values = _values_on(schedule, end)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise reject(argument, *_where("be finite and not negative", wrong, times, values))
    if end > 0 and not values.any():
        raise reject(argument, "be positive at some time of the run", f"zero up to tau = {end:g}")


def _values_on(schedule: Any, end: float) -> tuple[Array, Array]:
    """A thousand times and those next to all corners, and the values there."""
    corners = [np.ravel(np.asarray(times, np.float64)) for times in corners_of(schedule)]
    known = np.concatenate([np.zeros(0), *corners])
    known = np.concatenate([np.nextafter(known, -np.inf), known])
    times = np.union1d(np.linspace(0, end, 1001), known[(known >= 0) & (known <= end)])
    with jax.enable_x64(True), lenient():
        cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), schedule)
        values = np.asarray(jax.vmap(lambda tau: jnp.asarray(cast(tau)))(jnp.asarray(times)))
    return times, values


def _where(demand: str, wrong: NDArray[np.bool_], times: Array, values: Array) -> tuple[str, str]:
    got = f"{values[wrong][0]:g} at tau = {times[wrong][0]:g}"
    return f"{demand} at all times of the run", got
