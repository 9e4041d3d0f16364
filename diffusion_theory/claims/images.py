"""`diffusion/images-pairwise-first`: on photographs, pairwise statistics come first."""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffusion_theory.claims.common import SOURCE as PAPER
from diffusion_theory.networks import (
    DenoiserLearning,
    UNet,
    best_affine_loss,
    clones,
    covariance_distance,
    cumulant_distance,
    draw_along,
    learn_denoiser,
    photograph_patches,
)
from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.drawing import GREY
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.training import log_steps, recovery_steps

Array = NDArray[Any]
SOURCE = PAPER.split(";")[0] + "; the measurement was built here"
SIZE = 8
SCHEDULE = NoiseSchedule.linear(50, 2e-3, 0.4)
FIXED, BATCH = (8,), 32
QUICK, FULL = optax.adam(8e-3), optax.adam(2e-3)  # one object each, so that runs share programs
APART = 0.2  # relative difference of losses that counts as parted
SETS = ("photographs", "mean clone", "covariance clone")


def network(rngs: Any) -> UNet:
    """A small U-Net for patches of 8 x 8 pixels."""
    return UNet((SIZE, SIZE), widths=(8, 16), embedding=16, rngs=rngs)


def full_network(rngs: Any) -> UNet:
    """A U-Net for full runs."""
    return UNet((SIZE, SIZE), widths=(32, 64, 64), embedding=32, rngs=rngs)


@claim(
    "diffusion/images-pairwise-first",
    statement=(
        "A diffusion model trained on photographs learns their pairwise statistics before their "
        "higher-order ones."
    ),
    source=SOURCE,
    seconds=80,
)
def images_pairwise_first(run: Run) -> Evidence:
    """Losses of one network on photographs and on their Gaussian clones, along training."""
    end, seeds, copied, points = (600, 8, 4, 8) if run.quick else (30_000, 8, 8, 14)
    steps = log_steps(end, points=points, first=6)
    train, test = photograph_patches(
        SIZE, train=40_000, test=300 if run.quick else 4000, key=jax.random.fold_in(run.key, 0)
    )
    gaussian = clones(test, key=jax.random.fold_in(run.key, 1))
    tests = dict(zip(SETS, (test, gaussian.mean, gaussian.covariance), strict=True))
    copies = clones(train, key=jax.random.fold_in(run.key, 2))
    best = best_affine_loss(gaussian.spectrum, SCHEDULE)
    build = network if run.quick else full_network
    learn = partial(
        learn_denoiser, build, tests=tests, schedule=SCHEDULE, fixed=FIXED, batch=BATCH,
        optimiser=QUICK if run.quick else FULL, tracker=run.tracker,
    )  # fmt: skip
    real = learn(train, steps=steps, seeds=seeds, key=jax.random.fold_in(run.key, 3))
    cloned = learn(
        copies.covariance, steps=steps[1::2], seeds=copied, key=jax.random.fold_in(run.key, 4)
    )
    order, together = _order(real)
    below, beyond = _beside_optimum(real, float(best.mean()))
    never = _never_below(cloned, float(best.mean()))
    samples = _samples(run, real)
    panels = {
        "losses": Panel(
            _losses(real, best),
            "Loss of the same network on photographs (held out) and on Gaussian images with their "
            "mean, or with their mean and covariance. While two losses agree the network uses "
            "nothing by which the two sets differ. Grey line: the best affine denoiser, exact.",
        ),
        "clone": Panel(
            _losses(cloned, best),
            "Control: trained on a covariance clone of the training patches. The best affine "
            "denoiser is never beaten.",
        ),
        "samples": Panel(
            _sheet(samples, test, real.steps),
            "Patches that one network generates, from the same noise at every step of training.",
        ),
        "distances": Panel(
            _distances(samples, train, real.steps),
            "Relative distance of generated patches from the training data: of their covariances, "
            "and of the fourth cumulant summed over pairs of pixels (1 for Gaussian patches).",
        ),
    }
    return Evidence([order, below, never], [together, beyond], panels, NOTES)


NOTES = (
    f"Bundled photographs at half size, grey, {SIZE} x {SIZE} patches without their mean; training "
    "and test patches share no photograph, and each photograph gives equally many. Clones and "
    "optimum have the mean and covariance of the test patches, exactly: on any affine denoiser "
    "covariance clone and photographs have the same loss, and no affine denoiser is below the line "
    "on either.",
    f"{SCHEDULE.steps} noise levels, network small enough for a processor, tested with an "
    "exponential mean of its parameters (decay 0.99).",
    f"Clone and photographs have parted when their losses differ by {APART:.0%} of the loss on "
    "photographs from then on. One-sided: any positive logarithm of the ratio of steps is accepted "
    "(a clone that never parts counts as the end of training). Controls: both clones part at the "
    "same step; photographs never denoised better than by the best affine denoiser.",
)


def clone_steps(learning: DenoiserLearning, name: str) -> Array:
    """Step from which on the losses on clone and photographs differ, shape (seeds,)."""
    real = learning.loss[SETS[0]]
    return recovery_steps(learning.steps, np.abs(learning.loss[name] / real - 1), APART)


