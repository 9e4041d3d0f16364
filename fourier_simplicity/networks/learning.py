"""Which cues a network uses, and when: accuracy on several test sets along training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.networks.architectures import TwoLayer, accuracy, cross_entropy
from fourier_simplicity.networks.cues import MEAN_ONLY, PHASES_ALONE, CueSets
from fourier_simplicity.networks.filters import (
    FilterLearning,
    check_subspace,
    first_kernel,
    follow_filters,
)
from fourier_simplicity.rungs import (
    FEWEST,
    RUNGS,
    BetweenClasses,
    ClassMeansDiffer,
    first_of_each,
    offered_rungs,
)
from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Measurement, Prediction, compare
from learning_dynamics.evidence.drawing import GREY
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
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
FILTERS = "filters"
DECIDING = 5  # seeds: the errors of fewer are too uncertain for a verdict of no use
LAST, CLONES = 2**32 - 1, 2**32 - 2  # folds of the key that no seed uses
ALONE = dict(zip(RUNGS, (MEAN_ONLY, "amplitude-only", PHASES_ALONE), strict=True))  # test sets


@saved_as(steps=("step",), accuracy=("replica", "step"))
@dataclass(frozen=True, eq=False)
class CueLearning:
    """Accuracy of networks on each test set along training.

    Attributes:
        steps: updates made at each observation, shape (observations,).
        accuracy: test set -> shape (seeds, observations).
        chance: accuracy of guessing.
        offered: rung ("mean", "amplitudes", "phases") -> what it tells of the classes in the
            training images as they are drawn, augmentation included (`offered_rungs`); empty where
            a class has fewer than four of them.
        filters: the first layer along training, if it was followed.
    """

    steps: NDArray[np.int64]
    accuracy: dict[str, Array]
    chance: float
    offered: dict[str, BetweenClasses] = field(default_factory=dict)
    filters: FilterLearning | None = None

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        ends = {name: float(np.mean(rows[:, -1])) for name, rows in self.accuracy.items()}
        return f"{self.seeds} seeds", {
            "steps": short_text.span(self.steps),
            "accuracy": short_text.shapes(self.accuracy),
            "at the end": ", ".join(f"{name} {value:.3f}" for name, value in ends.items()),
            "chance": f"{self.chance:.3g}",
            "offered": _named(self._offers()),
            "used": self._uses(),
        }

    @property
    def seeds(self) -> int:
        """Number of networks."""
        return next(iter(self.accuracy.values())).shape[0]

    def _offers(self) -> dict[str, bool]:
        return {rung: each.significant for rung, each in self.offered.items()}

    def _uses(self) -> str:
        """Rungs that are used, and why others may be used too."""
        used = self.used
        missing = [rung for rung in RUNGS if used and rung not in used]
        limits = [f"not tested: {', '.join(missing)}"] if missing else []
        if self.seeds < DECIDING and not all(used.values()):
            limits.append(f"{self.seeds} seeds are too few to exclude others")
        return _named(used) + (f" ({'; '.join(limits)})" if limits else "")

    def gains(self) -> Measurement:
        """Accuracy above chance on the test set of each rung alone, coordinates (rung, step).

        Rungs: "mean" on "mean-only" images, "amplitudes" on "amplitude-only" ones, "phases" on
        "phase-only, mean removed" ones. A rung whose set was not tested is left out.

        Raises:
            ValueError: with fewer than two seeds, or if no rung was tested.
        """
        tested = [rung for rung, name in ALONE.items() if name in self.accuracy]
        if not tested:
            raise reject("accuracy", f"hold one of {list(ALONE.values())}", list(self.accuracy))
        draws = np.stack([self.accuracy[ALONE[rung]] for rung in tested], axis=1)
        axes = {"rung": np.array(tested), "step": self.steps}
        return Measurement.from_replicas(draws - self.chance, axes, label="above chance")

    @property
    def used(self) -> dict[str, bool]:
        """Rungs that the networks use at the last step; empty with fewer than two seeds.

        A rung is used if its gain exceeds 0 by more than `compare` accepts over all rungs.
        """
        if self.seeds < 2 or not set(ALONE.values()) & set(self.accuracy):
            return {}
        gains = self.gains()
        tested = gains.coordinates["rung"]
        last = Measurement(
            gains.values[:, -1], gains.standard_error[:, -1], self.seeds, {"rung": tested},
            gains.lost[:, -1], rounding=gains.rounding[:, -1],
        )  # fmt: skip
        at_chance = compare(last, Prediction(np.zeros(len(tested)), label="chance"))
        return {
            str(rung): bool(residual > at_chance.critical)
            for rung, residual in zip(tested, at_chance.residual, strict=True)
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

    def plot(
        self, names: Sequence[str] | None = None, *, lines: dict[str, float] | None = None
    ) -> Figure:
        """Accuracy against step with standard errors; above, the rungs offered and used.

        Args:
            names: test sets, by default all.
            lines: name -> accuracy of horizontal lines in grey.
        """
        figure, grid = new_figure(1, 1, width=7.0, height=4.6)
        self.draw(grid[0, 0], names)
        styles = ["--", "-.", (0, (1, 1)), (0, (5, 1))]
        for (name, value), style in zip((lines or {}).items(), styles, strict=False):
            grid[0, 0].axhline(value, color=GREY, linewidth=1.1, linestyle=style, label=name)
        legend_below(figure)
        return figure

    def draw(self, axes: Axes, names: Sequence[str] | None = None) -> None:
        """Draw the curves of `plot` on axes of another figure.

        Args:
            axes: where to draw.
            names: test sets, by default all; the place in this list chooses the colour.
        """
        chosen = list(self.accuracy) if names is None else list(names)
        curves = self.measurement(chosen)
        for i, name in enumerate(chosen):
            values, errors = curves.values[i], curves.standard_error[i]
            draw_simulation(axes, self.steps, values, errors, index=i, label=name)
            draw_theory(axes, self.steps, values, index=i)
        axes.axhline(self.chance, color=GREY, linewidth=0.7, label="chance")
        axes.set_xscale("symlog", linthresh=float(self.steps[self.steps > 0].min()))
        axes.set(xlabel="updates", ylabel="accuracy", xlim=(0, 1.3 * self.steps[-1]))
        if self.offered:
            with figure_style():
                told = f"offered: {_named(self._offers())}\nused in the end: {self._uses()}"
                axes.set_title(told, loc="left", fontsize=9)


def _named(rungs: dict[str, bool]) -> str:
    """Rungs that are true; "" if it is not known."""
    return ", ".join(rung for rung, true in rungs.items() if true) or ("none" if rungs else "")


def _observe(network: Any, tests: Any, key: jax.Array) -> dict[str, jax.Array]:
    return {
        number: jax.lax.map(lambda test: accuracy(network, *test), stacked)
        for number, stacked in tests.items()
    }


def _observe_filters(network: Any, tests: Any, key: jax.Array) -> dict[str, jax.Array]:
    return {FILTERS: first_kernel(network), **_observe(network, tests, key)}


def _alike(sets: CueSets) -> list[list[str]]:
    """Names of test sets of equal shape, so that each shape is compiled once."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, (images, _) in sets.tests.items():
        groups.setdefault(images.shape, []).append(name)
    return list(groups.values())


