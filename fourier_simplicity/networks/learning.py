"""Which cues a network uses, and when: accuracy on several test sets along training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.networks.architectures import TwoLayer, accuracy, cross_entropy
from fourier_simplicity.networks.cues import CueSets
from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.evidence.drawing import GREY
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    legend_below,
    new_figure,
)
from learning_dynamics.saved_results import saved_as
from learning_dynamics.tracking import Tracking
from learning_dynamics.training import Minibatches, log_steps, recovery_steps, train
from learning_dynamics.training.batches import Augmentation
from learning_dynamics.validation import reject

__all__ = ["CueLearning", "learn_cues"]

Array = NDArray[Any]
ADAM = optax.adam(1e-3)  # one object, so that runs share their compilation


@saved_as(steps=("step",), accuracy=("replica", "step"))
@dataclass(frozen=True, eq=False)
class CueLearning:
    """Accuracy of networks on each test set along training.

    Attributes:
        steps: updates made at each observation, shape (observations,).
        accuracy: test set -> shape (seeds, observations).
        chance: accuracy of guessing.
    """

    steps: NDArray[np.int64]
    accuracy: dict[str, Array]
    chance: float

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        ends = {name: float(np.mean(rows[:, -1])) for name, rows in self.accuracy.items()}
        seeds = {rows.shape[0] for rows in self.accuracy.values()}
        return f"{', '.join(map(str, seeds))} seeds", {
            "steps": short_text.span(self.steps),
            "accuracy": short_text.shapes(self.accuracy),
            "at the end": ", ".join(f"{name} {value:.3f}" for name, value in ends.items()),
            "chance": f"{self.chance:.3g}",
        }

    def recovery(self, name: str, level: float) -> Array:
        """Step from which on the accuracy on test set `name` stays above `level`, shape (seeds,).

        As `learning_dynamics.training.recovery_steps`.
        """
        return recovery_steps(self.steps, self.accuracy[name], level)

    def measurement(self, names: Sequence[str] | None = None) -> Measurement:
        """Mean and standard error over seeds, coordinates (cue, step)."""
        chosen = list(self.accuracy) if names is None else list(names)
        draws = np.stack([self.accuracy[name] for name in chosen], axis=1)
        return Measurement.from_replicas(draws, {"cue": np.array(chosen), "step": self.steps})

    def _repr_png_(self) -> Any:
        figure: Any = self.plot()
        return figure._repr_png_()

    def plot(self, *, lines: dict[str, float] | None = None) -> Figure:
        """Accuracy against step with standard errors; named horizontal lines in grey."""
        figure, grid = new_figure(1, 1, width=7.0, height=4.6)
        axes = grid[0, 0]
        seen = self.measurement()
        for i, name in enumerate(self.accuracy):
            draw_simulation(
                axes, self.steps, seen.values[i], seen.standard_error[i], index=i, label=name
            )
            draw_theory(axes, self.steps, seen.values[i], index=i)
        axes.axhline(self.chance, color=GREY, linewidth=0.7, label="chance")
        styles = ["--", "-.", (0, (1, 1)), (0, (5, 1))]
        for (name, value), style in zip((lines or {}).items(), styles, strict=False):
            axes.axhline(value, color=GREY, linewidth=1.1, linestyle=style, label=name)
        axes.set_xscale("symlog", linthresh=float(self.steps[self.steps > 0].min()))
        axes.set(xlabel="updates", ylabel="accuracy", xlim=(0, 1.3 * self.steps[-1]))
        legend_below(figure)
        return figure


def _observe(network: Any, tests: Any, key: jax.Array) -> dict[str, jax.Array]:
    return {name: accuracy(network, *test) for name, test in tests.items()}


def learn_cues(
    sets: CueSets | Sequence[CueSets],
    build: Callable[..., Any] = TwoLayer,
    *,
    seeds: int = 5,
    steps: ArrayLike | None = None,
    batch: int = 128,
    optimiser: optax.GradientTransformation = ADAM,
    augment: Augmentation | None = None,
    together: int | None = 1,
    key: jax.Array,
    tracker: Tracking = "auto",
) -> CueLearning:
    """Train classifiers from several seeds and test them on every cue along the way.

    Args:
        sets: training and test images: one for all seeds, or one for each seed (drawn with
            different keys, so that the error bars hold the randomness of surrogates as well).
        build: network, called as `build(shape, classes, rngs=rngs)`.
        seeds: number of networks; as many as `sets` if there are several.
        steps: numbers of updates at which to test; by default 16 up to 6000.
        batch: images per update.
        optimiser: an optax transformation; keep the object, so that calls share a compilation.
        augment: as of `Minibatches`; it must keep what the sets are compared by.
        together: networks trained at once, as of `train`.
        key: typed random key.
        tracker: progress bar, as of `learning_dynamics.simulate`.

    Raises:
        ValueError: as `Minibatches` and `train`, or if the sets differ in shape or number.
    """
    at = log_steps(6000, points=16, first=3) if steps is None else np.asarray(steps)
    each = [sets] if isinstance(sets, CueSets) else list(sets)
    if len(each) > 1 and len(each) != seeds:
        raise reject("sets", f"be one for all, or one for each of {seeds} seeds", len(each))
    first = each[0]
    if any(s.shape != first.shape or s.class_names != first.class_names for s in each):
        raise reject("sets", "have one shape and the same classes", [s.shape for s in each])
    make = _Build(build, first.shape, len(first.class_names))
    batches = [Minibatches(one.train, batch, augment) for one in each]
    tests = [jax.tree.map(jnp.asarray, one.tests) for one in each]
    run = train(
        make,
        cross_entropy,
        batches if len(each) > 1 else batches[0],
        optimiser=optimiser,
        steps=at,
        observe=_observe,
        tests=tests if len(each) > 1 else tests[0],
        key=key,
        replicas=seeds,
        together=together,
        tracker=tracker,
    )
    ordered = {name: run.values[name] for name in first.tests}
    return CueLearning(run.steps, ordered, first.chance)


@dataclass(frozen=True)
class _Build:
    """A network of given shape and classes, from its random streams."""

    build: Callable[..., Any]
    shape: tuple[int, ...]
    classes: int

    def __call__(self, rngs: nnx.Rngs) -> Any:
        return self.build(self.shape, self.classes, rngs=rngs)
