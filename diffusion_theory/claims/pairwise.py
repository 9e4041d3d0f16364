"""`diffusion/mixed-cumulant-pairwise-first`: a network leaves the mean clone, then the other."""

from typing import NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory.claims.common import SOURCE
from diffusion_theory.clones import NAMES, best_loss, clone_losses, linear_optimum
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.process.run import Level
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

Array = NDArray[np.float64]
DIMENSION, BATCH = 100, 64
APART = 0.2  # of what the best linear denoiser gains over the skip alone
INPUTS = MixedCumulant(4.0, pair="sign")


class Trained(NamedTuple):
    """Losses along training, less that of the best skip alone.

    Attributes:
        samples: seen so far, shape (times,).
        losses: name -> (replicas, times).
        errors: of the quadrature, likewise.
    """

    samples: Array
    losses: dict[str, Array]
    errors: dict[str, Array]


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
    linear = linear_optimum(INPUTS, "eps", DIMENSION)
    best, error = best_loss(INPUTS, "eps", DIMENSION, key=run.key, draws=80_000)
    neurons, steps, replicas = (20, 1500, 6) if run.quick else (100, 3000, 8)
    at = np.unique(np.geomspace(15, steps, 13).astype(int))
    laws = {"data": (INPUTS, at), "covariance clone": (INPUTS.gaussian(), at[-1:])}
    trained = {
        name: _train(law, neurons, seen, replicas, jax.random.fold_in(run.key, i))
        for i, (name, (law, seen)) in enumerate(run.track(laws.items(), "training"))
    }
    seen = trained["data"]
    gaps = {
        name: (seen.losses[name] - seen.losses["data"]) / -linear
        for name in NAMES
        if name != "data"
    }
    first, second = (_parting(gaps[name]) for name in NAMES[1:])
    above = (seen.losses["data"] - linear) / -linear
    order = _at_parting(
        gaps["covariance clone"], first, "covariance clone when the mean clone is left"
    )
    reached = _at_parting(above, second, "excess over the best linear denoiser then")
    other = _at_parting(gaps["mean clone"], second, "mean clone when the covariance clone is left")
    beats = _between(seen, best, linear, error, "trained on data")
    never = _between(trained["covariance clone"], best, linear, error, "trained on the clone")
    levels, across = _levels(run)
    panels = {
        "clones": Panel(
            _figure(seen, linear, best, first, second),
            f"Loss of the same networks ({neurons} neurons, d = {DIMENSION}) on data and on two "
            "clones of them, in units of what the best linear denoiser gains over a skip alone. "
            "Dotted: where the mean clone and, later, the covariance clone are more than 0.2 away.",
        ),
        "overlaps": Panel(
            _levels_figure(levels, across),
            "Overlaps of one neuron with u and v: simulation of all weights, overlap chain and the "
            "limit, from common starts.",
        ),
    }
    notes = (
        f"Parting from the mean clone after {_words(seen, first)} samples, from the covariance "
        f"clone after {_words(seen, second)} (geometric mean over {replicas} networks, with the "
        "factor of one standard error; the first observation more than 0.2 apart for good).",
        "A loss of order d = 100 hides gains of order one: all losses are taken relative to the "
        "best skip alone, and 'apart' means 0.2 of what the best linear denoiser gains.",
        "Tied denoiser with both signs (half of the neurons each), learned skip, Adam with a "
        "cosine schedule; latents nu = sign(lambda): uncorrelated ones take of order d³ samples. "
        "Losses are population losses from the order parameters, by quadrature.",
        "The final loss must lie more than half way from the best linear denoiser to the best one. "
        "Controls: networks trained on the covariance clone do not; the clones in the other order.",
    )
    return Evidence([order, reached, beats, levels, across], [never, other], panels, notes)


def _train(
    inputs: MixedCumulant,
    neurons: int,
    at: NDArray[np.int64],
    replicas: int,
    key: jax.Array,
) -> Trained:
    """Train on a law; losses on it and its clones at given steps."""
    signs = np.where(np.arange(neurons) < neurons // 2, -1.0, 1.0)
    start = float(inputs.noise_level.noise)
    learner = TiedDenoiser("tanh", sign=signs, neurons=neurons, learn_skip=True, skip=start)
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.006, 50, int(at[-1]))
    unit = float(DIMENSION)  # the optimiser's rate is then the change of a weight per update
    problem = ld.Problem(
        inputs, learner, unit, parameter_rates={"skip": unit}, batch=BATCH, initial_norm=0.5
    )
    trajectory = ld.simulate(
        problem, dimension=DIMENSION, times=at / DIMENSION, replicas=replicas, key=key,
        optimiser=optax.adam(rate),
    )  # fmt: skip
    signal, norms = trajectory.values["signal"], trajectory.values["norms"]
    overlaps = ld.order_parameters(signal, norms, {"skip": trajectory.values["skip"]})
    estimate = clone_losses(problem, overlaps, dimension=DIMENSION, points=2**14)
    samples = (trajectory.updates * BATCH).astype(np.float64)
    return Trained(samples, estimate.values, estimate.errors)


def _parting(gap: Array) -> NDArray[np.int64]:
    """Index from which a gap stays above `APART`, -1 if it does not; (replicas, times)."""
    far = gap > APART
    stays = np.logical_and.accumulate(far[:, ::-1], axis=1)[:, ::-1]
    return np.where(stays.any(axis=1), stays.argmax(axis=1), -1)


