"""What the claims on networks share: their training, the order of two steps, and chance."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
import optax
from numpy.typing import ArrayLike

import learning_dynamics as ld
from fourier_simplicity import networks
from fourier_simplicity.rungs import ClassMeansDiffer
from learning_dynamics.report.claims import Run
from learning_dynamics.training import order_of_steps

LEVEL = 0.03  # accuracy above chance that counts as using a cue
ORDER = "log10 of the ratio of steps"
AT_ONCE = ld.Prediction([0.0], label="at the same step")
NETWORK = partial(networks.TwoLayer, hidden=256)
FAST, SLOW = optax.adam(3e-3), optax.adam(1e-3)  # quick, full; one object each
T = TypeVar("T")


def without_mean_warning(train: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Train without the warning of class means, which the claims measure themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassMeansDiffer)
        return train(*arguments, **options)


def learn(
    run: Run, sets: Sequence[networks.CueSets], steps: ArrayLike, key: jax.Array, **options: Any
) -> networks.CueLearning:
    """Two-layer networks along training, one for each set; further options of `learn_cues`."""
    return without_mean_warning(
        networks.learn_cues, sets, NETWORK, seeds=len(sets), steps=steps, batch=128,
        optimiser=FAST if run.quick else SLOW, key=key, tracker=run.tracker, **options,
    )  # fmt: skip


def order_of_cues(
    learning: networks.CueLearning, first: str, second: str, name: str
) -> ld.Measurement:
    """Order of the steps from which on two accuracies stay `LEVEL` above chance."""
    early, late = (learning.recovery(cue, learning.chance + LEVEL) for cue in (first, second))
    return order_of_steps(early, late, learning.steps[-1], name)


def at_chance(
    learning: networks.CueLearning, cue: str, name: str, within: float = 0.0
) -> ld.Comparison:
    """Accuracy on one test set beside that of guessing, at every step."""
    draws, chance = learning.accuracy[cue], np.full(learning.steps.size, learning.chance)
    theory = ld.Prediction(chance, label="chance")
    if within:
        theory = ld.Prediction.between(chance - within, chance + within, label="chance")
    measured = ld.Measurement.from_replicas(draws, {"step": learning.steps}, label="network")
    return ld.compare(measured, theory, name=name, quantity="accuracy")
