"""`fourier/deep-networks`: shared power-law spectra speed up the learning of phases in networks."""

from functools import partial

import optax

import learning_dynamics as ld
from fourier_simplicity import networks
from fourier_simplicity.claims.amplitudes_first import SOURCE
from fourier_simplicity.claims.learned_spectra import Case
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

# one object each, so that runs share compilations
SGD, FAST, ADAM = optax.sgd(0.3), optax.sgd(0.4), optax.adam(4e-3)  # quick
SLOW_SGD, SLOW_FAST, SLOW_ADAM = optax.sgd(0.1), optax.sgd(0.2), optax.adam(3e-3)  # full
TWO, WIDE = partial(networks.TwoLayer, hidden=256), partial(networks.TwoLayer, hidden=512)
CONV = partial(networks.ConvNet, widths=(16, 32))
BETAS, THREE, ENDS = (0.0, 0.5, 1.0, 1.5), (0.0, 0.75, 1.5), (0.0, 1.5)
GROWS = ld.Prediction.between([0.0], [3.0], label="order of N_eff")
WRONG = (
    ld.Prediction([0.0], label="no influence of the spectrum"),
    ld.Prediction.between([-3.0], [0.0], label="opposite order"),
)


QUICK = (
    Case("two layers", "digits", TWO, THREE, 6, 2400, 128, SGD, 0.1),
    Case("convolutional", "digits", CONV, ENDS, 10, 700, 32, FAST, 0.2),
    Case("two layers", "textures", TWO, ENDS, 8, 4000, 128, ADAM, 0.04),
)
FULL = (
    Case("two layers", "digits", WIDE, BETAS, 16, 12_000, 128, SLOW_SGD, 0.1),
    Case("convolutional", "digits", CONV, BETAS, 32, 2500, 64, SLOW_FAST, 0.2),
    Case("two layers", "textures", WIDE, BETAS, 16, 40_000, 128, SLOW_ADAM, 0.04),
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
    cases = {f"{case.network}, {case.images}": case for case in (QUICK if run.quick else FULL)}
    learned = {name: case.learn(run, i) for i, (name, case) in enumerate(cases.items())}
    tests = [
        ld.compare_with_controls(
            spectra.exponent(name), GROWS, *(w.labelled(f"{name}, {w.label}") for w in WRONG),
            name=f"{name}, {GROWS.label}", quantity="exponent of updates in N_eff",
        )
        for name, spectra in learned.items()
    ]  # fmt: skip
    panel = Panel(
        networks.plot_spectra(learned),
        "Left: accuracy of the two-layer network on digits whose amplitudes were replaced by "
        "|k|^-β, the same for all classes, and that are shifted at random. Right: updates "
        "until the accuracy stays above chance by about 0.1 (convolutional: 0.2, textures: "
        "0.04), against the effective dimension of the images (triangles: not all of the level "
        "reached in training).",
    )
    return Evidence.of(tests, {"sweep": panel}, NOTES)


NOTES = (
    "Digits of 8 x 8 pixels, shifted around the torus at random: with shared amplitudes all "
    "classes have exactly the same mean and covariance. Textures: brick, grass and gravel, spectra "
    "changed on the whole image, patches of 8 x 8 pixels. N_eff = tr Σ / λ_S, λ_S the geometric "
    "mean of the 4 largest eigenvalues of the covariance: the effective dimension of a "
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
