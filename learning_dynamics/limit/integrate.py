"""The limit N -> infinity: an ordinary differential equation for the order parameters."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Prediction, component_names
from learning_dynamics.identity.session import WhileUnedited, sees_edits
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.limit.solution import IncompleteError, Setting, solve_limit, solve_traced
from learning_dynamics.model.overlaps import Overlaps, checked_overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.netcdf import attributes_of
from learning_dynamics.process.simulate import observables, whole_updates
from learning_dynamics.process.trajectory import Trajectory, chosen, picked
from learning_dynamics.process.update import layout
from learning_dynamics.pytrees import is_traced, require_single
from learning_dynamics.tracking import Tracking, tracked
from learning_dynamics.validation import (
    finite_array,
    increasing_times,
    positive_integer,
    reject,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Limit", "expected_loss", "integrate", "right_hand_side"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Limit:
    """Solution of the limit equations, averaged over its starts.

    A pytree of `times`, `values`, both errors and `paths`: these pass through `jax.jit`, `jax.vmap`
    and `jax.grad`, configuration and equation do not. Inside of them the values are traced.

    Attributes:
        times: tau, shape (times,).
        values: name -> mean over the starts, shape (times, ...), float64.
        quadrature_error: name -> bound on the error of the expectations, same shape.
        integrator_error: name -> bound on the error of the time steps, same shape.
        paths: name -> shape (starts, times, ...).
        attributes: configuration, versions, method, steps, seconds; empty from a transformation.
        solve: order parameters at increasing times, leading axes (starts, times); see `at`. None
            from a transformation.
        work_out_bias: what `bias` calls when it is first asked for; None where there is no bias.
    """

    times: Array
    values: Mapping[str, Array]
    quadrature_error: Mapping[str, Array]
    integrator_error: Mapping[str, Array]
    paths: Mapping[str, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    solve: Callable[[Array], Overlaps] | None = field(default=None, repr=False)
    work_out_bias: Callable[[], Mapping[str, Array]] | None = field(default=None, repr=False)

    @cached_property
    def bias(self) -> Mapping[str, Array]:
        """Name -> size of the allowed 1/N deviation, shape (times, ...); empty without one.

        Worked out when first asked for, by `prediction` at the latest.
        """
        return {} if self.work_out_bias is None else self.work_out_bias()

    def at(self, times: ArrayLike) -> Overlaps:
        """Order parameters at any times within the range, leading axes (starts, times).

        Raises:
            ValueError: on times outside [0, last time]; on a limit from a transformation of JAX.
        """
        if self.solve is None:
            demand = "carry its equation; ask `integrate` for these times"
            raise reject("limit", demand, "one from a transformation of JAX, or from a file")
        wanted = finite_array("times", times, ndim=1)
        if wanted.size and (wanted.min() < 0 or wanted.max() > self.times[-1]):
            raise reject("times", f"lie in [0, {self.times[-1]:g}]", f"{wanted.tolist()}")
        distinct, place = np.unique(wanted, return_inverse=True)
        found = self.solve(np.append(distinct, self.times[-1]))
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:, place], found)

    def prediction(self, quantities: Iterable[str] | None = None) -> Prediction:
        """Values on coordinates (time, quantity), with quadrature and integrator error added up.

        Raises:
            ValueError: of a limit that is being traced, or of a batch of them.
        """
        require_single("limit", self.values, np.shape(self.times)[:-1])
        columns = [
            self._table(source, quantities)[0]
            for source in (self.values, self.quadrature_error, self.integrator_error)
        ]
        limit = Prediction(columns[0], columns[1] + columns[2], label="limit")
        if not self.bias:
            return limit
        bias, _ = self._table(self.bias, quantities)
        largest = float(bias.max(initial=0.0)) * self.attributes["dimension"]
        return limit.with_bias(bias, f"up to {largest:.2g}/N") if largest > 0 else limit

    def to_xarray(self) -> "xr.Dataset":
        """Labelled arrays: values, and their errors as NAME_error."""
        import xarray as xr

        arrays: dict[str, Any] = {}
        for name, array in self.values.items():
            axes = ("time", *(f"{name}_{i}" for i in range(array.ndim - 1)))
            arrays[name] = (axes, array)
            error = self.quadrature_error[name] + self.integrator_error[name]
            arrays[f"{name}_error"] = (axes, error)
        return xr.Dataset(arrays, coords={"time": self.times}, attrs=attributes_of(self.attributes))

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        told = self.attributes.get
        batch = np.shape(self.times)[:-1]
        starts = {np.shape(path)[len(batch)] for path in self.paths.values()}
        rows = {
            "times": short_text.span(self.times),
            "values": short_text.shapes(self.values),
            "starts": ", ".join(map(str, starts)),
            "quadrature error": short_text.largest(self.quadrature_error),
            "integrator error": short_text.largest(self.integrator_error),
        }
        if told("nodes") is not None:
            rows["quadrature"] = f"{told('quadrature')}, {told('nodes')} nodes"
        if told("steps") is not None:
            rows["steps"] = f"{told('steps')}"
        if told("reached_the_end") is False:
            rows["ended"] = "before the last time that was asked for"
        rows["took"] = f"{told('seconds'):.3g} s" if isinstance(told("seconds"), float) else ""
        size = told("dimension")
        headline = "N -> infinity" if size is None else f"N -> infinity, noise of N = {size}"
        return f"{headline}, a batch of {batch}" if batch else headline, rows

    def components(self, quantities: Iterable[str] | None = None) -> list[str]:
        """Labels of the columns of `prediction`."""
        return self._table(self.values, quantities)[1]

    def _table(
        self, source: Mapping[str, Array], quantities: Iterable[str] | None
    ) -> tuple[Array, list[str]]:
        names = None if quantities is None else list(quantities)
        names = [quantities] if isinstance(quantities, str) else names
        columns, labels = [], []
        for name in chosen(self.values, names):
            columns.append(np.reshape(source[name], (np.size(self.times), -1)))
            labels += component_names(name, np.shape(self.values[name])[1:])
        return picked(np.concatenate(columns, axis=-1), labels, names)


_ARRAYS = ("times", "values", "quadrature_error", "integrator_error", "paths")
jax.tree_util.register_pytree_node(
    Limit, lambda limit: ([getattr(limit, n) for n in _ARRAYS], None), lambda _, a: Limit(*a)
)


@tracked
@sees_edits("problem", "observe")
def integrate(
    problem: Problem,
    *,
    times: ArrayLike | None = None,
    start: Overlaps | Trajectory,
    dimension: int | None = None,
    observe: Mapping[str, Callable[[Overlaps], jax.Array]] | None = None,
    accuracy: float | None = None,
    tolerance: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    max_steps: int = 4096,
    finite_size: bool | None = None,
    allow_inaccurate: bool = False,
    allow_incomplete: bool = False,
    tracker: Tracking = "auto",
) -> Limit:
    """Integrate the limit N -> infinity of a problem.

    Equations: :eq:`eq:kernel-limit-signal`, :eq:`eq:kernel-limit-blocks`.

    Args:
        problem: the definition that `simulate` takes.
        times: tau, increasing; rounded to whole updates as in `simulate` if `start` is one, whose
            times are taken if left out.
        start: order parameters (one set, or several along a leading axis), or a simulation, whose
            replicas' starts are then all integrated and averaged.
        dimension: N that fixes the noise blocks; the simulation's when `start` is one. A single
            noise block needs none.
        observe: further functions of the order parameters.
        accuracy: the errors of each quantity must not exceed this times max(1, its largest
            value); 1e-3 by default, no demand by default where `points` are fixed.
        tolerance: relative and absolute tolerance of the adaptive solver (Tsitouras 5/4). By
            default 1e-8, and a hundredth of `accuracy` where the right-hand side jumps.
        points: quadrature nodes per expectation, fixed by hand; by default they grow from 2^14
            until the accuracy is met.
        max_points: bound on the nodes that are tried, 2^21 by default.
        method: quadrature, see `expectation_nodes`; "auto" takes the one whose error is smaller.
        max_steps: bound on the time steps per start.
        finite_size: whether comparisons allow 1.5 times the shift b / N of `fluctuations` as
            bias of the limit; it is worked out when a comparison asks for it, and takes a
            simulation with equal replicas as start. By default, whenever that is given and there
            are at most 8 noise blocks.
        allow_inaccurate: warn instead of raising where the accuracy is not reached.
        allow_incomplete: warn instead of raising where the solution ends early, and return the
            part before.
        tracker: progress bar, as of `simulate`.

    Returns:
        Means over the starts. The quadrature error is the bound of `combine` on the spread of the
        solutions under different rules; the integrator error is the change under a larger
        tolerance and 3.7 times the first step (it bounds the error of the finer run).

    Raises:
        ValueError: on values that make no sense; if a parameter has no limit at its order.
        InaccurateError: if the accuracy is not reached; its `result` is the limit.
        IncompleteError: if the solution diverges or the steps do not suffice; it names the time,
            and its `result` is the limit up to there.
    """
    clock = time.perf_counter()
    if tolerance is not None and not 0 < tolerance < 1e-2:
        raise reject("tolerance", "lie between 0 and 0.01", tolerance)
    positive_integer("max_steps", max_steps)
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    simulated = start if isinstance(start, Trajectory) else None
    if isinstance(start, Trajectory):
        dimension = start.dimension if dimension is None else dimension
        start = start.start
    if times is None:
        if simulated is None:
            raise reject("times", "be given unless `start` is a simulation", None)
        times = simulated.times
    traced = is_traced((problem, start, times))
    array: Any = times if is_traced(times) else increasing_times(times)
    if simulated is not None and not is_traced(times):
        array = whole_updates(times, simulated.dimension) / simulated.dimension
    population = Population(problem, dimension, target, beside=(start, times))
    corrected = False if traced else finite_size
    if corrected is None:
        corrected = _has_shift(simulated, 8)
    if (corrected or finite_size) and (traced or not _has_shift(simulated)):
        demand = "be left out unless a simulation with equal starts is given"
        raise reject("finite_size", demand, finite_size)
    plan = layout(problem, dimension or problem.inputs.directions + 10**6, "overlaps")
    watched = observables(problem, plan, observe)
    held, starts = population.complete(start)
    if held and finite_size:
        demand = "be left out: `fluctuations` does not follow fast parameters"
        raise reject("finite_size", demand, sorted(held))
    if traced:
        again = np.arange(starts.signal.shape[0])
        setting = Setting(population, starts, again, held, watched, max_steps)
        tau: Any = jnp.asarray(array, jnp.float64)
        arrays: Any = solve_traced(setting, population.rules(), tau, tolerance)
        return Limit(tau, *arrays)
    distinct, again = _distinct(starts)
    setting = Setting(population, distinct, again, held, watched, max_steps)
    solved = solve_limit(setting, array, tolerance)
    attributes = {
        "quadrature": solved.method,
        "nodes": solved.nodes,
        "steps": solved.steps,
        "reached_the_end": not solved.end,
        "tolerance": solved.tolerance,
        "seconds": time.perf_counter() - clock,
        "jax": jax.__version__,
        "diffrax": diffrax.__version__,
    }
    if dimension is not None:
        attributes["dimension"] = dimension
    later: Callable[[], dict[str, Array]] | None = None
    if corrected and simulated is not None and not held:
        work_out = partial(_bias, problem, simulated, solved.times, observe)
        later = WhileUnedited(work_out, "this limit", (problem, observe))
    at = WhileUnedited(solved.at, "this limit", (problem, observe))
    limit = Limit(
        solved.times, solved.values, solved.quadrature, solved.integrator, solved.paths,
        attributes, at, later,
    )  # fmt: skip
    if solved.end:
        if not allow_incomplete or solved.times.size == 0:
            raise IncompleteError(f"integrate: {solved.end}", limit)
        warnings.warn(f"integrate: {solved.end}", RuntimeWarning, stacklevel=4)
    target.check("integrate", solved.estimate, limit, times=solved.times)
    return limit


def _distinct(starts: Overlaps) -> tuple[Overlaps, NDArray[np.int64]]:
    """Starts without repetition, and which of them each start is."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(starts)]
    rows = np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)
    _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return jax.tree.map(lambda leaf: leaf[first], starts), place.ravel()


