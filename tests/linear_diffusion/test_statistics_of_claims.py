"""Statistics that the claims share: allowed bias, stacked predictions, jackknife."""

import numpy as np

from linear_diffusion.claims.common import finite_size, jackknife, stack
from linear_diffusion.theory import bayes_loss, kl


def test_allowed_bias_falls_with_the_square_of_the_smaller_number():
    spectrum = np.ones(100)
    found = finite_size(kl(spectrum, [10, 1000], 1.0, direction="forward"), [10, 1000], 100)
    np.testing.assert_allclose(found.bias / found.values, [0.1, 1e-3])


def test_stack_keeps_errors_and_bias():
    one = bayes_loss(np.ones(3), [0.5, 1.0]).with_bias(0.1, "1/d")
    both = stack([one, one])
    assert both.values.shape == (2, 2)
    np.testing.assert_array_equal(both.bias, 0.1)
    np.testing.assert_array_equal(both.numerical_error[1], one.numerical_error)


def test_jackknife_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(5)
    curves = rng.normal(size=(40, 3, 6))
    found = jackknife(curves, lambda c: c.mean(axis=-1), {"series": np.arange(3)})
    each = curves.mean(axis=-1)
    np.testing.assert_allclose(found.values, each.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.standard_error, each.std(axis=0, ddof=1) / np.sqrt(40))
