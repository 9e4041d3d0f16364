"""Lengths of the weights, and sizes of loss and rate, are units: the laws do not change."""

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from tests.learning_dynamics.kernel.searching import Spiked
from tests.learning_dynamics.kernel.test_search import HeldOja


@ld.configuration
class InUnits(ld.Learner):
    """The learner with weights of another length, and a loss of another size."""

    learner: object
    length: object = 1.0
    size: object = 1.0

    @property
    def neurons(self):
        return self.learner.neurons

    def loss(self, fields, norms, parameters, sample):
        length = jax.numpy.asarray(self.length, fields.dtype)
        return self.size * self.learner.loss(fields / length, norms / length**2, parameters, sample)


def held(length=1.0, size=1.0):
    """W / length follows the same equation for all lengths and sizes."""
    learner = InUnits(HeldOja(), length, size)
    return ld.Problem(Spiked(), learner, 0.25 * length**2 / size, initial_norm=0.7 * length)


def start(length):
    return ld.order_parameters([[0.3 * length]], [[0.5 * length**2]])


UNITS = [(1e-4, 1.0), (1e4, 1.0), (1.0, 1e6)]


@pytest.mark.slow
def test_limit_of_short_weights_is_that_of_long_ones():
    options = {"times": [1.0, 4.0], "points": 2**8, "method": "tensor"}
    one = ld.integrate(held(), start=start(1.0), **options).values
    for length, size in UNITS:
        other = ld.integrate(held(length, size), start=start(length), **options).values
        np.testing.assert_allclose(other["signal"] / length, one["signal"], rtol=1e-6)
        np.testing.assert_allclose(other["norms"] / length**2, one["norms"], rtol=1e-6)
    assert abs(one["norms"][1, 0, 0] - 0.5) > 0.05


@pytest.mark.slow
def test_fluctuations_of_short_weights_are_those_of_long_ones():
    options = {"times": [1.0, 4.0], "points": 2**10, "method": "tensor"}
    one = ld.fluctuations(held(), start=start(1.0), **options)
    for length, size in UNITS:
        other = ld.fluctuations(held(length, size), start=start(length), **options)
        for name, power in (("signal", 1), ("norms", 2)):
            for kind in ("spread", "shift"):
                a, b = getattr(one, kind)[name], getattr(other, kind)[name]
                np.testing.assert_allclose(b / length**power, a, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_search_law_does_not_depend_on_units():
    options = {"key": jax.random.key(5), "threshold": 0.3, "draws": 16, "points": 2**10}
    one = ld.search_law(held(), **options)
    for length, size in UNITS:
        law = ld.search_law(held(length, size), **options)
        np.testing.assert_allclose(law.draws, one.draws, rtol=1e-6)
        assert law.growth == pytest.approx(one.growth, rel=1e-6)


@pytest.mark.slow
def test_fluctuations_do_not_depend_on_the_length_that_rules_are_filled_up_to(monkeypatch):
    """Chunks of weight zero are left out: what is filled up gives the same sums."""
    from learning_dynamics.limit import fluctuations as module

    options = {"times": [1.0], "points": 2**12, "method": "sobol", "start": start(1.0)}
    filled = ld.fluctuations(held(), **options)
    monkeypatch.setattr(module, "chunked", lambda nodes: nodes)
    bare = ld.fluctuations(held(), **options)
    np.testing.assert_allclose(filled.covariance, bare.covariance, rtol=1e-9)
    np.testing.assert_allclose(filled.shift["signal"], bare.shift["signal"], rtol=1e-6)
