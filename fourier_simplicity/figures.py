"""Figures of inputs of both classes: fields on a ring as lines, fields on a torus as images."""

from __future__ import annotations

import jax
import numpy as np
from matplotlib.figure import Figure

from fourier_simplicity.inputs import FourierInputs, draw
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.figures import image_grid
from learning_dynamics.validation import positive_integer, reject

__all__ = ["plot_inputs"]

KINDS = {"structured": "#C0392B", "noise": "#777777"}


def plot_inputs(
    inputs: FourierInputs, *, count: int = 3, drawn: int | None = None, key: jax.Array
) -> Figure:
    """Samples of both classes: on a ring a column of lines for each, on a torus a row of images.

    Args:
        inputs: input model. Both classes are drawn with the same amplitudes and untied phases.
        count: samples of each class.
        drawn: samples to draw, of which the first are shown: as many as were drawn before of such
            inputs need no new program. By default `count`.
        key: typed random key.

    Raises:
        ValueError: if fewer are drawn than shown, or as `draw`.
    """
    shown = positive_integer("count", count)
    total = shown if drawn is None else positive_integer("drawn", drawn)
    if total < shown:
        raise reject("drawn", f"be {shown} at least", drawn)
    fields = [
        np.asarray(draw(inputs, total, key=key, structured=kind == "structured"))[:shown]
        for kind in KINDS
    ]
    if len(inputs.shape) == 2:
        return image_grid(fields, list(KINDS), scale="image")
    figure, grid = drawing.new_figure(
        shown, 2, width=8.0, height=1.4 * shown + 0.4, sharex=True, sharey=True
    )
    with drawing.figure_style():
        for column, rows, (kind, colour) in zip(grid.T, fields, KINDS.items(), strict=True):
            for axes, row in zip(column, rows, strict=True):
                axes.plot(row, color=colour, linewidth=1.2)
            column[0].set(title=kind, xlim=(0, inputs.shape[0] - 1))
            column[-1].set_xlabel("site")
        grid[(shown - 1) // 2, 0].set_ylabel("x")
    return figure
