"""Continuous latent variables: one declaration is both sampler and quadrature rule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from learning_dynamics import random
from learning_dynamics.hermite import normal_rule
from learning_dynamics.model.latent import check_shape
from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.validation import finite_array, reject

__all__ = ["Normal", "Phase", "Rayleigh", "StudentT", "Uniform"]

Array = NDArray[np.float64]


@configuration
class Normal:
    """Standard normal variables; Gauss-Hermite rule, trapezoidal beyond 40 nodes."""

    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)

    def __post_init__(self) -> None:
        check_shape(self.shape)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(
        self, key: jax.Array, shape: tuple[int, ...], dtype: Any, first: jax.Array | None = None
    ) -> jax.Array:
        """Independent N(0, 1)."""
        return random.normal(key, (*shape, *self.shape), dtype, first=first)

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Nodes for the standard normal weight, see `normal_rule`."""
        return normal_rule(nodes)

    def quantile(self, level: Array) -> Array:
        """Normal quantile."""
        return np.asarray(special.ndtri(level))

    def moments(self, highest: int = 6) -> Array:
        """E x^k for k = 0 .. highest: double factorials."""
        even = np.cumprod([1.0, *range(1, highest, 2)])
        k = np.arange(highest + 1)
        return np.where(k % 2, 0.0, even[k // 2])


@configuration
class Uniform:
    """Uniform variables on [low, high); Gauss-Legendre rule, or trapezoidal when periodic."""

    low: Any = 0.0
    high: Any = 1.0
    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)
    periodic: bool = static(default=False)

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if is_traced((self.low, self.high)):
            return
        low, high = (finite_array(n, getattr(self, n), ndim=0) for n in ("low", "high"))
        if not low < high:
            raise reject("high", f"exceed low = {self.low}", self.high)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(
        self, key: jax.Array, shape: tuple[int, ...], dtype: Any, first: jax.Array | None = None
    ) -> jax.Array:
        """Independent uniform variables."""
        uniform = random.uniform(key, (*shape, *self.shape), dtype, first=first)
        low = jnp.asarray(self.low, dtype)
        return low + (jnp.asarray(self.high, dtype) - low) * uniform

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Trapezoidal rule for periodic integrands, else Gauss-Legendre."""
        if self.periodic:
            level = (np.arange(nodes) + 0.5) / nodes
            return self.quantile(level), np.full(nodes, 1.0 / nodes)
        points, weights = np.polynomial.legendre.leggauss(nodes)
        return self.quantile((points + 1) / 2), weights / 2

    def quantile(self, level: Array) -> Array:
        """Linear map of the level."""
        if is_traced((self.low, self.high)):
            low, high = jnp.asarray(self.low), jnp.asarray(self.high)
            traced: Any = low + (high - low) * level
            return traced
        return float(self.low) + (float(self.high) - float(self.low)) * level

    def moments(self, highest: int = 6) -> Array:
        """E x^k for k = 0 .. highest."""
        k, low, high = np.arange(1, highest + 2), float(self.low), float(self.high)
        return (high**k - low**k) / (k * (high - low))


def Phase(  # noqa: N802 (made like the other latents)
    shape: tuple[int, ...] = (), *, nodes: int | None = None
) -> Uniform:
    """Uniform angles on the circle, with the (spectrally accurate) trapezoidal rule."""
    return Uniform(0.0, 2 * np.pi, shape, nodes, True)


@configuration
class Rayleigh:
    """Amplitudes rho >= 0 with E rho^2 = 1: rho^2 is exponential; Gauss-Laguerre in rho^2."""

    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)

    def __post_init__(self) -> None:
        check_shape(self.shape)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(
        self, key: jax.Array, shape: tuple[int, ...], dtype: Any, first: jax.Array | None = None
    ) -> jax.Array:
        """Lengths of standard normal vectors of the plane over sqrt(2)."""
        plane = random.normal(key, (*shape, 2, *self.shape), dtype, first=first)
        x, y = jnp.moveaxis(plane, len(shape), 0)
        return jnp.sqrt((x * x + y * y) / 2)

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Gauss rule in rho for the weight 2 rho exp(-rho^2) on the half line."""
        # rho exp(-rho^2) d rho on [0, inf): Golub-Welsch from discretised Stieltjes moments.
        points, weights = np.polynomial.legendre.leggauss(400)
        rho, mass = 4.5 * (points + 1), 4.5 * weights
        mass = mass * 2 * rho * np.exp(-(rho**2))
        return _golub_welsch(rho, mass / mass.sum(), nodes)

    def quantile(self, level: Array) -> Array:
        """Quantile sqrt(-log(1 - level))."""
        return np.sqrt(-np.log1p(-level))

    def moments(self, highest: int = 6) -> Array:
        """E x^k for k = 0 .. highest: (k/2)!."""
        return special.gamma(1 + np.arange(highest + 1) / 2)


def _golub_welsch(support: Array, mass: Array, nodes: int) -> tuple[Array, Array]:
    """Gauss rule of a discrete measure by the Stieltjes recurrence."""
    diagonal, off = np.zeros(nodes), np.zeros(nodes)
    previous, current = np.zeros_like(support), np.ones_like(support)
    for degree in range(nodes):
        weight = mass * current * current
        diagonal[degree] = np.sum(weight * support)
        ahead = (support - diagonal[degree]) * current
        if degree:
            ahead -= off[degree - 1] * previous
        size = np.sqrt(np.sum(mass * ahead * ahead))
        off[degree] = size
        previous, current = current, ahead / size
    jacobi = np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    values, vectors = np.linalg.eigh(jacobi)
    return values, vectors[0] ** 2


@configuration
class StudentT:
    """Student t variables scaled to unit variance, `freedom` > 2 degrees of freedom."""

    freedom: Any
    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if not is_traced(self.freedom) and not finite_array("freedom", self.freedom, ndim=0) > 2:
            raise reject("freedom", "exceed 2 (finite variance)", self.freedom)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Student t variables over their standard deviation."""
        freedom = jnp.asarray(self.freedom, dtype)
        drawn = jax.random.t(key, freedom, (*shape, *self.shape), dtype)
        return drawn * jnp.sqrt((freedom - 2) / freedom)

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Gauss-Legendre in the probability level (slow for heavy tails)."""
        points, weights = np.polynomial.legendre.leggauss(nodes)
        return self.quantile((points + 1) / 2), weights / 2

    def quantile(self, level: Array) -> Array:
        """Quantile of Student's t over its standard deviation.

        Raises:
            ValueError: if the freedom is traced: its quantiles are worked out outside of JAX.
        """
        freedom = float(finite_array("freedom", self.freedom, ndim=0))
        return np.asarray(stats.t.ppf(level, freedom)) * np.sqrt((freedom - 2) / freedom)

    def moments(self, highest: int = 6) -> Array:
        """E x^k for k = 0 .. highest; NaN where it does not exist, for k >= freedom.

        E x^(2j) = (f - 2)^j prod_(i <= j) (2i - 1) / (f - 2i).
        """
        k, freedom = np.arange(highest + 1), float(finite_array("freedom", self.freedom, ndim=0))
        pairs = np.arange(2, highest + 1, 2)
        room = np.where(pairs < freedom, freedom - pairs, np.nan)
        factors = (pairs - 1) * (freedom - 2) / room
        even = np.concatenate([[1.0], np.cumprod(factors)])[k // 2]
        return np.where(k < freedom, np.where(k % 2, 0.0, even), np.nan)
