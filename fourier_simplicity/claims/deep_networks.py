"""`fourier/deep-networks`: shared power-law spectra speed up the learning of phases in networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from fourier_simplicity.claims.amplitudes_first import SOURCE
from fourier_simplicity.claims.learning import learn
from fourier_simplicity.networks import (
    ConvNet,
    CueLearning,
    CueSets,
    TwoLayer,
    sweep_sets,
)
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.images import load_bundled
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.tracking import Tracker
from learning_dynamics.training import log_steps, shift

Array = NDArray[Any]
PARTS = (0.5, 1.0, 1.5)  # of the level, see `updates_to`
TIED = 4  # modes of the relation that is thought to be learned: a quartet
# one object each, so that runs share compilations
SGD, FAST, ADAM = optax.sgd(0.3), optax.sgd(0.4), optax.adam(4e-3)  # quick
SLOW_SGD, SLOW_FAST, SLOW_ADAM = optax.sgd(0.1), optax.sgd(0.2), optax.adam(3e-3)  # full


@dataclass(frozen=True)
class Case:
    """A network on images whose classes share a spectrum.

    Attributes:
        name: in tables.
        images: "digits", which are shifted around the torus at random, or "textures".
        build: as `learn_cues` wants it.
        exponents: beta of the amplitudes |k|^-beta.
        seeds: number of networks for each beta.
        end: updates.
        batch: images per update.
        optimiser: an optax transformation.
        level: accuracy above chance that counts as learned.
    """

    name: str
    images: str
    build: Any
    exponents: tuple[float, ...]
    seeds: int
    end: int
    batch: int
    optimiser: optax.GradientTransformation
    level: float

    def sets(self, quick: bool, key: jax.Array) -> list[CueSets]:
        """One for each beta."""
        images, limit = load_bundled(self.images), 6000 if quick else 18_000
        if self.images == "digits":
            return sweep_sets(images, self.exponents, test_limit=limit, key=key)
        return sweep_sets(images, self.exponents, size=8, stride=2, test_limit=limit, key=key)

    def learn(self, sets: CueSets, key: jax.Array, tracker: Tracker) -> CueLearning:
        """Train and test all seeds."""
        return learn(
            sets, self.build, seeds=self.seeds, batch=self.batch, optimiser=self.optimiser,
            augment=shift if self.images == "digits" else None,
            steps=log_steps(self.end, points=14, first=16), key=key, tracker=tracker,
        )  # fmt: skip


BETAS, THREE, ENDS = (0.0, 0.5, 1.0, 1.5), (0.0, 0.75, 1.5), (0.0, 1.5)
LAYERS, CONVOLUTIONS, TEXTURES = (
    "two layers, digits", "convolutional, digits", "two layers, textures",
)  # fmt: skip
TWO, WIDE = partial(TwoLayer, hidden=256), partial(TwoLayer, hidden=512)
CONV = partial(ConvNet, widths=(16, 32))
QUICK = (
    Case(LAYERS, "digits", TWO, THREE, 6, 2400, 128, SGD, 0.1),
    Case(CONVOLUTIONS, "digits", CONV, ENDS, 10, 700, 32, FAST, 0.2),
    Case(TEXTURES, "textures", TWO, ENDS, 8, 4000, 128, ADAM, 0.04),
)
FULL = (
    Case(LAYERS, "digits", WIDE, BETAS, 16, 12_000, 128, SLOW_SGD, 0.1),
    Case(CONVOLUTIONS, "digits", CONV, BETAS, 32, 2500, 64, SLOW_FAST, 0.2),
    Case(TEXTURES, "textures", WIDE, BETAS, 16, 40_000, 128, SLOW_ADAM, 0.04),
)


@claim(
    "fourier/deep-networks",
    statement=(
        "Two-layer and convolutional networks learn the phases of images faster when a power-law "
        "spectrum is shared by all classes, although it tells nothing about the class."
    ),
    source=SOURCE,
    seconds=65,
)
def deep_networks(run: Run) -> Evidence:
    """Updates to a level of accuracy against the exponent of the shared spectrum."""
    comparisons, controls, found = [], [], {}
    for number, case in enumerate(QUICK if run.quick else FULL):
        sets = case.sets(run.quick, jax.random.fold_in(run.key, number))
        # the same initial weights and minibatches at every beta
        key = jax.random.fold_in(run.key, 100 + number)
        runs = [case.learn(each, key, run.tracker) for each in sets]
        effective = np.array([effective_dimension(each) for each in sets])
        found[case.name] = (case, runs, effective)
        right, wrong = _growth(case, runs, effective)
        comparisons.append(right)
        controls += wrong
    panels = {
        "sweep": Panel(
            _figure(found),
            "Left: accuracy of the two-layer network on digits whose amplitudes were replaced by "
            "|k|^-β, the same for all classes, and that are shifted at random. Right: updates "
            "until the accuracy stays above chance by about 0.1 (convolutional: 0.2, textures: "
            "0.04), against the effective dimension of the images (triangles: not all of the level "
            "reached in training).",
        )
    }
    return Evidence(comparisons, controls, panels, NOTES)


NOTES = (
    "Digits of 8 x 8 pixels, shifted around the torus at random: with shared amplitudes all "
    "classes have exactly the same mean and covariance. Textures: brick, grass and gravel, spectra "
    "changed on the whole image, patches of 8 x 8 pixels. N_eff = tr Σ / λ_S, λ_S the geometric "
    f"mean of the {TIED} largest eigenvalues of the covariance: the effective dimension of a "
    "quartet of the leading modes. Which relations tell classes apart is not known, so that only "
    "the order is predicted.",
    "Compared is the exponent of the updates to the level in N_eff, fitted for each seed; updates "
    "that are not reached count as the end of training, which makes the exponent smaller. "
    "Accepted: above 0, up to the 3 of a single neuron on phases alone. Controls: a spectrum "
    "without influence, and the opposite order.",
    "A convolution of 3 x 3 pixels sees nine of them whatever the image: the gain from the "
    "spectrum is smaller. On patches of textures a small convolutional network showed no such "
    "order when this was tried.",
)


def effective_dimension(sets: CueSets) -> float:
    """N_eff = tr Sigma / lambda_S of the training images, see the notes of the claim."""
    rows = sets.train[0].reshape(len(sets.train[0]), -1).astype(np.float64)
    spectrum = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    return float(spectrum.sum() / np.exp(np.log(spectrum[:TIED]).mean()))


def updates_to(learning: CueLearning, level: float) -> Array:
    """Updates to the level, at most the end of training, shape (seeds,).

    Geometric mean over half the level, the level and half as much again: one crossing of a
    wavering accuracy is a noisy time.
    """
    crossings = [learning.recovery("phases", learning.chance + part * level) for part in PARTS]
    return np.asarray(stats.gmean(np.clip(crossings, 1, learning.steps[-1]), axis=0))


def growth_exponents(effective: Array, updates: Array) -> Array:
    """Least-squares exponent of updates, shape (exponents, seeds), in N_eff for each seed."""
    place = np.log(effective) - np.log(effective).mean()
    return np.asarray(np.log(updates).T @ place / np.sum(place**2))


def _growth(
    case: Case, runs: Sequence[CueLearning], effective: Array
) -> tuple[Comparison, list[Comparison]]:
    """Exponent of the updates in N_eff, seed by seed."""
    slopes = growth_exponents(
        effective, np.stack([updates_to(learning, case.level) for learning in runs])
    )
    axis = {"network": np.array([case.name])}
    seen = Measurement.from_replicas(slopes[:, None], axis, label=case.name)
    make = partial(compare, seen, quantity="exponent of updates in N_eff")
    none = Prediction([0.0], label="no influence")
    right = Prediction.between([0.0], [3.0], label="order of N_eff")
    opposite = Prediction.between([-3.0], [0.0], label="opposite order")
    return make(right, name=f"{case.name}, order of N_eff"), [
        make(none, name=f"{case.name}, no influence of the spectrum"),
        make(opposite, name=f"{case.name}, opposite order"),
    ]


def _figure(found: dict[str, tuple[Case, list[CueLearning], Array]]) -> Figure:
    figure, grid = new_figure(1, 2, width=9.4, height=4.6)
    left, right = grid[0]
    case, runs, _ = found[LAYERS]
    for i, (beta, learning) in enumerate(zip(case.exponents, runs, strict=True)):
        seen = learning.measurement(["phases"])
        draw_simulation(
            left, learning.steps, seen.values[0], seen.standard_error[0], index=i,
            label=f"β = {beta:g}",
        )  # fmt: skip
        draw_theory(left, learning.steps, seen.values[0], index=i)
    for j, (name, (case, runs, effective)) in enumerate(found.items()):
        updates = np.stack([updates_to(learning, case.level) for learning in runs])
        logs = np.log(updates)
        error = updates.mean(axis=1) * logs.std(axis=1, ddof=1) / np.sqrt(logs.shape[1])
        mean = np.exp(logs.mean(axis=1))
        draw_simulation(right, effective, mean, error, index=4 + j, label=name)
        draw_theory(right, effective, mean, index=4 + j)
        with figure_style():
            top = [r.chance + PARTS[-1] * case.level for r in runs]
            late = [
                not np.all(np.isfinite(r.recovery("phases", t)))
                for r, t in zip(runs, top, strict=True)
            ]
            right.plot(effective[late], 1.12 * mean[late], "^", color="black", markersize=7)
            for beta, x, y in zip(case.exponents, effective, mean, strict=True):
                right.annotate(
                    f"β={beta:g}", (x, y), xytext=(4, -11), textcoords="offset points", fontsize=8
                )
    with figure_style():
        left.axhline(found[LAYERS][1][0].chance, color="black", linewidth=0.7)
        left.set_xscale("symlog", linthresh=32)
        left.set(xlabel="updates", ylabel="accuracy", xlim=(0, None))
        right.set(
            xscale="log", yscale="log", xlabel=r"effective dimension $N_{\mathrm{eff}}$",
            ylabel="updates to the level",
        )  # fmt: skip
    legend_below(figure, columns=6)
    return figure
