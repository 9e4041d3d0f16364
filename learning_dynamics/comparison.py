"""Simulation beside theory: values, errors, residuals and a verdict that can fail."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.special import stdtrit

from learning_dynamics import short_text
from learning_dynamics.netcdf import attributes_of
from learning_dynamics.notebook import bundle
from learning_dynamics.validation import between, integers, non_negative, real_array, reject

if TYPE_CHECKING:  # imported where they are used: the command line must start fast
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = [
    "Comparison",
    "Comparisons",
    "Measurement",
    "Prediction",
    "Verdict",
    "compare",
    "compare_each",
]

Verdict = Literal["pass", "fail"]
ULPS = 4.0  # rounding of one observed number, in units of the last place of its type
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a theory says, and how exactly it says it.

    Attributes:
        values: predicted values, float64, any shape.
        numerical_error: bound on the error of the evaluation (quadrature, root finding,
            rounding), same shape, or one number for all. It says nothing about the theory itself.
        bias: size of what the theory leaves out at finite size, likewise; zero for exact laws.
        bias_order: that size as a formula, such as "4/d" (empty for exact laws).
        label: name for legends and tables.
    """

    values: Array
    numerical_error: Array = field(default_factory=lambda: np.zeros(()))
    bias: Array = field(default_factory=lambda: np.zeros(()))
    bias_order: str = ""
    label: str = "theory"

    def __post_init__(self) -> None:
        values = real_array("values", self.values)
        error = real_array("numerical_error", self.numerical_error)
        error = spread_over("numerical_error", error, values.shape)
        bias = spread_over("bias", non_negative("bias", self.bias), values.shape)
        if np.any(error < 0):
            raise reject("numerical_error", "not be negative", error.min())
        if bool(np.any(bias > 0)) != bool(self.bias_order):
            raise reject("bias_order", "be given exactly when a bias is", repr(self.bias_order))
        for name, array in (("values", values), ("numerical_error", error), ("bias", bias)):
            object.__setattr__(self, name, array)

    def with_bias(self, bias: ArrayLike, order: str) -> "Prediction":
        """Allow a finite-size deviation of absolute size `bias`, described by `order`."""
        return replace(self, bias=real_array("bias", bias), bias_order=order)

    def scaled(self, factor: ArrayLike) -> "Prediction":
        """Multiply value, error and bias by a positive factor, such as 1/d.

        Args:
            factor: broadcasts against the values.

        Raises:
            ValueError: if a factor is not positive.
        """
        scale = real_array("factor", factor)
        if not np.all(scale > 0):
            raise reject("factor", "be positive", scale)
        return replace(
            self,
            values=self.values * scale,
            numerical_error=self.numerical_error * scale,
            bias=self.bias * scale,
        )

    def labelled(self, label: str) -> "Prediction":
        """Give the prediction the name `label` in legends and tables."""
        return replace(self, label=label)

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return self.label, {
            "values": short_text.extent(self.values),
            "numerical error": short_text.largest({"values": self.numerical_error}).split(" (")[0],
            "allowed bias": self.bias_order,
        }

    def __getitem__(self, index: Any) -> "Prediction":
        bias = self.bias[index]
        return replace(
            self,
            values=self.values[index],
            numerical_error=self.numerical_error[index],
            bias=bias,
            bias_order=self.bias_order if np.any(bias > 0) else "",
        )