def _has_shift(simulated: Trajectory | None, blocks: float = np.inf) -> bool:
    """Whether the 1/N shift of the limit can be worked out for a simulation with so many blocks."""
    if simulated is None or simulated.start.blocks.shape[1] > blocks:
        return False
    spread = [np.ptp(leaf, axis=0).max(initial=0.0) for leaf in jax.tree.leaves(simulated.start)]
    return max(spread) < 1e-9


def _bias(problem: Problem, simulated: Trajectory, times: Array, observe: Any) -> dict[str, Array]:
    """1.5 |b| / N, b to about a per cent: few nodes and a loose tolerance do."""
    from learning_dynamics.limit.fluctuations import fluctuations

    first = jax.tree.map(lambda leaf: leaf[0], simulated.start)
    found = fluctuations(
        problem, times=times, start=first, dimension=simulated.dimension, observe=observe,
        tolerance=1e-4, points=2**11,
    )  # fmt: skip
    return {name: 1.5 * np.abs(b) / simulated.dimension for name, b in found.shift.items()}


@sees_edits("problem")
def right_hand_side(
    problem: Problem,
    overlaps: Overlaps,
    *,
    dimension: int | None = None,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
) -> tuple[Overlaps, Overlaps]:
    """Time derivatives of the order parameters in the limit, and bounds on their error.

    Shapes as in `Overlaps` without leading axes. Accuracy and points are those of `integrate`.

    Raises:
        ValueError: on shapes that do not fit, or if a parameter has no limit at its order.
        InaccurateError: if the accuracy is not reached; its `result` holds what was.
    """
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    population = Population(problem, dimension, target, beside=overlaps)
    held, state = population.complete_one(overlaps)

    def rate(nodes: Nodes) -> Overlaps:
        return population.velocity(nodes, state, held)

    mean = population.average(rate, caller="right_hand_side")
    return mean.value, mean.error


