"""Simulation beside theory: values, errors, residuals and a verdict that can fail."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison_text import about_comparison, about_comparisons, bundle
from learning_dynamics.evidence.measurement import Measurement as Measurement
from learning_dynamics.evidence.measurement import Prediction as Prediction
from learning_dynamics.netcdf import attributes_of
from learning_dynamics.validation import between, reject

if TYPE_CHECKING:  # imported where they are used: the command line must start fast
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = [
    "Comparison",
    "Comparisons",
    "Verdict",
    "compare",
    "compare_each",
    "compare_with_controls",
]

Verdict = Literal["pass", "fail"]
Array = NDArray[np.float64]


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
    theory: Any = None  # a limit, whose line can be drawn smooth

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "theory": None}  # neither its problem nor its code is sent on

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
    def catches(self) -> float:
        """Least relative error of the theory, the same at all points, that is caught for sure.

        A simulation that lies exactly on the right theory p fails a theory (1 + x) p as soon as
        abs(x p) exceeds bias + critical * error at one point. The least such abs(x), which is that
        of the sharpest point: a theory that is wrong at other points only may be off by more and
        pass. Infinite where p is zero everywhere.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scale = np.hypot(self.measured.standard_error, self.predicted.numerical_error)
            scale = np.hypot(scale, self.measured.rounding)
            width = self.predicted.bias + self.critical * scale
            share = width / np.abs(self.predicted.values)
        return float(np.min(share, initial=np.inf, where=np.isfinite(share)))

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
        return about_comparison(self)

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
            "catches": self.catches,
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
            options: those of `plot_comparison`. The line of a limit is solved at further times
                where this takes a few seconds at most, else its points are joined.
        """
        from learning_dynamics.evidence.figures import plot_comparison, save_figure

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
        return about_comparisons(self)

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
        """Draw all comparisons side by side, or in one panel; notebooks show the figure.

        Args:
            path: file to write, if any; its suffix chooses the format.
            options: those of `plot_comparisons`, such as `overlay=True`.
        """
        from learning_dynamics.evidence.drawing import save_figure
        from learning_dynamics.evidence.figures import plot_comparisons

        figure = plot_comparisons(self, **options)
        if path is not None:
            save_figure(figure, path)
        return figure


class Simulated(Protocol):
    """A simulation result that can be averaged over its replicas.

    The values of a quantity have shape (replicas, times, ...).
    """

    @property
    def values(self) -> Mapping[str, Array]: ...
    @property
    def times(self) -> Array: ...
    def measurement(self, quantities: Iterable[str] | None = None) -> Measurement: ...


class Predicted(Protocol):
    """A theory result, or the Monte Carlo evaluation of an exact law.

    The values of a quantity have shape (times, ...), or that of `Simulated` in an exact law.
    """

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
    quantity: str | None = None,
    quantities: Iterable[str] | None = None,
    false_alarm: float = 1e-3,
) -> Comparison:
    """Compare a measurement with a prediction; with several by `compare_each`.

    Of trajectories and limits every quantity that both hold is compared: the overlaps "signal" (M)
    and "norms" (Q), the parameters of the learner, and what `observe` names in both calls. What
    only one of them observes is left out. `quantities=["error"]` compares that alone, without M and
    Q. The verdict is about what is compared, and the critical value grows with its points.

    Args:
        measured: mean and standard error over replicas, or a simulated trajectory.
        predicted: values of the same shape, with numerical error and allowed bias; or a solution
            or trajectory at the same times as the measured trajectory.
        name: what is compared, in a few words (by default, what was measured).
        quantity: axis label of the values, with units; by default the names of up to three
            `quantities`, else "order parameters".
        quantities: names of the quantities of trajectories to compare, or of their components, such
            as "signal[0,1]"; by default all in common, M and Q among them.
        false_alarm: probability that one whole comparison fails although the theory is right
            (Bonferroni over its points, Gaussian means).

    Raises:
        ValueError: if the times differ, or the shape of a quantity, which is named; if a result has
            no such quantity; if `false_alarm` is not in (0, 1).
    """
    return compare_each(
        measured, predicted, name=name, quantity=quantity, quantities=quantities,
        false_alarm=false_alarm,
    )[0]  # fmt: skip


def compare_each(
    measured: Measurement | Simulated,
    /,
    *predicted: Prediction | Predicted,
    name: str | Sequence[str] = "",
    quantity: str | None = None,
    quantities: Iterable[str] | None = None,
    false_alarm: float = 1e-3,
) -> Comparisons:
    """Compare a measurement with one or several predictions, each with its own verdict.

    Args:
        measured: as in `compare`.
        predicted: as in `compare`, any number.
        name: as in `compare`; one for all, or a list with one for each prediction.
        quantity: as in `compare`.
        quantities: as in `compare`.
        false_alarm: as in `compare`, for each of the predictions.

    Raises:
        ValueError: as `compare`, without a prediction, or with another number of names.
    """
    if not predicted:
        raise reject("predicted", "be given", "nothing")
    between("false_alarm", false_alarm, 0, 1)
    chosen = [quantities] if isinstance(quantities, str) else list(quantities or ())
    if quantity is None:
        quantity = ", ".join(chosen) if 1 <= len(chosen) <= 3 else "order parameters"
    measurement, theories = _aligned(measured, predicted, None if quantities is None else chosen)
    for theory in theories:
        if measurement.values.shape != theory.values.shape:
            demand = f"have shape {measurement.values.shape}: {_axes(measurement)}"
            if not isinstance(measured, Measurement):
                demand += "; `quantities` chooses among them"
            raise reject("predicted", demand, f"shape {theory.values.shape}")
    if measurement.values.size == 0:
        raise reject("measured", "hold at least one point", "none")
    names = [name or measurement.label] * len(theories) if isinstance(name, str) else list(name)
    if len(names) != len(theories):
        raise reject("name", f"be one, or one for each of {len(theories)} predictions", names)
    return Comparisons(
        tuple(
            Comparison(
                measurement,
                theory,
                title,
                quantity,
                false_alarm,
                source if hasattr(source, "at") else None,
            )
            for title, theory, source in zip(names, theories, predicted, strict=True)
        )
    )


def compare_with_controls(
    measured: Measurement | Simulated,
    law: Prediction | Predicted,
    /,
    *wrong: Prediction | Predicted,
    name: str = "",
    quantity: str | None = None,
    quantities: Iterable[str] | None = None,
) -> Comparisons:
    """Compare a measurement with a law, and with wrong theories that must fail.

    Args:
        measured: as in `compare`.
        law: what is claimed.
        wrong: the controls; each comparison has the label of its wrong theory as its name, with a
            number where the law or another control has the same label.
        name: of the comparison with the law.
        quantity: as in `compare`.
        quantities: as in `compare`.

    Returns:
        The comparison with the law, then the controls in their order: what `Evidence.of` takes.

    Raises:
        ValueError: as `compare`.
    """
    tests = compare_each(measured, law, *wrong, name=name, quantity=quantity, quantities=quantities)
    labels = [test.predicted.label for test in tests]
    controls = (
        replace(test, name=label if labels.count(label) == 1 else f"{label}, control {number}")
        for number, (test, label) in enumerate(zip(tests[1:], labels[1:], strict=True), start=1)
    )
    return Comparisons((tests[0], *controls))


def _aligned(
    measured: Measurement | Simulated,
    predicted: Sequence[Prediction | Predicted],
    names: list[str] | None,
) -> tuple[Measurement, list[Prediction]]:
    """Measurement and predictions with the same axes."""
    if isinstance(measured, Measurement):
        if names is not None:
            raise reject("quantities", "be left out for a Measurement", names)
        bare = [theory for theory in predicted if isinstance(theory, Prediction)]
        if len(bare) != len(predicted):
            raise reject("predicted", "be Predictions, like the Measurement", list(predicted))
        return measured, bare
    rich = [theory for theory in predicted if not isinstance(theory, Prediction)]
    shared = (set(theory.values) for theory in rich)
    common = set(measured.values).intersection(*shared)
    known = [n for n in measured.values if n in common and np.size(measured.values[n])]
    if names is None:
        names = known if rich else None
    elif rich and (missing := [n for n in names if not {n, n.split("[")[0]} & common]):
        demand = f"name some of {known}, which all results hold, or their components"
        raise reject("quantities", demand, missing)
    for theory in rich:
        if not np.array_equal(theory.times, measured.times):
            raise reject("predicted", f"have the times {measured.times}", theory.times)
        _same_shapes(measured, theory, known if names is None else names)
    theories = [t if isinstance(t, Prediction) else t.prediction(names) for t in predicted]
    return measured.measurement(names), theories


def _same_shapes(measured: Simulated, theory: Predicted, names: Sequence[str]) -> None:
    """Refuse quantities that have another shape in the theory, by name."""
    for name in dict.fromkeys(n if n in measured.values else n.split("[")[0] for n in names):
        here, there = (_shape_at_a_time(result, name) for result in (measured, theory))
        if here != there:
            demand = (
                f"have {name!r} of shape {here} at each time; `quantities` chooses what to compare"
            )
            raise reject("predicted", demand, f"{name!r} of shape {there}")


def _shape_at_a_time(result: Simulated | Predicted, name: str) -> tuple[int, ...]:
    leading = 2 if hasattr(result, "measurement") else 1  # replicas and times, or times
    return np.shape(result.values[name])[leading:]


def _axes(measurement: Measurement) -> str:
    """Names and lengths of the axes, or their entries where these are few names."""
    return " by ".join(
        f"{name} {axis.tolist()}"
        if axis.dtype.kind == "U" and len(axis) <= 12
        else f"{len(axis)} of {name}"
        for name, axis in measurement.coordinates.items()
    )
