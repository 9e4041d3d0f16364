"""`fourier/amplitudes-before-phases`: networks on images use amplitudes before phases."""

from functools import partial

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from fourier_simplicity.claims import aligned_digits, filters_first
from fourier_simplicity.claims.input_model import SOURCE as PAPER
from fourier_simplicity.claims.learning import LEVEL, learn, log_ratio
from fourier_simplicity.networks import (
    CueLearning,
    CueSets,
    TwoLayer,
    cue_sets,
    pairwise_accuracy,
    principal_dimension,
    white_sets,
)
from fourier_simplicity.networks.cues import CONFLICT_AMPLITUDES, CONFLICT_PHASES
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.images import load_bundled
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.training import log_steps

Array = NDArray[np.float64]
SOURCE = PAPER.split(";")[0] + "; the task and its controls were built here"
PATCH, STRIDE, HIDDEN, BATCH = 8, 3, 256, 128
WHITE_SEEDS = 5
CUES = ("amplitude-only", "phase-only")
SHOWN = ("real", *CUES, CONFLICT_AMPLITUDES, CONFLICT_PHASES)
FAST, SLOW = optax.adam(3e-3), optax.adam(1e-3)  # quick, full; one object each
NETWORK = partial(TwoLayer, hidden=HIDDEN)


@claim(
    "fourier/amplitudes-before-phases",
    statement=(
        "Networks trained on images rely on the amplitudes of their Fourier components, that is on "
        "pairwise correlations, before they rely on the phases, unless class means differ, which "
        "phases hold; their filters learn the principal subspace before non-Gaussian directions."
    ),
    source=SOURCE,
    seconds=60,
)
def amplitudes_first(run: Run) -> Evidence:
    """Accuracy on real, amplitude-only, phase-only and conflicting images, and filters."""
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
                tests=SHOWN,
                test_limit=6000 if run.quick else 18_000,
                key=jax.random.fold_in(run.key, 2 * seed + equal),
            )
            for seed in run.track(range(seeds), "surrogates")
        ]
        for equal in (False, True)
    ]
    dimension = principal_dimension(sets[0][0])
    training = partial(
        learn,
        build=NETWORK,
        batch=BATCH,
        optimiser=FAST if run.quick else SLOW,
        subspace=dimension,
        tracker=run.tracker,
    )
    real, equal = (
        training(
            each,
            seeds=seeds,
            steps=steps,
            key=jax.random.fold_in(run.key, 1000 + number),
        )
        for number, each in enumerate(sets)
    )
    white = training(
        [white_sets(each) for each in run.track(sets[0][:WHITE_SEEDS], "white patches")],
        seeds=WHITE_SEEDS,
        steps=log_steps(end // 10, points=10, first=2),
        key=jax.random.fold_in(run.key, 1002),
    )
    assert real.filters is not None
    assert white.filters is not None
    filters, no_order, filter_panel = filters_first.filters_first(real.filters, white.filters)
    digits = aligned_digits.learned_digits(run, jax.random.fold_in(run.key, 1003))
    both_ways, other_ways, digit_panel = aligned_digits.digits_both_ways(*digits)
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
        "digits": digit_panel,
        "filters": filter_panel,
    }
    comparisons = [order, blind, beyond, *both_ways, *filters]
    controls = [together, without, bounded, *other_ways, *no_order]
    mean = real.offered["mean"]
    share = (
        f"Class means of the patches carry {100 * mean.share:.2g} +- {100 * mean.error:.1g} % of "
        "their variance: stationary textures have none, but unit norm brings in third moments."
    )
    notes = (*_notes(rules), share, *aligned_digits.NOTES, *filters_first.NOTES)
    return Evidence(comparisons, controls, panels, notes)


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


def _orders(real: CueLearning, equal: CueLearning) -> tuple[Comparison, Comparison, Comparison]:
    most = float(np.log10(real.steps[-1]))
    axis = {"order": np.array(["phases after amplitudes"])}
    seen, swapped = (
        Measurement.from_replicas(log_ratio(learning, *CUES)[:, None], axis, label="network")
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