@dataclass(frozen=True, eq=False)
class Measurement:
    """Mean over independent replicas of a simulation, with its standard error.

    Attributes:
        values: mean over the replicas that stayed finite, float64, one axis per coordinate.
        standard_error: sample standard deviation over replicas / sqrt(number of finite ones), same
            shape, or one number for all.
        replicas: number of replicas drawn.
        coordinates: axis name -> values along that axis, in the order of the axes.
        lost: number of replicas that overflowed or became NaN, per point, or one number for all.
            They are left out of the mean and any comparison with a lost replica fails.
        label: name for legends and tables.
        attributes: provenance (configuration, seeds, seconds, versions).
        rounding: what the simulation's number type leaves open, same shape: four units in the
            last place of the largest draw. A quantity without spread over the replicas has no
            other error. Zero if it is not known.
    """

    values: Array
    standard_error: Array
    replicas: int
    coordinates: Mapping[str, NDArray[Any]]
    lost: NDArray[np.int64] = field(default_factory=lambda: np.zeros((), np.int64))
    label: str = "simulation"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    rounding: Array = field(default_factory=lambda: np.zeros(()))

    def __post_init__(self) -> None:
        values = real_array("values", self.values)
        axes = {name: np.atleast_1d(np.asarray(axis)) for name, axis in self.coordinates.items()}
        expected = tuple(axis.size for axis in axes.values())
        if values.shape != expected:
            raise reject("values", f"have the shape {expected} of the coordinates", values.shape)
        arrays = {
            "standard_error": real_array("standard_error", self.standard_error),
            "lost": integers("lost", self.lost, least=0),
            "rounding": non_negative("rounding", self.rounding),
        }
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "coordinates", axes)
        for name, array in arrays.items():
            object.__setattr__(self, name, spread_over(name, array, values.shape))

    @classmethod
    def from_replicas(
        cls,
        draws: ArrayLike,
        coordinates: Mapping[str, ArrayLike],
        *,
        label: str = "simulation",
        attributes: Mapping[str, Any] | None = None,
        precision: DTypeLike | None = None,
    ) -> "Measurement":
        """Average over the leading axis of `draws`, shape (replicas, *coordinate lengths).

        Args:
            draws: one number per replica and point.
            coordinates: axis name -> values along that axis.
            label: name for legends and tables.
            attributes: provenance.
            precision: floating-point type that the draws were computed in, which fixes
                `rounding`; that of `draws` if left out.

        Raises:
            ValueError: with fewer than two replicas, if the coordinates do not fit the shape, or
                if `precision` is no floating-point type.
        """
        rounding = ULPS * _unit_roundoff(
            np.asarray(draws).dtype if precision is None else precision
        )
        draws = real_array("draws", draws)
        axes = {name: np.atleast_1d(np.asarray(axis)) for name, axis in coordinates.items()}
        for name in axes:
            if not name.isidentifier():
                raise reject("coordinates", "have names of letters, digits and _", repr(name))
        expected = tuple(axis.size for axis in axes.values())
        if draws.ndim == 0 or draws.shape[0] < 2:
            raise reject("draws", "hold at least two replicas", f"shape {draws.shape}")
        if draws.shape[1:] != expected:
            raise reject(
                "draws", f"have shape (replicas, {', '.join(map(str, expected))})", draws.shape
            )
        finite = np.isfinite(draws)
        kept = finite.sum(axis=0)
        clean = np.where(finite, draws, 0.0)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = clean.sum(axis=0) / kept
            spread = np.where(finite, draws - mean, 0.0)
            error = np.sqrt((spread**2).sum(axis=0) / (kept - 1) / kept)
        rounding = rounding * np.max(np.abs(clean), axis=0)
        lost = draws.shape[0] - kept
        return cls(mean, error, draws.shape[0], axes, lost, label, dict(attributes or {}), rounding)

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        lost = int(np.max(self.lost, initial=0))
        return f"{self.label}, {self.replicas} replicas", {
            **{name: short_text.span(axis) for name, axis in self.coordinates.items()},
            "values": short_text.extent(self.values),
            "standard error": short_text.largest({"": self.standard_error}).removesuffix(" ()"),
            "lost": f"up to {lost} replicas" if lost else "",
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """A measurement beside a prediction.

    The residual is the part of the difference that the allowed bias b does not cover, in units
    of the combined error,

        residual = sign(m - p) max(|m - p| - b, 0)
                   / sqrt(standard_error^2 + rounding^2 + numerical_error^2),

    and the verdict is "pass" when no residual exceeds `critical`, the two-sided Student t
    quantile (replicas - 1 degrees of freedom) at `false_alarm` divided by the number of points.
    Equation: :eq:`eq:residual`.
    """

    measured: Measurement
    predicted: Prediction
    name: str
    quantity: str
    false_alarm: float

    @property
    def residual(self) -> Array:
        """Signed, in standard errors, shape of the values; NaN if an error is not finite."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            difference = self.measured.values - self.predicted.values
            excess = np.maximum(np.abs(difference) - self.predicted.bias, 0.0)
            scale = np.hypot(self.measured.standard_error, self.predicted.numerical_error)
            scale = np.hypot(scale, self.measured.rounding)
            size = np.where(excess == 0, 0.0, excess / scale)
            # an error without bound would accept anything
            return np.where(np.isfinite(scale), np.sign(difference) * size, np.nan)

    @property
    def critical(self) -> float:
        """Largest residual that the verdict accepts."""
        share = self.false_alarm / (2 * max(self.measured.values.size, 1))
        return -float(stdtrit(self.measured.replicas - 1, share))

    @property
    def verdict(self) -> Verdict:
        """Verdict "pass" or "fail"; a lost replica or a NaN fails."""
        agrees = np.abs(self.residual) <= self.critical  # False where NaN
        return "pass" if bool(np.all(agrees)) and not np.any(self.measured.lost) else "fail"

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of the point with the largest residual (a NaN counts as largest)."""
        size = np.where(np.isnan(self.residual), np.inf, np.abs(self.residual))
        return tuple(int(i) for i in np.unravel_index(np.argmax(size), size.shape))

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        size, lost = abs(float(self.residual[self.worst])), int(np.max(self.measured.lost))
        return f"{self.name}: {self.verdict}" if self.name else self.verdict, {
            "measured": f"{self.measured.label}, {self.measured.replicas} replicas",
            "predicted": self.predicted.label,
            "allowed bias": self.predicted.bias_order,
            "points": f"{self.measured.values.size}, quantity: {self.quantity}",
            "residual": f"at most {size:.3g} of {self.critical:.3g} accepted, at {self._place()}",
            "lost": f"up to {lost} replicas" if lost else "",
        }

    def _place(self) -> str:
        """Coordinates of the worst point as text."""
        at = self.summary()["at"].items()
        return ", ".join(
            f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}"
            for name, value in at
        )

    def summary(self) -> dict[str, Any]:
        """The worst point in numbers, with the verdict, ready for JSON."""
        at = self.worst
        return {
            "name": self.name,
            "quantity": self.quantity,
            "verdict": self.verdict,
            "points": int(self.measured.values.size),
            "replicas": self.measured.replicas,
            "lost_replicas": int(np.max(self.measured.lost)),  # at the worst point
            "measured": float(self.measured.values[at]),
            "predicted": float(self.predicted.values[at]),
            "standard_error": float(self.measured.standard_error[at]),
            "rounding": float(self.measured.rounding[at]),
            "numerical_error": float(self.predicted.numerical_error[at]),
            "allowed_bias": float(self.predicted.bias[at]),
            "bias_order": self.predicted.bias_order,
            "residual": float(self.residual[at]),
            "critical": self.critical,
            "at": {
                name: axis[i].item() if hasattr(axis[i], "item") else str(axis[i])
                for (name, axis), i in zip(self.measured.coordinates.items(), at, strict=True)
            },
        }

    def to_xarray(self) -> "xr.Dataset":
        """Labelled arrays of everything above, provenance in the attributes."""
        import xarray as xr

        names = tuple(self.measured.coordinates)
        columns = {
            "measured": self.measured.values,
            "standard_error": self.measured.standard_error,
            "rounding": self.measured.rounding,
            "lost_replicas": self.measured.lost,
            "predicted": self.predicted.values,
            "numerical_error": self.predicted.numerical_error,
            "allowed_bias": self.predicted.bias,
            "residual": self.residual,
        }
        attributes = {
            **self.measured.attributes,
            "name": self.name,
            "quantity": self.quantity,
            "verdict": self.verdict,
            "replicas": self.measured.replicas,
            "critical_residual": self.critical,
            "false_alarm": self.false_alarm,
            "bias_order": self.predicted.bias_order,
        }
        return xr.Dataset(
            {name: (names, np.asarray(values)) for name, values in columns.items()},
            coords=dict(self.measured.coordinates),
            attrs=attributes_of(attributes),
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(self, [self])

    def _repr_html_(self) -> str:
        return str(bundle(self, [self])["text/html"])

    def plot(self, path: str | Path | None = None, **options: Any) -> "Figure":
        """Draw simulation and theory with a residual panel; notebooks show the figure.

        Args:
            path: file to write, if any; its suffix chooses the format.
            options: those of `plot_comparison`.
        """
        from learning_dynamics.figures import plot_comparison, save_figure

        figure = plot_comparison(self, **options)
        if path is not None:
            save_figure(figure, path)
        return figure


@dataclass(frozen=True, eq=False)
class Comparisons(Sequence[Comparison]):
    """One measurement beside several predictions, in the order in which they were given."""

    items: tuple[Comparison, ...]

    @overload
    def __getitem__(self, index: int) -> Comparison: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Comparison]: ...
    def __getitem__(self, index: int | slice) -> Comparison | Sequence[Comparison]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def verdict(self) -> Verdict:
        """The word "pass" when every comparison passes."""
        return "pass" if all(item.verdict == "pass" for item in self.items) else "fail"

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        first = self.items[0].measured
        rows = {"measured": f"{first.label}, {first.replicas} replicas"}
        for i, item in enumerate(self.items[:9], 1):
            size = abs(float(item.residual[item.worst]))
            rows[f"theory {i}"] = (
                f"{item.verdict}: {item.predicted.label}, residuals at most {size:.3g} of "
                f"{item.critical:.3g} accepted"
            )
        more = len(self.items) - 9
        if more > 0:
            rows["more"] = (
                f"{more}, of which {sum(i.verdict == 'fail' for i in self.items[9:])} fail"
            )
        name = self.items[0].name
        return f"{name}: {self.verdict}" if name else self.verdict, rows

    def summary(self) -> list[dict[str, Any]]:
        """Summaries of the comparisons."""
        return [item.summary() for item in self.items]

    def to_xarray(self) -> "xr.Dataset":
        """The comparisons' arrays, stacked along a coordinate `theory`."""
        import xarray as xr

        labels = [item.predicted.label for item in self.items]
        tables = [item.to_xarray().assign_coords(theory=item.predicted.label) for item in self]
        attributes = {"verdict": self.verdict, "theories": labels}
        stacked = xr.concat(tables, dim="theory", combine_attrs="drop_conflicts")
        return stacked.assign_attrs(attributes)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(self, self.items)

    def _repr_html_(self) -> str:
        return str(bundle(self, self.items)["text/html"])

    def plot(self, path: str | Path | None = None, **options: Any) -> "Figure":
        """Draw all comparisons side by side; notebooks show the figure.

        Args:
            path: file to write, if any; its suffix chooses the format.
            options: those of `plot_comparisons`.
        """
        from learning_dynamics.drawing import save_figure
        from learning_dynamics.figures import plot_comparisons

        figure = plot_comparisons(self, **options)
        if path is not None:
            save_figure(figure, path)
        return figure


