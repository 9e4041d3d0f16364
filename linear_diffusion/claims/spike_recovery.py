"""`linear/spike-recovery`: a spike is recovered sharply, the distribution converges smoothly."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from learning_dynamics.evidence.comparison import (
    Comparison,
    Comparisons,
    Measurement,
    Prediction,
    compare_each,
)
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
    series_style,
)
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion import theory
from linear_diffusion.claims.cells import (
    SCHEDULE,
    generated_recoveries,
    recoveries,
    reduced_recoveries,
    replicas_first,
    sources,
)
from linear_diffusion.claims.common import SOURCE, finite_size
from linear_diffusion.data import LatentLaw

RATIOS = np.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])  # N/d
SPIKES = {"flat bulk, l = 2.4": 2.4, "uneven bulk, l = 2.4": 2.4, "flat bulk, l = 1.7": 1.7}
TIME = 300.0  # of training
Array = np.ndarray
OVERLAP = "squared overlap with the spike"


@claim(
    "linear/spike-recovery",
    statement=(
        "A direction of large variance is recovered at a sharp threshold in N/d: below it the "
        "leading direction of what a linear diffusion model generates is blind to it, while the "
        "divergence between data and generated distribution falls smoothly."
    ),
    source=SOURCE,
    seconds=17,
)
def spike_recovery(run: Run) -> Evidence:
    """Overlap and KL in one sweep, the threshold in three dimensions, and generated samples."""
    d = 100 if run.quick else 240
    sizes = np.rint(RATIOS * d).astype(int)
    laws = {name: LatentLaw(np.append(s, _bulk(name, d))) for name, s in SPIKES.items()}
    cells = run.sweep(
        recoveries,
        {"source": sources(run, laws), "samples": sizes},
        fixed={"replicas": 48 if run.quick else 256, "time": TIME},
    )
    overlap, divergence = (
        Measurement.from_replicas(
            replicas_first(cells[name]) / scale, {"law": np.array(list(laws)), "N_over_d": RATIOS}
        )
        for name, scale in (("overlap", 1), ("divergence", d))
    )
    spectra = [law.spectrum for law in laws.values()]
    recovered, *overlap_controls = compare_each(
        overlap,
        _overlaps(spectra, sizes),
        _overlaps(spectra, sizes, 0.9).labelled("a spike of 0.9 times the strength"),
        _no_threshold(spectra, sizes),
        name="overlap of the generated law",
        quantity=OVERLAP,
    )
    converged, converged_control = compare_each(
        divergence,
        _divergences(spectra, sizes),
        _divergences(spectra, sizes + sizes // 20).labelled("5 % more data"),
        name="KL",
        quantity="reverse KL / d (nats)",
    )
    sharper, unrounded = _sharpness(run)
    drawn, *drawn_controls = _generated(run)
    panels = {
        "recovery": Panel(
            _figure(recovered, converged, spectra),
            "Left, the overlap of the leading generated direction with the spike: lines for this "
            "dimension (shaded: what the theory leaves out), dotted for infinite dimension, where "
            "it is zero below the threshold. Right, the divergence of the same models: nothing "
            "happens at the thresholds (vertical lines).",
        ),
        "sharpness": Panel(
            sharper.plot(x="N_over_d", x_label="N/d", series="dimension", logx=True, logy=True),
            "The same overlap in dimensions 64 to 4096: below the threshold at N/d = 1 it falls as "
            "1/d, at the threshold as d^(-1/3), above it not at all.",
        ),
        "generated": Panel(
            drawn.plot(x="N_over_d", x_label="N/d", series="model", logx=True, logy=False),
            "Leading direction of 4 d samples that DDPM has generated. They show the spike only "
            "above a second threshold, which a ridge moves although it leaves the eigenvectors of "
            "the generated law as they are.",
        ),
    }
    return Evidence(
        [recovered, converged, sharper, drawn],
        [*overlap_controls, converged_control, unrounded, *drawn_controls],
        panels,
        NOTES,
    )


NOTES = (
    "Models trained for a finite time and run for 40 DDPM steps. Ridge, training time, sampler and "
    "steps change the generated variances, not their order or the eigenvectors: the overlap of the "
    "generated law is that of the sample covariance.",
    "A spike that is missed adds (log l - 1 + 1/l)/2 nats to the divergence, 0.15 at l = 2.4, one "
    "term among d: the divergence cannot tell whether it is recovered.",
    "The generated law is taken whole (infinitely many samples) in all panels but the last.",
    "The rounding at finite d is universal; what it leaves out is of relative order n^(-1/3).",
    "Controls: perturbation theory in 1/N, which has no threshold; a spike weaker by a tenth; the "
    "limit without its rounding; generated samples taken for the law; a ridge that is ignored; 5 % "
    "more data for the divergence.",
)


def _bulk(name: str, d: int) -> Array:
    return np.linspace(1.6, 0.4, d - 1) if name.startswith("uneven") else np.ones(d - 1)


def _overlaps(spectra: list[Array], sizes: Array, share: float = 1.0) -> Prediction:
    """Overlaps with spikes whose excess variance is a share of the true one."""
    spikes = [1 + share * (s[0] - 1) for s in spectra]
    return stack(
        [
            theory.spike_recovery(s[1:], spike, sizes).overlap
            for s, spike in zip(spectra, spikes, strict=True)
        ]
    )


def _no_threshold(spectra: list[Array], sizes: Array) -> Prediction:
    """First order in 1/N of the eigenvector's error, l s_i / (N (l - s_i)^2) in each direction."""
    lost = [np.sum(s[0] * s[1:] / (s[0] - s[1:]) ** 2) for s in spectra]
    return Prediction(1 / (1 + np.divide.outer(lost, sizes)), label="no threshold")


