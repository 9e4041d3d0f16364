"""`diffusion/images-pairwise-first`: on photographs, pairwise statistics come first."""

from functools import partial
from typing import Any

import jax
import optax

import learning_dynamics as ld
from diffusion_theory import networks
from diffusion_theory.claims.common import SOURCE as PAPER
from diffusion_theory.claims.generated import generated
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.training import comes_first, log_steps, order_of_steps

SOURCE = PAPER.split(";")[0] + "; the measurement was built here"
SIZE = 8
SCHEDULE = NoiseSchedule.linear(50, 2e-3, 0.4)
QUICK, FULL = optax.adam(8e-3), optax.adam(2e-3)  # one object each, so that runs share programs
APART = 0.2  # relative difference of losses that counts as parted
REAL, MEAN, COVARIANCE = "photographs", "mean clone", "covariance clone"
BELOW = ld.Prediction.between([-1.0], [0.0], label="below")
ABOVE = ld.Prediction.between([0.0], [10.0], label="photographs, never below")
EXCESS = "loss / best affine loss - 1"


def network(rngs: Any, widths: tuple[int, ...] = (8, 16), embedding: int = 16) -> networks.UNet:
    """A U-Net for patches of 8 x 8 pixels, a small one by default."""
    return networks.UNet((SIZE, SIZE), widths=widths, embedding=embedding, rngs=rngs)


LARGE = partial(network, widths=(32, 64, 64), embedding=32)


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
    end, copied, points, held_out = (600, 4, 8, 300) if run.quick else (30_000, 8, 14, 4000)
    keys = [jax.random.fold_in(run.key, i) for i in range(5)]
    train, test = networks.photograph_patches(SIZE, train=40_000, test=held_out, key=keys[0])
    of_test, of_train = (
        networks.clones(each, key=key) for each, key in ((test, keys[1]), (train, keys[2]))
    )
    best = networks.best_affine_loss(of_test.spectrum, SCHEDULE)
    learn = partial(
        networks.learn_denoiser, network if run.quick else LARGE, schedule=SCHEDULE, fixed=(8,),
        tests={REAL: test, MEAN: of_test.mean, COVARIANCE: of_test.covariance}, batch=32,
        optimiser=QUICK if run.quick else FULL,
    )  # fmt: skip
    steps = log_steps(end, points=points, first=6)
    real = learn(train, steps=steps, seeds=8, key=keys[3])
    cloned = learn(of_train.covariance, steps=steps[1::2], seeds=copied, key=keys[4])
    mean, covariance = (real.parting(name, REAL, APART) for name in (MEAN, COVARIANCE))
    order = ld.compare_with_controls(
        order_of_steps(mean, covariance, end, "covariance clone after mean clone"),
        comes_first(end, "mean first"),
        ld.Prediction([0.0], label="clones part at once"),
        name="mean clone parts first", quantity="log10 of the ratio of parting steps",
    )  # fmt: skip
    excess, of_clone = (
        learning.excess(name, best).select(step=slice(-1, None))
        for learning, name in ((real, REAL), (cloned, COVARIANCE))
    )
    beyond = ld.compare_with_controls(
        excess, BELOW, ABOVE, name="photographs, below the best affine denoiser", quantity=EXCESS
    )
    never = ld.compare_with_controls(
        of_clone, ABOVE.labelled("not below"), name="covariance clone, never below",
        quantity=EXCESS,
    )  # fmt: skip
    panels = {
        "losses": Panel(
            real.plot(SCHEDULE, best),
            "Loss of the same network on photographs (held out) and on Gaussian images with their "
            "mean, or with their mean and covariance. While two losses agree the network uses "
            "nothing by which the two sets differ. Grey line: the best affine denoiser, exact.",
        ),
        "clone": Panel(
            cloned.plot(SCHEDULE, best),
            "Control: trained on a covariance clone of the training patches. The best affine "
            "denoiser is never beaten.",
        ),
        **generated(run, real, SCHEDULE, train, test),
    }
    return Evidence.of([order, beyond, never], panels, NOTES)


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
