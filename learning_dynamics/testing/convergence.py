"""Exponents of power laws and orders of convergence, with their errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.testing.agreement import as_measurement
from learning_dynamics.testing.outcome import (
    FALSE_ALARM,
    DisagreementError,
    TooBluntError,
    check_resolution,
)
from learning_dynamics.validation import finite_array, non_negative, reject

__all__ = ["Slope", "assert_order", "assert_slope", "fit_slope"]

Array = NDArray[np.float64]


class Slope(NamedTuple):
    """Exponent of a power law y = prefactor x^value, fitted in logarithms."""

    value: float
    standard_error: float
    prefactor: float
    misfit: float  #: probability of a worse fit if the law holds; NaN without errors of the points


def fit_slope(
    x: ArrayLike,
    measured: Measurement | ArrayLike,
    *,
    standard_error: ArrayLike | None = None,
) -> Slope:
    """Exponent of a power law with its standard error: a weighted line through log y, log x.

        value = sum w (X - X0) Y / sum w (X - X0)^2,   X = log x, Y = log y, w = (y / e)^2

    with e the standard errors of the points and X0 the weighted mean of X. The error of the
    exponent is

    ===========================================  =================================================
    points given as                              standard error of the exponent
    ===========================================  =================================================
    draws (replicas, points)                     jackknife over replicas: points may be correlated
    a `Measurement`, or values and their errors  1 / sqrt(sum w (X - X0)^2): independent points
    values alone                                 from their scatter about the line
    ===========================================  =================================================

    Args:
        x: positive, shape (points,), at least three (two if errors are known).
        measured: draws, a `Measurement` with one axis, or positive values of shape (points,).
        standard_error: of the values, shape (points,); only for bare values.

    Raises:
        ValueError: if shapes differ, a mean or an x is not positive, or points are too few.

    Source: elementary (weighted least squares, jackknife).

    Example:
        >>> import numpy as np
        >>> from learning_dynamics.testing import fit_slope
        >>> sizes = np.array([32, 64, 128, 256])
        >>> noise = np.random.default_rng(0).normal(size=(200, 4))
        >>> fit = fit_slope(sizes, 3.0 / sizes * (1 + 0.1 * noise))
        >>> f"{fit.value:.2f} +- {fit.standard_error:.2f}"
        '-1.00 +- 0.00'
    """
    points = finite_array("x", x, ndim=1)
    draws: Array | None = None
    error: Array | None = None
    if isinstance(measured, Measurement):
        y, error = measured.values, measured.standard_error
    else:
        values = finite_array("measured", measured)
        if values.ndim == 2:
            draws, seen = values, as_measurement(values)
            y, error = seen.values, seen.standard_error
        else:
            y = values
            error = (
                None if standard_error is None else finite_array("standard_error", standard_error)
            )
    if standard_error is not None and (draws is not None or isinstance(measured, Measurement)):
        raise reject("standard_error", "be left out for draws and measurements", standard_error)
    if np.any(points <= 0) or np.any(np.diff(np.sort(points)) == 0):
        raise reject("x", "be positive and all different", points)
    least = 3 if error is None else 2
    if points.size < least or y.shape != points.shape:
        raise reject("measured", f"have one value for each of {least} or more x", y.shape)
    if not np.all(y > 0):
        raise reject("measured", "have positive means", y.min())
    if error is not None and not np.all(error > 0):
        raise reject("standard_error", "be positive", error)
    X = np.log(points)
    weight = np.ones_like(X) if error is None else (y / error) ** 2
    value, offset, information = _line(X, np.log(y), weight)
    residual = float((weight * (np.log(y) - offset - value * X) ** 2).sum())
    free = points.size - 2
    if error is None:
        return Slope(value, np.sqrt(residual / free / information), np.exp(offset), np.nan)
    spread = 1 / np.sqrt(information)
    if draws is not None:
        count = len(draws)
        without = (draws.sum(axis=0) - draws) / (count - 1)
        if not np.all(without > 0):
            raise reject("measured", "have positive means without any one replica", without.min())
        slopes = np.array([_line(X, np.log(row), weight)[0] for row in without])
        spread = float(np.sqrt((count - 1) * slopes.var()))
    misfit = float(stats.chi2.sf(residual, free)) if free and draws is None else np.nan
    return Slope(value, spread, float(np.exp(offset)), misfit)


def _line(X: Array, Y: Array, weight: Array) -> tuple[float, float, float]:
    """Slope, offset and information of a weighted straight line."""
    centre = (weight * X).sum() / weight.sum()
    information = float((weight * (X - centre) ** 2).sum())
    slope = float((weight * (X - centre) * Y).sum()) / information
    return slope, float((weight * (Y - slope * X)).sum() / weight.sum()), information


def assert_slope(
    x: ArrayLike,
    measured: Measurement | ArrayLike,
    exponent: float,
    *,
    standard_error: ArrayLike | None = None,
    bias: float = 0.0,
    resolution: float = 0.25,
    false_alarm: float = FALSE_ALARM,
) -> Slope:
    """Assert that values follow a power law with a given exponent, within errors and bias.

        |fitted - exponent| <= bias + z standard_error,   z the Gaussian quantile at false_alarm

    With `bias` zero and errors of independent points given, the points must also lie on a straight
    line (chi-square test at the same false-alarm probability).

    Args:
        x: positive, shape (points,).
        measured: as for `fit_slope`.
        exponent: what the theory says.
        standard_error: as for `fit_slope`.
        bias: how far the exponent may be off at these sizes, such as 1/log N.
        resolution: largest standard error of the exponent with which the check means something.
        false_alarm: probability that the check fails although the law is right.

    Raises:
        DisagreementError: if the exponent is out or the points are no power law.
        TooBluntError: if the exponent's standard error exceeds `resolution`.
        ValueError: as in `fit_slope`.

    Source: derived here.

    Example:
        >>> import numpy as np
        >>> from learning_dynamics.testing import assert_slope, must_fail
        >>> sizes = np.array([32, 64, 128, 256])
        >>> noise = np.random.default_rng(0).normal(size=(200, 4))
        >>> draws = 3.0 / sizes * (1 + 0.1 * noise)
        >>> fit = assert_slope(sizes, draws, -1.0, resolution=0.01)
        >>> with must_fail():
        ...     assert_slope(sizes, draws, -1.1)
    """
    fit = fit_slope(x, measured, standard_error=standard_error)
    check_resolution(np.asarray(fit.standard_error), resolution)
    allowed = (
        float(non_negative("bias", bias)) + stats.norm.isf(false_alarm / 2) * fit.standard_error
    )
    if not abs(fit.value - exponent) <= allowed:
        raise DisagreementError(
            f"Exponent {fit.value:.4g} +- {fit.standard_error:.2g}, but {exponent:.4g} was "
            f"predicted: off by more than {allowed:.2g} (bias {bias:.2g})."
        )
    if bias == 0 and fit.misfit < false_alarm:
        raise DisagreementError(
            f"No power law: a worse fit than with exponent {fit.value:.4g} has probability "
            f"{fit.misfit:.1g}."
        )
    return fit


def assert_order(
    steps: ArrayLike,
    errors: ArrayLike,
    order: float,
    *,
    standard_error: ArrayLike | None = None,
    tolerance: float = 0.1,
    false_alarm: float = FALSE_ALARM,
) -> float:
    """Assert that errors fall with the step size at a given order of convergence.

    The order is read off the two smallest steps, where higher orders matter least,

        p = log(e_1 / e_2) / log(h_1 / h_2),

    and must be `order` within `tolerance` and its own error; errors must fall at every refinement.

    Args:
        steps: h > 0, shape (steps,), falling or rising; 1/N for an expansion in the size.
        errors: sizes of the errors, shape (steps,); signs do not matter.
        order: what the theory says.
        standard_error: of the errors, shape (steps,), when they are measured by Monte Carlo.
        tolerance: what the next order may shift; halve the steps to make it smaller.
        false_alarm: probability that the check fails although the order is right.

    Returns:
        The observed order.

    Raises:
        DisagreementError: if the order is out or errors do not fall.
        TooBluntError: if the error of the order exceeds a quarter.
        ValueError: if shapes differ or steps are not positive and different.

    Source: elementary.

    Example:
        >>> import numpy as np
        >>> from learning_dynamics.testing import assert_order, must_fail
        >>> steps = np.array([0.1, 0.05, 0.025])
        >>> euler = [(1 + h) ** round(1 / h) - np.e for h in steps]
        >>> round(assert_order(steps, euler, 1), 2)
        0.97
        >>> with must_fail():
        ...     assert_order(steps, euler, 2)
    """
    h, e = finite_array("steps", steps, ndim=1), np.abs(finite_array("errors", errors, ndim=1))
    if h.size < 2 or h.shape != e.shape:
        raise reject("errors", "have one value for each of two or more steps", e.shape)
    if np.any(h <= 0) or np.any(np.diff(np.sort(h)) == 0):
        raise reject("steps", "be positive and all different", h)
    spread = np.zeros_like(e)
    if standard_error is not None:
        spread = np.broadcast_to(non_negative("standard_error", standard_error), e.shape)
    fine = np.argsort(h)
    h, e, spread = h[fine], e[fine], spread[fine]
    z = stats.norm.isf(false_alarm / 2)
    if np.any(e[:-1] >= e[1:] + z * np.hypot(spread[:-1], spread[1:])):
        raise DisagreementError(f"Errors {e[::-1]} do not fall with the steps {h[::-1]}.")
    span = np.log(h[1] / h[0])
    if np.any(e[:2] <= spread[:2]):
        raise TooBluntError(f"Errors {e[:2]} are no larger than their own errors {spread[:2]}.")
    observed = float(np.log(e[1] / e[0]) / span)
    error = float(np.hypot(*(spread[:2] / e[:2])) / span)
    check_resolution(np.asarray(error), 0.25)
    if not abs(observed - order) <= tolerance + z * error:
        raise DisagreementError(
            f"Observed order {observed:.3g} +- {error:.1g} at steps {h[1]:.3g} and {h[0]:.3g}, but "
            f"{order:.3g} was predicted (tolerance {tolerance:.2g})."
        )
    return observed