def _order(real: DenoiserLearning) -> tuple[Comparison, Comparison]:
    end = float(real.steps[-1])
    first, second = (np.clip(clone_steps(real, name), 1, end) for name in SETS[1:])
    axis = {"order": np.array(["covariance clone after mean clone"])}
    ratio = np.log10(second / first)
    ratios = Measurement.from_replicas(ratio[:, None], axis, label="network")
    make = partial(compare, ratios, quantity="log10 of the ratio of parting steps")
    most = Prediction.between([0.0], [np.log10(end)], label="mean first")
    same = Prediction([0.0], label="at once")
    return make(most, name="mean clone parts first"), make(same, name="clones part at once")


def _beside_optimum(real: DenoiserLearning, best: float) -> tuple[Comparison, Comparison]:
    """Excess over the best affine denoiser on photographs at the end of training."""
    excess = real.loss[SETS[0]][:, -1:] / best - 1
    axis = {"step": real.steps[-1:]}
    excesses = Measurement.from_replicas(excess, axis, label="on photographs")
    make = partial(compare, excesses, quantity="loss / best affine loss - 1")
    below = Prediction.between([-1.0], [0.0], label="below")
    above = Prediction.between([0.0], [10.0], label="not below")
    return (
        make(below, name="photographs, below the best affine denoiser"),
        make(above, name="photographs, never below"),
    )


def _never_below(cloned: DenoiserLearning, best: float) -> Comparison:
    """A network trained on Gaussian images stays above the optimum, on Gaussian images."""
    excess = cloned.loss[SETS[2]][:, -1:] / best - 1
    axis = {"step": cloned.steps[-1:]}
    excesses = Measurement.from_replicas(excess, axis, label="on covariance clone")
    above = Prediction.between([0.0], [10.0], label="not below")
    return compare(
        excesses,
        above,
        name="covariance clone, never below",
        quantity="loss / best affine loss - 1",
    )


def _samples(run: Run, real: DenoiserLearning) -> dict[int, list[Array]]:
    """Generated patches by observation, a list over seeds."""
    count, seeds = (150, 2) if run.quick else (4000, len(real.parameters))
    last = len(real.steps) - 1
    observations = [last - 3 * i for i in range(4) if last - 3 * i > 0][::-1]
    return {
        at: [
            draw_along(
                real, SCHEDULE, (count, SIZE, SIZE), observation=at, seed=seed,
                key=jax.random.fold_in(run.key, 100 + seed),
            )
            for seed in range(seeds)
        ]
        for at in run.track(observations, "samples")
    }  # fmt: skip


def _losses(learning: DenoiserLearning, best: Array) -> Figure:
    figure, grid = new_figure(1, 2, width=8.6, height=3.9)
    panels = [("all noise levels", learning.loss, float(best.mean()))]
    for i, t in enumerate(learning.fixed):
        at = {name: loss[:, :, i] for name, loss in learning.at_level.items()}
        panels.append((f"ᾱ = {SCHEDULE.alpha_bar[t]:.2f}", at, float(best[t])))
    for axes, (title, losses, line) in zip(grid.ravel(), panels, strict=True):
        for i, name in enumerate(SETS):
            curve = Measurement.from_replicas(losses[name], {"step": learning.steps})
            draw_simulation(
                axes, learning.steps, curve.values, curve.standard_error, index=i, label=name
            )
            draw_theory(axes, learning.steps, curve.values, index=i)
        with figure_style():
            axes.axhline(
                line, color=GREY, linewidth=1.2, linestyle="--", label="best affine denoiser"
            )
            axes.set_title(title)
            axes.set_xscale("symlog", linthresh=float(learning.steps[1]))
            axes.set_xlim(0, 1.3 * learning.steps[-1])
            axes.set_yscale("log")
        axes.set_xlabel("updates")
    grid[0, 0].set_ylabel("loss per pixel")
    legend_below(figure, columns=4)
    return figure


def _sheet(samples: dict[int, list[Array]], test: Array, steps: Array) -> Figure:
    """One row of patches for each step, photographs below."""
    columns = 12
    rows = {f"{steps[at]} updates": patches[0] for at, patches in samples.items()}
    rows["photographs"] = test
    figure, grid = new_figure(len(rows), columns, width=8.6, height=0.78 * len(rows))
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images[:columns], strict=True):
            width = 2.5 * max(float(np.std(image)), 1e-6)
            axes.imshow(image, cmap="gray", vmin=-width, vmax=width, interpolation="nearest")
            axes.set_axis_off()
        line[0].set_title(name, loc="left", fontsize=9)
    return figure


def _distances(samples: dict[int, list[Array]], train: Array, steps: Array) -> Figure:
    figure, grid = new_figure(1, 1, width=6.4, height=4.2)
    axes = grid[0, 0]
    at = np.array([steps[i] for i in samples])
    for i, (name, distance) in enumerate(
        (("covariance", covariance_distance), ("fourth cumulant", cumulant_distance))
    ):
        draws = np.array(
            [[distance(x, train) for x in of_seeds] for of_seeds in samples.values()]
        ).T
        curve = Measurement.from_replicas(draws, {"step": at})
        draw_simulation(axes, at, curve.values, curve.standard_error, index=i, label=name)
        draw_theory(axes, at, curve.values, index=i)
    axes.set(xscale="log", yscale="log", xlabel="updates", ylabel="relative distance to data")
    legend_below(figure)
    return figure
