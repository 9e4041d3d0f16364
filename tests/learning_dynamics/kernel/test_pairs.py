"""Forms of several neurons: sums over pairs, declared labels, and linear latents taken out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.linear_latents import without_linear_latents
from learning_dynamics.limit.population import Population
from learning_dynamics.search.loss_expansion_hermite import hermite_forms
from learning_dynamics.search.loss_forms import loss_forms
from learning_dynamics.search.single_neuron import alike, sum_over_pairs


@ld.configuration
class Coin(ld.InputModel):
    """x = y e_1 + a g e_2 + noise with y = -1 or 1 and g standard normal: few labels."""

    strength: float = 0.8

    @property
    def directions(self):
        return 2

    def latents(self):
        return {"y": ld.Discrete((-1.0, 1.0)), "g": ld.Normal()}

    def signal(self, latents):
        strength = jnp.asarray(self.strength, latents["g"].dtype)
        return jnp.stack([latents["y"], strength * latents["g"]])[None], latents["y"]


@ld.configuration
class Readout(ld.Learner):
    """(y - sum_k v_k)^2 / 2 + v Q v / 4, v_k = a_k (h_k + h_k^2 / 2); `cubed` adds h_1 h_2 h_3."""

    hidden: int = ld.static(default=3)
    readout: object = ld.static(default=(1.0, 1.0, 1.0))
    cubed: bool = ld.static(default=False)  # couples three neurons

    @property
    def neurons(self):
        return self.hidden

    def loss(self, fields, norms, parameters, sample):
        h = fields[:, 0]
        a = jnp.asarray(np.array(self.readout[: self.hidden]), h.dtype)
        values = a * (h + h * h / 2)
        wrong = sample.label - jnp.sum(values)
        total = wrong * wrong / 2 + jnp.sum(norms * values[:, None] * values[None]) / 4
        return total + (jnp.prod(h) if self.cubed else jnp.zeros_like(h[0]))


def problem(**options):
    return ld.Problem(Coin(), Readout(**options), 0.1)


def test_sums_over_pairs_are_recognised():
    assert sum_over_pairs(problem())
    assert not sum_over_pairs(problem(cubed=True))
    assert alike(problem())
    assert not alike(problem(readout=(1.0, 1.0, 2.0)))


@pytest.mark.parametrize(
    "readout", [(1.0, 1.0, 1.0), pytest.param((1.0, -1.0, 2.0), marks=pytest.mark.slow)]
)
def test_pairs_give_what_all_neurons_together_give(readout):
    target = Target(points=2**13, method="tensor")
    several = Population(problem(readout=readout), target=target)
    together = hermite_forms(several, highest=3)
    for a, b in zip(loss_forms(several, highest=3), together, strict=True):
        np.testing.assert_array_equal(a.powers, b.powers)
        assert np.max(np.abs(a.coefficients - b.coefficients)) < 1e-6
        assert np.all(np.abs(a.coefficients - b.coefficients) < a.errors + b.errors + 1e-9)


@pytest.mark.slow
def test_forms_of_two_neurons_against_the_loss_at_finite_overlap():
    two = problem(hidden=2, readout=(1.0, -0.5))
    forms = loss_forms(Population(two), highest=6)
    rng = np.random.default_rng(0)
    m = np.concatenate([np.zeros((1, 2, 2)), 0.12 * rng.normal(size=(3, 2, 2))])
    blocks = np.zeros((4, 1, 2, 2))
    blocks[:, 0, [0, 1], [0, 1]] = 1 - np.sum(m**2, axis=2)
    loss, error = ld.expected_loss(two, ld.Overlaps(m, blocks, {}), accuracy=1e-5)
    series = sum(form(m.reshape(4, -1)) for form in forms)
    assert np.all(np.abs(loss[1:] - loss[0] - series[1:]) < error[1:] + error[0] + 2e-4)
    assert np.abs(series[1:]).min() > 5e-3


def test_linear_normal_latents_are_taken_out():
    bare, factor = without_linear_latents(problem())
    assert list(bare.all_latents()) == ["y"]
    np.testing.assert_allclose(factor, [[[0.0], [0.8]]])
    with jax.enable_x64(True):
        signal, label = bare.signal({"y": jnp.ones(())})
    np.testing.assert_allclose(signal, [[1.0, 0.0]])
    assert float(label) == 1


@pytest.mark.slow
def test_many_directions_come_back():
    """K = 4, r = 4: the exponents of one neuron, four times over."""
    from diffusion_theory import MixedCumulant, SeveralSpikes, TiedDenoiser

    inputs = SeveralSpikes(
        (MixedCumulant(covariance=4.0, pair="sign"), MixedCumulant(covariance=2.0, pair="sign"))
    )
    one, four = (
        ld.information_exponent(
            ld.Problem(inputs, TiedDenoiser(sign=-1, neurons=k), 0.2), highest=2
        )
        for k in (1, 4)
    )
    single = [d.coefficient for d in one.directions]
    found = [d.coefficient for d in four.directions]
    np.testing.assert_allclose(found, np.repeat(single, 4), rtol=1e-4)
    assert [d.verdict for d in four.directions] == ["attractive"] * 8 + ["repelled"] * 8
