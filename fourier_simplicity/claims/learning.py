"""Training for claims, which measure class means themselves and need no warning of them."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourier_simplicity.networks import CueLearning, CueSets, learn_cues
from fourier_simplicity.rungs import ClassMeansDiffer

LEVEL = 0.03  # accuracy above chance that counts as using a cue


def learn(
    sets: CueSets | Sequence[CueSets], build: Callable[..., Any], **options: Any
) -> CueLearning:
    """Train as `learn_cues` without its warning of class means.

    Args:
        sets: as of `learn_cues`.
        build: likewise.
        options: likewise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassMeansDiffer)
        return learn_cues(sets, build, **options)


def log_ratio(learning: CueLearning, first: str, second: str) -> NDArray[np.float64]:
    """log10 of (step of the second cue / step of the first), both at most the end of training.

    Args:
        learning: networks along training.
        first: test set, whose step is that after which its accuracy stays `LEVEL` above chance.
        second: likewise.
    """
    end = float(learning.steps[-1])
    early, late = (
        np.clip(learning.recovery(cue, learning.chance + LEVEL), 1, end) for cue in (first, second)
    )
    return np.asarray(np.log10(late / early))
