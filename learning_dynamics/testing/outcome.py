"""Outcomes of a check: the numbers disagree, or their errors are too large to decide."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike

from learning_dynamics.validation import non_negative, real_array

__all__ = ["FALSE_ALARM", "DisagreementError", "TooBluntError", "check_resolution", "must_fail"]

FALSE_ALARM = 1e-6


class DisagreementError(AssertionError):
    """Numbers differ from the theory by more than chance and the stated bias allow."""


class TooBluntError(AssertionError):
    """The numbers are too noisy for the check to mean anything."""


@contextmanager
def must_fail() -> Iterator[None]:
    """Run a control: the check inside must find a disagreement.

    A check that would pass for a wrong theory shows nothing. An error of another kind, or a check
    that is too blunt, is no failed control and goes through.

    Raises:
        AssertionError: if nothing inside disagreed.

    Example:
        >>> import numpy as np
        >>> from learning_dynamics.testing import assert_agrees, must_fail
        >>> draws = np.random.default_rng(0).normal(size=(100, 3))
        >>> with must_fail():
        ...     assert_agrees(draws, [0.0, 0.0, 1.0])
    """
    try:
        yield
    except DisagreementError:
        return
    raise AssertionError("The control passed: the check does not tell it from the theory.")


def check_resolution(error: ArrayLike, resolution: ArrayLike) -> None:
    """Raise `TooBluntError` where a standard error exceeds the resolution."""
    found = real_array("error", error)
    wanted = np.broadcast_to(non_negative("resolution", resolution), found.shape)
    if not np.all(found <= wanted):
        worst = np.unravel_index(np.argmax(found - wanted), found.shape)
        raise TooBluntError(
            f"Standard errors reach {found[worst]:.3g}, but a check of resolution "
            f"{wanted[worst]:.3g} was asked for: draw more replicas."
        )
