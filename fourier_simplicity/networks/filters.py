"""What first-layer filters learn: directions of large variance, then non-Gaussian ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.networks.cues import CueSets
from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.evidence.drawing import GREY
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.images.patches import generator
from learning_dynamics.saved_results import saved_as
from learning_dynamics.training import recovery_steps
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = [
    "FilterLearning",
    "check_subspace",
    "excess_kurtosis",
    "first_kernel",
    "first_layer",
    "follow_filters",
    "gaussian_clones",
    "principal_dimension",
]

Array = NDArray[np.float64]
ROWS = 2000  # patches on which responses are measured
FITTED = 20_000  # patches whose covariance is taken


@saved_as(steps=("step",), overlap=("replica", "step"), kurtosis=("replica", "step"),
          clone_kurtosis=("replica", "step"))  # fmt: skip
@dataclass(frozen=True, eq=False)
class FilterLearning:
    """Filters of the first layer along training.

    Attributes:
        steps: updates made at each observation, shape (observations,).
        dimension: r of the principal subspace.
        isotropic: overlap of a random direction with it, r over the number of directions in which
            patches vary.
        overlap: sum |P (w - w_0)|^2 / sum |w - w_0|^2 over filters w, w_0 their start, P the
            projection on the principal subspace; `isotropic` before the first update. Shape
            (seeds, observations).
        kurtosis: excess kurtosis of the responses w.x to test patches, mean over filters, shape
            (seeds, observations).
        clone_kurtosis: the same for Gaussian clones with the mean and covariance of each class.
    """

    steps: NDArray[np.int64]
    dimension: int
    isotropic: float
    overlap: Array
    kurtosis: Array
    clone_kurtosis: Array

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        apart = self.kurtosis - self.clone_kurtosis
        return f"{len(self.overlap)} seeds, subspace of {self.dimension} directions", {
            "steps": short_text.span(self.steps),
            "overlap": f"{self.overlap.max(axis=1).mean():.3g} at most, at random "
            f"{self.isotropic:.3g}",
            "excess kurtosis": f"beyond the clones' from {apart[:, 0].mean():.3g} to "
            f"{apart[:, -1].mean():.3g}",
        }

    def rise_of_overlap(self) -> Array:
        """Step at which the overlap first is half way from a random direction's to 1, (seeds,).

        Interpolated in log(1 + step); infinite if it never is.
        """
        highest = np.maximum.accumulate(self.overlap, axis=1)
        return recovery_steps(self.steps, highest, (1 + self.isotropic) / 2)

    def departure_of_kurtosis(self) -> Array:
        """Step from which on more than half of the change of the kurtosis is made, (seeds,).

        The change is that of kurtosis - clone_kurtosis from the start to the end, whatever its
        sign. Interpolated in log(1 + step).
        """
        apart = self.kurtosis - self.clone_kurtosis
        change = apart - apart[:, :1]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = change / change[:, -1:]
        return recovery_steps(self.steps, share, 0.5)

    def measurement(self) -> Measurement:
        """Mean and standard error over seeds, coordinates (quantity, step)."""
        curves = np.stack([self.overlap, self.kurtosis, self.clone_kurtosis], axis=1)
        names = np.array(["overlap", "kurtosis", "kurtosis of clones"])
        return Measurement.from_replicas(
            curves, {"quantity": names, "step": self.steps}, label="first layer"
        )

    def _repr_png_(self) -> Any:
        figure: Any = self.plot()
        return figure._repr_png_()

    def plot(self, beside: FilterLearning | None = None, *, name: str = "white inputs") -> Figure:
        """Overlap, and excess kurtosis beside that of the clones, against step.

        Args:
            beside: another run, drawn in further colours.
            name: of that run, for the legend.
        """
        figure, grid = new_figure(1, 2, width=9.4, height=4.4)
        left, right = grid[0]
        for number, (run, added) in enumerate(((self, ""), (beside, f", {name}"))):
            if run is None:
                continue
            curves = run.measurement()
            parts = ((left, "overlap of the change", 0), (right, "excess kurtosis", 1),
                     (right, "excess kurtosis of Gaussian clones", 2))  # fmt: skip
            for row, (axes, label, index) in enumerate(parts):
                at, index = curves.values[row], index + 3 * number
                draw_simulation(
                    axes, run.steps, at, curves.standard_error[row], index=index,
                    label=label + added,
                )  # fmt: skip
                draw_theory(axes, run.steps, at, index=index)
        with figure_style():
            left.axhline(self.isotropic, color=GREY, linewidth=0.9, linestyle="--",
                         label="random direction")  # fmt: skip
            half = (1 + self.isotropic) / 2
            left.axhline(half, color=GREY, linewidth=0.9, linestyle=":", label="half way to 1")
            right.axhline(0, color=GREY, linewidth=0.7)
            left.set(ylabel=f"overlap with {self.dimension} principal directions", ylim=(0, 1))
            right.set(ylabel="excess kurtosis of responses")
            for axes in (left, right):
                axes.set_xscale("symlog", linthresh=float(self.steps[self.steps > 0].min()))
                axes.set(xlabel="updates", xlim=(0, 1.3 * self.steps[-1]))
        legend_below(figure)
        return figure


def first_kernel(network: Any) -> jax.Array:
    """Weights of the first layer: (inputs, filters), or (side, side, channels, filters).

    Args:
        network: a `TwoLayer`, `ConvNet`, `ResNet`, or another one with a layer `first`.

    Raises:
        ValueError: if the network has none of these layers.
    """
    return jnp.asarray(first_layer(network)[...])


def first_layer(network: Any) -> Any:
    """The parameter behind `first_kernel`, whose array may be abstract.

    Args:
        network: as of `first_kernel`.

    Raises:
        ValueError: as `first_kernel`.
    """
    for name in ("first", "stem", "layers"):
        layer = getattr(network, name, None)
        if layer is not None:
            return (layer[0] if name == "layers" else layer).kernel
    raise reject("build", "make a network with a layer `first`, `stem` or `layers`", type(network))


def _patches(images: Array, kernel: tuple[int, ...], most: int, rng: np.random.Generator) -> Any:
    """Rows that filters of this shape see, and the image of each: whole images, or windows."""
    if len(kernel) == 2:
        return images.reshape(len(images), -1)[:most].astype(np.float64), np.arange(len(images))[
            :most
        ]
    pixels = images[..., None] if images.ndim == 3 else images
    windows = np.lib.stride_tricks.sliding_window_view(pixels, kernel[:2], axis=(1, 2))
    windows = windows.transpose(0, 1, 2, 4, 5, 3)  # (n, y, x, side, side, channels)
    places = np.array(windows.shape[:3])
    chosen = rng.choice(int(places.prod()), min(most, int(places.prod())), replace=False)
    image, y, x = np.unravel_index(chosen, places)
    return windows[image, y, x].reshape(len(chosen), -1).astype(np.float64), image


def _principal(rows: Array) -> tuple[Array, Array]:
    """Eigenvalues of the covariance, largest first, and eigenvectors as columns."""
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    return values[::-1], vectors[:, ::-1]


def principal_dimension(sets: CueSets) -> int:
    """Participation ratio (tr Sigma)^2 / tr Sigma^2 of the training images, rounded."""
    rows = sets.train[0][:FITTED].reshape(min(len(sets.train[0]), FITTED), -1)
    covariance = np.cov(rows.T.astype(np.float64))
    return max(round(float(np.trace(covariance) ** 2 / np.sum(covariance**2))), 1)


def excess_kurtosis(responses: ArrayLike) -> Array:
    """k_4 / k_2^2 of each column, Fisher's unbiased k-statistics.

    Its mean is zero for Gaussian responses at any number of them, and the excess kurtosis
    up to 1/n for others. A column without variance has NaN.

    Equation: :eq:`eq:phases-kurtosis`.

    Args:
        responses: shape (n, filters), n > 3.

    Raises:
        ValueError: on another shape or values that are not finite.
    """
    fields = finite_array("responses", responses)
    if fields.ndim != 2 or len(fields) < 4:
        raise reject("responses", "have shape (n, filters), n > 3", f"shape {fields.shape}")
    n = len(fields)
    centred = np.asarray(fields, np.float64) - fields.mean(axis=0)
    square = centred**2
    second, fourth = square.sum(axis=0), (square**2).sum(axis=0)
    k2 = second / (n - 1)
    k4 = (n * (n + 1) * fourth / (n - 1) - 3 * second**2) / ((n - 2) * (n - 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(k4 / k2**2)


def gaussian_clones(rows: ArrayLike, labels: ArrayLike, *, key: jax.Array) -> Array:
    """Gaussian rows, as many of each class, with the mean and covariance of that class.

    Args:
        rows: shape (n, d).
        labels: class of each row, integers of shape (n,), at least two rows of every class.
        key: typed random key.

    Raises:
        ValueError: on shapes that do not fit or a class with a single row.
    """
    given = np.asarray(finite_array("rows", rows), np.float64)
    classes = np.asarray(labels)
    if given.ndim != 2 or classes.shape != given.shape[:1]:
        raise reject("labels", "hold one number for each row", f"shape {classes.shape}")
    rng = generator(key)
    clones = np.empty_like(given)
    for label in np.unique(classes):
        chosen = classes == label
        members = given[chosen]
        if len(members) < 2:
            raise reject("labels", "hold at least 2 rows of every class", f"1 of {label}")
        mean = members.mean(axis=0)
        factor = np.linalg.qr(members - mean, mode="r") / np.sqrt(len(members) - 1)
        clones[chosen] = mean + rng.standard_normal((len(members), len(factor))) @ factor
    return clones


def check_subspace(network: Any, steps: ArrayLike, dimension: int) -> None:
    """Refuse before training what `follow_filters` would refuse after it.

    Args:
        network: whose arrays may be abstract.
        steps: numbers of updates.
        dimension: of the principal subspace.

    Raises:
        ValueError: if the steps do not begin with 0, the network has no first layer that is known,
            or the subspace is not smaller than its inputs.
    """
    if np.atleast_1d(steps)[0] != 0:
        raise reject("steps", "begin with 0, where filters start", np.atleast_1d(steps)[0])
    inputs = math.prod(first_layer(network).shape[:-1])
    if positive_integer("subspace", dimension) >= inputs:
        raise reject(
            "subspace", f"be smaller than the {inputs} directions of the patches", dimension
        )


def follow_filters(
    steps: ArrayLike,
    kernels: ArrayLike,
    sets: list[CueSets],
    dimension: int,
    *,
    key: jax.Array,
) -> FilterLearning:
    """Overlap of filters with the principal subspace of the patches, and kurtosis of responses.

    The subspace is that of the leading eigenvectors of the covariance of training patches; the
    responses are those to patches of the test set "real".

    Equation: :eq:`eq:phases-overlap`.

    Args:
        steps: numbers of updates, shape (observations,), beginning with 0.
        kernels: `first_kernel` along training, shape (seeds, observations, inputs, filters) or
            (seeds, observations, side, side, channels, filters).
        sets: one for each seed.
        dimension: r of the subspace.
        key: typed random key of clones and of the choice of patches.

    Raises:
        ValueError: if the steps do not begin with 0, or the subspace holds all directions in which
            the patches vary.
    """
    at, weights = np.asarray(steps), np.asarray(kernels)
    if at[0] != 0:
        raise reject("steps", "begin with 0, where filters start", at[0])
    r = positive_integer("subspace", dimension)
    overlap, kurtosis, clone = (np.empty(weights.shape[:2]) for _ in range(3))
    isotropic = 0.0
    for seed, (each, one) in enumerate(zip(weights, sets, strict=True)):
        rng = generator(jax.random.fold_in(key, 2 * seed))
        shape = each.shape[1:]
        values, vectors = _principal(_patches(one.train[0], shape, FITTED, rng)[0])
        free = int(np.sum(values > 1e-6 * values[0]))
        if r >= free:
            raise reject("subspace", f"be smaller than the {free} directions of the patches", r)
        isotropic = r / free
        filters = np.moveaxis(each.reshape(len(each), -1, shape[-1]), 2, 1).astype(np.float64)
        change = filters - filters[0]
        energy = np.sum(change**2, axis=(1, 2))
        inside = np.sum((change @ vectors[:, :r]) ** 2, axis=(1, 2))
        overlap[seed] = np.where(energy > 0, inside / np.maximum(energy, 1e-300), isotropic)
        rows, image = _patches(one.tests["real"][0], shape, ROWS, rng)
        labels = one.tests["real"][1][image]
        copies = gaussian_clones(rows, labels, key=jax.random.fold_in(key, 2 * seed + 1))
        for place, w in enumerate(filters):
            kurtosis[seed, place] = np.nanmean(excess_kurtosis(rows @ w.T))
            clone[seed, place] = np.nanmean(excess_kurtosis(copies @ w.T))
    return FilterLearning(at.astype(np.int64), r, isotropic, overlap, kurtosis, clone)
