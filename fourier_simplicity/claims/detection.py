"""Detection of structure by the trained neuron, a part of `fourier/phases-cost-n-cubed`."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import rankdata

import learning_dynamics as ld
from fourier_simplicity.detection import detection_auc
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.inputs import FourierInputs, draw
from fourier_simplicity.learners import activation_function
from fourier_simplicity.simulation import TieOverlap, phase_problem
from fourier_simplicity.ties import harmonic
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
    series_style,
)
from learning_dynamics.evidence.statistics import binomial_error
from learning_dynamics.report.claims import Run

__all__ = ["Detection", "detect"]

Array = NDArray[np.float64]
INPUTS = FourierInputs(64, harmonic(1))
RATE, SHARE = 0.25, 0.25
TIMES = np.array([0.02, 0.2, 1.0, 2.5, 5.0])  # n / N^3
HELD_OUT = 600  # inputs of each class, per run
FINITE = 2.5


@dataclass(frozen=True, eq=False)
class Detection:
    """AUC on held-out inputs against theory, and the share of runs that know the tie.

    Attributes:
        comparison: AUC, coordinates (N, time).
        known, predicted: share of runs, of paths, that know the tie, shape (sizes, times).
    """

    comparison: Comparison
    known: Array
    predicted: Array

    def figure(self) -> Figure:
        """AUC above, recovery below, against n / N^3."""
        figure, grid = new_figure(2, 1, width=6.4, height=5.8, sharex=True)
        upper, lower = grid[:, 0]
        measured, theory = self.comparison.measured, self.comparison.predicted
        count = self.comparison.measured.replicas
        for i, n in enumerate(measured.coordinates["N"].tolist()):
            values, errors = measured.values[i], measured.standard_error[i]
            draw_simulation(upper, TIMES, values, errors, index=i)
            draw_theory(upper, TIMES, theory.values[i], index=i)
            p = self.known[i]
            draw_simulation(lower, TIMES, p, binomial_error(p, count), index=i)
            draw_theory(lower, TIMES, self.predicted[i], index=i)
            style = series_style(i)
            upper.plot([], [], style.marker, color=style.colour, label=f"N = {n}")
        with figure_style():
            upper.axhline(0.5, color="#999999", linewidth=0.8)
            upper.set(xscale="log", ylabel="AUC on held-out inputs")
            lower.set(xlabel="n / N³", ylabel="share that knows the tie", ylim=(-0.03, 1.03))
        legend_below(figure)
        return figure


def detect(run: Run) -> tuple[Detection, Comparison]:
    """Train at two N, test on fresh inputs of both classes; the control is chance."""
    sizes, replicas, paths = ([12, 24], 96, 192) if run.quick else ([12, 24, 48], 256, 1024)
    fixed = {"replicas": replicas, "paths": paths, "key": run.key}
    seen = run.sweep(_trained, {"dimension": sizes}, fixed=fixed)
    table = {name: np.asarray(seen[name]) for name in ("theory", "error", "known", "paths")}
    axes = {"N": np.array(sizes), "time": TIMES}
    measured = Measurement.from_replicas(np.asarray(seen["auc"]).swapaxes(0, 1), axes)
    bias = FINITE / np.array(sizes)[:, None] * np.abs(table["theory"] - 0.5) + 1e-4
    theory = Prediction(table["theory"], table["error"], bias, "2.5/N of AUC - 1/2", "diffusion")
    chance = Prediction(np.full(bias.shape, 0.5), label="chance")
    quantity = "AUC on held-out inputs"
    found = compare(measured, theory, name="detection", quantity=quantity)
    return (
        Detection(found, table["known"], table["paths"]),
        compare(measured, chance, name="no detection at any n", quantity=quantity),
    )


def _trained(dimension: int, replicas: int, paths: int, key: jax.Array) -> dict[str, Array]:
    """AUC of neurons, shape (replicas, times), and means over the diffusion, shape (times,)."""
    n, watched = dimension, TieOverlap(INPUTS)
    key = jax.random.fold_in(key, 5000 + n)
    problem = phase_problem(INPUTS, "he4", learning_rate=RATE / n)
    law = neuron_diffusion(
        problem, dimension=n, times=TIMES * n**2, paths=max(paths, replicas), key=key, step=0.1
    )
    start = jax.tree.map(lambda a: a[:replicas], law.start)
    seen = ld.simulate(
        problem, dimension=n, times=TIMES * n**2, replicas=replicas, level="overlaps",
        key=jax.random.fold_in(key, 1), start=start,
    )  # fmt: skip
    signal, expected_signal = (t.values["signal"][:, :, 0] for t in (seen, law))
    expected = detection_auc(INPUTS, "he4", expected_signal)
    known, predicted = (
        (watched.along(m) >= SHARE * watched.largest).mean(axis=0)
        for m in (signal, expected_signal)
    )
    return {
        "auc": held_out_auc(signal, jax.random.fold_in(key, 2)),
        "theory": expected.mean(axis=0),
        "error": expected.std(axis=0) / np.sqrt(len(expected)),
        "known": known,
        "paths": predicted,
    }


def held_out_auc(signal: Array, key: jax.Array) -> Array:
    """AUC of He4(w.x) on fresh inputs, for overlaps of shape (replicas, times, r)."""
    count, _, r = signal.shape
    at = INPUTS.tied()[0]
    own = np.stack([2 * at, 2 * at + 1], axis=-1).ravel()
    rest = np.sqrt(np.maximum(1 - (signal**2).sum(axis=-1), 0))
    fields = []
    for i, structured in enumerate((True, False)):
        drawn = draw(
            INPUTS, count * HELD_OUT, key=jax.random.fold_in(key, i), structured=structured,
            space="modes",
        )  # fmt: skip
        tied = np.asarray(drawn, np.float64)[:, own].reshape(count, HELD_OUT, r)
        noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 10 + i), (count, HELD_OUT)))
        fields.append(np.einsum("ctr,chr->cth", signal, tied) + rest[..., None] * noise[:, None])
    scores = np.asarray(activation_function("he4")(jnp.asarray(np.concatenate(fields, axis=-1))))
    ranks = rankdata(scores, axis=-1)[..., :HELD_OUT].sum(axis=-1)
    return np.asarray((ranks - HELD_OUT * (HELD_OUT + 1) / 2) / HELD_OUT**2)
