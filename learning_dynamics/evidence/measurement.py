"""What a simulation measures and a theory predicts: values with their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.validation import (
    finite_array,
    integers,
    non_negative,
    one_of,
    real_array,
    reject,
    unit_roundoff,
)

__all__ = ["Measurement", "Prediction"]

Array = NDArray[np.float64]
ULPS = 4.0  # rounding of one observed number, in units of the last place of its type


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted values, with a bound on their numerical error and an allowed bias.

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

    if TYPE_CHECKING:  # what is given may be lists and numbers, what is held are arrays

        def __init__(
            self,
            values: ArrayLike,
            numerical_error: ArrayLike = 0.0,
            bias: ArrayLike = 0.0,
            bias_order: str = "",
            label: str = "theory",
        ) -> None: ...

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

    @classmethod
    def between(cls, low: ArrayLike, high: ArrayLike, *, label: str = "theory") -> Prediction:
        """Anything from `low` to `high` agrees: a one-sided statement, or a range.

        Args:
            low: least value, any shape.
            high: largest value, likewise.
            label: name for legends and tables.

        Raises:
            ValueError: unless low < high everywhere.
        """
        least, most = real_array("low", low), real_array("high", high)
        if not np.all(least < most):
            raise reject("low", "lie below `high`", f"{least} and {most}")
        half = (most - least) / 2
        ends = f"{least.min():.3g} to {most.max():.3g}"
        return cls(least + half, 0.0, half, f"anything from {ends}", label)

    def with_bias(self, bias: ArrayLike, order: str) -> Prediction:
        """Allow a finite-size deviation of absolute size `bias`, described by `order`."""
        return replace(self, bias=real_array("bias", bias), bias_order=order)

    def scaled(self, factor: ArrayLike) -> Prediction:
        """Multiply value, error and bias by a positive factor, such as 1/d.

        Args:
            factor: broadcasts against the values.

        Raises:
            ValueError: if a factor is not positive, or does not fit the values.
        """
        scale = _positive_factor(factor)
        try:
            np.broadcast_shapes(scale.shape, self.values.shape)
        except ValueError as error:
            demand = f"broadcast against the shape {self.values.shape}"
            raise reject("factor", demand, f"shape {scale.shape}") from error
        return replace(
            self,
            values=self.values * scale,
            numerical_error=self.numerical_error * scale,
            bias=self.bias * scale,
        )

    @property
    def T(self) -> Prediction:  # noqa: N802
        """The prediction with its axes in reverse order."""
        return replace(
            self,
            values=self.values.T,
            numerical_error=self.numerical_error.T,
            bias=self.bias.T,
        )

    def labelled(self, label: str) -> Prediction:
        """Give the prediction the name `label` in legends and tables."""
        return replace(self, label=label)

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return self.label, {
            "values": short_text.extent(self.values),
            "numerical error": short_text.largest({"values": self.numerical_error}).split(" (")[0],
            "allowed bias": self.bias_order,
        }

    def __getitem__(self, index: Any) -> Prediction:
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

    if TYPE_CHECKING:

        def __init__(
            self,
            values: ArrayLike,
            standard_error: ArrayLike,
            replicas: int,
            coordinates: Mapping[str, ArrayLike],
            lost: ArrayLike = 0,
            label: str = "simulation",
            attributes: Mapping[str, Any] = ...,
            rounding: ArrayLike = 0.0,
        ) -> None: ...

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
        axis: int = 0,
    ) -> Measurement:
        """Average over the replicas in `draws`, shape (replicas, *coordinate lengths).

        Args:
            draws: one number per replica and point.
            coordinates: axis name -> values along that axis.
            label: name for legends and tables.
            attributes: provenance.
            precision: floating-point type that the draws were computed in, which fixes
                `rounding`; that of `draws` if left out.
            axis: the replicas' axis of `draws`, such as -1 for the cells of a sweep.

        Raises:
            ValueError: with fewer than two replicas, if the coordinates do not fit the shape, or
                if `precision` is no floating-point type.
        """
        kind = np.asarray(draws).dtype if precision is None else precision
        rounding = ULPS * unit_roundoff("precision", kind)
        draws = real_array("draws", draws)
        whole = integers("axis", axis, least=-max(draws.ndim, 1))
        if whole.ndim or whole >= max(draws.ndim, 1):
            raise reject("axis", f"be one of the {draws.ndim} axes of `draws`", axis)
        draws = np.moveaxis(draws, int(whole), 0) if draws.ndim else draws
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

    def scaled(self, factor: ArrayLike) -> Measurement:
        """Multiply values and errors by a positive factor, such as 1/d.

        Args:
            factor: broadcasts to the shape of the values.

        Raises:
            ValueError: if a factor is not positive, or does not fit the values.
        """
        scale = spread_over("factor", _positive_factor(factor), self.values.shape)
        return replace(
            self,
            values=self.values * scale,
            standard_error=self.standard_error * scale,
            rounding=self.rounding * scale,
        )

    def labelled(self, label: str) -> Measurement:
        """Give the measurement the name `label` in legends and tables."""
        return replace(self, label=label)

    def select(self, **places: int | slice) -> Measurement:
        """Part of the measurement.

        Args:
            places: axis name -> index along it; a number takes the axis away, a slice keeps it.

        Raises:
            ValueError: on an unknown axis, an index beyond its end, or one that is neither a whole
                number nor a slice.
        """
        for name, place in places.items():
            length = len(self.coordinates[one_of("places", name, tuple(self.coordinates))])
            if not isinstance(place, slice):
                if isinstance(place, bool) or not isinstance(place, int | np.integer):
                    raise reject(f"places[{name!r}]", "be a whole number or a slice", repr(place))
                if not -length <= place < length:
                    raise reject(f"places[{name!r}]", f"be an index below {length}", place)
        index = tuple(places.get(name, slice(None)) for name in self.coordinates)
        kept = {
            name: axis[place]
            for (name, axis), place in zip(self.coordinates.items(), index, strict=True)
            if isinstance(place, slice)
        }
        return replace(
            self,
            values=self.values[index],
            standard_error=self.standard_error[index],
            coordinates=kept,
            lost=self.lost[index],
            rounding=self.rounding[index],
        )

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        lost = int(np.max(self.lost, initial=0))
        return f"{self.label}, {self.replicas} replicas", {
            **{name: short_text.span(axis) for name, axis in self.coordinates.items()},
            "values": short_text.extent(self.values),
            "standard error": short_text.largest({"": self.standard_error}).removesuffix(" ()"),
            "lost": f"up to {lost} replicas" if lost else "",
        }


def _positive_factor(factor: ArrayLike) -> NDArray[np.float64]:
    scale = finite_array("factor", factor)
    if not np.all(scale > 0):
        raise reject("factor", "be positive", scale)
    return scale


def component_names(name: str, shape: tuple[int, ...]) -> list[str]:
    """Labels "name[i,j]" of the components of an array; "name" for a scalar.

    Args:
        name: of the quantity.
        shape: of the array.
    """
    if not shape:
        return [name]
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def spread_over(argument: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array repeated over the shape of the values.

    Raises:
        ValueError: if it does not broadcast to it.
    """
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise reject(argument, f"broadcast to the shape {shape}", f"shape {array.shape}") from error
