"""`diffusion/mixed-cumulant-pairwise-first`: a network leaves the mean clone, then the other."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory.claims.common import SOURCE
from diffusion_theory.clone_learning import CloneLearning, Parting, learn_with_clones
from diffusion_theory.clones import NAMES, best_loss, linear_optimum
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.evidence import drawing
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

DIMENSION = 100
APART = 0.2  # of what the best linear denoiser gains over the skip alone
INPUTS = MixedCumulant(4.0, pair="sign")


@claim(
    "diffusion/mixed-cumulant-pairwise-first",
    statement=(
        "A simple denoiser trained on the mixed cumulant model first uses the pairwise statistics "
        "of its data and only later the higher-order ones."
    ),
    source=SOURCE,
    seconds=30,
)
def mixed_cumulant_pairwise_first(run: Run) -> Evidence:
    """One network on data, mean clone and covariance clone; overlaps at three levels."""
    gain = -linear_optimum(INPUTS, "eps", DIMENSION)
    best, error = best_loss(INPUTS, "eps", DIMENSION, key=run.key, draws=80_000)
    neurons, steps, replicas = (20, 1500, 6) if run.quick else (100, 3000, 8)
    updates = np.unique(np.geomspace(15, steps, 13).astype(int))
    laws = [(INPUTS, updates), (INPUTS.gaussian(), updates[-1:])]
    on_data, on_clone = (
        learn_with_clones(
            data, neurons=neurons, dimension=DIMENSION, updates=seen, replicas=replicas,
            key=jax.random.fold_in(run.key, i),
        )
        for i, (data, seen) in enumerate(run.track(laws, "training"))
    )  # fmt: skip
    mean, covariance = (on_data.parting(clone, APART * gain) for clone in NAMES[1:])
    gaps = {clone: on_data.gap(clone) / gain for clone in NAMES[1:]}
    order = _at_parting(
        mean.at(gaps["covariance clone"]), "covariance clone when the mean clone is left"
    )
    swapped = _at_parting(
        covariance.at(gaps["mean clone"]), "mean clone when the covariance clone is left"
    )
    reached = _at_parting(
        covariance.at((on_data.losses["data"] + gain) / gain),
        "excess over the best linear denoiser then",
    )
    beats = _beyond_linear(on_data, best, gain, error, "trained on data")
    never = _beyond_linear(on_clone, best, gain, error, "trained on the clone")
    weights, chain = _levels(run)
    panels = {
        "clones": Panel(
            _clones_figure(on_data, gain, best, [mean, covariance]),
            f"Loss of the same networks ({neurons} neurons, d = {DIMENSION}) on data and on two "
            "clones of them, in units of what the best linear denoiser gains over a skip alone. "
            "Dotted: where the mean clone and, later, the covariance clone are more than 0.2 away.",
        ),
        "overlaps": Panel(
            _levels_figure(weights, chain),
            "Overlaps of one neuron with u and v: simulation of all weights, overlap chain and the "
            "limit, from common starts.",
        ),
    }
    notes = (
        f"Parting from the mean clone after {mean} samples, from the covariance "
        f"clone after {covariance} (geometric mean over {replicas} networks, with the "
        "factor of one standard error; the first observation more than 0.2 apart for good).",
        "A loss of order d = 100 hides gains of order one: all losses are taken relative to the "
        "best skip alone, and 'apart' means 0.2 of what the best linear denoiser gains.",
        "Tied denoiser with both signs (half of the neurons each), learned skip, Adam with a "
        "cosine schedule; latents nu = sign(lambda): uncorrelated ones take of order d³ samples. "
        "Losses are population losses from the order parameters, by quadrature.",
        "The final loss must lie more than half way from the best linear denoiser to the best one. "
        "Controls: networks trained on the covariance clone do not; the clones in the other order.",
    )
    return Evidence([order, reached, beats, weights, chain], [never, swapped], panels, notes)


def _at_parting(values: NDArray[np.float64], name: str) -> ld.Comparison:
    """Zero up to the criterion, at the replicas' own parting."""
    axis = {"law": np.array(["data"])}
    measured = ld.Measurement.from_replicas(values[:, None], axis, label="networks")
    zero = ld.Prediction([0.0], 0.0, [APART], "0.2, the criterion", "no difference")
    quantity = "difference / gain of the best linear denoiser"
    return ld.compare(measured, zero, name=name, quantity=quantity)


