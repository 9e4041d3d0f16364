"""What networks learn on CIFAR-10: `python -m benchmarks.cifar FOLDER [--full] [--out DIR]`.

FOLDER holds the binary version of CIFAR-10, which does not come with this project. The small
setting takes half of the training images and half an hour on two cores. `--full` takes all 60,000
images and networks of full width, with products of tf32, and wants a GPU: minutes there. Figures
go to DIR, by default `cifar`. Those that the pages show are made by `--full --out docs/_static`.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

from diffusion_theory.networks import UNet, best_affine_loss, clones, learn_denoiser
from fourier_simplicity.networks import (
    ConvNet,
    cue_sets,
    learn_cues,
    learn_spectra,
    resnet18,
    sweep_sets,
)
from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.evidence.drawing import GREY
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    legend_below,
    new_figure,
    save_figure,
)
from learning_dynamics.images import ImageSet, load_cifar
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.training import flip_and_shift, log_steps, shift

SCHEDULE = NoiseSchedule.linear(50, 2e-3, 0.4)
KEY = jax.random.key(0)
ADAM = optax.adam(1e-3)
LEVEL = 0.1  # accuracy above chance that counts as learned


class Plan(NamedTuple):
    """Sizes of one setting."""

    images: int
    tested: int  # images of each test set
    classifier: Any
    updates: int
    seeds: int
    denoiser: Any
    denoised: int  # updates of the denoisers
    exponents: tuple[float, ...]
    convolutional: Any
    swept: int  # updates of each exponent


SMALL = Plan(
    25_000, 2000, partial(ConvNet, widths=(16, 32, 64, 64)), 4000, 3,
    partial(UNet, (32, 32), widths=(8, 16, 32), embedding=16), 2000,
    (0.0, 0.75, 1.5), partial(ConvNet, widths=(16, 32)), 1000,
)  # fmt: skip
FULL = Plan(
    60_000, 5000, partial(resnet18, products="tf32"), 5000, 3,
    partial(UNet, (32, 32), widths=(64, 128, 256), embedding=64, products="tf32"), 6000,
    (0.0, 0.5, 1.0, 1.5), partial(ConvNet, widths=(64, 128, 256), products="tf32"), 3000,
)  # fmt: skip
TINY = Plan(
    500, 100, partial(ConvNet, widths=(4, 8)), 40, 2,
    partial(UNet, (32, 32), widths=(4, 8), embedding=8), 20,
    (0.0, 1.5), partial(ConvNet, widths=(4, 8)), 20,
)  # fmt: skip


def cues(images: ImageSet, plan: Plan) -> Figure:
    """Accuracy of networks on each cue."""
    sets = cue_sets(images, fraction=5 / 6, test_limit=plan.tested, key=KEY)
    learning = learn_cues(
        sets, plan.classifier, seeds=plan.seeds, batch=128, augment=flip_and_shift,
        steps=log_steps(plan.updates, points=14, first=8), key=jax.random.fold_in(KEY, 1),
    )  # fmt: skip
    print("offered", learning.offered, "used", learning.used)
    for name, accuracy in learning.accuracy.items():
        print(name, accuracy[:, -1], "accuracy 0.2 after", learning.recovery(name, 0.2))
    return learning.plot()


def losses(images: ImageSet, plan: Plan) -> Figure:
    """Loss of two denoisers on gray images and their clones."""
    gray = images.images.mean(axis=-1) / 255.0
    gray = gray - gray.mean(axis=(1, 2), keepdims=True)
    gray = np.asarray(gray / gray.std(), np.float32)
    train, test = gray[plan.tested :], gray[: plan.tested]
    gaussian = clones(test, key=jax.random.fold_in(KEY, 2))
    tests = {"images": test, "mean clone": gaussian.mean, "covariance clone": gaussian.covariance}
    learning = learn_denoiser(
        lambda rngs: plan.denoiser(rngs=rngs), train, tests, SCHEDULE, seeds=2, batch=64,
        steps=log_steps(plan.denoised, points=13, first=8), key=jax.random.fold_in(KEY, 3),
    )  # fmt: skip
    best = float(best_affine_loss(gaussian.spectrum, SCHEDULE).mean())
    figure, grid = new_figure(1, 1, width=7.0, height=4.6)
    axes = grid[0, 0]
    for i, (name, loss) in enumerate(learning.loss.items()):
        mean = Measurement.from_replicas(loss, {"step": learning.steps})
        draw_simulation(axes, learning.steps, mean.values, mean.standard_error, index=i, label=name)
        draw_theory(axes, learning.steps, mean.values, index=i)
        print(
            name,
            [
                f"{step}: {value:.4f}"
                for step, value in zip(learning.steps, mean.values, strict=True)
            ],
        )
    axes.axhline(best, color=GREY, linewidth=1.2, linestyle="--", label="best affine denoiser")
    axes.set_xscale("symlog", linthresh=float(learning.steps[1]))
    axes.set(yscale="log", xlabel="updates", ylabel="loss per pixel")
    axes.set_xlim(0, 1.3 * learning.steps[-1])
    legend_below(figure)
    print("best affine denoiser", best)
    return figure


def spectra(images: ImageSet, plan: Plan) -> Figure:
    """Updates that phases alone need, against the effective dimension of a shared spectrum."""
    sets = sweep_sets(
        images, plan.exponents, fraction=5 / 6, test_limit=plan.tested, colour=False, key=KEY
    )
    learned = learn_spectra(
        sets, plan.exponents, plan.convolutional, level=LEVEL, seeds=plan.seeds, batch=64,
        augment=shift, optimiser=ADAM, steps=log_steps(plan.swept, points=14, first=16),
        key=jax.random.fold_in(KEY, 4),
    )  # fmt: skip
    rows = zip(plan.exponents, learned.effective, learned.updates(), learned.runs, strict=True)
    for beta, effective, updates, networks in rows:
        last = networks.measurement(["phases"])
        print(f"beta {beta:g}: N_eff {effective:.1f}, updates {updates},",
              f"accuracy {last.values[0][-1]:.3f} +- {last.standard_error[0][-1]:.3f}")  # fmt: skip
    growth = learned.growth()
    print(
        "exponent of updates in N_eff", growth.mean(), "+-", growth.std(ddof=1) / len(growth) ** 0.5
    )
    figure, ((left, right),) = new_figure(1, 2, width=9.4, height=4.6)
    learned.draw_accuracy(left)
    learned.draw_updates(right, index=4)
    legend_below(figure)
    return figure


def main() -> None:
    """Draw the figures that are asked for."""
    drawings: dict[str, Callable[[ImageSet, Plan], Figure]] = {
        "cues": cues, "losses": losses, "spectra": spectra
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full", action="store_true", help="all images, full width")
    parser.add_argument("--tiny", action="store_true", help="rehearse every line")
    parser.add_argument("--only", nargs="*", choices=list(drawings), default=list(drawings))
    parser.add_argument("--out", type=Path, default=Path("cifar"))
    options = parser.parse_args()
    plan = TINY if options.tiny else FULL if options.full else SMALL
    parts = [load_cifar(options.folder, part=part) for part in ("train", "test")]
    pixels = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    chosen = np.random.default_rng(0).permutation(len(pixels))[: plan.images]
    images = ImageSet(pixels[chosen], labels[chosen], parts[0].class_names)
    for name in options.only:
        begin = time.perf_counter()
        figure = drawings[name](images, plan)
        save_figure(figure, options.out / f"cifar_{name}.svg")
        print(f"{name}: {time.perf_counter() - begin:.0f} s on {jax.devices()[0].device_kind}")


if __name__ == "__main__":
    main()
