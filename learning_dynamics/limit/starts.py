"""Where the limit starts: checked order parameters, fast parameters at their fixed point."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import Nodes, device_nodes
from learning_dynamics.limit.noise import LimitNoise
from learning_dynamics.limit.sample_step import require_single_samples
from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.overlaps import Overlaps, checked_overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import at_time
from learning_dynamics.pytrees import is_traced, stand_in
from learning_dynamics.validation import reject

__all__ = ["starting_points"]

Array = NDArray[np.float64]


def starting_points(
    problem: Problem, noise: LimitNoise, nodes: Nodes, start: Overlaps, *, moving: bool = False
) -> tuple[frozenset[str], Overlaps]:
    """Starts with a leading axis, parameters filled in and the fast ones at their fixed point.

    A parameter is fast when its drift per update does not vanish with N: order 1 and a loss with a
    part linear in the gram. It is then held at the zero of that part.

    A parameter of order 0 has no limit of this kind. Without a part linear in the gram its change
    in one update is of order one, and random: it never averages, its law stays broad at every N.
    With one, the change is of order N, and no fixed rate is stable.

    With `moving`, rows must have the norm that the update keeps, as in `simulate`. Where numbers
    are traced, which parameters are fast is decided at stand-ins for them.

    Raises:
        ValueError: as `checked_overlaps` and `require_single_samples`; on a moving parameter of
            order 0, or a fast one whose rate is too large to settle, or beside a protocol.
    """
    protocol, problem = problem.protocol, at_time(problem, 0.0)
    given = checked_overlaps(problem, start, noise.variances.shape[0], moving=moving)
    lead = given.signal.ndim - 2
    if lead > 1:
        shape = f"shape {given.signal.shape}"
        raise reject("start.signal", "have at most one leading axis", shape)
    whole: Overlaps = jax.tree.map(
        lambda leaf: jnp.asarray(leaf if lead else leaf[None], jnp.float64), given
    )
    require_single_samples(problem)
    for name in problem.parameter_rates:
        if problem.order(name) == 0:
            raise reject("parameter_orders", "be at least 1 for a limit to exist", {name: 0})
    if not problem.parameter_rates:
        return frozenset(), whole
    first = jax.tree.map(lambda leaf: leaf[0], whole)
    traced = is_traced((problem, whole))
    if traced:
        with jax.ensure_compile_time_eval():
            held = _fast(*stand_in((problem, noise, nodes, first)))
    else:
        held = _fast(problem, noise, nodes, first)
    if held and isinstance(problem.momentum, HeavyBall):
        demand = (
            "have a short memory where a parameter of order 1 feels a gram: as a heavy ball it "
            "oscillates with a frequency of order N^(1/2)"
        )
        raise reject("problem.momentum", demand, sorted(held))
    if held and protocol:
        demand = (
            "be left out beside a parameter of order 1 that feels a gram: it would have to follow "
            "its fixed point"
        )
        raise reject("problem.protocol", demand, sorted(protocol))
    if held:
        fixed = _fixed_point(problem, noise, nodes, first, sorted(held), traced)
        parameters = dict(whole.parameters)
        for name in held:
            parameters[name] = jnp.broadcast_to(fixed[name], parameters[name].shape)
        whole = whole._replace(parameters=parameters)
    return frozenset(held), whole


def _fast(problem: Problem, noise: LimitNoise, nodes: Nodes, first: Overlaps) -> set[str]:
    """Names of the parameters whose drift per update does not vanish with N."""
    stiff = _stiff(problem, noise, device_nodes(nodes), first)
    held = set()
    for name in problem.parameter_rates:
        moves = bool(np.any(np.abs(np.asarray(stiff[name])) > 0)) or _responds(
            problem, noise, nodes, first, name
        )
        if problem.order(name) == 1 and moves:
            held.add(name)
    return held


def _responds(
    problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps, name: str
) -> bool:
    """Whether the stiff drift of a parameter changes when the parameter does."""
    moved = dict(overlaps.parameters)
    moved[name] = moved[name] + 0.37
    stiff = _stiff(problem, noise, device_nodes(nodes), overlaps._replace(parameters=moved))[name]
    return bool(np.any(np.abs(np.asarray(stiff)) > 0))


@compiled
def _stiff(problem: Problem, noise: LimitNoise, nodes: Nodes, overlaps: Overlaps) -> Any:
    return moments(problem, noise, nodes, overlaps).stiff


def _fixed_point(
    problem: Problem,
    noise: LimitNoise,
    nodes: Nodes,
    overlaps: Overlaps,
    names: list[str],
    traced: bool,
) -> dict[str, Any]:
    """Values of the fast parameters at which their drift of order one vanishes."""
    few = Nodes(*jax.tree.map(lambda a: jnp.asarray(a[:2]), nodes))
    few = few._replace(weights=few.weights / few.weights.sum())
    shapes = {name: overlaps.parameters[name].shape for name in names}
    sizes = np.cumsum([0] + [int(np.prod(shapes[name])) for name in names])

    def unpack(flat: Any) -> dict[str, Any]:
        parts = zip(names, sizes[:-1], sizes[1:], strict=True)
        return {name: flat[a:b].reshape(shapes[name]) for name, a, b in parts}

    def drift(flat: jax.Array) -> jax.Array:
        moved = overlaps._replace(parameters={**overlaps.parameters, **unpack(flat)})
        stiff = _stiff(problem, noise, few, moved)
        return jnp.concatenate([stiff[name].ravel() for name in names])

    guess = jnp.concatenate([overlaps.parameters[name].ravel() for name in names])
    if traced:
        return unpack(jax.lax.custom_root(drift, guess, _newton, _linear_solve))
    jacobian = jax.jacfwd(drift)
    found = optimize.root(
        lambda x: np.asarray(drift(jnp.asarray(x))),
        np.asarray(guess),
        jac=lambda x: np.asarray(jacobian(jnp.asarray(x))),
        tol=1e-12,
    )
    if not found.success:
        raise reject("parameter_orders", "let fast parameters have a fixed point", names)
    rates = np.concatenate(
        [np.full(int(np.prod(shapes[n])), float(problem.parameter_rates[n])) for n in names]
    )
    # one step near the fixed point: theta' - theta* = (1 - rate J) (theta - theta*) + beta v,
    # v' = beta v - rate J (theta - theta*); J is summed over the repeats
    unit = np.eye(rates.size)
    push = -rates[:, None] * np.asarray(jacobian(jnp.asarray(found.x))) / problem.repeats
    memory = (0.0 if problem.momentum is None else float(problem.momentum)) * unit
    step = np.block([[unit + push, memory], [push, memory]])
    largest = float(np.max(np.abs(np.linalg.eigvals(step))))
    if largest >= 1:
        demand = "let fast parameters settle (one update must shrink their distance)"
        raise reject("parameter_rates", demand, f"a factor {largest:.3g} for {names}")
    return unpack(found.x)


def _newton(function: Callable[[jax.Array], jax.Array], guess: jax.Array) -> jax.Array:
    """A root by at most 50 steps of Newton's method."""

    def step(carry: tuple[jax.Array, jax.Array, jax.Array]) -> Any:
        x, _, count = carry
        change = jnp.linalg.solve(jax.jacfwd(function)(x), function(x))
        return x - change, jnp.max(jnp.abs(change)) / (1 + jnp.max(jnp.abs(x))), count + 1

    def unfinished(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return (carry[1] > 1e-14) & (carry[2] < 50)

    start = (guess, jnp.full((), jnp.inf, guess.dtype), jnp.zeros((), jnp.int32))
    root: jax.Array = jax.lax.while_loop(unfinished, step, start)[0]
    return root


def _linear_solve(function: Callable[[jax.Array], jax.Array], value: jax.Array) -> jax.Array:
    """X with function(x) = value for a linear function."""
    return jnp.linalg.solve(jax.jacfwd(function)(jnp.zeros_like(value)), value)
