"""A reported numerical error covers the actual one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.testing.outcome import DisagreementError
from learning_dynamics.validation import non_negative, reject

__all__ = ["assert_honest"]


def assert_honest(
    prediction: Prediction,
    reference: Prediction | Any,
    *,
    relative: float | None = None,
    reference_error: ArrayLike = 0.0,
) -> None:
    """Assert that a reported numerical error covers the actual one, and is not needlessly large.

        |value - reference| <= numerical_error + reference_error,
        numerical_error <= relative |reference|

    Args:
        prediction: values with their reported numerical errors.
        reference: a finer or independent evaluation, same shape: a `Prediction`, floats, or an
            array of numbers with more digits (`mpmath.mpf`, `fractions.Fraction`), which are
            subtracted before they are rounded.
        relative: largest reported error in units of the value. Without it an infinite error
            would pass.
        reference_error: bound on the error of the reference itself, same units and shape (or one
            for all); that of a `Prediction` is added.

    Raises:
        DisagreementError: if a reported error is smaller than the actual one, or larger than
            `relative` allows.
        ValueError: if shapes differ.

    Source: elementary.

    Example:
        >>> import numpy as np
        >>> from fractions import Fraction
        >>> from learning_dynamics import Prediction
        >>> from learning_dynamics.testing import assert_honest, must_fail
        >>> third = Prediction(np.array([1 / 3]), np.array([1e-16]))
        >>> assert_honest(third, [Fraction(1, 3)], relative=1e-15)
        >>> with must_fail():
        ...     assert_honest(third, [0.3333])
    """
    slack = non_negative("reference_error", reference_error)
    if isinstance(reference, Prediction):
        slack = slack + reference.numerical_error
        reference = reference.values
    exact = np.atleast_1d(np.asarray(reference, dtype=object))
    values, errors = np.atleast_1d(prediction.values), np.atleast_1d(prediction.numerical_error)
    if exact.shape != values.shape:
        raise reject("reference", f"have shape {values.shape}", f"shape {exact.shape}")
    slacks = np.broadcast_to(slack, values.shape)
    for value, error, wanted, loose in zip(
        values.flat, errors.flat, exact.flat, slacks.flat, strict=True
    ):
        # a fraction less a float would be rounded first; mpmath numbers take the float as it is
        ours = Fraction(float(value)) if isinstance(wanted, Fraction) else float(value)
        off = abs(float(wanted - ours))
        if not off <= float(error) + float(loose):
            raise DisagreementError(
                f"{float(value)!r} is off by {off:.3g}, but reports an error of {error:.3g}."
            )
        if relative is not None and not error <= relative * abs(float(wanted)) + 1e-300:
            raise DisagreementError(
                f"{float(value)!r} reports an error of {error:.3g}, more than {relative:.1g} of it."
            )