@sees_edits("problem")
def expected_loss(
    problem: Problem,
    overlaps: Overlaps,
    *,
    dimension: int | None = None,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
) -> tuple[Array, Array]:
    """Population loss E l at given order parameters (leading axes kept), and its error.

    A part of the loss linear in the gram is left out: it does not depend on W. Accuracy and points
    are those of `integrate`. Traced single precision, such as the order parameters of an observable
    of `simulate`, gives a result in single precision, computed in double.

    Raises:
        InaccurateError: if the accuracy is not reached; its `result` holds what was.
    """
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    population = Population(problem, dimension, target, beside=overlaps, narrow=True)
    blocks = population.medium.variances.shape[0]
    whole = checked_overlaps(population.cast, overlaps, blocks, moving=False)
    lead, wide = whole.signal.shape[:-2], jnp.result_type(float) == jnp.float64

    def losses(nodes: Nodes) -> jax.Array:
        return population.losses(nodes, flat).reshape(lead)

    with jax.enable_x64(True):
        flat = jax.tree.map(
            lambda a: jnp.asarray(a.reshape(-1, *a.shape[len(lead) :]), jnp.float64), whole
        )
        mean = population.average(losses, caller="expected_loss")
        if population.traced and not wide:
            return mean.value.astype(jnp.float32), mean.error.astype(jnp.float32)
    return mean.value, mean.error
