"""Statistics that claims share: shares of runs, slopes in N, jackknife, stacked predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Measurement, Prediction
from learning_dynamics.validation import finite_array, increasing_integers, real_array, reject

__all__ = [
    "Slope",
    "binomial_error",
    "jackknife",
    "log_slope",
    "share_until",
    "shares",
    "slopes",
    "slopes_of_law",
    "stack",
]

Array = NDArray[np.float64]


def binomial_error(share: ArrayLike, replicas: ArrayLike) -> Array:
    """Standard error sqrt((p (1 - p) + 1/R) / R) of a share p of R runs.

    The term 1/R gives a share of zero or one an error too: a single run in all has the weight 1/R.

    Args:
        share: p, any shape.
        replicas: R, broadcasts against it.
    """
    p, count = real_array("share", share), real_array("replicas", replicas)
    return np.asarray(np.sqrt((p * (1 - p) + 1 / count) / count))


def shares(
    happened: ArrayLike,
    coordinates: Mapping[str, ArrayLike],
    *,
    lost: ArrayLike = 0,
    label: str = "simulation",
) -> Measurement:
    """Share of runs for which something is true, with its binomial error.

    Args:
        happened: truth values, shape (replicas, *coordinate lengths).
        coordinates: axis name -> values along that axis.
        lost: number of runs that diverged; they count as false.
        label: name for legends and tables.

    Raises:
        ValueError: if these are no truth values.
    """
    truth = np.asarray(happened)
    if truth.dtype != np.bool_:
        raise reject("happened", "hold truth values", truth.dtype)
    share = truth.mean(axis=0)
    error = binomial_error(share, len(truth))
    return Measurement(share, error, len(truth), coordinates, lost, label)


def stack(predictions: Iterable[Prediction]) -> Prediction:
    """Stack predictions of equal shape along a new leading axis; label and order of the first.

    Raises:
        ValueError: without a prediction, or if their shapes differ.
    """
    each = list(predictions)
    shapes = [p.values.shape for p in each]
    if len(set(shapes)) != 1:
        raise reject("predictions", "be some of equal shape", shapes)
    first = each[0]
    return Prediction(
        np.stack([p.values for p in each]),
        np.stack([p.numerical_error for p in each]),
        np.stack([p.bias for p in each]),
        first.bias_order,
        first.label,
    )


def jackknife(
    curves: Array, statistic: Callable[[Array], Array], coordinates: Mapping[str, ArrayLike]
) -> Measurement:
    """Measure a statistic of the mean curve, with the jackknife error over replicas.

    Args:
        curves: shape (replicas, ..., points).
        statistic: maps a mean curve (..., points) to values (...).
        coordinates: of the statistic.

    Raises:
        ValueError: if there is one replica alone.
    """
    replicas = curves.shape[0]
    if replicas < 2:
        raise reject("curves", "hold at least two replicas", replicas)
    total = curves.sum(axis=0)
    whole = statistic(total / replicas)
    without = np.stack([statistic((total - curve) / (replicas - 1)) for curve in curves])
    pseudo = replicas * whole - (replicas - 1) * without
    return Measurement.from_replicas(pseudo, coordinates)


def slopes(dimensions: ArrayLike, logs: ArrayLike) -> Array:
    """Least-squares slope of logarithms against log N, then the slopes between neighbouring N.

    Args:
        dimensions: N, increasing, shape (sizes,).
        logs: shape (..., sizes).

    Returns:
        Shape (..., sizes): the overall slope and sizes - 1 local ones.
    """
    sizes = increasing_integers("dimensions", dimensions).astype(np.float64)
    values = np.asarray(logs, np.float64)
    with np.errstate(invalid="ignore"):  # infinite where too few runs recovered
        local = np.diff(values, axis=-1) / np.diff(np.log(sizes))
        return np.concatenate([log_slope(sizes, values).value[..., None], local], axis=-1)


def slopes_of_law(
    dimensions: ArrayLike,
    quantiles: ArrayLike,
    *,
    left_out: ArrayLike = 0.0,
    order: str = "",
    label: str = "law at the same N",
) -> Prediction:
    """Exponents of a law's quantile of n* in N, as `ExponentFit.measurement` lists measured ones.

    Args:
        dimensions: N, increasing, shape (sizes,).
        quantiles: n* at each N, shape (sizes,).
        left_out: relative bias of the quantiles, shape (sizes,).
        order: that bias as a formula.
        label: name for legends and tables.
    """
    logs = np.log(real_array("quantiles", quantiles))
    exponents = slopes(dimensions, logs)
    moved = slopes(dimensions, logs + np.log1p(real_array("left_out", left_out)))
    count = 1 if logs.size == 2 else logs.size  # two N have one slope
    law = Prediction(exponents[:count], label=label)
    return law.with_bias(np.abs(moved - exponents)[:count], order) if order else law


class Slope(NamedTuple):
    """Least-squares slope and its standard error."""

    value: Array
    error: Array

    def __repr__(self) -> str:
        return short_text.represent(self)


def log_slope(sizes: ArrayLike, logs: ArrayLike, errors: ArrayLike = 0.0) -> Slope:
    """Exponent of a power of N: least-squares slope of logarithms against log N.

    Args:
        sizes: N, or another positive size, shape (sizes,).
        logs: shape (..., sizes).
        errors: independent standard errors of the logarithms, broadcast against them.

    Raises:
        ValueError: unless sizes are positive and not all equal, and shapes fit.
    """
    N = finite_array("sizes", sizes, ndim=1)
    if N.size < 2 or not N.min() > 0 or N.min() == N.max():
        raise reject("sizes", "be positive and not all equal", N)
    values, x = real_array("logs", logs), np.log(N)
    if values.shape[-1:] != x.shape:
        raise reject("logs", f"have {x.size} values along the last axis", f"shape {values.shape}")
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    error = np.sqrt(np.sum((weights * real_array("errors", errors)) ** 2, axis=-1))
    return Slope(values @ weights, np.asarray(error))


def share_until(draws: ArrayLike, times: ArrayLike) -> Array:
    """Share of the draws of a law that are at most a time: its distribution function.

    Args:
        draws: shape (draws,), infinite where an event did not happen.
        times: any shape.

    Raises:
        ValueError: on no draws, other shapes, or a value that is no number.
    """
    sorted_draws, until = np.sort(real_array("draws", draws)), real_array("times", times)
    if sorted_draws.ndim != 1 or not sorted_draws.size:
        raise reject("draws", "have shape (draws,)", f"shape {sorted_draws.shape}")
    for name, values in (("draws", sorted_draws), ("times", until)):
        if np.any(np.isnan(values)):
            raise reject(name, "hold no NaN", values)
    return np.asarray(np.searchsorted(sorted_draws, until, side="right") / sorted_draws.size)
