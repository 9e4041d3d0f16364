"""`fourier/deep-networks`: shared power-law spectra speed up the learning of phases in networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fourier_simplicity.claims.amplitudes_first import SOURCE
from fourier_simplicity.networks import (
    ConvNet,
    CueLearning,
    CueSets,
    TwoLayer,
    learn_cues,
    sweep_sets,
)
from learning_dynamics.claims import Evidence, Panel, Run, claim
from learning_dynamics.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.images import load_bundled
from learning_dynamics.training import log_steps

Array = NDArray[Any]
PATCH, STRIDE = 8, 3
TIED = 4  # modes of the relation that is thought to be learned: a quartet
LEVEL = 0.05  # accuracy above chance


@dataclass(frozen=True)
class Network:
    """A network with what it takes to train it.

    Attributes:
        name: in tables.
        build: as `learn_cues` wants it.
        exponents: beta of the amplitudes |k|^-beta.
        seeds: number of networks for each beta.
        end: updates.
        batch: images per update.
    """

    name: str
    build: Any
    exponents: tuple[float, ...]
    seeds: int
    end: int
    batch: int


QUICK = (
    Network("two layers", partial(TwoLayer, hidden=256), (0.0, 0.5, 1.0, 1.5), 5, 6000, 128),
    Network("convolutional", partial(ConvNet, widths=(8, 16)), (0.0, 0.75, 1.5), 4, 800, 64),
)
FULL = (
    Network(
        "two layers", partial(TwoLayer, hidden=512), (0.0, 0.5, 1.0, 1.5, 2.0), 10, 40_000, 128
    ),
    Network(
        "convolutional", partial(ConvNet, widths=(32, 64)), (0.0, 0.5, 1.0, 1.5, 2.0), 8, 8000, 128
    ),
)


@claim(
    "fourier/deep-networks",
    statement=(
        "Two-layer and convolutional networks learn the phases of images faster when a power-law "
        "spectrum is shared by all classes, although it tells nothing about the class."
    ),
    source=SOURCE,
)
def deep_networks(run: Run) -> Evidence:
    """Updates to a level of accuracy against the exponent of the shared spectrum."""
    comparisons, controls, found = [], [], {}
    textures = load_bundled("textures")
    for number, network in enumerate(QUICK if run.quick else FULL):
        sets = sweep_sets(
            textures, network.exponents, size=PATCH, stride=STRIDE,
            test_limit=6000 if run.quick else 18_000, key=jax.random.fold_in(run.key, number),
        )  # fmt: skip
        runs = [
            learn_cues(
                each, network.build, seeds=network.seeds, batch=network.batch,
                steps=log_steps(network.end, points=14, first=8),
                key=jax.random.fold_in(run.key, 100 * number + i), track=run.tracker,
            )
            for i, each in enumerate(sets)
        ]  # fmt: skip
        effective = np.array([effective_dimension(each) for each in sets])
        found[network.name] = (network, runs, effective)
        right, wrong = _growth(network, runs, effective)
        comparisons.append(right)
        controls += wrong
    panels = {
        "sweep": Panel(
            _figure(found),
            "Left: accuracy of the two-layer network on textures whose amplitudes were replaced by "
            "|k|^-β, the same for all classes. Right: updates until the accuracy stays "
            f"{LEVEL:.2f} above chance, against the effective dimension of the patches' spectrum "
            "(triangles up: not reached in training). White spectra are the slowest.",
        )
    }
    return Evidence(comparisons, controls, panels, NOTES)


NOTES = (
    f"Brick, grass and gravel, {PATCH} x {PATCH} patches; spectra are changed on the whole image. "
    f"N_eff = tr Σ / λ_S, λ_S the geometric mean of the {TIED} largest eigenvalues of the patches' "
    "covariance: the effective dimension of a quartet of the leading modes. Which relations tell "
    "textures apart is not known, so that only the order is predicted.",
    "Compared is the exponent of the updates to the level in N_eff, fitted for each seed; updates "
    "that are not reached count as the end of training, which makes the exponent smaller. "
    "Accepted: above 0, up to the 3 of a single neuron on phases alone. Controls: a spectrum "
    "without influence, and the opposite order.",
)


def effective_dimension(sets: CueSets) -> float:
    """N_eff = tr Sigma / lambda_S of the training images, see the notes of the claim."""
    rows = sets.train[0].reshape(len(sets.train[0]), -1).astype(np.float64)
    spectrum = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    return float(spectrum.sum() / np.exp(np.log(spectrum[:TIED]).mean()))


def _updates(learning: CueLearning) -> Array:
    """Updates to the level, at most the end of training, shape (seeds,)."""
    passing = learning.passing("phases", learning.chance + LEVEL)
    return np.asarray(np.clip(passing, 1, learning.steps[-1]))


def _growth(
    network: Network, runs: Sequence[CueLearning], effective: Array
) -> tuple[Comparison, list[Comparison]]:
    """Exponent of the updates in N_eff, seed by seed."""
    place = np.log(effective) - np.log(effective).mean()
    updates = np.log(np.stack([_updates(learning) for learning in runs], axis=1))
    slopes = updates @ place / np.sum(place**2)
    axis = {"network": np.array([network.name])}
    seen = Measurement.from_replicas(slopes[:, None], axis, label=network.name)
    make = partial(compare, seen, quantity="exponent of updates in N_eff")
    none = Prediction(np.zeros(1), np.zeros(1), label="no influence")
    half = np.array([1.5])
    right = Prediction(half, np.zeros(1), half, "from 0 to 3", "order of N_eff")
    opposite = Prediction(-half, np.zeros(1), half, "from -3 to 0", "opposite order")
    return make(right, name=f"{network.name}, order of N_eff"), [
        make(none, name=f"{network.name}, no influence of the spectrum"),
        make(opposite, name=f"{network.name}, opposite order"),
    ]


def _figure(found: dict[str, tuple[Network, list[CueLearning], Array]]) -> Figure:
    figure, grid = new_figure(1, 2, width=9.4, height=4.6)
    left, right = grid[0]
    network, runs, _ = found["two layers"]
    for i, (beta, learning) in enumerate(zip(network.exponents, runs, strict=True)):
        seen = learning.measurement(["phases"])
        draw_simulation(
            left, learning.steps, seen.values[0], seen.standard_error[0], index=i,
            label=f"β = {beta:g}",
        )  # fmt: skip
        draw_theory(left, learning.steps, seen.values[0], index=i)
    for j, (name, (network, runs, effective)) in enumerate(found.items()):
        updates = np.stack([_updates(learning) for learning in runs])
        logs = np.log(updates)
        error = updates.mean(axis=1) * logs.std(axis=1, ddof=1) / np.sqrt(logs.shape[1])
        mean = np.exp(logs.mean(axis=1))
        draw_simulation(right, effective, mean, error, index=4 + j, label=name)
        draw_theory(right, effective, mean, index=4 + j)
        with figure_style():
            late = np.array([np.all(u >= learning.steps[-1]) for u, learning in
                             zip(updates, runs, strict=True)])  # fmt: skip
            right.plot(effective[late], 1.12 * mean[late], "^", color="black", markersize=7)
            for beta, x, y in zip(network.exponents, effective, mean, strict=True):
                right.annotate(
                    f"β={beta:g}", (x, y), xytext=(4, -11), textcoords="offset points", fontsize=8
                )
    with figure_style():
        left.axhline(runs[0].chance, color="black", linewidth=0.7)
        left.set_xscale("symlog", linthresh=8)
        left.set(xlabel="updates", ylabel="accuracy", xlim=(0, None))
        right.set(
            xscale="log", yscale="log", xlabel=r"effective dimension $N_{\mathrm{eff}}$",
            ylabel="updates to the level",
        )  # fmt: skip
    legend_below(figure, columns=6)
    return figure
