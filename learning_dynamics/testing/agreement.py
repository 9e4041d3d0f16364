"""A simulation and a theory agree within errors; draws follow a law."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from learning_dynamics.evidence.comparison import (
    Comparison,
    Measurement,
    Predicted,
    Prediction,
    Simulated,
    compare,
)
from learning_dynamics.testing.outcome import FALSE_ALARM, DisagreementError, check_resolution
from learning_dynamics.validation import non_negative, real_array, reject

__all__ = ["as_measurement", "assert_agrees", "assert_same_law"]

Array = NDArray[np.float64]


def as_measurement(values: Measurement | ArrayLike) -> Measurement:
    """A measurement, or one made of draws with the replicas along the first axis."""
    if isinstance(values, Measurement):
        return values
    draws = real_array("measured", values)
    axes = {f"axis{i}": np.arange(length) for i, length in enumerate(draws.shape[1:])}
    return Measurement.from_replicas(draws, axes)


def assert_agrees(
    measured: Measurement | Simulated | ArrayLike,
    predicted: Prediction | Predicted | ArrayLike,
    *,
    bias: ArrayLike = 0.0,
    order: str = "",
    resolution: ArrayLike | None = None,
    quantities: Iterable[str] | None = None,
    false_alarm: float = FALSE_ALARM,
) -> Comparison:
    """Assert that a simulation agrees with a theory within its errors and a stated bias.

    At every point, with mean m and standard error e over replicas, prediction p with numerical
    error q and stated bias b,

        max(|m - p| - b, 0) <= t sqrt(e^2 + q^2),

    where t is the two-sided Student quantile at false_alarm / (number of points). This is the
    verdict of `compare`, as an assertion.

    Args:
        measured: `Measurement`, trajectory of `simulate`, or draws of shape (replicas, *points).
        predicted: `Prediction`, limit or trajectory, or exact values of shape (*points).
        bias: b >= 0, in units of the values, to which it broadcasts; what the theory leaves out at
            finite size. Only for predictions that state none themselves.
        order: that size as a formula, such as "4/N"; "stated" if left out.
        resolution: largest standard error with which the check means something, in units of the
            values.
        quantities: names to compare, for trajectories.
        false_alarm: probability that the check fails although the theory is right.

    Returns:
        The comparison, for its numbers and its figure.

    Raises:
        DisagreementError: if a point is out, or a replica was lost.
        TooBluntError: if a standard error exceeds `resolution`.
        ValueError: as in `compare`; or a bias beside one that the prediction states.

    Source: derived here (Bonferroni's inequality and Student's t).

    Example:
        >>> import numpy as np
        >>> from learning_dynamics.testing import assert_agrees, must_fail
        >>> draws = 2.0 + np.random.default_rng(1).normal(size=(400, 3))
        >>> found = assert_agrees(draws, [2.0, 2.0, 2.0], resolution=0.06)
        >>> found.verdict
        'pass'
        >>> with must_fail():
        ...     assert_agrees(draws, [2.5, 2.5, 2.5])
        >>> with must_fail():
        ...     assert_agrees(draws, [2.5, 2.5, 2.5], bias=0.1, order="0.1")
        >>> assert_agrees(draws[:4], [2.5, 2.5, 2.5], resolution=0.1)
        Traceback (most recent call last):
            ...
        learning_dynamics.testing.outcome.TooBluntError: Standard errors reach 0.391, ...
    """
    rich = hasattr(measured, "measurement")
    seen: Any = measured if rich else as_measurement(measured)  # type: ignore[arg-type]
    known = isinstance(predicted, Prediction) or hasattr(predicted, "prediction")
    theory: Any = predicted if known else Prediction(real_array("predicted", predicted))
    options: dict[str, Any] = {"quantities": quantities} if rich else {}
    found = compare(seen, theory, false_alarm=false_alarm, **options)
    allowed = non_negative("bias", bias)
    if np.any(allowed > 0):
        if np.any(found.predicted.bias > 0):
            raise reject("bias", "be left out for a prediction that states its own", allowed.max())
        found = replace(found, predicted=found.predicted.with_bias(allowed, order or "stated"))
    if resolution is not None:
        check_resolution(found.measured.standard_error, resolution)
    if found.verdict == "fail":
        raise DisagreementError(_complaint(found))
    return found


def _complaint(found: Comparison) -> str:
    worst = found.summary()
    place = ", ".join(f"{name} = {value}" for name, value in worst["at"].items())
    return (
        f"{found.quantity}: measured {worst['measured']:.6g} +- {worst['standard_error']:.2g}, "
        f"predicted {worst['predicted']:.6g} +- {worst['numerical_error']:.2g}, allowed bias "
        f"{worst['allowed_bias']:.2g}: {worst['residual']:+.1f} standard errors beyond, at most "
        f"{worst['critical']:.1f} accepted ({place or 'one point'}; {worst['points']} points, "
        f"{worst['replicas']} replicas, {worst['lost_replicas']} lost)."
    )


def assert_same_law(
    draws: ArrayLike,
    other: ArrayLike | Callable[[Array], Array],
    *,
    false_alarm: float = FALSE_ALARM,
) -> float:
    """Assert that draws follow a law: another sample's, or one with a known distribution function.

    Kolmogorov and Smirnov's test of every column; the smallest p-value must exceed
    false_alarm / columns. Against a distribution function F the distance is

        max over draws x of F_n(x) - F(x) and F(x-) - F_n(x-),

    so that laws with atoms (counts, mixtures, a single value) are tested as well; their p-values
    err on the side of agreement. Draws count as equal to an atom within their rounding.

    Args:
        draws: shape (replicas,) or (replicas, columns); infinite times are allowed: all that a
            distribution function leaves out is taken for late.
        other: draws of shape (replicas',) or (replicas', columns), or the distribution function
            P(X <= x), applied to each column.
        false_alarm: probability that the check fails although the laws agree.

    Returns:
        The smallest p-value times the number of columns, at most one.

    Raises:
        DisagreementError: if the laws differ.
        ValueError: if columns differ, a draw is NaN, fewer than eight are given, or the function
            is no distribution function at the draws.

    Source: scipy.stats.kstwo and ks_2samp; that atoms make the distance smaller: Noether (1963).

    Example:
        >>> import numpy as np
        >>> from learning_dynamics.testing import assert_same_law, must_fail
        >>> rng = np.random.default_rng(0)
        >>> p = assert_same_law(rng.normal(size=500), rng.normal(size=(800,)))
        >>> with must_fail():
        ...     assert_same_law(rng.normal(size=500), rng.normal(size=800) + 1)
    """
    first = _columns("draws", draws)
    precision = _precision(draws)
    if callable(other):
        p = [_against_law(column, other, precision) for column in first.T]
    else:
        second = _columns("other", other)
        coarse = max(precision, _precision(other), key=lambda kind: np.finfo(kind).eps)
        first, second = (x.astype(coarse) for x in (first, second))  # ties stay ties
        if second.shape[1] != first.shape[1]:
            raise reject("other", f"have {first.shape[1]} columns", second.shape[1])
        p = [stats.ks_2samp(*pair).pvalue for pair in zip(first.T, second.T, strict=True)]
    smallest = min(1.0, float(min(p)) * len(p))
    if smallest < false_alarm:
        raise DisagreementError(
            f"The laws of column {int(np.argmin(p))} of {len(p)} differ: p = {min(p):.1g}."
        )
    return smallest


def _precision(values: ArrayLike) -> Any:
    """The floating-point type that values were rounded to."""
    kind = np.asarray(values).dtype
    return kind if kind in (np.dtype(np.float32), np.dtype(np.float16)) else np.dtype(np.float64)


def _against_law(draws: Array, law: Callable[[Array], Array], precision: Any) -> float:
    """P-value of the largest distance between draws and a distribution function."""
    values, counts = np.unique(draws, return_counts=True)
    after = np.cumsum(counts) / draws.size
    rounded, late = values.astype(precision), values == np.inf
    sides = [np.nextafter(rounded, side).astype(np.float64) for side in (-np.inf, np.inf)]
    if precision != np.dtype(np.float64):  # what was rounded to a value lies halfway to the next
        sides = [(rounded.astype(np.float64) + side) / 2 for side in sides]
    below, above = (np.array(law(np.where(late, values, side)), np.float64) for side in sides)
    if np.any(late):  # the largest number stands for every finite time
        below[late] = law(np.array([np.finfo(np.float64).max]))
        above[late] = 1.0
    chances = np.stack([below, above], axis=1).ravel()  # at increasing places
    if not np.all((chances >= 0) & (chances <= 1)) or np.any(np.diff(chances) < -1e-9):
        raise reject(
            "other", "be a distribution function, rising from 0 to 1", chances.tolist()[:6]
        )
    distance = max(np.max(after - above), np.max(below - (after - counts / draws.size)), 0.0)
    return float(stats.kstwo.sf(distance, draws.size))


def _columns(argument: str, values: ArrayLike) -> Array:
    array = real_array(argument, values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[0] < 8 or array.shape[1] < 1:
        raise reject(argument, "have shape (replicas >= 8,) or (replicas, columns)", array.shape)
    if np.any(np.isnan(array)):
        raise reject(argument, "hold no NaN", f"{int(np.isnan(array).sum())} of them")
    return array
