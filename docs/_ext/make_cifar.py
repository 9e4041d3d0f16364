"""Draw what networks learn on CIFAR-10: `python docs/_ext/make_cifar.py FOLDER`.

FOLDER holds the binary version of CIFAR-10, which does not come with this project. The figures in
`docs/_static`, drawn on half of its training images in half an hour on two cores, are committed.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from diffusion_theory.networks import UNet, best_affine_loss, clones, learn_denoiser
from fourier_simplicity.networks import ConvNet, cue_sets, learn_cues
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
from learning_dynamics.training import flip_and_shift, log_steps

STATIC = Path(__file__).parents[1] / "_static"
SCHEDULE = NoiseSchedule.linear(50, 2e-3, 0.4)
KEY = jax.random.key(0)


def convnet(shape: tuple[int, ...], classes: int, *, rngs: object) -> ConvNet:
    """Four convolutions."""
    return ConvNet(shape, classes, widths=(16, 32, 64, 64), rngs=rngs)


def unet(rngs: object) -> UNet:
    """For gray images of 32 x 32 pixels."""
    return UNet((32, 32), widths=(8, 16, 32), embedding=16, rngs=rngs)


def cues(images: ImageSet) -> Figure:
    """Accuracy of three networks on each cue."""
    sets = cue_sets(images, fraction=0.9, test_limit=2000, key=KEY)
    steps = log_steps(4000, points=14, first=8)
    found = learn_cues(
        sets, convnet, seeds=3, steps=steps, batch=64, augment=flip_and_shift,
        key=jax.random.fold_in(KEY, 1),
    )  # fmt: skip
    names = ("amplitude-only", "phase-only", "real")
    for name in names:
        print(name, found.accuracy[name][:, -1], found.recovery(name, 0.2))
    return found.plot()


def losses(images: ImageSet) -> Figure:
    """Loss of two denoisers on images and their clones."""
    gray = images.images.mean(axis=-1) / 255.0
    gray = gray - gray.mean(axis=(1, 2), keepdims=True)
    gray = np.asarray(gray / gray.std(), np.float32)
    train, test = gray[:20_000], gray[20_000:22_000]
    gaussian = clones(test, key=jax.random.fold_in(KEY, 2))
    tests = {"images": test, "mean clone": gaussian.mean, "covariance clone": gaussian.covariance}
    found = learn_denoiser(
        unet, train, tests, SCHEDULE, steps=log_steps(2000, points=13, first=8), seeds=2, batch=32,
        key=jax.random.fold_in(KEY, 3),
    )  # fmt: skip
    best = float(best_affine_loss(gaussian.spectrum, SCHEDULE).mean())
    figure, grid = new_figure(1, 1, width=7.0, height=4.6)
    axes = grid[0, 0]
    for i, (name, loss) in enumerate(found.loss.items()):
        seen = Measurement.from_replicas(loss, {"step": found.steps})
        draw_simulation(axes, found.steps, seen.values, seen.standard_error, index=i, label=name)
        draw_theory(axes, found.steps, seen.values, index=i)
        print(name, loss[:, -1])
    axes.axhline(best, color=GREY, linewidth=1.2, linestyle="--", label="best affine denoiser")
    axes.set_xscale("symlog", linthresh=float(found.steps[1]))
    axes.set(yscale="log", xlabel="updates", ylabel="loss per pixel")
    axes.set_xlim(0, 1.3 * found.steps[-1])
    legend_below(figure)
    print("best affine denoiser", best)
    return figure


def main(folder: Path) -> None:
    """Draw both figures."""
    images = load_cifar(folder)
    chosen = np.random.default_rng(0).permutation(len(images.images))[:25_000]
    assert images.labels is not None
    subset = ImageSet(images.images[chosen], images.labels[chosen], images.class_names)
    for name, draw in (("cifar_cues", cues), ("cifar_losses", losses)):
        save_figure(draw(subset), STATIC / f"{name}.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