def spread_over(argument: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array repeated over the shape of the values.

    Raises:
        ValueError: if it does not broadcast to it.
    """
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise reject(argument, f"broadcast to the shape {shape}", f"shape {array.shape}") from error


def _unit_roundoff(precision: DTypeLike) -> float:
    """Relative spacing of a floating-point type, also of the narrow ones; 0 for whole numbers."""
    from jax.numpy import finfo  # not at the top: the command line must start fast

    kind = np.dtype(precision)
    if kind.kind in "iub":
        return 0.0
    try:
        return float(finfo(kind).eps)
    except ValueError as error:
        raise reject("precision", "be a real number type", kind) from error


class Simulated(Protocol):
    """A simulation result that can be averaged over its replicas."""

    @property
    def values(self) -> Mapping[str, Array]: ...
    @property
    def times(self) -> Array: ...
    def measurement(self, quantities: Iterable[str] | None = None) -> Measurement: ...


class Predicted(Protocol):
    """A theory result, or the Monte Carlo evaluation of an exact law."""

    @property
    def values(self) -> Mapping[str, Array]: ...
    @property
    def times(self) -> Array: ...
    def prediction(self, quantities: Iterable[str] | None = None) -> Prediction: ...


def compare(
    measured: Measurement | Simulated,
    predicted: Prediction | Predicted,
    /,
    *,
    name: str = "",
    quantity: str = "order parameters",
    quantities: Iterable[str] | None = None,
    false_alarm: float = 1e-3,
) -> Comparison:
    """Lay a measurement beside a prediction; beside several with `compare_each`.

    Args:
        measured: mean and standard error over replicas, or a simulated trajectory.
        predicted: values of the same shape, with numerical error and allowed bias; or a solution
            or trajectory at the same times as the measured trajectory.
        name: what is compared, in a few words (by default, what was measured).
        quantity: axis label of the values, with units.
        quantities: names of the quantities of trajectories to compare, or of their components, such
            as "signal[0,1]"; by default all in common.
        false_alarm: probability that one whole comparison fails although the theory is right
            (Bonferroni over its points, Gaussian means).

    Raises:
        ValueError: if shapes, times or quantities differ or `false_alarm` is not in (0, 1).
    """
    options = {"name": name, "quantity": quantity, "false_alarm": false_alarm}
    return compare_each(measured, predicted, quantities=quantities, **options)[0]


def compare_each(
    measured: Measurement | Simulated,
    /,
    *predicted: Prediction | Predicted,
    name: str = "",
    quantity: str = "order parameters",
    quantities: Iterable[str] | None = None,
    false_alarm: float = 1e-3,
) -> Comparisons:
    """Lay a measurement beside one or several predictions, each with its own verdict.

    Args:
        measured: as in `compare`.
        predicted: as in `compare`, any number.
        name: as in `compare`.
        quantity: as in `compare`.
        quantities: as in `compare`.
        false_alarm: as in `compare`, for each of the predictions.

    Raises:
        ValueError: as `compare`, or without a prediction.
    """
    if not predicted:
        raise reject("predicted", "be given", "nothing")
    between("false_alarm", false_alarm, 0, 1)
    seen, theories = _aligned(measured, predicted, quantities)
    for theory in theories:
        if seen.values.shape != theory.values.shape:
            raise reject(
                "predicted", f"have shape {seen.values.shape}", f"shape {theory.values.shape}"
            )
    if seen.values.size == 0:
        raise reject("measured", "hold at least one point", "none")
    title = name or seen.label
    return Comparisons(
        tuple(Comparison(seen, theory, title, quantity, false_alarm) for theory in theories)
    )


def _aligned(
    measured: Measurement | Simulated,
    predicted: Sequence[Prediction | Predicted],
    quantities: Iterable[str] | None,
) -> tuple[Measurement, list[Prediction]]:
    """Measurement and predictions with the same axes."""
    names = None if quantities is None else list(quantities)
    if isinstance(measured, Measurement):
        if names is not None:
            raise reject("quantities", "be left out for a Measurement", names)
        bare = [theory for theory in predicted if isinstance(theory, Prediction)]
        if len(bare) != len(predicted):
            raise reject("predicted", "be Predictions, like the Measurement", list(predicted))
        return measured, bare
    rich = [theory for theory in predicted if not isinstance(theory, Prediction)]
    if names is None and rich:
        shared = (set(theory.values) for theory in rich)
        common = set(measured.values).intersection(*shared)
        names = [n for n in measured.values if n in common and np.size(measured.values[n])]
    for theory in rich:
        if not np.array_equal(theory.times, measured.times):
            raise reject("predicted", f"have the times {measured.times}", theory.times)
    theories = [t if isinstance(t, Prediction) else t.prediction(names) for t in predicted]
    return measured.measurement(names), theories
