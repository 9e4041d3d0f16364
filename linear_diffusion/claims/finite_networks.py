"""Denoisers trained on finite data beside the linear theory, for `linear/networks-follow`."""

from collections.abc import Callable
from itertools import product

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import jackknife, stack
from learning_dynamics.images import ImageSet
from learning_dynamics.report.claims import Run
from linear_diffusion.data import DataLaw, LatentLaw
from linear_diffusion.finite_data import FiniteDataCurves, learn_over_sizes
from linear_diffusion.patches import photograph_law

Array = NDArray[np.float64]
Cases = dict[str, FiniteDataCurves]  # by law, and noise level if there are several
SIZE, POOL, BATCH = 8, 20_000, 16
GAUSSIAN, IMAGES = "Gaussian", "photographs"
AVERAGED = 60  # data sets over which the linear denoiser is averaged exactly
MODES = np.array([1, 2, 3, 4, 6, 9, 13, 19, 27, 38, 50, 63])  # by variance
LEAST = 0.25  # of the onset of the linear denoiser
NETWORKS = ("linear network", "convolutional network")


def trained(run: Run, images: ImageSet | None) -> Cases:
    """Both denoisers on Gaussian data and on patches with the same covariance."""
    key = jax.random.fold_in(run.key, 0)
    patches = photograph_law(SIZE, POOL, key=key, equal_contrast=True, images=images)
    gaussian = LatentLaw(patches.spectrum, basis=patches.basis)
    laws: dict[str, DataLaw] = {GAUSSIAN: gaussian, IMAGES: patches}
    ratios = 2.0 ** np.array([-3, -1, 1, 3] if run.quick else range(-3, 4), np.float64)
    levels, draws, steps = ((0.8,), 5, 500) if run.quick else ((0.5, 0.8, 0.95), 20, 4000)
    sizes = np.rint(ratios * patches.spectrum.size).astype(int)
    return {
        name if run.quick else f"{name}, {level:g}": learn_over_sizes(
            laws[name], sizes, level, modes=MODES - 1, draws=draws, steps=steps, batch=BATCH,
            averaged=AVERAGED if name == GAUSSIAN else 0, key=jax.random.fold_in(run.key, 1 + i),
            tracker=run.tracker,
        )
        for i, (level, name) in enumerate(product(levels, laws))
    }  # fmt: skip


def gaussian(cases: Cases) -> Cases:
    """The cases in which the linear theory is exact."""
    return {title: case for title, case in cases.items() if title.startswith(GAUSSIAN)}


def _over(cases: Cases, values: Callable[[FiniteDataCurves], Array]) -> Array:
    """Values of each draw in each case, shape (draws, cases, ...)."""
    return np.stack([values(case) for case in cases.values()], axis=1)


def _laws(cases: Cases, law: Callable[[FiniteDataCurves], ld.Prediction]) -> ld.Prediction:
    return stack(map(law, cases.values()))


def linear_losses(cases: Cases) -> ld.Comparisons:
    """Losses of the linear denoiser against N on Gaussian data."""
    ratios = next(iter(cases.values())).ratios
    kinds = np.array(["training loss", "test loss"])
    axes = {"data": np.array(list(cases)), "loss": kinds, "N_over_d": ratios}

    def law(data: float) -> ld.Prediction:
        return _laws(cases, lambda c: stack(map(c.allow, c.expected_losses(data)[:2])))

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            _over(cases, lambda c: c.linear_losses), axes, label=NETWORKS[0]
        ),
        law(1), law(4).labelled("losses for four times the data"),
        name="losses of a linear network", quantity="loss / d",
    )  # fmt: skip


