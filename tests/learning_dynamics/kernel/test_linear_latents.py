"""Latents that enter C linearly are integrated exactly: the same moments from fewer nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from learning_dynamics.limit.accuracy import combine
from learning_dynamics.limit.linear_latents import quadrature_problem
from learning_dynamics.limit.moments import moments
from learning_dynamics.limit.nodes import device_nodes
from learning_dynamics.limit.noise import limit_noise
from learning_dynamics.limit.quadrature import expectation_nodes
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher

CASES = {
    "one neuron, correlated latents": (
        MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), {"lambda"},
    ),
    "two neurons, three spikes": (
        MixedCumulant(covariance=2.0, cumulant=3.0, mean=0.5),
        TiedDenoiser(sign=(1, -1), neurons=2), {"nu"},
    ),
}  # fmt: skip


@ld.configuration
class Perceptron(Teacher):
    """A label that jumps."""

    amplitudes: object = (1.0,)

    def signal(self, latents):
        return latents["x"][None], jnp.sign(latents["x"][0])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_moments_are_those_of_all_latents(case):
    inputs, learner, names = CASES[case]
    problem = ld.Problem(inputs, learner, 0.2)
    fewer = quadrature_problem(problem)
    assert set(fewer.all_latents()) == names
    K, r = learner.neurons, inputs.directions
    signal = 0.3 * np.random.default_rng(0).normal(size=(K, r))
    start = ld.order_parameters(signal, signal @ signal.T + 0.7 * np.eye(K) + 0.1)
    with jax.enable_x64(True):
        cast, noise = problem.cast(jnp.float64), limit_noise(problem, None)
        state = jax.tree.map(jnp.asarray, start)
        state = state._replace(parameters=cast.initial_parameters(jnp.float64))
        compiled = jax.jit(lambda nodes: moments(cast, noise, nodes, state))

        def both(one):
            rules, kind = expectation_nodes(one, points=2**16, method="sobol")
            each = [jax.tree.map(np.asarray, compiled(device_nodes(rule))) for rule in rules]
            mean = combine(each, kind)
            return mean.value, mean.error

        whole, reduced = both(problem), both(fewer)
    for name in ("signal", "noise", "radial", "pull", "step", "loss"):
        (one, wrong), (two, error) = ([getattr(p, name) for p in pair] for pair in (whole, reduced))
        assert np.all(np.abs(one - two) <= wrong + error + 1e-12), name
        assert np.max(np.abs(one)) > 3 * np.max(wrong + error), name  # they are resolved


def test_latents_behind_a_label_and_missing_noise_stay():
    label = ld.Problem(Teacher(np.ones(1)), Committee(1), 0.5, label_noise=0.3)
    assert quadrature_problem(label) is label
    sign = ld.Problem(Perceptron(), Committee(1), 0.5)
    assert quadrature_problem(sign) is sign  # the slope of the label is zero, the label is not
    spike = quadrature_problem(ld.Problem(Spike(), Denoiser(1), 0.5))
    assert set(spike.all_latents()) == {"sign"}


@pytest.mark.slow
def test_the_default_limit_of_a_denoiser_needs_few_nodes():
    """A tensor rule does, and its right-hand side lies within the errors of Sobol points."""
    problem = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), 0.2)
    start = ld.order_parameters([[0.2, 0.1]], [[1.0]])
    limit = ld.integrate(problem, times=[1.0, 6.0], start=start)
    assert limit.attributes["quadrature"] == "tensor"
    assert limit.attributes["nodes"] < 2**17
    rate, error = ld.right_hand_side(problem, start, accuracy=3e-4)
    coarse, bound = ld.right_hand_side(problem, start, points=2**12, method="sobol")
    assert np.all(np.abs(rate.signal - coarse.signal) <= error.signal + bound.signal)
