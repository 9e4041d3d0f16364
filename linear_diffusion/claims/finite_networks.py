"""Denoisers trained on finite data beside the linear theory, for `linear/networks-follow`."""

from dataclasses import dataclass, replace
from itertools import product

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import jackknife, stack
from learning_dynamics.images import ImageSet
from learning_dynamics.report.claims import Run
from linear_diffusion import theory
from linear_diffusion.claims.common import finite_size
from linear_diffusion.data import DataLaw, LatentLaw
from linear_diffusion.finite_data import FiniteDataCurves, learn_over_sizes
from linear_diffusion.networks import minibatch_excess
from linear_diffusion.patches import photograph_law

Array = NDArray[np.float64]
SIZE, POOL, BATCH = 8, 20_000, 16
GAUSSIAN, IMAGES = "Gaussian", "photographs"
AVERAGED = 60  # data sets over which the linear denoiser is averaged exactly
MODES = np.array([1, 2, 3, 4, 6, 9, 13, 19, 27, 38, 50, 63])  # by variance
ONSET = 0.5  # gap over the loss of the best linear denoiser that counts as open
LEAST = 0.25  # of the onset of the linear denoiser
NETWORKS = ("linear network", "convolutional network")


@dataclass(frozen=True, eq=False)
class Trained:
    """Denoisers trained on several laws at several noise levels, with the theory of linear ones.

    Attributes:
        spectrum: of the covariance, the same for all laws.
        ratios: N/d, shape (sizes,).
        steps: updates.
        data: name of the law of each case, shape (cases,).
        levels: alpha_bar of each case, likewise.
        curves: arrays with the cases as second axis, after the draws.
    """

    spectrum: Array
    ratios: Array
    steps: int
    data: NDArray[np.str_]
    levels: Array
    curves: FiniteDataCurves

    def select(self, cases: NDArray[np.bool_]) -> "Trained":
        """Some of the cases."""
        curves = FiniteDataCurves(*(array[:, cases] for array in self.curves))
        return replace(self, data=self.data[cases], levels=self.levels[cases], curves=curves)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of samples N, shape (sizes,)."""
        return np.rint(self.ratios * self.spectrum.size).astype(int)

    @property
    def titles(self) -> NDArray[np.str_]:
        """Names of the cases, with their noise level if there are several."""
        several = np.unique(self.levels).size > 1
        pairs = zip(self.data, self.levels, strict=True)
        return np.array([f"{law}, {level:g}" if several else law for law, level in pairs])

    def losses(self, factor: float = 1) -> list[theory.Losses]:
        """Losses of the linear theory in each case, for `factor` times the data."""
        sizes = np.rint(factor * self.sizes).astype(int)
        return [theory.losses(self.spectrum, sizes, 0.0, level) for level in self.levels]

    def best_gains(self, share: float = 1.0) -> Array:
        """Gains of the best linear denoiser for a share of the signal, shape (cases, modes)."""
        level = share * self.levels[:, None]
        return np.asarray((1 - level) / (level * self.spectrum[MODES - 1] + 1 - level))

    def gains(self, factor: int = 1) -> ld.Prediction:
        """Gains of the linear theory over the best ones, shape (cases, sizes, modes)."""
        expected = [
            theory.training_gains(
                self.spectrum, factor * self.sizes, 0.0, level, [200 / (1 - level)]
            )
            for level in self.levels  # late: every direction has learned all it will
        ]
        scale = np.sqrt(1 - self.levels)[:, None] / self.best_gains()
        return stack(each[:, 0][:, MODES - 1] for each in expected).scaled(scale[:, None])

    def with_bias(self, law: ld.Prediction, sizes: ArrayLike) -> ld.Prediction:
        """Allow for the next order at finite size and for the noise of the last minibatches."""
        best = theory.bayes_loss(self.spectrum, self.levels).values
        excess = [
            minibatch_excess(self.spectrum, loss, level, steps=self.steps, batch=BATCH)
            for loss, level in zip(best, self.levels, strict=True)
        ]
        noise = 1.25 * np.array(excess)[:, None, None] * np.abs(law.values)
        bias = finite_size(law, sizes, self.spectrum.size).bias + noise
        return law.with_bias(bias, r"$10 / \min(N, d)^2$ + 5/4 of the noise of minibatches")


def trained(run: Run, images: ImageSet | None) -> Trained:
    """Both denoisers on Gaussian data and on patches with the same covariance."""
    key = jax.random.fold_in(run.key, 0)
    patches = photograph_law(SIZE, POOL, key=key, equal_contrast=True, images=images)
    gaussian = LatentLaw(patches.spectrum, basis=patches.basis)
    laws: dict[str, DataLaw] = {GAUSSIAN: gaussian, IMAGES: patches}
    ratios = 2.0 ** np.array([-3, -1, 1, 3] if run.quick else range(-3, 4), np.float64)
    levels, draws, steps = ((0.8,), 5, 500) if run.quick else ((0.5, 0.8, 0.95), 20, 4000)
    cases = list(product(levels, laws))
    sizes = np.rint(ratios * patches.spectrum.size).astype(int)
    curves = [
        learn_over_sizes(
            laws[name], sizes, level, modes=MODES - 1, draws=draws, steps=steps, batch=BATCH,
            averaged=AVERAGED if name == GAUSSIAN else 0, key=jax.random.fold_in(run.key, 1 + i),
            tracker=run.tracker,
        )
        for i, (level, name) in enumerate(cases)
    ]  # fmt: skip
    together = FiniteDataCurves(*(np.stack(each, axis=1) for each in zip(*curves, strict=True)))
    noise, data = (np.array(each) for each in zip(*cases, strict=True))
    return Trained(patches.spectrum, ratios, steps, data, noise, together)


def linear_losses(cases: Trained) -> ld.Comparisons:
    """Losses of the linear denoiser against N on Gaussian data."""
    kinds = np.array(["training loss", "test loss"])
    measured = ld.Measurement.from_replicas(
        cases.curves.linear_losses,
        {"data": cases.titles, "loss": kinds, "N_over_d": cases.ratios},
        label=NETWORKS[0],
    )

    def law(factor: int) -> ld.Prediction:
        pairs = [stack([losses.train, losses.test]) for losses in cases.losses(factor)]
        return cases.with_bias(stack(pairs), cases.sizes)

    return ld.compare_with_controls(
        measured, law(1), law(4).labelled("losses for four times the data"),
        name="losses of a linear network", quantity="loss / d",
    )  # fmt: skip


def linear_gains(cases: Trained) -> ld.Comparisons:
    """Gains of the linear denoiser along the modes on Gaussian data."""
    measured = ld.Measurement.from_replicas(
        cases.curves.linear_gains / cases.best_gains()[:, None],
        {"data": cases.titles, "N_over_d": cases.ratios, "mode": MODES},
        label=NETWORKS[0],
    )
    law, control = (
        cases.with_bias(cases.gains(factor), cases.sizes[:, None]) for factor in (1, 4)
    )  # fmt: skip
    return ld.compare_with_controls(
        measured, law, control.labelled("gains for four times the data"),
        name="gains of a linear network", quantity="gain / best linear gain",
    )  # fmt: skip


def gap_onsets(cases: Trained) -> ld.Comparisons:
    """Onset of the gap of the convolutional denoiser over that of the linear theory, log 2."""
    best = theory.bayes_loss(cases.spectrum, cases.levels).values

    def onset(gaps: Array) -> Array:
        """Logarithm of N/d at which each gap, shape (cases, sizes), is ONSET times the best."""
        rows = zip(ONSET * best, np.maximum(gaps, 1e-9), strict=True)
        ratios = np.log(cases.ratios)
        return np.array([np.interp(-np.log(line), -np.log(gap), ratios) for line, gap in rows])

    def of_theory(factor: float) -> Array:
        losses = cases.losses(factor)
        return onset(np.array([each.test.values - each.train.values for each in losses]))

    def claimed(factor: float, label: str) -> ld.Prediction:
        moved = of_theory(factor) - linear
        return ld.Prediction.between(moved + np.log(LEAST), moved, label=label)

    linear = of_theory(1)
    gaps = np.diff(cases.curves.losses, axis=2)[:, :, 0]
    measured = jackknife(gaps, lambda mean: onset(mean) - linear, {"data": cases.titles})
    return ld.compare_with_controls(
        measured,
        claimed(1, f"{LEAST:g} to 1 of theory"),
        claimed(4, "onset for four times the data"),
        claimed(1 / 4, "onset for a quarter of the data"),
        name="onset of the gap",
        quantity="log of the onset in N over that of the theory",
    )


def gains_of_modes(cases: Trained) -> ld.Comparisons:
    """Mean Jacobian of the convolutional denoiser at the largest N on Gaussian data."""
    best = cases.best_gains()
    measured = ld.Measurement.from_replicas(
        cases.curves.gains[:, :, -1] / best,
        {"data": cases.titles, "mode": MODES},
        label=NETWORKS[1],
    )
    test = cases.curves.losses[:, :, 1, -1].mean(axis=0)
    excess = np.maximum(test - theory.bayes_loss(cases.spectrum, cases.levels).values, 0.0)
    allowed = np.sqrt(excess[:, None] / best)  # the variance of y along a mode is 1 / gain
    laws = {
        "best linear denoiser": np.ones(best.shape),
        "half the signal": cases.best_gains(0.5) / best,
        "white covariance": (1 - cases.levels)[:, None] / best,  # variance one in every direction
    }
    order = r"$\sqrt{(R - R^*) / c_k}$"
    return ld.compare_with_controls(
        measured, *(ld.Prediction(law, 0.0, allowed, order, label) for label, law in laws.items()),
        name="gains of a convolutional network", quantity="gain / best linear gain",
    )  # fmt: skip


def beside_linear(cases: Trained) -> ld.Comparisons:
    """Test loss of the convolutional denoiser at the largest N, beside a linear one.

    On Gaussian data the best linear denoiser, on images the one trained on the same data set.
    """
    gaussian = cases.data == GAUSSIAN
    best = theory.bayes_loss(cases.spectrum, cases.levels).values
    linear, convolutional = (
        losses[:, :, 1, -1] for losses in (cases.curves.linear_losses, cases.curves.losses)
    )
    measured = ld.Measurement.from_replicas(
        convolutional / np.where(gaussian, best, linear), {"data": cases.titles}, label=NETWORKS[1]
    )

    def above(which: Array, label: str) -> ld.Prediction:
        return ld.Prediction.between(
            np.where(which, 1.0, 0.5), np.where(which, 1.5, 1.0), label=label
        )

    return ld.compare_with_controls(
        measured,
        above(gaussian, "below on images alone"),
        above(np.ones_like(gaussian), "never below"),
        above(~gaussian, "below on Gaussian data alone"),
        name="convolutional network beside linear ones",
        quantity="test loss / test loss of a linear denoiser",
    )


def losses_figure(cases: Trained) -> Figure:
    """Losses against N/d, one panel for each case."""
    fine = np.unique(np.rint(np.geomspace(cases.sizes[0], cases.sizes[-1], 60)).astype(int))
    theories = [theory.losses(cases.spectrum, fine, 0.0, level) for level in cases.levels]
    both = np.stack([cases.curves.linear_losses, cases.curves.losses], axis=3)
    axis = {"network": np.array(NETWORKS), "N_over_d": cases.ratios}
    train, test = (
        [ld.Measurement.from_replicas(both[:, i, which], axis) for i in range(len(theories))]
        for which in (0, 1)
    )  # fmt: skip
    ratios = fine / cases.spectrum.size
    figure, panels = drawing.draw_panels(
        train, [(ratios, each.train) for each in theories], titles=cases.titles.tolist(),
        x_label="N/d", y_labels=["loss / d"], width=4.4 * len(train), height=4.2,
        ticks={1 / 8: "1/8", 1 / 2: "1/2", 2: "2", 8: "8"},
    )  # fmt: skip
    for axes, measured, losses in zip(panels, test, theories, strict=True):
        drawing.draw_measurement(axes, measured, labels=[None, None])
        drawing.draw_curves(axes, ratios, losses.test.values)
        axes.axhline(float(losses.bayes.values[0]), color=drawing.GREY, linestyle=":")
        axes.axvline(1.0, color=drawing.GREY, linewidth=0.8, zorder=0)
    drawing.legend_below(figure, title="lines: linear theory, dotted: best linear denoiser")
    return figure


def gains_figure(cases: Trained) -> Figure:
    """Gains along the modes over those of the best linear denoiser, one series for each N."""
    sizes = sorted({0, int(np.argmin(np.abs(cases.ratios - 0.5))), len(cases.ratios) - 1})
    axis = {"N_over_d": cases.ratios[sizes], "mode": MODES}
    gains = cases.curves.gains[:, :, sizes] / cases.best_gains()[:, None]
    expected = cases.gains()
    measured = [ld.Measurement.from_replicas(gains[:, i], axis) for i in range(gains.shape[1])]
    figure, panels = drawing.draw_panels(
        measured, [(MODES, expected[i, sizes]) for i in range(len(measured))],
        labels=[f"N = {ratio:g} d" for ratio in cases.ratios[sizes]], titles=cases.titles.tolist(),
        x_label="mode, by variance", y_labels=["gain / gain of the best linear denoiser"],
        width=4.4 * len(measured), height=4.2, ticks={k: f"{k}" for k in (1, 3, 10, 30)},
    )  # fmt: skip
    for axes in panels:
        axes.axhline(1.0, color=drawing.GREY, linestyle=":")
    drawing.legend_below(figure, title="markers: convolutional network, lines: linear theory")
    return figure
