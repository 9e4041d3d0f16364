"""Denoisers trained on finite data beside the linear theory, for `linear/networks-follow`."""

from collections.abc import Callable
from itertools import product

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import stack
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


def over(cases: Cases, values: Callable[[FiniteDataCurves], Array]) -> Array:
    """Values of each draw in each case, shape (draws, cases, ...)."""
    return np.stack([values(case) for case in cases.values()], axis=1)


def linear_losses(cases: Cases) -> ld.Comparisons:
    """Losses of the linear denoiser against N on Gaussian data."""
    ratios = next(iter(cases.values())).ratios
    kinds = np.array(["training loss", "test loss"])
    axes = {"data": np.array(list(cases)), "loss": kinds, "N_over_d": ratios}

    def law(data: float) -> ld.Prediction:
        return stack(stack(map(c.allow, c.expected_losses(data)[:2])) for c in cases.values())

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            over(cases, lambda c: c.linear_losses), axes, label=NETWORKS[0]
        ),
        law(1), law(4).labelled("losses for four times the data"),
        name="losses of a linear network", quantity="loss / d",
    )  # fmt: skip


def linear_gains(cases: Cases) -> ld.Comparisons:
    """Gains of the linear denoiser along the modes on Gaussian data."""
    ratios = next(iter(cases.values())).ratios
    axes = {"data": np.array(list(cases)), "N_over_d": ratios, "mode": MODES}

    def law(data: float) -> ld.Prediction:
        return stack(c.allow(c.expected_gains(data)) for c in cases.values())

    return ld.compare_with_controls(
        ld.Measurement.from_replicas(
            over(cases, lambda c: c.linear_gains / c.best_gains()), axes, label=NETWORKS[0]
        ),
        law(1), law(4).labelled("gains for four times the data"),
        name="gains of a linear network", quantity="gain / best linear gain",
    )  # fmt: skip
