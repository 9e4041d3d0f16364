"""Part of `fourier/amplitudes-before-phases`: digits as they are, and shifted at random."""

from functools import partial

import jax

import learning_dynamics as ld
from fourier_simplicity import networks
from fourier_simplicity.claims.learning import (
    LEVEL,
    ORDER,
    at_chance,
    learn,
    order_of_cues,
)
from fourier_simplicity.networks.cues import MEAN_ONLY, PHASES_ALONE
from learning_dynamics.evidence import drawing
from learning_dynamics.images import load_bundled
from learning_dynamics.report.claims import Evidence, Panel, Run
from learning_dynamics.training import comes_first, log_steps, shift

AMPLITUDES, PHASES = "amplitude-only", "phase-only"
SHOWN = ("real", MEAN_ONLY, AMPLITUDES, PHASES, PHASES_ALONE)

CAPTION = (
    "Digits as they are (left): class means differ, and what they tell is learned in the first "
    "updates. Means live in the phases, so that phase-only images win and amplitudes alone stay "
    "near chance; phase-only images without their class mean are at chance too. The same digits "
    "shifted around the torus at random (right): no mean is left, amplitudes come first, and "
    "phases alone are at chance."
)
NOTES = (
    "Digits of 8 x 8 pixels both ways: means, then phases before amplitudes where digits are "
    "aligned; amplitudes before phases where they are shifted at random, in training and in every "
    "test set. Mean-only images are Gaussian about the mean of their class with a covariance that "
    f"is the same for all. At chance means within {LEVEL:.2f} of it at every step; mean-only "
    "images of shifted digits are compared with chance itself. Controls: the order of either kind "
    "for the other; phase-only images of aligned digits, and amplitude-only ones of shifted "
    "digits, at chance.",
)


def digits_both_ways(run: Run, key: jax.Array) -> Evidence:
    """Networks on aligned and on shifted digits.

    Args:
        run: size and progress bar.
        key: typed random key.
    """
    aligned, shifted = (_learn(run, moved, key) for moved in (False, True))
    near = partial(at_chance, within=LEVEL)
    comparisons = [
        _order(aligned, MEAN_ONLY, AMPLITUDES, "aligned digits, mean before amplitudes"),
        _order(aligned, PHASES, AMPLITUDES, "aligned digits, phases before amplitudes"),
        _order(shifted, AMPLITUDES, PHASES, "shifted digits, amplitudes before phases"),
        near(aligned, PHASES_ALONE, "aligned digits, phases without the mean at chance"),
        near(shifted, PHASES, "shifted digits, phases at chance"),
        at_chance(shifted, MEAN_ONLY, "shifted digits, mean at chance"),
    ]
    controls = [
        _order(aligned, AMPLITUDES, PHASES, "aligned digits, amplitudes before phases"),
        _order(shifted, PHASES, AMPLITUDES, "shifted digits, phases before amplitudes"),
        near(aligned, PHASES, "aligned digits, phases at chance"),
        near(shifted, AMPLITUDES, "shifted digits, amplitudes at chance"),
    ]
    figure, ((left, right),) = drawing.new_figure(1, 2, width=9.4, height=4.9, sharey=True)
    for axes, learning, name in ((left, aligned, "as they are"), (right, shifted, "shifted")):
        learning.draw(axes)
        axes.set_title(f"digits {name}\n" + axes.get_title(loc="left"), loc="left", fontsize=9)
    right.set_ylabel("")
    drawing.legend_below(figure)
    return Evidence(comparisons, controls, {"digits": Panel(figure, CAPTION)}, NOTES)


def _learn(run: Run, moved: bool, key: jax.Array) -> networks.CueLearning:
    seeds, end = (8, 200) if run.quick else (16, 400)
    digits = load_bundled("digits")
    sets = [
        networks.cue_sets(
            digits, shifted=moved, tests=SHOWN, key=jax.random.fold_in(key, 2 * seed + moved)
        )
        for seed in range(seeds)
    ]
    return learn(
        run, sets, log_steps(end, points=10, first=2), jax.random.fold_in(key, 1000 + moved),
        augment=shift if moved else None,
    )  # fmt: skip


def _order(learning: networks.CueLearning, first: str, second: str, name: str) -> ld.Comparison:
    measured = order_of_cues(learning, first, second, f"{second} after {first}")
    theory = comes_first(learning.steps[-1], f"{first} first")
    return ld.compare(measured, theory, name=name, quantity=ORDER)
