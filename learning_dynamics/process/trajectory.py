"""Results: what was observed along a run, with everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Measurement, Prediction, component_names
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.netcdf import attributes_of
from learning_dynamics.pytrees import require_single
from learning_dynamics.validation import reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Trajectory", "log_times"]

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


def chosen(values: Mapping[str, Array], quantities: Iterable[str] | None) -> list[str]:
    """Names of the asked quantities, checked; all non-empty ones by default.

    A component such as "signal[0,1]" stands for its quantity; `picked` takes it out.
    """
    known = [name for name, array in values.items() if array.size]
    if quantities is None:
        return known
    names = [quantities] if isinstance(quantities, str) else list(quantities)
    bases = [name if name in known else name.split("[")[0] for name in map(str, names)]
    if not names or not set(bases) <= set(known):
        raise reject("quantities", f"name some of {known}, or their components", names)
    return list(dict.fromkeys(bases))


def picked(
    table: Array, labels: list[str], quantities: Iterable[str] | None
) -> tuple[Array, list[str]]:
    """Columns of the asked quantities and components, in the order in which they were asked for.

    Args:
        table: shape (..., columns), of all components of the `chosen` quantities.
        labels: of the columns.
        quantities: names such as "signal" or "signal[0,1]"; None for all.

    Raises:
        ValueError: if there is no such component.
    """
    if quantities is None:
        return table, labels
    columns: list[int] = []
    for name in [quantities] if isinstance(quantities, str) else quantities:
        whole = [i for i, label in enumerate(labels) if label.startswith(f"{name}[")]
        fitting = [labels.index(name)] if name in labels else whole
        if not fitting:
            raise reject("quantities", f"name some of {labels}", repr(name))
        columns += [i for i in fitting if i not in columns]
    return table[..., columns], [labels[i] for i in columns]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Simulated replicas, observed along time.

    A pytree: `values`, `start`, `last` and `stopped` are leaves, level, N, times and precision are
    static. Neither provenance nor label passes through a transformation of JAX.

    Attributes:
        level: "ambient" (all N weights) or "overlaps" (exact reduced chain).
        dimension: N.
        times: tau = updates / N of each observation, shape (times,).
        updates: the same in updates, shape (times,).
        values: name -> shape (replicas, times, ...). "signal" (M), "norms" (Q), the parameters
            and the user's observables.
        start: order parameters before the first update, leading axis replicas.
        last: order parameters after the last one.
        stopped: when each replica met the stop condition, in updates of this run, not in tau:
            `stopped / dimension` is the time. -1 if it did not meet it, -2 if it diverged; None
            without a stop condition. Shape (replicas,).
        attributes: configuration, versions, generator, wall and compile seconds.
        memory: of a momentum after the last update: order parameters of the 2 K rows of W and V,
            and the velocities of the parameters; None without a momentum.
        label: name in legends and tables; if empty, the level and N. See `labelled`.
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
    memory: Overlaps | None = None
    label: str = ""

    def labelled(self, label: str) -> Trajectory:
        """Give the trajectory the name `label` in legends, tables and comparisons."""
        return replace(self, label=label)

    @property
    def begins(self) -> float:
        """Time on the clock of the rates before the first update: zero unless a run goes on."""
        return float(self.attributes.get("begins", 0.0))

    @property
    def replicas(self) -> int:
        """Number of replicas."""
        return int(self.start.signal.shape[-3])

    def _numbers(self) -> dict[str, Array]:
        """Values on the host.

        Raises:
            ValueError: if they are traced, or those of a batch of trajectories.
        """
        require_single("trajectory", self.values, np.shape(self.start.signal)[:-3])
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
        names = None if quantities is None else list(quantities)
        names = [quantities] if isinstance(quantities, str) else names
        columns, labels = [], []
        values = self._numbers()
        for name in chosen(values, names):
            array = values[name]
            columns.append(array.reshape(*array.shape[:2], -1))
            labels += component_names(name, array.shape[2:])
        return picked(np.concatenate(columns, axis=-1), labels, names)

    def measurement(self, quantities: Iterable[str] | None = None) -> Measurement:
        """Means over replicas with standard errors, coordinates (time, quantity)."""
        table, labels = self._table(quantities)
        coordinates = {"time": self.times, "quantity": np.asarray(labels)}
        label = f"{self.level}, N = {self.dimension}"
        optimiser = self.attributes.get("optimiser")
        if optimiser is not None:  # a theory of plain steps may stand beside it
            label += f", optimiser {optimiser or 'without memory'}"
        if self.attributes.get("samples"):
            label += f", {self.attributes['samples']} samples"
        return Measurement.from_replicas(
            table, coordinates, label=self.label or label, attributes=self.attributes,
            precision=self.attributes.get("precision"),
        )  # fmt: skip

    def prediction(self, quantities: Iterable[str] | None = None) -> Prediction:
        """The same as a prediction: an exact law evaluated by Monte Carlo.

        Its numerical error is the standard error of the mean over its replicas.
        """
        mean = self.measurement(quantities)
        return Prediction(mean.values, mean.standard_error, label=mean.label)

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        replicas, rows = self.replicas, {}
        batch = np.shape(self.start.signal)[:-3]
        numbers = [short_text.concrete(array) for array in self.values.values()]
        stopped = None if self.stopped is None else short_text.concrete(self.stopped)
        rows["times"] = short_text.span(self.times)
        rows["updates"] = short_text.span(self.updates)
        rows["values"] = short_text.shapes(self.values)
        if all(array is not None for array in numbers) and not batch:
            rows["lost"] = f"{int(self.lost.sum())} of {replicas}"
        if stopped is not None and not batch:
            diverged = int(np.sum(stopped == -2))
            met = stopped[stopped >= 0]
            reach = f" after {met.min()} to {met.max()} updates" if met.size else ""
            rows["stopped"] = f"{met.size} of {replicas}{reach}, {diverged} diverged"
        precision, seconds = (self.attributes.get(n) for n in ("precision", "wall_seconds"))
        rows["took"] = f"{seconds:.3g} s" if isinstance(seconds, float) else ""
        if isinstance(start := self.attributes.get("compile_seconds"), float):
            rows["took"] += f", {start:.3g} s of them before the first update (compilation)"
        headline = f"{self.level}, N = {self.dimension}, {replicas} replicas"
        headline = f"{self.label}: {headline}" if self.label else headline
        headline = f"{headline}, a batch of {batch}" if batch else headline
        return f"{headline}, {precision}" if precision else headline, rows

    def to_xarray(self) -> xr.Dataset:
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
            arrays["stopped"] = (("replica",), self.stopped, {"units": "updates"})
        coordinates = {"time": self.times, "updates": ("time", self.updates)}
        attributes = {**self.attributes, "level": self.level, "dimension": self.dimension}
        return xr.Dataset(arrays, coords=coordinates, attrs=attributes_of(attributes))


def _flatten(item: Trajectory) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    leaves = (*item.values.values(), item.start, item.last, item.stopped, item.memory)
    times, updates = (tuple(np.asarray(a).tolist()) for a in (item.times, item.updates))
    kept = tuple((n, item.attributes[n]) for n in ("precision", "begins") if n in item.attributes)
    return leaves, (item.level, item.dimension, times, updates, tuple(item.values), kept)


def _rebuild(structure: tuple[Any, ...], leaves: tuple[Any, ...]) -> Trajectory:
    level, dimension, times, updates, names, kept = structure
    *values, start, last, stopped, memory = leaves
    return Trajectory(
        level,
        dimension,
        np.asarray(times, np.float64),
        np.asarray(updates, np.int64),
        dict(zip(names, values, strict=True)),
        start,
        last,
        stopped,
        dict(kept),
        memory,
    )


jax.tree_util.register_pytree_node(Trajectory, _flatten, _rebuild)
