"""Sample complexity from times to recovery: exponents, quantiles, shares, collapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.evidence.statistics import binomial_error, slopes
from learning_dynamics.validation import (
    between,
    finite_array,
    increasing_integers,
    positive_integer,
    real_array,
    reject,
)

__all__ = [
    "ExponentFit",
    "collapse",
    "fit_exponent",
    "recovered_quantiles",
    "recovered_share",
    "times_by_dimension",
]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class ExponentFit(NamedTuple):
    """Growth of a quantile of n* with N; intervals are percentiles of a bootstrap over replicas.

    Attributes:
        exponent: slope of log n* (or of log(n* / log N)) against log N, least squares.
        interval: its confidence interval, shape (2,).
        local: slopes between neighbouring N, shape (sizes - 1,).
        local_intervals: shape (sizes - 1, 2).
        quantile: the quantile of n* at each N, shape (sizes,).
        quantile_intervals: shape (sizes, 2).
        errors: bootstrap standard errors of (exponent, *local), shape (sizes,).
        fraction: fraction of replicas that recovered, shape (sizes,).
        dimensions: N, shape (sizes,).
        replicas: smallest number of replicas at any N.
    """

    exponent: float
    interval: Array
    local: Array
    local_intervals: Array
    quantile: Array
    quantile_intervals: Array
    errors: Array
    fraction: Array
    dimensions: Array
    replicas: int

    def __repr__(self) -> str:
        return short_text.represent(self)

    def _summary(self) -> tuple[str, short_text.Rows]:
        low, high = self.interval
        return f"exponent {self.exponent:.3f}, from {low:.3f} to {high:.3f}", {
            "dimensions": short_text.span(self.dimensions),
            "local slopes": short_text.array_text(self.local),
            "quantile": short_text.array_text(self.quantile),
            "recovered": short_text.array_text(self.fraction),
            "replicas": str(self.replicas),
        }

    def measurement(self) -> Measurement:
        """The overall slope and the local ones with bootstrap errors, coordinate `range`."""
        ends = [(0, -1), *((i, i + 1) for i in range(self.dimensions.size - 1))]
        names = [f"{self.dimensions[i]:g} to {self.dimensions[j]:g}" for i, j in ends]
        if self.dimensions.size == 2:  # one slope, twice
            names = names[:1]
        values = np.concatenate([[self.exponent], self.local])[: len(names)]
        axes = {"range": np.array(names)}
        return Measurement(values, self.errors[: len(names)], self.replicas, axes)


def fit_exponent(
    dimensions: ArrayLike,
    times: ArrayLike | Sequence[ArrayLike],
    *,
    level: float | Sequence[float] = 0.5,
    logarithm: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> ExponentFit:
    """Exponent p of n* ~ N^p (or N^p log N) from a quantile of recovery times.

    Replicas are resampled jointly across N where their numbers agree (common starts), else apart.
    The bootstrap of a quantile errs to the wide side, by a tenth to a third where the common starts
    decide nearly everything.

    Args:
        dimensions: N, increasing, shape (sizes,).
        times: n*, NaN or infinite where not recovered, shape (replicas, sizes), or one array per N.
        level: quantile of n* followed; replicas that did not recover come last. Several levels
            stand for the geometric mean of their quantiles, which scatters less than each.
        logarithm: whether to fit n* / log N.
        confidence: probability content of the intervals.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        ValueError: unless there are two N, and more than `level` of the replicas (more than the
            largest of several levels) recovered at each.
    """
    sizes = increasing_integers("dimensions", dimensions).astype(np.float64)
    columns = times_by_dimension(times, sizes.size)
    levels = np.atleast_1d(finite_array("level", level))
    for each in levels:
        between("level", each, 0, 1)
    between("confidence", confidence, 0, 1)
    draws = positive_integer("resamples", resamples)
    if sizes.size < 2:
        raise reject("dimensions", "hold at least two", sizes.tolist())
    middles = np.array([_middle(c, levels) for c in columns])
    if not np.all(np.isfinite(middles)):
        shares = [float(np.isfinite(c).mean()) for c in columns]
        raise reject("level", "be below the fraction of replicas that recovered", (level, shares))
    again = np.stack([_middle(c[i], levels) for c, i in _resampled(columns, draws, seed)], axis=1)
    if logarithm and sizes[0] < 3:
        raise reject("dimensions", "be at least 3 with a logarithm", sizes[0])
    base = np.log(np.log(sizes)) if logarithm else np.zeros(sizes.size)
    measured = slopes(sizes, np.log(middles) - base)
    spread = slopes(sizes, np.log(again) - base)
    tails = _interval(spread, confidence)
    with np.errstate(invalid="ignore"):
        errors = spread.std(axis=0, ddof=1)
    return ExponentFit(
        float(measured[0]),
        tails[0],
        measured[1:],
        tails[1:],
        middles,
        _interval(again, confidence),
        np.where(np.isfinite(errors), errors, np.inf),
        np.array([np.isfinite(c).mean() for c in columns]),
        sizes,
        min(c.size for c in columns),
    )


def recovered_quantiles(
    dimensions: ArrayLike,
    times: ArrayLike | Sequence[ArrayLike],
    levels: ArrayLike,
    *,
    resamples: int = 400,
    seed: int = 0,
    label: str = "overlap chain",
) -> Measurement:
    """Quantiles of times with bootstrap errors, coordinates (quantile, dimension).

    A quantile is infinite where too few replicas recovered.

    Args:
        dimensions: N, shape (sizes,).
        times: as in `fit_exponent`, in any units, shape (replicas, sizes) or one array per N.
        levels: of the quantiles, shape (levels,).
        resamples: bootstrap samples.
        seed: of the bootstrap.
        label: of the measurement.

    Raises:
        ValueError: on levels outside (0, 1), or times that are not positive.
    """
    sizes, marks = (
        increasing_integers("dimensions", dimensions),
        finite_array("levels", levels, ndim=1),
    )
    if np.any((marks <= 0) | (marks >= 1)):
        raise reject("levels", "lie strictly between 0 and 1", marks.tolist())
    columns = times_by_dimension(times, sizes.size)
    pairs = _resampled(columns, positive_integer("resamples", resamples), seed)
    values = np.array([[_quantile(c, p) for c in columns] for p in marks])
    errors = np.empty_like(values)
    with np.errstate(invalid="ignore"):
        for j, (column, index) in enumerate(pairs):
            again = column[index]
            errors[:, j] = [_quantile(again, p).std(ddof=1) for p in marks]
    axes = {"quantile": marks, "dimension": sizes.astype(np.float64)}
    lost = np.zeros(values.shape, np.int64)
    return Measurement(values, errors, min(c.size for c in columns), axes, lost, label)


def recovered_share(
    dimensions: ArrayLike,
    times: ArrayLike | Sequence[ArrayLike],
    at: ArrayLike,
    *,
    label: str = "overlap chain",
) -> Measurement:
    """Fraction of replicas recovered by given times, coordinates (dimension, time).

    The error is binomial, sqrt((p (1 - p) + 1/R) / R), so that a share of zero has one too.

    Args:
        dimensions: N, shape (sizes,).
        times: as in `fit_exponent`, shape (replicas, sizes) or one array per N; scaled by
            `collapse` to compare all N with one law.
        at: times in the same units, increasing, shape (points,).
        label: of the measurement.
    """
    sizes, grid = increasing_integers("dimensions", dimensions), finite_array("at", at, ndim=1)
    columns = times_by_dimension(times, sizes.size)
    shares = np.array([(c[:, None] <= grid).mean(axis=0) for c in columns])
    counts = np.array([c.size for c in columns], np.float64)[:, None]
    errors = binomial_error(shares, counts)
    axes = {"dimension": sizes, "time": grid}
    lost = np.zeros(shares.shape, np.int64)
    return Measurement(shares, errors, int(counts.min()), axes, lost, label)


def collapse(
    dimensions: ArrayLike,
    times: ArrayLike | Sequence[ArrayLike],
    exponent: float,
    *,
    logarithm: bool = False,
) -> list[Array]:
    """Times over N^p (or N^p log N), sorted, infinite where not recovered; one array per N.

    With the right p their distributions fall on one curve at large N.

    Args:
        dimensions: N, shape (sizes,).
        times: as in `fit_exponent`, shape (replicas, sizes) or one array per N.
        exponent: p.
        logarithm: whether to divide by log N too.
    """
    sizes = increasing_integers("dimensions", dimensions).astype(np.float64)
    scale = sizes ** float(exponent) * (np.log(sizes) if logarithm else 1.0)
    return [
        np.sort(c) / s for c, s in zip(times_by_dimension(times, sizes.size), scale, strict=True)
    ]


def times_by_dimension(
    times: ArrayLike | Sequence[ArrayLike], sizes: int, *, positive: bool = True
) -> list[Array]:
    """One array per N, infinite where not recovered.

    Args:
        times: shape (replicas, sizes), or one sequence of numbers for each N.
        sizes: how many N there are.
        positive: whether times at or below zero are refused.

    Raises:
        ValueError: if `times` has no replicas at an N, another number of N, or, where `positive`, a
            time at or below zero.
    """
    if isinstance(times, np.ndarray) and times.ndim == 2:
        times = list(times.T)
    columns = [real_array("times", column) for column in times]  # type: ignore[union-attr]
    if len(columns) != sizes or any(c.ndim != 1 or c.size == 0 for c in columns):
        shapes = [c.shape for c in columns]
        raise reject("times", f"hold replicas for each of {sizes} dimensions", shapes)
    for column in columns:
        if positive and np.any(column <= 0):
            raise reject("times", "be positive, NaN where not recovered", np.nanmin(column))
    return [np.where(np.isfinite(c), c, np.inf) for c in columns]


def _quantile(times: Array, level: float) -> Array:
    """Order statistic along the last axis; infinite times come last."""
    rank = int(np.clip(np.ceil(level * times.shape[-1]) - 1, 0, None))
    return np.asarray(np.partition(times, rank, axis=-1)[..., rank])


def _middle(times: Array, levels: Array) -> Array:
    """Geometric mean of order statistics along the last axis."""
    if levels.size == 1:
        return _quantile(times, float(levels[0]))
    return np.asarray(np.exp(np.mean([np.log(_quantile(times, p)) for p in levels], axis=0)))


def _resampled(columns: list[Array], draws: int, seed: int) -> list[tuple[Array, Integers]]:
    """Indices of bootstrap samples: the same for columns of the same length."""
    rng = np.random.default_rng(seed)
    drawn = {n: rng.integers(n, size=(draws, n)) for n in sorted({c.size for c in columns})}
    return [(c, drawn[c.size]) for c in columns]


def _interval(draws: Array, confidence: float) -> Array:
    """Percentiles along the first axis; draws without a finite value widen both ends."""
    finite = np.isfinite(draws)
    tail = (1 - confidence) / 2
    low = np.quantile(np.where(finite, draws, -np.inf), tail, axis=0, method="lower")
    high = np.quantile(np.where(finite, draws, np.inf), 1 - tail, axis=0, method="higher")
    return np.stack([low, high], axis=-1)
