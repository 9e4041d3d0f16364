"""Moments that latents state, against their own quadrature and against SciPy's laws."""

import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld

LAWS = {
    "normal": (ld.Normal(), stats.norm()),
    "uniform": (ld.Uniform(-1.0, 3.0), stats.uniform(-1, 4)),
    "rayleigh": (ld.Rayleigh(), stats.rayleigh(scale=np.sqrt(0.5))),
    "discrete": (ld.Discrete((-1.0, 2.0), (0.75, 0.25)), None),
    "student": (ld.StudentT(12.0), stats.t(12.0, scale=np.sqrt(10 / 12))),
}


@pytest.mark.parametrize("name", LAWS)
def test_moments_are_those_of_the_law(name):
    latent, law = LAWS[name]
    moments = latent.moments(6)
    assert moments.shape == (7,)
    if law is not None:
        known = [1.0, *(law.moment(k) for k in range(1, 7))]
        np.testing.assert_allclose(moments, known, rtol=1e-9, atol=1e-12)
    if name != "student":  # whose Gauss-Legendre rule is slow in the tails
        points, weights = latent.rule(12)
        ruled = [weights @ np.asarray(points) ** k for k in range(7)]
        np.testing.assert_allclose(moments, ruled, rtol=1e-9, atol=1e-12)


def test_moments_that_do_not_exist_are_nan():
    moments = ld.StudentT(4.0).moments(6)
    assert np.all(np.isfinite(moments[:4]))
    assert np.all(np.isnan(moments[4:]))