def linear_gains(cases: Cases) -> ld.Comparisons:
    """Gains of the linear denoiser along the modes on Gaussian data."""
    ratios = next(iter(cases.values())).ratios
    axes = {"data": np.array(list(cases)), "N_over_d": ratios, "mode": MODES}

    def law(data: float) -> ld.Prediction:
        return _laws(cases, lambda c: c.allow(c.expected_gains(data)))

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            _over(cases, lambda c: c.linear_gains / c.best_gains()), axes, label=NETWORKS[0]
        ),
        law(1), law(4).labelled("gains for four times the data"),
        name="gains of a linear network", quantity="gain / best linear gain",
    )  # fmt: skip


def gap_onsets(cases: Cases) -> ld.Comparisons:
    """Onset of the gap of the convolutional denoiser over that of the linear theory, in logs."""
    onset = np.array([case.onset(case.expected_gap()) for case in cases.values()])

    def measured(gaps: Array) -> Array:
        pairs = zip(cases.values(), gaps, strict=True)
        return np.array([case.onset(gap) for case, gap in pairs]) - onset

    def claimed(data: float, label: str) -> ld.Prediction:
        moved = measured(np.array([case.expected_gap(data) for case in cases.values()]))
        return ld.Prediction.between(moved + np.log(LEAST), moved, label=label)

    return ld.compare_with_controls(
        jackknife(_over(cases, lambda c: c.gaps), measured, {"data": np.array(list(cases))}),
        claimed(1, f"{LEAST:g} to 1 of theory"),
        claimed(4, "onset for four times the data"),
        claimed(1 / 4, "onset for a quarter of the data"),
        name="onset of the gap",
        quantity="log of the onset in N over that of the theory",
    )


def gains_of_modes(cases: Cases) -> ld.Comparisons:
    """Mean Jacobian of the convolutional denoiser at the largest N on Gaussian data.

    The loss R in excess of the best, R*, may be an error of sqrt((R - R*) / c_k) in mode k, whose
    noisy variance is c_k = 1 / best gain.
    """
    best = np.array([case.best_gains() for case in cases.values()])
    excess = [case.losses[:, 1, -1].mean() - case.best_loss for case in cases.values()]
    allowed = np.sqrt(np.maximum(excess, 0.0)[:, None] / best)
    half = np.array([case.best_gains(0.5) for case in cases.values()])
    noise = np.array([[1 - case.alpha_bar] for case in cases.values()])
    laws = {
        "best linear denoiser": np.ones(best.shape),
        "half the signal": half / best,
        "white covariance": noise / best,  # variance one in every direction
    }
    order = r"$\sqrt{(R - R^*) / c_k}$"
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            _over(cases, lambda c: c.gains[:, -1] / c.best_gains()),
            {"data": np.array(list(cases)), "mode": MODES}, label=NETWORKS[1],
        ),
        *(ld.Prediction(law, 0.0, allowed, order, label) for label, law in laws.items()),
        name="gains of a convolutional network", quantity="gain / best linear gain",
    )  # fmt: skip


def beside_linear(cases: Cases) -> ld.Comparisons:
    """Test loss of the convolutional denoiser at the largest N, beside a linear one.

    On Gaussian data the best linear denoiser, on images the one trained on the same data set.
    """
    on_gaussian = np.array([title in gaussian(cases) for title in cases])

    def ratio(case: FiniteDataCurves) -> Array:
        known = case in gaussian(cases).values()
        return case.losses[:, 1, -1] / (case.best_loss if known else case.linear_losses[:, 1, -1])

    def above(which: Array, label: str) -> ld.Prediction:
        low, high = np.where(which, 1.0, 0.5), np.where(which, 1.5, 1.0)
        return ld.Prediction.between(low, high, label=label)

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            _over(cases, ratio), {"data": np.array(list(cases))}, label=NETWORKS[1]
        ),
        above(on_gaussian, "below on images alone"),
        above(np.ones_like(on_gaussian), "never below"),
        above(~on_gaussian, "below on Gaussian data alone"),
        name="convolutional network beside linear ones",
        quantity="test loss / test loss of a linear denoiser",
    )
