"""Networks on images whose classes share a power-law spectrum: how fast they learn phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from fourier_simplicity.networks.cues import CueSets
from fourier_simplicity.networks.learning import CueLearning, learn_cues
from learning_dynamics import short_text
from learning_dynamics.evidence.drawing import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.measurement import Measurement
from learning_dynamics.evidence.statistics import log_slope
from learning_dynamics.validation import reject

__all__ = ["SharedSpectra", "leading_dimension", "learn_spectra", "plot_spectra"]

Array = NDArray[np.float64]
PARTS = (0.5, 1.0, 1.5)  # of the level: one crossing of a wavering accuracy is a noisy time


def leading_dimension(sets: CueSets, tied: int = 4) -> float:
    """N_eff = tr Sigma / lambda_S of the training images.

    lambda_S is the geometric mean of the largest eigenvalues of the covariance: the effective
    dimension of a relation of the leading modes (`effective_dimension` of the input model).

    Args:
        sets: training images.
        tied: number of modes of the relation, four for a quartet.
    """
    rows = sets.train[0].reshape(len(sets.train[0]), -1).astype(np.float64)
    spectrum = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    return float(spectrum.sum() / np.exp(np.log(spectrum[:tied]).mean()))


@dataclass(frozen=True, eq=False)
class SharedSpectra:
    """Networks trained on images with amplitudes |k|^-beta, the same for all classes.

    Attributes:
        exponents: beta.
        runs: networks along training for each beta, tested on "phases".
        effective: N_eff of the images for each beta, see `leading_dimension`.
        level: accuracy above chance that counts as learned.
    """

    exponents: Sequence[float]
    runs: Sequence[CueLearning]
    effective: Array
    level: float

    __repr__ = short_text.represent

    def updates(self) -> Array:
        """Updates to the level, at most the end of training, shape (exponents, seeds).

        Geometric mean over half the level, the level and half as much again.
        """
        crossings = [
            [run.recovery("phases", run.chance + part * self.level) for part in PARTS]
            for run in self.runs
        ]
        return np.asarray(stats.gmean(np.clip(crossings, 1, self.runs[0].steps[-1]), axis=1))

    def growth(self) -> Array:
        """Least-squares exponent of the updates in N_eff, shape (seeds,)."""
        return log_slope(self.effective, np.log(self.updates()).T).value

    def exponent(self, name: str) -> Measurement:
        """The same over seeds, with the name of the network on the coordinate "network".

        Args:
            name: of the network.
        """
        axes = {"network": [name]}
        return Measurement.from_replicas(self.growth()[:, None], axes, label=name)

    def draw_accuracy(self, axes: Axes) -> None:
        """Accuracy against updates, one curve for each beta.

        Args:
            axes: where to draw.
        """
        for i, (beta, run) in enumerate(zip(self.exponents, self.runs, strict=True)):
            curve = run.measurement(["phases"])
            values, errors = curve.values[0], curve.standard_error[0]
            draw_simulation(axes, run.steps, values, errors, index=i, label=f"β = {beta:g}")
            draw_theory(axes, run.steps, values, index=i)
        with figure_style():
            axes.axhline(self.runs[0].chance, color="black", linewidth=0.7)
            axes.set_xscale("symlog", linthresh=32)
            axes.set(xlabel="updates", ylabel="accuracy", xlim=(0, None))

    def draw_updates(self, axes: Axes, *, index: int = 0, label: str | None = None) -> None:
        """Updates to the level against N_eff; triangles where not all of it is reached.

        Args:
            axes: where to draw.
            index: number of the series.
            label: text for the legend.
        """
        updates = self.updates()
        logs = np.log(updates)
        mean = np.exp(logs.mean(axis=1))
        error = updates.mean(axis=1) * logs.std(axis=1, ddof=1) / np.sqrt(logs.shape[1])
        draw_simulation(axes, self.effective, mean, error, index=index, label=label)
        draw_theory(axes, self.effective, mean, index=index)
        late = [
            not np.all(np.isfinite(run.recovery("phases", run.chance + PARTS[-1] * self.level)))
            for run in self.runs
        ]
        with figure_style():
            axes.plot(self.effective[late], 1.12 * mean[late], "^", color="black", markersize=7)
            for beta, x, y in zip(self.exponents, self.effective, mean, strict=True):
                axes.annotate(
                    f"β={beta:g}", (x, y), xytext=(4, -11), textcoords="offset points", fontsize=8
                )
            axes.set(
                xscale="log", yscale="log", xlabel=r"effective dimension $N_{\mathrm{eff}}$",
                ylabel="updates to the level",
            )  # fmt: skip
            axes.tick_params(which="minor", labelsize=7)  # 2, 3, 4 times ten to the one


def plot_spectra(learned: Mapping[str, SharedSpectra]) -> Figure:
    """Accuracy of the first networks against updates, and updates to the level of all of them.

    Args:
        learned: name -> networks.

    Raises:
        ValueError: without networks.
    """
    if not learned:
        raise reject("learned", "hold networks", "none")
    figure, ((left, right),) = new_figure(1, 2, width=9.4, height=4.6)
    first, *_ = learned.values()
    first.draw_accuracy(left)
    for i, (name, spectra) in enumerate(learned.items()):
        spectra.draw_updates(right, index=len(first.exponents) + i, label=name)
    legend_below(figure, columns=6)
    return figure


def learn_spectra(
    sets: Sequence[CueSets],
    exponents: Sequence[float],
    build: Callable[..., Any],
    *,
    level: float,
    key: jax.Array,
    **options: Any,
) -> SharedSpectra:
    """Train networks on each spectrum, from the same initial weights and minibatches.

    Args:
        sets: one for each exponent, as `sweep_sets` makes them.
        exponents: beta.
        build: network, as of `learn_cues`.
        level: accuracy above chance that counts as learned.
        key: typed random key.
        **options: as of `learn_cues`.

    Raises:
        ValueError: with another number of sets, or as `learn_cues`.
    """
    if len(sets) != len(exponents):
        raise reject("sets", f"hold one for each of {len(exponents)} exponents", len(sets))
    runs = [learn_cues(each, build, key=key, **options) for each in sets]
    effective = np.array([leading_dimension(each) for each in sets])
    return SharedSpectra(tuple(exponents), runs, effective, level)
