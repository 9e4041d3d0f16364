"""Hierarchical covariances without a remedy, a part of `linear/remedies-below-dimension`."""

import numpy as np

import learning_dynamics as ld
from learning_dynamics.report.claims import Panel, Run
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.data import LatentLaw
from linear_diffusion.data_sets import DataSets

D, ALPHA_BAR, EXPONENTS, SAMPLES = 120, 0.9, (0.0, 0.5, 1.0, 1.5, 2.0), [30, 60]


def hierarchy(run: Run) -> tuple[ld.Comparisons, Panel]:
    """Test loss without a remedy over that of the best linear denoiser, and its figure."""
    sets = DataSets.of(
        {k: LatentLaw(power_law(D, k)) for k in EXPONENTS}, SAMPLES,
        replicas=24 if run.quick else 256, key=run.key, first=50, sweep=run.sweep,
    )  # fmt: skip
    best = np.array([theory.bayes_loss(s, ALPHA_BAR).values for s in sets.spectra])[:, None]
    law = sets.expected(lambda s, N: theory.losses(s, N, 0.0, ALPHA_BAR).test)
    test = ld.compare_with_controls(
        sets.losses(ALPHA_BAR).test.scaled(1 / best), law.scaled(1 / best),
        name="hierarchical covariances", quantity="test loss / optimum",
    )  # fmt: skip
    panel = Panel(
        test[0].plot(
            x="law", series="N_over_d", logy=True, x_label="spectral exponent k",
            legend=["N = 30", "N = 60"],
        ),
        "Test loss over that of the best linear denoiser, without any remedy, against the "
        "exponent of the spectrum: variance outside the span of few samples shrinks with k.",
    )  # fmt: skip
    return test, panel
