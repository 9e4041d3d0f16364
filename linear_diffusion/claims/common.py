"""What the claims share: spectra, laws, sizes and the finite-size bias they allow for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Run
from learning_dynamics.spectra import power_law
from linear_diffusion.data import LatentLaw
from linear_diffusion.patches import photograph_law

__all__ = [
    "PATCH",
    "SOURCE",
    "SPECTRA",
    "finite_size",
    "laws",
    "over_spectra",
]

Array = NDArray[np.float64]
SOURCE = "Merger and Goldt, arXiv 2505.24769; formulas derived here"
EXPONENTS = (0, 1, 2, 3)
PATCH = 11  # pixels; d = 120, beside the synthetic d = 120
SPECTRA = (*(f"k = {k}" for k in EXPONENTS), "photographs")


def laws(run: Run) -> dict[str, LatentLaw]:
    """Gaussian data with power-law spectra and with the covariance of real patches."""
    patches = photograph_law(PATCH, 20_000, key=jax.random.fold_in(run.key, 77))
    spectra = [*(power_law(PATCH**2 - 1, k) for k in EXPONENTS), patches.spectrum]
    return {name: LatentLaw(s) for name, s in zip(SPECTRA, spectra, strict=True)}


def finite_size(prediction: Prediction, samples: ArrayLike, dimension: int) -> Prediction:
    """Allow for what the theory leaves out after its first finite-size correction.

    The deterministic equivalents carry their first correction for Gaussian data; a relative error
    of 10 / min(N, d)^2 is left for the next one, 0.07 % at N >= d = 120 and 7 % at N = 12.
    """
    least = np.minimum(np.asarray(samples, np.float64), dimension)
    return prediction.with_bias(
        10 / least**2 * np.abs(prediction.values), r"$10 / \min(N, d)^2$, relative"
    )


def over_spectra(
    law: Callable[[Array], Prediction], spectra: Iterable[Array], samples: ArrayLike
) -> Prediction:
    """A law for each of several spectra, with the allowance of `finite_size`.

    Args:
        law: spectrum, shape (d,) -> prediction, whose shape that of `samples` broadcasts to.
        spectra: stacked along a new first axis.
        samples: N.
    """
    return stack(finite_size(law(spectrum), samples, spectrum.size) for spectrum in spectra)
