"""Patches that networks generate along training, a part of `diffusion/images-pairwise-first`."""

from typing import Any

from numpy.typing import NDArray

from diffusion_theory import networks
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.figures import image_grid
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Panel, Run

SHOWN = 12  # patches of a sheet


def generated(
    run: Run,
    learning: networks.DenoiserLearning,
    schedule: NoiseSchedule,
    train: NDArray[Any],
    test: NDArray[Any],
) -> dict[str, Panel]:
    """Patches generated at four steps beside photographs, and their distances from the data.

    Args:
        run: size and key.
        learning: networks on photographs.
        schedule: of the noise.
        train: patches that distances are taken from.
        test: patches to show.
    """
    last, shape = len(learning.steps) - 1, train.shape[1:]
    at = [place for place in range(last - 9, last + 1, 3) if place > 0]
    images = networks.draw_sheets(
        learning, schedule, (150 if run.quick else 4000, *shape), observations=at,
        seeds=2 if run.quick else 8, key=run.key,
    )  # fmt: skip
    labels = [*(f"{step} updates" for step in learning.steps[at]), "photographs"]
    sheet = image_grid([*images[:, 0, :SHOWN], test[:SHOWN]], labels, scale="image")
    distances, ((axes,),) = drawing.new_figure(1, 1, width=6.4, height=4.2)
    measured = networks.distances_along(images, train, learning.steps[at])
    drawing.draw_measurement(axes, measured, joined=True)
    axes.set(xscale="log", yscale="log", xlabel="updates", ylabel="relative distance to data")
    drawing.legend_below(distances)
    return {
        "samples": Panel(
            sheet,
            "Patches that one network generates, from the same noise at every step of training; "
            "each in its own range of grey.",
        ),
        "distances": Panel(
            distances,
            "Relative distance of generated patches from the training data: of their covariances, "
            "and of the fourth cumulant summed over pairs of pixels (1 for Gaussian patches).",
        ),
    }
