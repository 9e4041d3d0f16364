"""`fourier/amplitudes-before-phases`: networks on images use amplitudes before phases."""

from functools import partial

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from fourier_simplicity.claims.input_model import SOURCE as PAPER
from fourier_simplicity.networks import (
    CueLearning,
    CueSets,
    TwoLayer,
    cue_sets,
    learn_cues,
    pairwise_accuracy,
)
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.images import load_bundled
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.training import log_steps

Array = NDArray[np.float64]
SOURCE = PAPER.split(";")[0] + "; the task and its controls were built here"
PATCH, STRIDE, HIDDEN, BATCH = 8, 3, 256, 128
LEVEL = 0.03  # accuracy above chance that counts as using a cue
CUES = ("amplitude-only", "phase-only")
FAST, SLOW = optax.adam(3e-3), optax.adam(1e-3)  # quick, full; one object each
NETWORK = partial(TwoLayer, hidden=HIDDEN)


@claim(
    "fourier/amplitudes-before-phases",
    statement=(
        "Networks trained on images rely on the amplitudes of their Fourier components, that is on "
        "pairwise correlations, before they rely on the phases."
    ),
    source=SOURCE,
    seconds=45,
)
def amplitudes_first(run: Run) -> Evidence:
    """Accuracy of one network on real, amplitude-only, phase-only and conflicting textures."""
    seeds, end = (8, 3000) if run.quick else (16, 40_000)
    steps = log_steps(end, points=14, first=2)
    textures = load_bundled("textures")
    sets = [
        [
            cue_sets(
                textures,
                size=PATCH,
                stride=STRIDE,
                equal_spectra=equal,
                test_limit=6000 if run.quick else 18_000,
                key=jax.random.fold_in(run.key, 2 * seed + equal),
            )
            for seed in run.track(range(seeds), "surrogates")
        ]
        for equal in (False, True)
    ]
    real, equal = (
        learn_cues(
            each,
            NETWORK,
            seeds=seeds,
            steps=steps,
            batch=BATCH,
            optimiser=FAST if run.quick else SLOW,
            key=jax.random.fold_in(run.key, 1000 + number),
            tracker=run.tracker,
        )
        for number, each in enumerate(sets)
    )
    rules = pairwise_accuracy(sets[0][0])
    order, together, without = _orders(real, equal)
    blind = _without_amplitudes(equal)
    beyond, bounded = _beyond_pairs(real, sets[0])
    panels = {
        "cues": Panel(
            real.plot(lines={f"{rule} rule, real": found["real"] for rule, found in rules.items()}),
            "Accuracy of one network on five test sets along training on real textures. It first "
            "reads amplitude-only images as well as real ones and follows the amplitudes where "
            "cues conflict; phases alone tell it something an order of magnitude later. Grey: what "
            "means and covariances can do at most.",
        ),
        "equal-spectra": Panel(
            equal.plot(),
            "The same with class-specific amplitudes removed from all images before training: "
            "amplitude-only images stay at chance, and phases are learned late.",
        ),
    }
    comparisons = [order, blind, beyond]
    return Evidence(comparisons, [together, without, bounded], panels, _notes(rules))


def _notes(rules: dict[str, dict[str, float]]) -> tuple[str, ...]:
    table = "; ".join(
        f"{rule} {found['real']:.2f}, {found['amplitude-only']:.2f}, {found['phase-only']:.2f}"
        for rule, found in rules.items()
    )
    return (
        f"Brick, grass and gravel, {PATCH} x {PATCH} patches of zero mean and unit norm. "
        "Surrogates are made of the periodic component of the whole image; training patches lie "
        "left, test patches right. Seeds differ in start, minibatches, choice of patches and "
        "surrogates.",
        f"Accuracy of second-order rules on real, amplitude-only and phase-only patches: {table}. "
        "The angular Gaussian is Bayes' rule for normalised patches of Gaussian textures.",
        "A cue counts as used from the step on after which accuracy on its test set stays "
        f"{LEVEL:.2f} above chance, interpolated in log(1 + step). The order is one-sided: any "
        "positive logarithm of the ratio of steps is accepted. Controls: both cues used from the "
        "same step on; the order without class-specific amplitudes, where steps that are never "
        "reached count as the end of training; a network that is no better than pairwise "
        "statistics.",
    )


def _ratio(learning: CueLearning) -> Array:
    """log10 of (step of phases / step of amplitudes), both bounded by the end of training."""
    end = float(learning.steps[-1])
    early, late = (np.clip(learning.recovery(cue, learning.chance + LEVEL), 1, end) for cue in CUES)
    return np.asarray(np.log10(late / early))


def _orders(real: CueLearning, equal: CueLearning) -> tuple[Comparison, Comparison, Comparison]:
    most = float(np.log10(real.steps[-1]))
    axis = {"order": np.array(["phases after amplitudes"])}
    seen, swapped = (
        Measurement.from_replicas(_ratio(learning)[:, None], axis, label="network")
        for learning in (real, equal)
    )
    make = partial(compare, quantity="log10 of the ratio of steps")
    first = Prediction.between([0.0], [most], label="amplitudes first")
    at_once = Prediction([0.0], label="at the same step")
    return (
        make(seen, first, name="amplitudes before phases"),
        make(seen, at_once, name="both cues at the same step"),
        make(swapped, first, name="order without class-specific amplitudes"),
    )


def _without_amplitudes(equal: CueLearning) -> Comparison:
    """Classes with one spectrum: nothing is left in amplitude-only images, at any step."""
    draws = equal.accuracy["amplitude-only"]
    measured = Measurement.from_replicas(draws, {"step": equal.steps}, label="network")
    guess = np.full(draws.shape[1], equal.chance)
    predicted = Prediction(guess, label="chance")
    return compare(
        measured, predicted, name="amplitude-only images of equal spectra", quantity="accuracy"
    )


def _beyond_pairs(real: CueLearning, sets: list[CueSets]) -> tuple[Comparison, Comparison]:
    """At the end the network is better on real patches than the best rule for Gaussian ones."""
    best = np.array([pairwise_accuracy(each)["angular Gaussian"]["real"] for each in sets])
    gain = real.accuracy["real"][:, -1] - best
    axis = {"rule": np.array(["network - angular Gaussian"])}
    seen = Measurement.from_replicas(gain[:, None], axis, label="end of training")
    make = partial(compare, seen, quantity="gain in accuracy")
    more = Prediction.between([0.0], [1.0], label="beyond pairs")
    return (
        make(more, name="beyond pairwise statistics"),
        make(Prediction([0.0], label="pairs"), name="no better than pairs"),
    )
