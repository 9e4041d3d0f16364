"""Losses and gains of networks beside the linear theory, for `linear/networks-follow`."""

import numpy as np
from matplotlib.figure import Figure

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from linear_diffusion import theory
from linear_diffusion.claims.finite_networks import MODES, NETWORKS, Cases


def losses_figure(cases: Cases) -> Figure:
    """Losses against N/d, one panel for each case."""
    curves = list(cases.values())
    ratios, sizes, d = curves[0].ratios, curves[0].samples, curves[0].spectrum.size
    fine = np.unique(np.rint(np.geomspace(sizes[0], sizes[-1], 60)).astype(int))
    theories = [theory.losses(case.spectrum, fine, 0.0, case.alpha_bar) for case in curves]
    axes = {"network": np.array(NETWORKS), "N_over_d": ratios}
    train, test = (
        [
            ld.Measurement.from_replicas(
                np.stack([case.linear_losses[:, kind], case.losses[:, kind]], axis=1), axes
            )
            for case in curves
        ]
        for kind in (0, 1)
    )
    figure, panels = drawing.draw_panels(
        train, [(fine / d, each.train) for each in theories], titles=list(cases), x_label="N/d",
        y_labels=["loss / d"], width=4.4 * len(curves), height=4.2,
        ticks={1 / 8: "1/8", 1 / 2: "1/2", 2: "2", 8: "8"},
    )  # fmt: skip
    for panel, measured, losses in zip(panels, test, theories, strict=True):
        drawing.draw_measurement(panel, measured, labels=[None, None])
        drawing.draw_curves(panel, fine / d, losses.test.values)
        panel.axhline(float(losses.bayes.values[0]), color=drawing.GREY, linestyle=":")
        panel.axvline(1.0, color=drawing.GREY, linewidth=0.8, zorder=0)
    drawing.legend_below(figure, title="lines: linear theory, dotted: best linear denoiser")
    return figure


def gains_figure(cases: Cases) -> Figure:
    """Gains along the modes over those of the best linear denoiser, one series for each N."""
    curves = list(cases.values())
    ratios = curves[0].ratios
    shown = sorted({0, int(np.argmin(np.abs(ratios - 0.5))), ratios.size - 1})
    axes = {"N_over_d": ratios[shown], "mode": MODES}
    measured = [
        ld.Measurement.from_replicas(case.gains[:, shown] / case.best_gains(), axes)
        for case in curves
    ]
    figure, panels = drawing.draw_panels(
        measured, [(MODES, case.expected_gains()[shown]) for case in curves],
        labels=[f"N = {size}" for size in curves[0].samples[shown]], titles=list(cases),
        x_label="mode, by variance", y_labels=["gain / gain of the best linear denoiser"],
        width=4.4 * len(curves), height=4.2, ticks={k: f"{k}" for k in (1, 3, 10, 30)},
    )  # fmt: skip
    for panel in panels:
        panel.axhline(1.0, color=drawing.GREY, linestyle=":")
    drawing.legend_below(figure, title="markers: convolutional network, lines: linear theory")
    return figure
