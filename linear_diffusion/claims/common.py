"""What the claims share: their source, spectra and laws."""

from __future__ import annotations

import jax
from numpy.typing import ArrayLike

from learning_dynamics.report.claims import Run
from learning_dynamics.spectra import power_law
from linear_diffusion.data import LatentLaw
from linear_diffusion.data_sets import DataSets
from linear_diffusion.patches import photograph_law

__all__ = [
    "PATCH",
    "SOURCE",
    "SPECTRA",
    "data_sets",
    "laws",
]

SOURCE = "Merger and Goldt, arXiv 2505.24769; formulas derived here"
EXPONENTS = (0, 1, 2, 3)
PATCH = 11  # pixels; d = 120, beside the synthetic d = 120
SPECTRA = (*(f"k = {k}" for k in EXPONENTS), "photographs")


def laws(run: Run) -> dict[str, LatentLaw]:
    """Gaussian data with power-law spectra and with the covariance of real patches."""
    patches = photograph_law(PATCH, 20_000, key=jax.random.fold_in(run.key, 77))
    spectra = [*(power_law(PATCH**2 - 1, k) for k in EXPONENTS), patches.spectrum]
    return {name: LatentLaw(s) for name, s in zip(SPECTRA, spectra, strict=True)}


def data_sets(
    run: Run, samples: ArrayLike, *, replicas: tuple[int, int], first: int = 0
) -> DataSets:
    """Data sets of all spectra.

    Args:
        run: size, key and store.
        samples: N, shape (sizes,).
        replicas: at quick and at full size.
        first: number of the first key.
    """
    count = replicas[0 if run.quick else 1]
    return DataSets.of(
        laws(run), samples, replicas=count, key=run.key, first=first, sweep=run.sweep
    )
