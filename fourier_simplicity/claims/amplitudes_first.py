"""`fourier/amplitudes-before-phases`: networks on images use amplitudes before phases."""

import jax

import learning_dynamics as ld
from fourier_simplicity import networks
from fourier_simplicity.claims.aligned_digits import digits_both_ways
from fourier_simplicity.claims.filters_first import filters_first
from fourier_simplicity.claims.input_model import SOURCE as PAPER
from fourier_simplicity.claims.learning import (
    AT_ONCE,
    LEVEL,
    ORDER,
    at_chance,
    learn,
    order_of_cues,
)
from fourier_simplicity.networks.cues import CONFLICT_AMPLITUDES, CONFLICT_PHASES
from fourier_simplicity.rungs import BetweenClasses
from learning_dynamics.images import load_bundled
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.training import comes_first, log_steps

SOURCE = PAPER.split(";")[0] + "; the task and its controls were built here"
PATCH, STRIDE = 8, 3
WHITE_SEEDS = 5
CUES = ("amplitude-only", "phase-only")
SHOWN = ("real", *CUES, CONFLICT_AMPLITUDES, CONFLICT_PHASES)


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
    sets, equal_sets = (
        [_patches(run, seed, equal) for seed in run.track(range(seeds), "surrogates")]
        for equal in (False, True)
    )
    bare = [networks.white_sets(each) for each in run.track(sets[:WHITE_SEEDS], "white patches")]
    long, short = log_steps(end, points=14, first=2), log_steps(end // 10, points=10, first=2)
    dimension = networks.principal_dimension(sets[0])
    real, equal, white = (
        learn(run, each, steps, jax.random.fold_in(run.key, 1000 + number), subspace=dimension)
        for number, (each, steps) in enumerate(((sets, long), (equal_sets, long), (bare, short)))
    )
    first = comes_first(real.steps[-1], "amplitudes first")
    in_order, without = (
        order_of_cues(each, *CUES, "phases after amplitudes") for each in (real, equal)
    )
    order = ld.compare_with_controls(
        in_order, first, AT_ONCE.labelled("both cues at the same step"),
        name="amplitudes before phases", quantity=ORDER,
    )  # fmt: skip
    as_equal = ld.compare(
        without, first, name="order without class-specific amplitudes", quantity=ORDER
    )
    blind = at_chance(equal, "amplitude-only", "amplitude-only images of equal spectra")
    beyond = ld.compare_with_controls(
        networks.gain_over_pairs(real.accuracy["real"][:, -1], sets),
        ld.Prediction.between([0.0], [1.0], label="beyond pairs"),
        ld.Prediction([0.0], label="no better than pairs"),
        name="beyond pairwise statistics", quantity="gain in accuracy",
    )  # fmt: skip
    rules = networks.pairwise_accuracy(sets[0])
    panels = {
        "cues": Panel(
            real.plot(lines={f"{rule} rule, real": told["real"] for rule, told in rules.items()}),
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
    tests = [[*order, as_equal], [blind], beyond]
    textures = Evidence.of(tests, panels, _notes(rules, real.offered["mean"]))
    digits = digits_both_ways(run, jax.random.fold_in(run.key, 1003))
    return textures + digits + filters_first(real.filters, white.filters)


def _patches(run: Run, seed: int, equal: bool) -> networks.CueSets:
    """Patches of textures with their surrogates, of equal spectra or of their own."""
    return networks.cue_sets(
        load_bundled("textures"), size=PATCH, stride=STRIDE, equal_spectra=equal, tests=SHOWN,
        test_limit=6000 if run.quick else 18_000, key=jax.random.fold_in(run.key, 2 * seed + equal),
    )  # fmt: skip


def _notes(rules: dict[str, dict[str, float]], mean: BetweenClasses) -> tuple[str, ...]:
    table = "; ".join(
        f"{rule} {told['real']:.2f}, {told['amplitude-only']:.2f}, {told['phase-only']:.2f}"
        for rule, told in rules.items()
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
        f"Class means of the patches carry {100 * mean.share:.2g} +- {100 * mean.error:.1g} % of "
        "their variance: stationary textures have none, but unit norm brings in third moments.",
    )
