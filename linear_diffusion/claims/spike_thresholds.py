"""Overlaps of generated laws with a spike and their thresholds, for `linear/spike-recovery`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.noise_schedule import NoiseSchedule
from linear_diffusion import theory
from linear_diffusion.data_sets import DataSets

Array = NDArray[Any]
SCHEDULE = NoiseSchedule.linear(40, 2e-3, 0.25)
OVERLAP = "squared overlap with the spike"


def overlaps(sets: DataSets, samples: Array, share: float = 1.0) -> ld.Prediction:
    """Overlaps with spikes whose excess variance is a share of the true one."""
    return stack(
        theory.spike_recovery(s[1:], 1 + share * (s[0] - 1), samples).overlap for s in sets.spectra
    )


def no_threshold(sets: DataSets) -> ld.Prediction:
    """First order in 1/N of the eigenvector's error, l s_i / (N (l - s_i)^2) in each direction."""
    lost = [np.sum(s[0] * s[1:] / (s[0] - s[1:]) ** 2) for s in sets.spectra]
    return ld.Prediction(1 / (1 + np.divide.outer(lost, sets.samples)), label="no threshold")


def figure(
    sets: DataSets,
    recovered: ld.Comparison,
    converged: ld.Comparison,
    divergence: Callable[[Array], ld.Prediction],
) -> Figure:
    """Overlap and divergence against N/d, with the thresholds."""
    d = sets.dimension
    fine, coarse = (
        np.unique(np.rint(np.geomspace(sets.samples[0], sets.samples[-1], points)).astype(int))
        for points in (90, 14)
    )
    drawn, panels = drawing.draw_panels(
        [recovered.measured, converged.measured],
        [(fine / d, overlaps(sets, fine)), (coarse / d, divergence(coarse))],
        x_label="N/d", y_labels=[recovered.quantity, converged.quantity],
        ticks={0.3: "0.3", 1: "1", 3: "3", 10: "10"},
    )  # fmt: skip
    limits = stack(theory.spike_recovery(s[1:], s[0], fine).limit for s in sets.spectra)
    drawing.draw_curves(panels[0], fine / d, limits.values, linestyle=":")
    panels[0].set_yscale("linear")
    for axes in panels:
        for i, s in enumerate(sets.spectra):
            threshold = float(theory.spike_threshold(s[1:], s[0]).values) / d
            colour = drawing.series_style(i).colour
            axes.axvline(threshold, color=colour, linewidth=0.8, alpha=0.6, zorder=0)
    legend = "markers: simulation, lines: theory, dotted: d = ∞"
    drawing.legend_below(drawn, columns=3, title=legend)
    return drawn
