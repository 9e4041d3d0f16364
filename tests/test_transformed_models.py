"""Every model of the packages passes reverse mode and a batch, in all its numbers (traced only)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory import ManyLevels, MixedCumulant, SeveralSpikes, TiedDenoiser
from diffusion_theory.clones import MeanClone
from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import SingleNeuron, TwoLayer
from fourier_simplicity.modes import power_law_spectrum
from fourier_simplicity.ties import quartet, triad

LEVELS = ("overlaps", "ambient")


def cumulant(x, **options):
    return MixedCumulant(covariance=5.0 * x, **options)


def spherical(inputs, learner, rate, **options):
    return ld.Problem(inputs, learner, rate, update="spherical", **options)


MODELS = {
    "rademacher": lambda x: ld.Problem(cumulant(x), TiedDenoiser(sign=-1), x),
    "sign": lambda x: ld.Problem(cumulant(x, pair="sign"), TiedDenoiser(sign=-1), x, batch=2),
    "square, finite strength, mean": lambda x: ld.Problem(
        cumulant(x, cumulant=2 * x, mean=x, pair="square", alpha_bar=x),
        TiedDenoiser(sign=-1), x,
    ),
    "several spikes": lambda x: ld.Problem(
        SeveralSpikes((cumulant(x), cumulant(2 * x))), TiedDenoiser(sign=-1), x
    ),
    "many levels": lambda x: ld.Problem(
        ManyLevels(cumulant(x), alpha_bar=jnp.stack([x / 2, x])), TiedDenoiser(sign=-1), x
    ),
    "clone": lambda x: ld.Problem(MeanClone(jnp.stack([x, x]), x), TiedDenoiser(sign=-1), x),
    "quartet": lambda x: spherical(
        FourierInputs(18, quartet(1, 4, 2)), SingleNeuron("he4", False), x
    ),
    "spectrum": lambda x: spherical(
        FourierInputs(18, triad(1, 2), x * power_law_spectrum(18, 1.0)),
        SingleNeuron("he3", True), x,
    ),
    "deterministic": lambda x: spherical(
        FourierInputs(18, triad(1, 2), amplitudes="deterministic"),
        TwoLayer(3, "relu", False, None), x, parameter_rates={"readout": x, "bias": x},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("model", MODELS)
def test_models_pass_reverse_mode_in_a_batch(model, level):
    def of(number, key):
        run = ld.simulate(
            MODELS[model](number), dimension=16, times=[0.5, 1.0], replicas=2, key=key, level=level
        )
        return jnp.sum(run.values["norms"])

    numbers, keys = np.full(3, 0.5, np.float32), jax.random.split(jax.random.key(0), 3)
    shape = jax.eval_shape(jax.jit(jax.vmap(jax.grad(of))), numbers, keys)
    assert (shape.shape, shape.dtype) == ((3,), np.float32)
