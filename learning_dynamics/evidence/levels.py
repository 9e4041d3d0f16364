"""Figure of several levels of description of one process, beside a law."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.measurement import Measurement, Prediction
from learning_dynamics.validation import reject

__all__ = ["plot_levels"]

APART = 0.04  # of the shortest time between two observations, to either side


def plot_levels(
    measured: Sequence[Measurement], law: Prediction, *, x_label: str, y_label: str
) -> Figure:
    """Draw measurements of the same quantities side by side along time, and the line of a law.

    Args:
        measured: levels of description, coordinates (time, quantity), or other names of these.
        law: prediction of the same shape, shaded by its allowed bias.
        x_label: of the times.
        y_label: of the quantities.

    Raises:
        ValueError: without a measurement, or on other coordinates or shapes.
    """
    shapes = [each.values.shape for each in measured]
    if not shapes or {*shapes, law.values.shape} != {shapes[0]} or len(shapes[0]) != 2:
        demand = "be some, with coordinates (time, quantity), of the shape of the law"
        raise reject("measured", demand, f"{shapes} beside {law.values.shape}")
    places = [[axis.tolist() for axis in each.coordinates.values()] for each in measured]
    if any(place != places[0] for place in places):
        raise reject("measured", "be taken at the same times, of the same quantities", places)
    figure, ((axes,),) = drawing.new_figure(1, 1, width=6.4, height=4.6)
    times, quantities = (np.asarray(axis) for axis in measured[0].coordinates.values())
    apart = 2 * APART * float(np.diff(times).min()) if times.size > 1 else 0.0
    count = len(measured)
    for i, quantity in enumerate(quantities):
        name = f"{quantity}, " if quantities.size > 1 else ""
        for j, each in enumerate(measured):
            nudged = times + apart * (j - (count - 1) / 2)
            drawing.draw_simulation(
                axes, nudged, each.values[:, i], each.standard_error[:, i], index=count * i + j,
                label=f"{name}{each.label}",
            )  # fmt: skip
        drawing.draw_theory(
            axes, times, law.values[:, i], bias=law.bias[:, i], index=count * i,
            label=f"{name}{law.label}",
        )  # fmt: skip
    axes.set(xlabel=x_label, ylabel=y_label)
    drawing.legend_below(figure, columns=2)
    return figure
