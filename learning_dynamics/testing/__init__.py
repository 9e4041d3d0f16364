"""Numeric checks for test suites: agreement within errors, slopes, orders, honest errors, laws.

Each check raises `DisagreementError` when theory and numbers differ by more than chance and the
stated bias allow, and `TooBluntError` when the numbers are too noisy to have seen a difference.
Both derive from `AssertionError`. `must_fail` turns a check around for a control: it wants the
first and never accepts the second.

Every check has a false-alarm probability, by default 1e-6 for the whole check: five standard
errors for one point with many replicas, more for many points or few replicas.
"""

from learning_dynamics.testing.agreement import assert_agrees, assert_same_law
from learning_dynamics.testing.convergence import Slope, assert_order, assert_slope, fit_slope
from learning_dynamics.testing.honesty import assert_honest
from learning_dynamics.testing.outcome import DisagreementError, TooBluntError, must_fail

__all__ = [
    "DisagreementError",
    "Slope",
    "TooBluntError",
    "assert_agrees",
    "assert_honest",
    "assert_order",
    "assert_same_law",
    "assert_slope",
    "fit_slope",
    "must_fail",
]
