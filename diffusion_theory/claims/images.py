"""`diffusion/images-pairwise-first`: on photographs, pairwise statistics come first."""

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
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
from learning_dynamics.evidence import drawing
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
    excess, of_clone = (
        _excess(learning, name, best) for learning, name in ((real, SETS[0]), (cloned, SETS[2]))
    )
    below, above = (
        ld.Prediction.between([low], [high], label=label)
        for low, high, label in (
            (-1.0, 0.0, "below"), (0.0, 10.0, "photographs, never below"),
        )
    )  # fmt: skip
    quantity = "loss / best affine loss - 1"
    beyond = ld.compare_with_controls(
        excess, below, above, name="photographs, below the best affine denoiser", quantity=quantity
    )
    never = ld.compare(
        of_clone, above.labelled("not below"), name="covariance clone, never below",
        quantity=quantity,
    )  # fmt: skip
    return Evidence.of([_order(real), beyond, [never]], panels, NOTES)


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


def _order(real: DenoiserLearning) -> ld.Comparisons:
    """Logarithm of the ratio of the steps at which the two clones part from photographs."""
    end = float(real.steps[-1])
    first, second = (np.clip(clone_steps(real, name), 1, end) for name in SETS[1:])
    axis = {"order": np.array(["covariance clone after mean clone"])}
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(np.log10(second / first)[:, None], axis, label="network"),
        ld.Prediction.between([0.0], [np.log10(end)], label="mean first"),
        ld.Prediction([0.0], label="clones part at once"),
        name="mean clone parts first",
        quantity="log10 of the ratio of parting steps",
    )


def _excess(learning: DenoiserLearning, name: str, best: Array) -> ld.Measurement:
    """Final loss on a test set over that of the best affine denoiser, less one."""
    excess = learning.loss[name][:, -1:] / float(best.mean()) - 1
    return ld.Measurement.from_replicas(excess, {"step": learning.steps[-1:]}, label=f"on {name}")


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
    """Losses on the three sets along training, over all noise levels and at fixed ones."""
    panels = [("all noise levels", learning.loss, float(best.mean()))]
    for i, t in enumerate(learning.fixed):
        at = {name: loss[:, :, i] for name, loss in learning.at_level.items()}
        panels.append((f"ᾱ = {SCHEDULE.alpha_bar[t]:.2f}", at, float(best[t])))
    figure, grid = drawing.new_figure(1, len(panels), width=8.6, height=3.9)
    for axes, (title, losses, line) in zip(grid[0], panels, strict=True):
        drawn = np.stack([losses[name] for name in SETS], axis=1)
        curves = ld.Measurement.from_replicas(drawn, {"set": SETS, "step": learning.steps})
        drawing.draw_measurement(axes, curves)
        drawing.draw_curves(axes, learning.steps, curves.values)
        with drawing.figure_style():
            axes.axhline(
                line, color=drawing.GREY, linewidth=1.2, linestyle="--",
                label="best affine denoiser",
            )  # fmt: skip
            axes.set_title(title)
            axes.set_xscale("symlog", linthresh=float(learning.steps[1]))
            axes.set(xlim=(0, 1.3 * learning.steps[-1]), yscale="log", xlabel="updates")
    grid[0, 0].set_ylabel("loss per pixel")
    drawing.legend_below(figure, columns=4)
    return figure


def _sheet(samples: dict[int, list[Array]], test: Array, steps: Array) -> Figure:
    """One row of patches for each step, photographs below."""
    columns = 12
    rows = {f"{steps[at]} updates": patches[0] for at, patches in samples.items()}
    rows["photographs"] = test
    figure, grid = drawing.new_figure(len(rows), columns, width=8.6, height=0.78 * len(rows))
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images[:columns], strict=True):
            width = 2.5 * max(float(np.std(image)), 1e-6)
            axes.imshow(image, cmap="gray", vmin=-width, vmax=width, interpolation="nearest")
            axes.set_axis_off()
        line[0].set_title(name, loc="left", fontsize=9)
    return figure


def _distances(samples: dict[int, list[Array]], train: Array, steps: Array) -> Figure:
    """Distances of generated patches from the data, mean and error over networks."""
    distances = {"covariance": covariance_distance, "fourth cumulant": cumulant_distance}
    draws = [
        [[of(patches, train) for of in distances.values()] for patches in of_seeds]
        for of_seeds in samples.values()
    ]
    axis = {"distance": np.array(list(distances)), "step": np.array([steps[i] for i in samples])}
    curves = ld.Measurement.from_replicas(np.array(draws).transpose(1, 2, 0), axis)
    figure, ((axes,),) = drawing.new_figure(1, 1, width=6.4, height=4.2)
    drawing.draw_measurement(axes, curves)
    drawing.draw_curves(axes, axis["step"], curves.values)
    axes.set(xscale="log", yscale="log", xlabel="updates", ylabel="relative distance to data")
    drawing.legend_below(figure)
    return figure
