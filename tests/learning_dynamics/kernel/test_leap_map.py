"""Staircases by hand: the order in which a neuron learns directions."""

import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from tests.learning_dynamics.kernel.searching import hermite


@ld.configuration
class Monomials(ld.InputModel):
    """Label a_1 x_1 + a_2 x_1 x_2 + a_3 x_1 x_2 x_3, + a_4 He_4(x_4) where there is a_4."""

    weights: np.ndarray
    directions: int = ld.static(default=3)

    def latents(self):
        return {"x": ld.Normal((self.directions,))}

    def signal(self, latents):
        x = latents["x"]
        terms = [x[0], x[0] * x[1], x[0] * x[1] * x[2], *(hermite(4, h) for h in x[3:])]
        return x[None], jnp.sum(self.weights * jnp.stack(terms))


@ld.configuration
class Correlation(ld.Learner):
    """-y sum_k (sum_j c_j He_j(F_k) / j!), so that E = -sum_k sum_i a_i c_k m^(monomial i)."""

    neurons: int = ld.static(default=1)
    even: bool = ld.static(default=True)

    def loss(self, fields, norms, parameters, sample):
        h = fields[:, 0]
        even = hermite(2, h) / 2 + hermite(4, h) / 24
        odd = h + hermite(3, h) / 6
        return -sample.label * jnp.sum(odd + even if self.even else odd)


def leaps(*weights, learner=None, points=2**12, **options):
    inputs = Monomials(np.array(weights), len(weights))
    problem = ld.Problem(inputs, learner or Correlation(), 1.0, update="spherical")
    return ld.leap_map(problem, points=points, method="tensor", **options)


@pytest.mark.slow
def test_a_staircase_is_climbed_step_by_step():
    """E = -(m_1 + m_1 m_2 + m_1 m_2 m_3): one direction after another, each of order one."""
    found = leaps(1.0, 1.0, 1.0, highest=2)
    assert found.orders == (1, 1, 1)
    assert found.complexity == 1
    for i in range(3):
        np.testing.assert_allclose(found.leaps[i].directions, np.eye(3)[i : i + 1], atol=1e-7)
    first = found.leaps[1].signal[0, 0]
    assert first == pytest.approx(0.5)
    assert found.leaps[1].exponent.coefficient == pytest.approx(-first, abs=1e-7)  # -m_1 m_2
    assert len(found.leaps) == 3


def test_a_missing_step_is_a_leap():
    """E = -(m_1 + m_1 m_2 m_3): order one, then the saddle m_2 m_3; its other side repels."""
    found = leaps(1.0, 0.0, 1.0, highest=2)
    assert found.orders == (1, 2)
    np.testing.assert_allclose(
        np.abs(found.leaps[1].directions), [[0, 0.5**0.5, 0.5**0.5]], atol=1e-7
    )
    assert "repelled" in str(found.leaps[2])


@pytest.mark.slow
def test_a_parity_is_one_leap():
    """E = -m_1 m_2 m_3: order three along (1, 1, 1) up to signs; what is orthogonal is repelled."""
    found = leaps(0.0, 0.0, 1.0, highest=3)
    assert found.orders == (3,)
    np.testing.assert_allclose(np.abs(found.leaps[0].directions), [[3**-0.5] * 3], atol=1e-7)


@pytest.mark.slow
def test_leaps_of_different_length():
    """A parity of order three is found before He_4 of another direction."""
    found = leaps(0.0, 0.0, 1.0, 0.5, points=2**15)  # exact to degree 13 in each variable
    assert found.orders == (3, 4)
    assert found.complexity == 4
    np.testing.assert_allclose(np.abs(found.leaps[1].directions), [[0, 0, 0, 1]], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("update", ["spherical", "orthogonal"])
def test_two_neurons(update):
    """What both find is found once."""
    inputs = Monomials(np.array([1.0, 1.0, 0.0]), 3)
    problem = ld.Problem(inputs, Correlation(2), 1.0, update=update)
    found = ld.leap_map(problem, points=2**12, method="tensor", highest=2)
    assert found.orders == (1, 1)
    assert np.shape(found.leaps[1].signal) == (2, 3)
    np.testing.assert_allclose(found.leaps[1].directions, np.eye(3)[1:2], atol=1e-6)


@pytest.mark.slow
def test_an_odd_activation_does_not_see_an_even_term():
    """Without He_2 the term x_1 x_2 is flat, and x_1 x_2 x_3 a leap of two from x_1."""
    found = leaps(1.0, 1.0, 0.0, learner=Correlation(even=False), highest=3)
    assert found.orders == (1,)
    assert leaps(1.0, 1.0, 1.0, learner=Correlation(even=False), highest=3).orders == (1, 2)


@pytest.mark.parametrize("overlap", [0.0, 1.0, -0.5, np.nan])
def test_bad_overlaps(overlap):
    with pytest.raises(ValueError, match="Argument `overlap`"):
        leaps(1.0, 0.0, 0.0, overlap=overlap)
