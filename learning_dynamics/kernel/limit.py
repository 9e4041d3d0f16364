"""The limit N -> infinity: an ordinary differential equation for the order parameters."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from learning_dynamics.comparison import Prediction
from learning_dynamics.kernel.moments import Medium, medium, moments, velocity
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method, Nodes, expectation_nodes, same_length
from learning_dynamics.kernel.simulate import observables, whole_updates
from learning_dynamics.kernel.state import Overlaps
from learning_dynamics.kernel.step import layout
from learning_dynamics.kernel.trajectory import Trajectory, chosen, component_names
from learning_dynamics.validation import finite_array, positive_integer, reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Limit", "device_nodes", "expected_loss", "integrate", "limit_medium"]
__all__ += ["right_hand_side", "starting_points"]

Array = NDArray[np.float64]
_LOOSER = 100.0  # tolerance ratio of the run behind the integrator's error


@dataclass(frozen=True, eq=False)
class Limit:
    """Solution of the limit equations, averaged over its starts.

    Attributes:
        times: tau, shape (times,).
        values: name -> mean over the starts, shape (times, ...), float64.
        quadrature_error: name -> estimate for the error of the expectations, same shape.
        integrator_error: name -> estimate for the error of the time steps, same shape.
        paths: name -> shape (starts, times, ...).
        bias: name -> size of the allowed 1/N deviation, shape (times, ...); empty without one.
        bias_order: that size in words.
        attributes: configuration, versions, method, steps, seconds.
        solution: dense solution; see `at`.
    """

    times: Array
    values: Mapping[str, Array]
    quadrature_error: Mapping[str, Array]
    integrator_error: Mapping[str, Array]
    paths: Mapping[str, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    solution: Any = field(default=None, repr=False)
    bias: Mapping[str, Array] = field(default_factory=dict)
    bias_order: str = ""

    def at(self, times: ArrayLike) -> Overlaps:
        """Order parameters at any times within the range, leading axes (starts, times).

        Raises:
            ValueError: on times outside [0, last time].
        """
        wanted = finite_array("times", times, ndim=1)
        if wanted.size and (wanted.min() < 0 or wanted.max() > self.times[-1]):
            raise reject("times", f"lie in [0, {self.times[-1]:g}]", f"{wanted.tolist()}")
        with jax.enable_x64(True):
            tau = jnp.asarray(wanted, jnp.float64)

            def one(solution: Any) -> Any:
                return jax.vmap(solution.evaluate)(tau)

            found: Overlaps = jax.tree.map(np.asarray, jax.vmap(one)(self.solution))
        return found

    def prediction(self, quantities: Iterable[str] | None = None) -> Prediction:
        """Values on coordinates (time, quantity), with quadrature and integrator error added up."""
        names = chosen(self.values, quantities)
        count = self.times.size
        columns = [
            np.concatenate([source[name].reshape(count, -1) for name in names], axis=-1)
            for source in (self.values, self.quadrature_error, self.integrator_error)
        ]
        limit = Prediction(columns[0], columns[1] + columns[2], label="limit")
        if not self.bias:
            return limit
        bias = np.concatenate([self.bias[name].reshape(count, -1) for name in names], axis=-1)
        return limit.with_bias(bias, self.bias_order) if np.any(bias > 0) else limit

    def to_xarray(self) -> "xr.Dataset":
        """Labelled arrays: values, and their errors as NAME_error."""
        import xarray as xr

        arrays: dict[str, Any] = {}
        for name, array in self.values.items():
            axes = ("time", *(f"{name}_{i}" for i in range(array.ndim - 1)))
            arrays[name] = (axes, array)
            error = self.quadrature_error[name] + self.integrator_error[name]
            arrays[f"{name}_error"] = (axes, error)
        return xr.Dataset(arrays, coords={"time": self.times}, attrs=dict(self.attributes))

    def components(self, quantities: Iterable[str] | None = None) -> list[str]:
        """Labels of the columns of `prediction`."""
        names = chosen(self.values, quantities)
        return [c for name in names for c in component_names(name, self.values[name].shape[1:])]


def integrate(
    problem: Problem,
    *,
    times: ArrayLike,
    start: Overlaps | Trajectory,
    dimension: int | None = None,
    observe: Mapping[str, Callable[[Overlaps], jax.Array]] | None = None,
    tolerance: float = 1e-8,
    points: int = 2**14,
    method: Method = "auto",
    max_steps: int = 4096,
    finite_size: bool | None = None,
) -> Limit:
    """Integrate the limit N -> infinity of a problem.

    Args:
        problem: the definition that `simulate` takes.
        times: tau, increasing; rounded to whole updates as in `simulate` if `start` is one.
        start: order parameters (one set, or several along a leading axis), or a simulation, whose
            replicas' starts are then all integrated and averaged.
        dimension: N that fixes the noise blocks; the simulation's when `start` is one. A single
            noise block needs none.
        observe: further functions of the order parameters.
        tolerance: relative and absolute tolerance of the adaptive solver (Tsitouras 5/4).
        points: quadrature nodes per expectation.
        method: quadrature, see `expectation_nodes`.
        max_steps: bound on the time steps per start.
        finite_size: whether to work out the mean shift b / N (see `fluctuations`) and to allow 1.5
            times its size as the bias of the limit in comparisons; it takes a simulation as start
            with equal replicas, one noise block and no batch. By default, whenever that is given.

    Returns:
        Means over the starts. The quadrature error is the change under a coarser tensor rule, or
        the standard error over scrambled Sobol sets; the integrator error is the change under 100
        times the tolerance and 3.7 times the first step (it bounds the error of the finer run).

    Raises:
        ValueError: on values that make no sense; if a parameter has no limit at its order.
    """
    clock = time.perf_counter()
    array = finite_array("times", times, ndim=1)
    if array.size == 0 or array[0] < 0 or np.any(np.diff(array) <= 0):
        raise reject("times", "be non-negative and increase strictly", array.tolist())
    if not 0 < tolerance < 1e-2:
        raise reject("tolerance", "lie between 0 and 0.01", tolerance)
    positive_integer("max_steps", max_steps)
    simulated = start if isinstance(start, Trajectory) else None
    corrected = _has_shift(problem, simulated) if finite_size is None else finite_size
    if corrected and not _has_shift(problem, simulated):
        demand = "be left out unless a simulation with equal starts and one noise block is given"
        raise reject("finite_size", demand, finite_size)
    if isinstance(start, Trajectory):
        dimension = start.dimension if dimension is None else dimension
        array = whole_updates(array, start.dimension) / start.dimension
        start = start.start
    rules, chosen_method = expectation_nodes(problem, points=points, method=method)
    with jax.enable_x64(True):
        place = limit_medium(problem, dimension)
        cast = problem.cast(jnp.float64)
        plan = layout(problem, dimension or problem.inputs.directions + 10**6, "overlaps")
        watched = observables(problem, plan, observe)
        held, starts = starting_points(cast, place, rules[0], start)
        tau = jnp.asarray(array)

        options = {"held": held, "watched": watched, "max_steps": max_steps}
        span, accuracy = max(float(array[-1]), 1e-12), jnp.float64(tolerance)
        common = (starts, cast, place, tau)
        runs = [
            _solve(device_nodes(nodes), *common, accuracy, jnp.float64(1e-4 * span), **options)
            for nodes in same_length(rules)
        ]
        coarse = (_LOOSER * accuracy, jnp.float64(3.7e-4 * span))
        loose, _ = _solve(device_nodes(same_length(rules)[0]), *common, *coarse, **options)
        paths = [{k: np.asarray(v) for k, v in run[0].items()} for run in runs]
        fine, solution = paths[0], runs[0][1]
        values, quadrature, integrator = {}, {}, {}
        for name in fine:
            means = np.stack([path[name].mean(axis=0) for path in paths])
            integrator[name] = np.abs(np.asarray(loose[name]).mean(axis=0) - means[0])
            if chosen_method == "tensor":
                values[name] = means[0]
                quadrature[name] = np.abs(means[0] - means[1])
            else:
                values[name] = means.mean(axis=0)
                quadrature[name] = means.std(axis=0, ddof=1) / np.sqrt(len(means))
        if chosen_method == "sobol":
            fine = {name: np.mean([path[name] for path in paths], axis=0) for name in fine}
        steps = np.asarray(solution.stats["num_accepted_steps"])
        success = bool(np.all(np.asarray(solution.result == diffrax.RESULTS.successful)))
    attributes = {
        "quadrature": chosen_method,
        "nodes": int(rules[0].weights.size) * (len(rules) if chosen_method == "sobol" else 1),
        "steps": int(steps.max()),
        "reached_the_end": success,
        "tolerance": tolerance,
        "seconds": time.perf_counter() - clock,
        "jax": jax.__version__,
        "diffrax": diffrax.__version__,
    }
    limit = Limit(array, values, quadrature, integrator, fine, attributes, solution)
    if corrected and simulated is not None:
        return _with_shift(limit, problem, simulated, observe)
    return limit


def _has_shift(problem: Problem, simulated: Trajectory | None) -> bool:
    """Whether the 1/N shift of the limit can be worked out for a simulation."""
    if simulated is None or problem.batch != 1 or simulated.start.blocks.shape[1] != 1:
        return False
    spread = [np.ptp(leaf, axis=0).max(initial=0.0) for leaf in jax.tree.leaves(simulated.start)]
    return max(spread) < 1e-9


def _with_shift(limit: Limit, problem: Problem, simulated: Trajectory, observe: Any) -> Limit:
    from learning_dynamics.kernel.fluctuations import fluctuations

    first = jax.tree.map(lambda leaf: leaf[0], simulated.start)
    found = fluctuations(problem, times=limit.times, start=first, observe=observe)
    bias = {n: 1.5 * np.abs(b) / simulated.dimension for n, b in found.shift.items()}
    largest = max(float(b.max(initial=0.0)) for b in bias.values()) * simulated.dimension
    return replace(limit, bias=bias, bias_order=f"up to {largest:.2g}/N")


@partial(jax.jit, static_argnames=("held", "watched", "max_steps"))
def _solve(
    nodes: Nodes,
    starts: Overlaps,
    problem: Problem,
    place: Medium,
    times: jax.Array,
    tolerance: jax.Array,
    first_step: jax.Array,
    *,
    held: frozenset[str],
    watched: Any,
    max_steps: int,
) -> tuple[dict[str, jax.Array], Any]:
    """Solutions from all starts: observed at the times, and dense."""

    def field(_: Any, overlaps: Overlaps, __: Any) -> Overlaps:
        return velocity(problem, place, nodes, overlaps, held)

    def look(overlaps: Overlaps) -> dict[str, jax.Array]:
        return {name: function(overlaps) for name, function in watched}

    def one(start: Overlaps) -> tuple[dict[str, jax.Array], Any]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=jnp.zeros_like(times[0]),
            t1=jnp.maximum(times[-1], 1e-12),
            dt0=first_step,
            y0=start,
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            saveat=diffrax.SaveAt(ts=times, dense=True),
            max_steps=max_steps,
            throw=False,
        )
        return jax.vmap(look)(solution.ys), solution

    return jax.lax.map(one, starts)


def device_nodes(nodes: Nodes) -> Nodes:
    """The nodes as JAX arrays."""
    moved: Nodes = jax.tree.map(jnp.asarray, nodes)
    return moved


def limit_medium(problem: Problem, dimension: int | None) -> Medium:
    """Noise blocks of the limit.

    Raises:
        ValueError: if a model with several blocks is given no dimension.
    """
    if dimension is not None:
        positive_integer("dimension", dimension)
        if len(np.atleast_1d(medium(problem, dimension).fractions)) == 1:
            dimension = None
    if dimension is None:
        probe = problem.inputs.blocks(1000 + problem.inputs.directions)
        if sum(np.shape(group.variances)[0] for group in probe) != 1:
            raise reject("dimension", "be given: the noise has several blocks", None)
    return medium(problem, dimension)


def starting_points(
    problem: Problem, place: Medium, nodes: Nodes, start: Overlaps
) -> tuple[frozenset[str], Overlaps]:
    """Starts with a leading axis, parameters filled in and the fast ones at their fixed point.

    A parameter is fast when its drift per update does not vanish with N: order 1 or less and a
    loss with a part linear in the gram. It is then held at the zero of that part.

    Raises:
        ValueError: on shapes that do not fit, or a parameter of order 0 without such a part.
    """
    neurons, r = problem.learner.neurons, problem.inputs.directions
    signal = finite_array("start.signal", start.signal)
    blocks = finite_array("start.blocks", start.blocks)
    count = place.variances.shape[0]
    if signal.shape[-2:] != (neurons, r) or signal.ndim not in (2, 3):
        raise reject("start.signal", f"have shape (..., {neurons}, {r})", f"shape {signal.shape}")
    if blocks.shape != (*signal.shape[:-2], count, neurons, neurons):
        demand = f"have shape (..., {count}, {neurons}, {neurons})"
        raise reject("start.blocks", demand, f"shape {blocks.shape}")
    signal, blocks = signal.reshape(-1, neurons, r), blocks.reshape(-1, count, neurons, neurons)
    initial = problem.initial_parameters(jnp.float64)
    parameters = {}
    for name, value in initial.items():
        given = np.asarray(start.parameters.get(name, value), np.float64)
        given = given.reshape(-1, *value.shape)
        parameters[name] = np.broadcast_to(given, (signal.shape[0], *value.shape)).copy()
    whole = Overlaps(
        jnp.asarray(signal), jnp.asarray(blocks), jax.tree.map(jnp.asarray, parameters)
    )
    if not problem.parameter_rates:
        return frozenset(), whole
    first = jax.tree.map(lambda leaf: leaf[0], whole)
    stiff = jax.jit(lambda y: moments(problem, place, device_nodes(nodes), y).stiff)(first)
    held = set()
    for name in problem.parameter_rates:
        moves = bool(np.any(np.abs(np.asarray(stiff[name])) > 0)) or _responds(
            problem, place, nodes, first, name
        )
        if problem.order(name) <= 1 and moves:
            held.add(name)
        elif problem.order(name) == 0:
            raise reject("parameter_orders", "be at least 1 for a limit to exist", {name: 0})
    if held:
        fixed = _fixed_point(problem, place, nodes, first, sorted(held))
        for name in held:
            parameters[name] = np.broadcast_to(fixed[name], parameters[name].shape).copy()
        whole = whole._replace(parameters=jax.tree.map(jnp.asarray, parameters))
    return frozenset(held), whole


def _responds(problem: Problem, place: Medium, nodes: Nodes, overlaps: Overlaps, name: str) -> bool:
    """Whether the stiff drift of a parameter changes when the parameter does."""
    few = Nodes(*jax.tree.map(lambda a: jnp.asarray(a[:2]), nodes))
    moved = dict(overlaps.parameters)
    moved[name] = moved[name] + 0.37
    shifted = overlaps._replace(parameters=moved)
    stiff = jax.jit(lambda y: moments(problem, place, few, y).stiff[name])(shifted)
    return bool(np.any(np.abs(np.asarray(stiff)) > 0))


def _fixed_point(
    problem: Problem, place: Medium, nodes: Nodes, overlaps: Overlaps, names: list[str]
) -> dict[str, Array]:
    few = Nodes(*jax.tree.map(lambda a: jnp.asarray(a[:2]), nodes))
    few = few._replace(weights=few.weights / few.weights.sum())
    shapes = {name: overlaps.parameters[name].shape for name in names}
    sizes = np.cumsum([0] + [int(np.prod(shapes[name])) for name in names])

    def unpack(flat: Any) -> dict[str, Any]:
        parts = zip(names, sizes[:-1], sizes[1:], strict=True)
        return {name: flat[a:b].reshape(shapes[name]) for name, a, b in parts}

    @jax.jit
    def drift(flat: jax.Array) -> jax.Array:
        moved = overlaps._replace(parameters={**overlaps.parameters, **unpack(flat)})
        stiff = moments(problem, place, few, moved).stiff
        return jnp.concatenate([stiff[name].ravel() for name in names])

    guess = np.concatenate([np.asarray(overlaps.parameters[n]).ravel() for n in names])
    found = optimize.root(
        lambda x: np.asarray(drift(jnp.asarray(x))),
        guess,
        jac=lambda x: np.asarray(jax.jacfwd(drift)(jnp.asarray(x))),
        tol=1e-12,
    )
    if not found.success:
        raise reject("parameter_orders", "let fast parameters have a fixed point", names)
    return unpack(found.x)


def right_hand_side(
    problem: Problem,
    overlaps: Overlaps,
    *,
    dimension: int | None = None,
    points: int = 2**14,
    method: Method = "auto",
) -> tuple[Overlaps, Overlaps]:
    """Time derivatives of the order parameters in the limit, and their quadrature error.

    Shapes as in `Overlaps` without leading axes.
    """
    rules, kind = expectation_nodes(problem, points=points, method=method)
    with jax.enable_x64(True):
        place, cast = limit_medium(problem, dimension), problem.cast(jnp.float64)
        held, starts = starting_points(cast, place, rules[0], overlaps)
        first = jax.tree.map(lambda leaf: leaf[0], starts)
        rate = jax.jit(partial(velocity, held=held))
        found = [jax.tree.map(np.asarray, rate(cast, place, device_nodes(n), first)) for n in rules]
    return _average(found, kind)


def _average(found: list[Any], kind: str) -> tuple[Any, Any]:
    if kind == "tensor":
        return found[0], jax.tree.map(lambda a, b: np.abs(a - b), *found)
    mean = jax.tree.map(lambda *a: np.mean(a, axis=0), *found)
    root = np.sqrt(len(found))
    return mean, jax.tree.map(lambda *a: np.std(a, axis=0, ddof=1) / root, *found)


def expected_loss(
    problem: Problem,
    overlaps: Overlaps,
    *,
    dimension: int | None = None,
    points: int = 2**14,
    method: Method = "auto",
) -> tuple[Array, Array]:
    """Population loss E l at given order parameters (leading axes kept), and its error.

    A part of the loss linear in the gram is left out: it does not depend on W.
    """
    rules, kind = expectation_nodes(problem, points=points, method=method)
    with jax.enable_x64(True):
        place, cast = limit_medium(problem, dimension), problem.cast(jnp.float64)
        lead = np.shape(overlaps.signal)[:-2]
        whole = jax.tree.map(jnp.asarray, overlaps)
        parameters = {
            name: jnp.broadcast_to(
                jnp.asarray(overlaps.parameters.get(name, value), jnp.float64),
                (*lead, *value.shape),
            )
            for name, value in cast.initial_parameters(jnp.float64).items()
        }
        whole = Overlaps(whole.signal, whole.blocks, parameters)
        flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[len(lead) :]), whole)

        @jax.jit
        def losses(nodes: Nodes) -> jax.Array:
            return jax.lax.map(lambda y: moments(cast, place, nodes, y).loss, flat)

        found = [np.asarray(losses(device_nodes(nodes))).reshape(lead) for nodes in rules]
    mean, error = _average(found, kind)
    return mean, error
