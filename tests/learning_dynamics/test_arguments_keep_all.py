"""Public functions refuse complex, masked and textual arguments by name; they never drop parts."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import diffusion_theory as dt
import fourier_simplicity as fs
import learning_dynamics as ld
from diffusion_theory.clones import MeanClone
from diffusion_theory.composites import ManyLevels
from diffusion_theory.networks import distances, photographs
from fourier_simplicity import surrogates
from fourier_simplicity.learners import SingleNeuron
from learning_dynamics import hermite, images, spectra
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.comparison import Measurement, Prediction
from learning_dynamics.model.overlaps import from_weights, order_parameters
from learning_dynamics.noise_schedule import NoiseSchedule, forward_process, noise_levels
from learning_dynamics.search.sample_complexity import recovered_share
from learning_dynamics.testing import assert_agrees, assert_same_law
from learning_dynamics.training import Minibatches, recovery_steps
from linear_diffusion import data, learners, patches

RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 8, 8))
ROWS = RNG.normal(size=(9, 2))
TWO, ONE = np.array([2.0, 1.0]), np.array(1.0)
THREE = Prediction(np.ones(3), np.zeros(3))
MODEL = dt.MixedCumulant(covariance=1.0)
IDENTITY = jnp.eye(2)

CALLS = {
    "prediction": (lambda v: Prediction(v, np.zeros(2)), TWO),
    "numerical error": (lambda v: Prediction(np.ones(2), v), TWO),
    "bias": (lambda v: Prediction(np.ones(2), np.zeros(2)).with_bias(v, "1/d"), TWO),
    "factor": (THREE.scaled, ONE),
    "draws": (lambda v: Measurement.from_replicas(v, {"a": np.arange(2)}), ROWS),
    "measured": (lambda v: assert_agrees(v, np.zeros(2), bias=9.0), ROWS),
    "predicted": (lambda v: assert_agrees(ROWS, v, bias=9.0), TWO),
    "two laws": (lambda v: assert_same_law(v, ROWS), ROWS),
    "curves": (lambda v: recovery_steps([0, 1], v, 0.5), TWO),
    "recovery level": (lambda v: recovery_steps([0, 1], [0.0, 2.0], v), ONE),
    "hermite": (lambda v: hermite.hermite(2, v), TWO),
    "exponent": (lambda v: spectra.power_law(3, v), ONE),
    "rows": (spectra.from_data, ROWS),
    "radial": (spectra.radial_spectrum, IMAGES),
    "beta": (NoiseSchedule, np.full(3, 0.1)),
    "level": (lambda v: forward_process(jnp.zeros(2), jnp.zeros(2), v), TWO / 4),
    "noise": (lambda v: forward_process(jnp.zeros(2), v, 0.5), TWO.astype(np.float32)),
    "recovered": (lambda v: recovered_share([10, 20], np.ones((5, 2)), v), TWO),
    "times": (lambda v: recovered_share([10, 20], v, [1.0, 2.0]), np.abs(ROWS)),
    "signal": (lambda v: order_parameters(v, np.eye(1)), TWO[None] / 9),
    "parameters": (lambda v: order_parameters(np.zeros((1, 2)), np.eye(1), {"skip": v}), ONE),
    "weights": (lambda v: from_weights(v, np.eye(2)), TWO[None]),
    "learning rate": (lambda v: ld.Problem(MODEL, dt.TiedDenoiser(neurons=1), v), ONE),
    "covariance": (lambda v: dt.MixedCumulant(covariance=v), ONE),
    "levels": (lambda v: ManyLevels(MODEL, alpha_bar=v), TWO / 4),
    "kappa": (lambda v: dt.TiedDenoiser(neurons=1, kappa=v), ONE),
    "sign": (lambda v: dt.TiedDenoiser(neurons=1, sign=v), np.ones(1)),
    "clone": (lambda v: MeanClone(v, 1.0), TWO),
    "surrogate": (lambda v: surrogates.phase_only(v, np.ones((8, 8))), IMAGES),
    "amplitude": (lambda v: surrogates.phase_only(IMAGES, v), np.ones((8, 8))),
    "modes": (lambda v: fs.FourierInputs((8,), (), spectrum=v), np.ones(3)),
    "clones": (lambda v: photographs.clones(v, key=0, exact=False), IMAGES),
    "distance": (lambda v: distances.covariance_distance(v, IMAGES), IMAGES),
    "spectrum": (data.LatentLaw, TWO),
    "pool": (data.EmpiricalLaw.of, ROWS),
    "alpha_bar": (noise_levels, TWO / 4),
    "mean": (lambda v: learners.optimum(v, IDENTITY, [0.5]), TWO),
    "start": (
        lambda v: learners.gradient_descent(
            IDENTITY, [0.5], learning_rate=0.1, steps=[1], initial_weights=v
        ),
        np.eye(2),
    ),
    "cosines": (patches.to_coordinates, IMAGES),
    "images": (images.ImageSet, IMAGES),
    "gray": (images.grayscale, IMAGES[0]),
    "blocks": (lambda v: images.block_mean(v, 2), IMAGES[0]),
    "discrete": (ld.Discrete, TWO),
    "low": (lambda v: ld.Uniform(v, 2.0), ONE),
    "freedom": (ld.StudentT, 3 * ONE),
    "drawn": (lambda v: drawing.draw_simulation(plt.figure().gca(), TWO, v, None), TWO),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_dropped(name):
    call, good = CALLS[name]
    call(good)
    plt.close("all")
    first = np.arange(good.size).reshape(good.shape) == 0
    for bad in (good + 0j, np.ma.array(good, mask=first), good.astype(str)):
        with pytest.raises(ValueError, match=r"^Argument `"):
            call(bad)
    plt.close("all")


def test_data_of_networks():
    with pytest.raises(ValueError, match="`data` must have no masked entries"):
        Minibatches(np.ma.array([1.0, 2.0], mask=[0, 1]), 1)
    with pytest.raises(ValueError, match="`data` must hold arrays of numbers"):
        Minibatches(np.array(["a", "b"]), 1)
    with pytest.raises(ValueError, match="`data` must fit into int32, but got int64 up to"):
        Minibatches((np.ones(2), np.array([0, 2**40])), 1)
    assert Minibatches(np.array([1j, 2.0]), 1).data.dtype == jnp.complex64


@ld.configuration
class Shifted(ld.InputModel):
    """Standard normal inputs with a mean, not checked by the model itself."""

    shift: object = 0.0

    directions = 1
    vectors = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        shift = jnp.asarray(self.shift, latents["x"].dtype)
        return (latents["x"] + shift)[None], latents["x"][0]


@pytest.mark.parametrize("shift", [1j, np.ma.array(1.0, mask=True), "1"])
def test_numbers_inside_models_of_users(shift):
    learner = SingleNeuron("tanh")
    ld.Problem(Shifted(1.0), learner, 0.1)
    with pytest.raises(ValueError, match=r"`inputs\.shift` must"):
        ld.Problem(Shifted(shift), learner, 0.1)