def _beyond_linear(
    learning: CloneLearning, best: float, gain: float, error: float, name: str
) -> ld.Comparison:
    """Final loss in the half next to the best of the interval from best linear to best."""
    final = learning.losses["data"][:, -1:]
    measured = ld.Measurement.from_replicas(final, {"law": np.array([name])}, label="networks")
    uncertain = error + float(learning.errors["data"][:, -1].max())
    quarter = (-gain - best) / 4
    law = ld.Prediction(
        [best + quarter], [uncertain], [quarter], "half way from best linear to best",
        "beyond the best linear denoiser",
    )  # fmt: skip
    return ld.compare(measured, law, name=f"final loss, {name}", quantity="loss - best skip alone")


def _levels(run: Run) -> tuple[ld.Comparison, ld.Comparison]:
    """Ambient against overlap chain, chain against limit: one spherical neuron, u and v."""
    d, times = 400, np.linspace(0.5, 5.0, 10)
    problem = ld.Problem(INPUTS, TiedDenoiser("tanh", sign=-1), 0.4, update="spherical")
    start = ld.order_parameters([[0.2, 0.1]], [[1.0]])
    simulate = partial(ld.simulate, problem, dimension=d, times=times, start=start)
    many, few = (512, 48) if run.quick else (4000, 400)
    weights = simulate(replicas=few, level="ambient", key=jax.random.fold_in(run.key, 100 + few))
    chain = simulate(replicas=many, level="overlaps", key=jax.random.fold_in(run.key, 100 + many))
    limit = ld.integrate(
        problem, times=times, start=start, points=2**13, tolerance=1e-4, finite_size=False
    ).prediction(["signal"])
    axes = {"time": times, "direction": np.array(["u", "v"])}
    all_weights, overlaps = (
        replace(trajectory.measurement(["signal"]), coordinates=axes)
        for trajectory in (weights, chain)
    )
    return (
        ld.compare(
            all_weights, chain.prediction(["signal"]).labelled("overlap chain"),
            name="all weights against overlap chain", quantity="overlap",
        ),
        ld.compare(
            overlaps, limit.labelled("limit").with_bias(5 / d, "5/d"),
            name="overlap chain against limit", quantity="overlap",
        ),
    )  # fmt: skip


def _clones_figure(
    learning: CloneLearning, gain: float, best: float, partings: list[Parting]
) -> Figure:
    figure, grid = drawing.new_figure(1, 1, width=6.6, height=5.0)
    axes, ends = grid[0, 0], learning.samples[[0, -1]]
    losses = ld.Measurement.from_replicas(
        np.stack([learning.losses[name] / gain for name in NAMES], axis=1),
        {"law": np.array(NAMES), "samples": learning.samples},
    )
    drawing.draw_measurement(axes, losses)
    drawing.draw_curves(axes, learning.samples, losses.values)
    with drawing.figure_style():
        axes.plot(ends, [-1, -1], "--", color="#444444", label="best linear denoiser (exact)")
        axes.plot(ends, [best / gain] * 2, "-", color="#444444", label="best denoiser")
        for parting in partings:
            if np.all(parting.place >= 0):
                mean = np.exp(np.log(parting.samples).mean())
                axes.axvline(mean, linestyle=":", color="#888888")
        axes.set(
            xscale="log", xlabel="samples n", ylim=(best / gain - 0.1, 2.0),
            ylabel="(loss - best skip) / gain of the best linear",
        )  # fmt: skip
    drawing.legend_below(figure, columns=3)
    return figure


def _levels_figure(weights: ld.Comparison, chain: ld.Comparison) -> Figure:
    figure, grid = drawing.new_figure(1, 1, width=6.4, height=4.6)
    axes, times = grid[0, 0], chain.measured.coordinates["time"]
    for i, spike in enumerate(("u", "v")):
        for j, measured in enumerate((weights.measured, chain.measured)):
            label = f"{spike}, {measured.label}"
            nudged = times + (0.04 if j else -0.04)
            overlap = measured.select(direction=i)
            drawing.draw_measurement(axes, overlap, nudged, first=2 * i + j, labels=[label])
        law = chain.predicted.values[:, i]
        drawing.draw_theory(axes, times, law, index=2 * i, label=f"{spike}, limit")
    with drawing.figure_style():
        axes.set(xlabel="n / d", ylabel="overlap")
    drawing.legend_below(figure, columns=2)
    return figure