def _divergences(spectra: list[Array], sizes: Array) -> Prediction:
    kls = [
        theory.training_kl(s, sizes, 0.0, SCHEDULE, [TIME], direction="reverse")[:, 0]
        for s in spectra
    ]
    d = spectra[0].size
    return stack([finite_size(kl, sizes, d).scaled(1 / d) for kl in kls])


def _sharpness(run: Run) -> Comparisons:
    ratios, dimensions, spike = 2.0 ** np.arange(-2, 3), np.array([64, 512, 4096]), 2.0
    cells = run.sweep(
        reduced_recoveries,
        {"dimension": dimensions, "ratio": ratios},
        fixed={"spike": spike, "replicas": 128 if run.quick else 2048, "key": run.key},
    )
    measured = Measurement.from_replicas(
        replicas_first(cells["value"]), {"dimension": dimensions, "N_over_d": ratios}
    )
    laws = [
        theory.spike_recovery(np.ones(d - 1), spike, np.rint(ratios * d).astype(int))
        for d in dimensions
    ]
    rounded, limit = (stack([getattr(law, name) for law in laws]) for name in ("overlap", "limit"))
    name = "sharpness in the dimension"
    return compare_each(measured, rounded, limit, name=name, quantity=OVERLAP)


def _generated(run: Run) -> Comparisons:
    d, spike, ridges = 64, 1 + np.sqrt(2), np.array([0.0, 2.0])
    ratios = np.array([1.0, 2.0, 5.0, 10.0])
    sizes = np.rint(ratios * d).astype(int)
    source = sources(run, {"spike": LatentLaw(np.append(spike, np.ones(d - 1)))}, 50)
    cells = run.sweep(
        generated_recoveries,
        {"ridge": ridges, "samples": sizes},
        fixed={"source": source["spike"], "replicas": 48 if run.quick else 512, "count": 4 * d},
    )
    measured = Measurement.from_replicas(
        replicas_first(cells["value"]),
        {"model": np.array(["no ridge", "ridge c = 2"]), "N_over_d": ratios},
    )
    expected = [
        theory.generated_spike_recovery(d, spike, sizes, 4 * d, SCHEDULE, ridge=c).overlap
        for c in ridges
    ]
    law = theory.spike_recovery(np.ones(d - 1), spike, sizes).overlap
    return compare_each(
        measured,
        stack(expected),
        stack([law, law]).labelled("the law in place of samples"),
        stack(expected[:1] * 2).labelled("a ridge without effect"),
        name="generated samples",
        quantity=OVERLAP,
    )


def _figure(recovered: Comparison, converged: Comparison, spectra: list[Array]) -> Figure:
    figure, grid = new_figure(1, 2, width=9.0, height=4.4)
    d = spectra[0].size
    fine, coarse = (
        np.unique(np.rint(np.geomspace(RATIOS[0], RATIOS[-1], points) * d).astype(int))
        for points in (90, 14)
    )
    curves = ((fine, _overlaps(spectra, fine)), (coarse, _divergences(spectra, coarse)))
    for axes, comparison, (at, curve) in zip(grid[0], (recovered, converged), curves, strict=True):
        m = comparison.measured
        with figure_style():
            for i, (name, s) in enumerate(zip(SPIKES, spectra, strict=True)):
                draw_simulation(axes, RATIOS, m.values[i], m.standard_error[i], index=i, label=name)
                draw_theory(axes, at / d, curve.values[i], index=i, bias=curve.bias[i])
                if comparison is recovered:
                    limit = theory.spike_recovery(s[1:], s[0], fine).limit.values
                    draw_theory(axes, fine / d, limit, index=i, linestyle=":")
                threshold = float(theory.spike_threshold(s[1:], s[0]).values) / d
                colour = series_style(i).colour
                axes.axvline(threshold, color=colour, linewidth=0.8, alpha=0.6, zorder=0)
            axes.set(xscale="log", xlabel="N/d", ylabel=comparison.quantity)
            axes.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
            axes.xaxis.set_minor_formatter(NullFormatter())
    grid[0][1].set_yscale("log")
    legend_below(figure, columns=3, title="markers: simulation, lines: theory, dotted: d = ∞")
    return figure
