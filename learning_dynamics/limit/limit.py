"""A solution of the limit equations, with its errors and what it was computed with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Prediction, component_names
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.netcdf import attributes_of
from learning_dynamics.process.trajectory import chosen, picked
from learning_dynamics.pytrees import require_single
from learning_dynamics.validation import finite_array, reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Limit"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Limit:
    """Solution of the limit equations, averaged over its starts.

    A pytree of `times`, `values`, both errors and `paths`: these pass through `jax.jit`, `jax.vmap`
    and `jax.grad`; configuration, label and equation do not. Inside of them the values are traced.

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
        label: name of its prediction in legends and tables, see `labelled`.
    """

    times: Array
    values: Mapping[str, Array]
    quadrature_error: Mapping[str, Array]
    integrator_error: Mapping[str, Array]
    paths: Mapping[str, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    solve: Callable[[Array], Overlaps] | None = field(default=None, repr=False)
    work_out_bias: Callable[[], Mapping[str, Array]] | None = field(default=None, repr=False)
    label: str = "limit"

    @cached_property
    def bias(self) -> Mapping[str, Array]:
        """Name -> size of the allowed 1/N deviation, shape (times, ...); empty without one.

        Worked out when first asked for, by `prediction` at the latest.
        """
        return {} if self.work_out_bias is None else self.work_out_bias()

    def labelled(self, label: str) -> Limit:
        """Give the limit the name `label` in legends, tables and comparisons.

        Everything else stays: times, equation, and the bias, which is worked out once for both.
        """
        shared = None if self.work_out_bias is None else partial(getattr, self, "bias")
        return replace(self, label=label, work_out_bias=shared)

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
        limit = Prediction(columns[0], columns[1] + columns[2], label=self.label)
        if not self.bias:
            return limit
        bias, _ = self._table(self.bias, quantities)
        largest = float(bias.max(initial=0.0)) * self.attributes["dimension"]
        return limit.with_bias(bias, f"up to {largest:.2g}/N") if largest > 0 else limit

    def to_xarray(self) -> xr.Dataset:
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
        headline = "N -> infinity" if size is None else f"N -> infinity, beside N = {size}"
        headline = headline if self.label == "limit" else f"{self.label}: {headline}"
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
