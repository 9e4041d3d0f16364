"""Statistics that the claims share: the allowed bias."""

import numpy as np

from linear_diffusion.claims.common import finite_size
from linear_diffusion.theory import kl


def test_allowed_bias_falls_with_the_square_of_the_smaller_number():
    spectrum = np.ones(100)
    found = finite_size(kl(spectrum, [10, 1000], 1.0, direction="forward"), [10, 1000], 100)
    np.testing.assert_allclose(found.bias / found.values, [0.1, 1e-3])
