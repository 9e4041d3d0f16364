"""What the claims on networks share: training without a warning, and the order of two steps."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.networks import CueLearning
from fourier_simplicity.rungs import ClassMeansDiffer
from learning_dynamics.evidence.comparison import Measurement, Prediction

LEVEL = 0.03  # accuracy above chance that counts as using a cue
ORDER = "log10 of the ratio of steps"
AT_ONCE = Prediction([0.0], label="at the same step")
T = TypeVar("T")


def without_mean_warning(train: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Train without the warning of class means, which the claims measure themselves.

    Args:
        train: `learn_cues` or a function that calls it.
        *arguments: of that function.
        **options: likewise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassMeansDiffer)
        return train(*arguments, **options)


def step_of_use(learning: CueLearning, cue: str) -> NDArray[np.float64]:
    """Step from which on the accuracy on a test set stays `LEVEL` above chance, shape (seeds,)."""
    return learning.recovery(cue, learning.chance + LEVEL)


def order_of_steps(first: ArrayLike, second: ArrayLike, end: float, name: str) -> Measurement:
    """log10 of (second step / first step), both at most the end of training.

    Args:
        first: shape (seeds,), infinite where it never comes.
        second: likewise.
        end: last step of training.
        name: of the order.
    """
    early, late = (np.clip(step, 1, end) for step in (first, second))
    ratio = np.log10(late / early)[:, None]
    return Measurement.from_replicas(ratio, {"order": [name]}, label="network")


def comes_first(end: float, label: str, factor: float = 1.0) -> Prediction:
    """Any order in which the second step comes later, by a factor at least.

    Args:
        end: last step of training.
        label: of the theory.
        factor: least ratio of the steps.
    """
    return Prediction.between([np.log10(factor)], [np.log10(float(end))], label=label)


def accuracy(learning: CueLearning, cue: str) -> Measurement:
    """Accuracy on one test set along training."""
    draws = learning.accuracy[cue]
    return Measurement.from_replicas(draws, {"step": learning.steps}, label="network")