def _stacks(sets: CueSets, alike: list[list[str]]) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Images (sets, n, ...) and labels (sets, n) of the test sets of each shape."""
    return {
        str(number): (
            jnp.stack([jnp.asarray(sets.tests[name][0]) for name in names]),
            jnp.stack([jnp.asarray(sets.tests[name][1]) for name in names]),
        )
        for number, names in enumerate(alike)
    }


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
    subspace: int | None = None,
    key: jax.Array,
    tracker: Tracking = "auto",
) -> CueLearning:
    """Train classifiers from several seeds and test them on every cue along the way.

    The result tells which of class means, amplitudes and phases the training images offer and
    which the networks use. Class means are learned first where they differ; they live in the
    phases, so that phases win. The warning `ClassMeansDiffer` says so, with the share of the
    variance that they carry. `augment=shift` on sets that are `shifted` takes them out.

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
        subspace: dimension of the principal subspace of the patches with which the filters of the
            first layer are compared along training (`follow_filters`; `principal_dimension` is a
            choice), steps beginning with 0. None does not follow the filters.
        key: typed random key.
        tracker: progress bar, as of `learning_dynamics.simulate`.

    Raises:
        ValueError: as `Minibatches` and `train`, if the sets differ in shape, number or cues,
            or as `follow_filters`.
    """
    at = log_steps(6000, points=16, first=3) if steps is None else np.asarray(steps)
    each = [sets] if isinstance(sets, CueSets) else list(sets)
    if len(each) > 1 and len(each) != seeds:
        raise reject("sets", f"be one for all, or one for each of {seeds} seeds", len(each))
    first = each[0]
    if any(s.shape != first.shape or s.class_names != first.class_names for s in each):
        raise reject("sets", "have one shape and the same classes", [s.shape for s in each])
    if any(set(s.tests) != set(first.tests) for s in each):
        raise reject("sets", "have the same cues", [list(s.tests) for s in each])
    make = _Build(build, first.shape, len(first.class_names))
    if subspace is not None:
        check_subspace(nnx.eval_shape(lambda: make(nnx.Rngs(0))), at, subspace)
    offered = _offered(first, augment, key)
    mean = offered.get("mean")
    if mean is not None and mean.significant:
        share = f"{100 * mean.share:.2g} +- {100 * mean.error:.1g} % of the variance"
        message = (
            f"class means differ by {share}: a first-order statistic, which lives in the phases "
            "and is learned first. Compare the test sets with and without it, or train under "
            "random shifts"
        )
        warnings.warn(message, ClassMeansDiffer, stacklevel=2)
    batches = [Minibatches(one.train, batch, augment) for one in each]
    alike = _alike(first)
    tests = [_stacks(one, alike) for one in each]
    run = train(
        make,
        cross_entropy,
        batches if len(each) > 1 else batches[0],
        optimiser=optimiser,
        steps=at,
        observe=_observe if subspace is None else _observe_filters,
        tests=tests if len(each) > 1 else tests[0],
        key=key,
        replicas=seeds,
        together=together,
        tracker=tracker,
    )
    curves = {
        name: run.values[str(number)][:, :, place]
        for number, group in enumerate(alike)
        for place, name in enumerate(group)
    }
    ordered = {name: curves[name] for name in first.tests}
    filters = None
    if subspace is not None:
        of_seeds = each if len(each) > 1 else each * seeds
        fold = jax.random.fold_in(key, CLONES)
        filters = follow_filters(run.steps, run.values[FILTERS], of_seeds, subspace, key=fold)
    return CueLearning(run.steps, ordered, first.chance, offered, filters)


def _offered(
    sets: CueSets, augment: Augmentation | None, key: jax.Array
) -> dict[str, BetweenClasses]:
    """What the training images offer as they are drawn; nothing if a class has too few of them."""
    images, labels = sets.train
    kept = first_of_each(labels)
    images, labels = images[kept], labels[kept]
    groups = None if sets.groups is None else sets.groups[kept]
    units = np.arange(len(labels)) if groups is None else groups
    of_units = labels[np.unique(units, return_index=True)[1]]
    if np.bincount(of_units, minlength=len(sets.class_names)).min() < FEWEST:
        return {}
    if augment is not None:
        drawn = augment((jnp.asarray(images), jnp.asarray(labels)), jax.random.fold_in(key, LAST))
        images = np.asarray(drawn[0])
    return offered_rungs(images, labels, groups=groups)


@dataclass(frozen=True)
class _Build:
    """A network of given shape and classes, from its random streams."""

    build: Callable[..., Any]
    shape: tuple[int, ...]
    classes: int

    def __call__(self, rngs: nnx.Rngs) -> Any:
        return self.build(self.shape, self.classes, rngs=rngs)
