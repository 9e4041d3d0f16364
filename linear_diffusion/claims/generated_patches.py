"""Patches from models trained on few and on many patches, for `linear/transition-at-dimension`."""

import jax
import numpy as np
from matplotlib.figure import Figure

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.figures import image_grid
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Run
from linear_diffusion.claims.common import PATCH
from linear_diffusion.measures import memorisation
from linear_diffusion.patches import from_coordinates, photograph_law

SHOWN = 14


def generated_patches(run: Run) -> tuple[Figure, Figure]:
    """Generated patches, and their cosines to the nearest of two sets of patches."""
    ratios = np.array([0.1, 0.3, 1.0, 3.0, 10.0] if run.quick else [0.1, 0.2, 0.5, 1, 2, 5, 10])
    law = photograph_law(PATCH, 20_000, key=jax.random.fold_in(run.key, 300))
    made = memorisation(
        law, np.rint(ratios * law.spectrum.size).astype(int), NoiseSchedule.linear(250, 4e-4, 8e-2),
        count=128, key=jax.random.fold_in(run.key, 301),
    )  # fmt: skip
    rows = {"photographs": made.fresh[:SHOWN]}
    for i in (0, int(np.flatnonzero(ratios == 1)[0]), -1):
        rows[f"generated, N = {ratios[i]:g} d"] = made.generated[i, :SHOWN]
    images = [from_coordinates(coordinates) for coordinates in rows.values()]
    cosines = ld.Measurement.from_replicas(
        [made.training_cosine, made.fresh_cosine],
        {"set": np.array(["training set", "fresh set of equal size"]), "N_over_d": ratios},
        axis=-1,
    )
    figure, grid = drawing.new_figure(1, 1, width=6.0, height=4.0)
    drawing.draw_measurement(grid[0, 0], cosines)
    drawing.draw_curves(grid[0, 0], ratios, cosines.values, linestyle=":")
    with drawing.figure_style():
        grid[0, 0].set(xscale="log", xlabel="N/d", ylabel="largest cosine of a generated patch")
    drawing.legend_below(figure, columns=2)
    return image_grid(images, list(rows), scale="image"), figure
