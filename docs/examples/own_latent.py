"""A custom law for a latent: the Laplace law."""

# %%
import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics.testing import assert_same_law


@ld.configuration
class Laplace:  # of variance one
    shape: tuple[int, ...] = ld.static(default=())
    outcomes = 0  # continuous
    nodes = None  # as many as the rule of the problem affords

    def draw(self, key, shape, dtype):
        return jax.random.laplace(key, (*shape, *self.shape), dtype) / 2**0.5

    def rule(self, nodes):
        points, weights = np.polynomial.laguerre.laggauss(max(nodes // 2, 1))
        return np.append(-points, points) / 2**0.5, np.append(weights, weights) / 2

    def quantile(self, level):
        return -np.sign(level - 0.5) * np.log1p(-2 * np.abs(level - 0.5)) / 2**0.5


# %% Draws, quadrature and quantiles must be of one law
if __name__ == "__main__":
    law = Laplace()
    draws = law.draw(jax.random.key(0), (4000,), np.float32)
    assert_same_law(draws, law.quantile(np.linspace(0, 1, 4002)[1:-1]))
    points, weights = law.rule(20)
    print(f"variance {weights @ points**2:.3f}, fourth moment {weights @ points**4:.3f}")