def _at_parting(values: Array, index: NDArray[np.int64], name: str) -> Comparison:
    """What a relative loss is at the replicas' own parting steps, against zero."""
    picked = np.where(index >= 0, values[np.arange(index.size), index], np.nan)
    measured = Measurement.from_replicas(
        picked[:, None], {"law": np.array(["data"])}, label="networks"
    )
    zero = Prediction([0.0], label="no difference")
    return compare(
        measured, zero.with_bias([APART], "0.2, the criterion"), name=name,
        quantity="difference / gain of the best linear denoiser",
    )  # fmt: skip


def _between(trained: Trained, best: float, linear: float, error: float, name: str) -> Comparison:
    """Final loss against the half next to the best of the interval from best linear to best."""
    last = trained.losses["data"][:, -1:]
    measured = Measurement.from_replicas(last, {"law": np.array([name])}, label="networks")
    uncertain = np.array([error + float(trained.errors["data"][:, -1].max())])
    middle = np.array([best + (linear - best) / 4])
    between = Prediction(middle, uncertain, label="beyond the best linear denoiser").with_bias(
        [(linear - best) / 4], "half way from best linear to best"
    )
    name = f"final loss, {name}"
    return compare(measured, between, name=name, quantity="loss - best skip alone")


def _words(trained: Trained, index: NDArray[np.int64]) -> str:
    if np.any(index < 0):
        return "no"
    logs = np.log(trained.samples[index])
    return f"{np.exp(logs.mean()):.3g} (factor {np.exp(logs.std(ddof=1) / logs.size**0.5):.2f})"


def _figure(
    trained: Trained,
    linear: float,
    best: float,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> Figure:
    figure, grid = new_figure(1, 1, width=6.6, height=5.0)
    axes, ends = grid[0, 0], trained.samples[[0, -1]]
    for i, name in enumerate(NAMES):
        rows = trained.losses[name] / -linear
        error = rows.std(axis=0, ddof=1) / np.sqrt(rows.shape[0])
        draw_simulation(axes, trained.samples, rows.mean(axis=0), error, index=i, label=name)
        draw_theory(axes, trained.samples, rows.mean(axis=0), index=i)
    with figure_style():
        axes.plot(ends, [-1, -1], "--", color="#444444", label="best linear denoiser (exact)")
        axes.plot(ends, [best / -linear] * 2, "-", color="#444444", label="best denoiser")
        for index in (first, second):
            if np.all(index >= 0):
                where = np.exp(np.log(trained.samples[index]).mean())
                axes.axvline(where, linestyle=":", color="#888888")
        axes.set(
            xscale="log", xlabel="samples n", ylim=(best / -linear - 0.1, 2.0),
            ylabel="(loss - best skip) / gain of the best linear",
        )  # fmt: skip
    legend_below(figure, columns=3)
    return figure


def _levels(run: Run) -> tuple[Comparison, Comparison]:
    """Ambient against overlap chain, chain against limit: one spherical neuron, u and v."""
    d, rate = 400, 0.4
    problem = ld.Problem(INPUTS, TiedDenoiser("tanh", sign=-1), rate, update="spherical")
    times, start = np.linspace(0.5, 5.0, 10), ld.order_parameters([[0.2, 0.1]], [[1.0]])
    sizes: tuple[tuple[Level, int], ...] = (
        ("ambient", 48 if run.quick else 400),
        ("overlaps", 512 if run.quick else 4000),
    )
    comparisons = [
        ld.simulate(
            problem, dimension=d, times=times, replicas=count, start=start, level=level,
            key=jax.random.fold_in(run.key, 100 + count),
        ).measurement(["signal"])
        for level, count in sizes
    ]  # fmt: skip
    limit = ld.integrate(
        problem, times=times, start=start, points=2**13, tolerance=1e-4, finite_size=False
    ).prediction(["signal"])
    shown = [_named(m) for m in comparisons]
    chain = Prediction(shown[1].values, shown[1].standard_error, label="overlap chain")
    line = Prediction(limit.values, limit.numerical_error, label="limit").with_bias(5 / d, "5/d")
    first, second = "all weights against overlap chain", "overlap chain against limit"
    return (
        compare(shown[0], chain, name=first, quantity="overlap"),
        compare(shown[1], line, name=second, quantity="overlap"),
    )


def _named(measured: Measurement) -> Measurement:
    axes = {"time": measured.coordinates["time"], "direction": np.array(["u", "v"])}
    return Measurement(
        measured.values, measured.standard_error, measured.replicas, axes, measured.lost,
        measured.label,
    )  # fmt: skip


def _levels_figure(ambient: Comparison, chain: Comparison) -> Figure:
    figure, grid = new_figure(1, 1, width=6.4, height=4.6)
    axes = grid[0, 0]
    for i, name in enumerate(("u", "v")):
        for j, measured in enumerate((ambient.measured, chain.measured)):
            time = measured.coordinates["time"]
            draw_simulation(
                axes, time + (0.04 if j else -0.04), measured.values[:, i],
                measured.standard_error[:, i], index=2 * i + j, label=f"{name}, {measured.label}",
            )  # fmt: skip
        draw_theory(axes, time, chain.predicted.values[:, i], index=2 * i, label=f"{name}, limit")
    with figure_style():
        axes.set(xlabel="n / d", ylabel="overlap")
    legend_below(figure, columns=2)
    return figure
