"""Results: what was observed along a run, with everything needed to repeat it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.comparison import Measurement, Prediction
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Trajectory", "component_names", "log_times"]

Array = NDArray[np.float64]


def log_times(end: float, *, points: int = 30, start: float | None = None) -> Array:
    """Times tau from `start` (`end` / 1000 if not given) to `end`, evenly spaced in the logarithm.

    Raises:
        ValueError: unless 0 < start < end and points >= 2.
    """
    first = end / 1000 if start is None else start
    if not 0 < first < end:
        raise reject("start", f"lie strictly between 0 and end = {end}", first)
    if points < 2:
        raise reject("points", "be at least 2", points)
    return np.geomspace(first, end, points)


def component_names(name: str, shape: tuple[int, ...]) -> list[str]:
    """Labels "name[i,j]" of the components of an array; "name" for a scalar."""
    if not shape:
        return [name]
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def chosen(values: Mapping[str, Array], quantities: Iterable[str] | None) -> list[str]:
    """Names of the asked quantities, checked; all non-empty ones by default."""
    known = [name for name, array in values.items() if array.size]
    if quantities is None:
        return known
    names = [quantities] if isinstance(quantities, str) else list(quantities)
    if not names or not set(names) <= set(known):
        raise reject("quantities", f"name some of {known}", names)
    return names


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Simulated replicas, observed along time.

    A pytree: `values`, `start`, `last` and `stopped` are leaves, level, N, times and precision are
    static. Provenance does not pass through a transformation of JAX.

    Attributes:
        level: "ambient" (all N weights) or "overlaps" (exact reduced chain).
        dimension: N.
        times: tau = updates / N of each observation, shape (times,).
        updates: the same in updates, shape (times,).
        values: name -> shape (replicas, times, ...). "signal" (M), "norms" (Q), the parameters
            and the user's observables.
        start: order parameters before the first update, leading axis replicas.
        last: order parameters after the last one.
        stopped: update at which each replica met the stop condition, -1 if it did not, -2 if it
            diverged; None without a stop condition. Shape (replicas,).
        attributes: configuration, versions, generator, wall and compile seconds.
    """

    level: str
    dimension: int
    times: Array
    updates: NDArray[np.int64]
    values: Mapping[str, Array]
    start: Overlaps
    last: Overlaps
    stopped: NDArray[np.int64] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return int(self.start.signal.shape[-3])

    def _numbers(self) -> dict[str, Array]:
        """Values on the host.

        Raises:
            ValueError: if they are traced, or those of a batch of trajectories.
        """
        if is_traced(self.values):
            demand = "be taken out of jax.jit, jax.vmap or jax.grad first (use `values` inside)"
            raise reject("trajectory", demand, "one that is being traced")
        if np.ndim(self.start.signal) != 3:
            demand = "be a single one (`jax.tree.map(lambda a: a[0], batch)` takes the first)"
            raise reject("trajectory", demand, f"a batch of {np.shape(self.start.signal)[:-3]}")
        return {name: np.asarray(array, np.float64) for name, array in self.values.items()}

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Replicas that overflowed or became NaN at some time, shape (replicas,).

        Raises:
            ValueError: of a trajectory that is being traced, or of a batch of them.
        """
        bad = np.zeros(self.replicas, bool)
        for array in self._numbers().values():
            bad |= ~np.isfinite(array.reshape(self.replicas, -1)).all(axis=1)
        return bad

    def _table(self, quantities: Iterable[str] | None) -> tuple[Array, list[str]]:
        columns, labels = [], []
        values = self._numbers()
        for name in chosen(values, quantities):
            array = values[name]
            columns.append(array.reshape(*array.shape[:2], -1))
            labels += component_names(name, array.shape[2:])
        return np.concatenate(columns, axis=-1), labels

    def measurement(self, quantities: Iterable[str] | None = None) -> Measurement:
        """Means over replicas with standard errors, coordinates (time, quantity)."""
        table, labels = self._table(quantities)
        coordinates = {"time": self.times, "quantity": np.asarray(labels)}
        label = f"{self.level}, N = {self.dimension}"
        return Measurement.from_replicas(
            table, coordinates, label=label, attributes=self.attributes,
            precision=self.attributes.get("precision"),
        )  # fmt: skip

    def prediction(self, quantities: Iterable[str] | None = None) -> Prediction:
        """The same as a prediction: an exact law evaluated by Monte Carlo.

        Its numerical error is the standard error of the mean over its replicas.
        """
        mean = self.measurement(quantities)
        return Prediction(mean.values, mean.standard_error, label=mean.label)

    def to_xarray(self) -> "xr.Dataset":
        """Labelled arrays (replica, time, ...), provenance in the attributes."""
        import xarray as xr

        arrays: dict[str, Any] = {}
        for name, array in self._numbers().items():
            inner = [f"{name}_{i}" for i in range(array.ndim - 2)]
            if name == "signal":
                inner = ["neuron", "direction"]
            elif name == "norms":
                inner = ["neuron", "other_neuron"]
            arrays[name] = (("replica", "time", *inner), array)
        if self.stopped is not None:
            arrays["stopped"] = (("replica",), self.stopped)
        coordinates = {"time": self.times, "updates": ("time", self.updates)}
        attributes = {**self.attributes, "level": self.level, "dimension": self.dimension}
        return xr.Dataset(arrays, coords=coordinates, attrs=attributes)


def _flatten(item: Trajectory) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    leaves = (*item.values.values(), item.start, item.last, item.stopped)
    times, updates = (tuple(np.asarray(a).tolist()) for a in (item.times, item.updates))
    precision = item.attributes.get("precision")
    return leaves, (item.level, item.dimension, times, updates, tuple(item.values), precision)


def _rebuild(structure: tuple[Any, ...], leaves: tuple[Any, ...]) -> Trajectory:
    level, dimension, times, updates, names, precision = structure
    *values, start, last, stopped = leaves
    return Trajectory(
        level,
        dimension,
        np.asarray(times, np.float64),
        np.asarray(updates, np.int64),
        dict(zip(names, values, strict=True)),
        start,
        last,
        stopped,
        {} if precision is None else {"precision": precision},
    )


jax.tree_util.register_pytree_node(Trajectory, _flatten, _rebuild)
