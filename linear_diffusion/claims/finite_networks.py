"""Denoisers trained on finite data for `linear/networks-follow`, and their figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from learning_dynamics.evidence.comparison import Measurement, Prediction
from learning_dynamics.evidence.drawing import GREY
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.report.claims import Run
from linear_diffusion import theory
from linear_diffusion.data import DataLaw, draw
from linear_diffusion.networks import TrainingSet, affine_loss, learn_denoisers
from linear_diffusion.simulation import draw_modes, losses_of_modes, population_gains

__all__ = [
    "GAUSSIAN",
    "SHOWN",
    "Plan",
    "Trained",
    "expected_gains",
    "gains_figure",
    "losses_figure",
    "optimal_gains",
    "titles",
    "train",
]

Array = np.ndarray
GAUSSIAN = "Gaussian"
TESTS = 504  # fresh rows
SETS = 60  # data sets over which the linear denoiser is averaged exactly
BATCH = 16
SHOWN = np.array([1, 2, 3, 4, 6, 9, 13, 19, 27, 38, 50, 63])  # modes, by variance


@dataclass(frozen=True)
class Plan:
    """Sizes of a run, and the spectrum of its patches."""

    spectrum: Array
    ratios: Array  # N/d
    levels: tuple[float, ...]
    draws: int
    steps: int

    @property
    def sizes(self) -> Array:
        """Number of samples N, shape (sizes,)."""
        return np.rint(self.ratios * self.spectrum.size).astype(int)

    @property
    def optimisation(self) -> float:
        """Relative excess of a loss, from noise that was drawn only steps * BATCH times.

        It would be d over that number if all draws counted alike. The last ones count most.
        """
        return 5 * self.spectrum.size / (self.steps * BATCH)


@dataclass(frozen=True)
class Trained:
    """Denoisers trained on data sets of one law, arrays (draws, sizes, ...)."""

    data: str
    level: float
    linear_losses: Array  # training and test loss, (draws, 2, sizes)
    losses: Array  # of the convolutional denoiser, likewise
    linear_gains: Array  # along SHOWN, (draws, sizes, shown)
    gains: Array  # of the convolutional denoiser, likewise


def train(run: Run, plan: Plan, data: str, law: DataLaw, level: float, key: jax.Array) -> Trained:
    """Train on data sets of every size.

    On Gaussian data, for which the linear theory claims to hold, the scatter of the linear denoiser
    over data sets is reduced by its exact optimum on the same ones.
    """
    data_key, train_key = (jax.random.fold_in(key, i) for i in range(2))
    sizes, most, sets = plan.sizes, int(plan.sizes[-1]), []
    with jax.enable_x64(True):
        for r, N in product(range(plan.draws), sizes):
            # rows of one key begin with those of `draw_modes`, whatever their number
            chosen = jax.random.fold_in(jax.random.fold_in(data_key, r), N)
            rows = np.asarray(draw(law, most + TESTS, key=chosen, dtype=np.float64))
            sets.append(TrainingSet(rows[:N], rows[most:], level))
    learned = learn_denoisers(
        sets, law.basis[:, SHOWN - 1], steps=plan.steps, batch=BATCH, key=train_key,
        tracker=run.tracker,
    )  # fmt: skip
    covariance = law.basis * law.spectrum @ law.basis.T
    exact = []
    for W, b, each in zip(learned.weights, learned.bias, sets, strict=True):
        rows = np.asarray(each.rows)
        training = affine_loss(
            W, b, level, rows.mean(axis=0), np.cov(rows, rowvar=False, bias=True)
        )
        exact.append([training, affine_loss(W, b, level, law.mean, covariance)])
    by_size = partial(_by_size, draws=plan.draws)
    losses = by_size(np.array(exact)).swapaxes(1, 2)
    # on the same rows and noise, the difference of the two denoisers is measured best
    sampled = by_size(np.stack([learned.train, learned.test], axis=1)).swapaxes(1, 2)
    others = losses + sampled[..., 1] - sampled[..., 0]
    gains = by_size(np.einsum("ik,sij,jk->sk", law.basis, learned.weights, law.basis))
    gains = gains[..., SHOWN - 1]
    if data == GAUSSIAN:
        modes = draw_modes(law, sizes, replicas=SETS, key=data_key)
        losses = _beside_optimum(losses, np.stack(losses_of_modes(modes, 0.0, level), axis=1))
        scaled = np.sqrt(1 - level) * population_gains(modes, level, [np.inf])
        gains = _beside_optimum(gains, scaled[:, :, 0, SHOWN - 1])
    return Trained(data, level, losses, others, gains, by_size(learned.gain))


def _by_size(array: Array, draws: int) -> Array:
    return array.reshape(draws, -1, *array.shape[1:])


def _beside_optimum(trained: Array, optimal: Array) -> Array:
    """Control variate: the optimum on the same data set, replaced by its mean over many."""
    draws = len(trained)
    means = optimal.reshape(-1, draws, *optimal.shape[1:]).mean(axis=0)
    return trained - optimal[:draws] + means


def titles(plan: Plan, trained: Sequence[Trained]) -> Array:
    """Names of the data sets, with their noise level if there are several."""
    several = len(plan.levels) > 1
    return np.array([f"{t.data}, {t.level:g}" if several else t.data for t in trained])


def optimal_gains(plan: Plan, level: float) -> Array:
    """Gains of the best linear denoiser along SHOWN, at most one."""
    noisy = level * plan.spectrum + 1 - level
    return ((1 - level) / noisy)[SHOWN - 1]


def expected_gains(plan: Plan, level: float, factor: int = 1) -> Prediction:
    """Gains of the linear theory for data sets of every size, over those of the best denoiser."""
    late = 200 / (1 - level)  # every direction has learned all it will
    found = theory.training_gains(plan.spectrum, factor * plan.sizes, 0.0, level, [late])
    found = found[:, 0][:, SHOWN - 1]
    return found.scaled(np.sqrt(1 - level) / optimal_gains(plan, level))


def losses_figure(plan: Plan, trained: Sequence[Trained]) -> Figure:
    """Losses against N/d, one panel for each data set and noise level."""
    figure, grid = new_figure(1, len(trained), width=4.4 * len(trained), height=4.2)
    fine = np.unique(np.rint(np.geomspace(plan.sizes[0], plan.sizes[-1], 60)).astype(int))
    for axes, each, title in zip(grid[0], trained, titles(plan, trained), strict=True):
        lines = theory.losses(plan.spectrum, fine, 0.0, each.level)
        for which, line in enumerate((lines.train, lines.test)):
            draw_theory(axes, fine / plan.spectrum.size, line.values, index=0)
            for i, draws in enumerate((each.linear_losses[:, which], each.losses[:, which])):
                seen = Measurement.from_replicas(draws, {"N_over_d": plan.ratios})
                label = None if which else ("linear network", "convolutional network")[i]
                draw_simulation(
                    axes, plan.ratios, seen.values, seen.standard_error, index=i, label=label
                )
        with figure_style():
            axes.axhline(float(lines.bayes.values[0]), color=GREY, linestyle=":")
            axes.axvline(1.0, color=GREY, linewidth=0.8, zorder=0)
            axes.set(xscale="log", yscale="log", xlabel="N/d", title=title)
            axes.set_xticks([1 / 8, 1 / 2, 2, 8], ["1/8", "1/2", "2", "8"])
            axes.xaxis.set_minor_locator(NullLocator())
    with figure_style():
        grid[0, 0].set_ylabel("loss / d")
    legend_below(figure, title="lines: linear theory, dotted: best linear denoiser")
    return figure


def gains_figure(plan: Plan, trained: Sequence[Trained]) -> Figure:
    """Gains along the modes over those of the best linear denoiser, one series for each N."""
    figure, grid = new_figure(1, len(trained), width=4.4 * len(trained), height=4.2)
    shown = sorted({0, int(np.argmin(np.abs(plan.ratios - 0.5))), len(plan.ratios) - 1})
    for axes, each, title in zip(grid[0], trained, titles(plan, trained), strict=True):
        expected = expected_gains(plan, each.level).values
        scale = optimal_gains(plan, each.level)
        for i, size in enumerate(shown):
            seen = Measurement.from_replicas(each.gains[:, size] / scale, {"mode": SHOWN})
            draw_simulation(
                axes, SHOWN, seen.values, seen.standard_error, index=i,
                label=f"N = {plan.ratios[size]:g} d",
            )  # fmt: skip
            draw_theory(axes, SHOWN, expected[size], index=i)
        with figure_style():
            axes.axhline(1.0, color=GREY, linestyle=":")
            axes.set(xscale="log", yscale="log", xlabel="mode, by variance", title=title)
            axes.set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
            axes.xaxis.set_minor_locator(NullLocator())
    with figure_style():
        grid[0, 0].set_ylabel("gain / gain of the best linear denoiser")
    legend_below(figure, title="markers: convolutional network, lines: linear theory")
    return figure
