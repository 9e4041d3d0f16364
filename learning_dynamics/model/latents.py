"""Latent variables of an input model: one declaration is both sampler and quadrature rule."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from learning_dynamics import random
from learning_dynamics.hermite import gauss_hermite
from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.validation import finite_array, integers, reject

__all__ = ["Discrete", "Latent", "Normal", "Phase", "Rayleigh", "StudentT", "Uniform"]

Array = NDArray[np.float64]


class Latent(Protocol):
    """Independent, identically distributed real variables in an array of shape `shape`.

    Attributes:
        shape: shape of the array, () for one variable.
        outcomes: number of values of each variable when it is discrete, otherwise 0.
        nodes: quadrature nodes per variable that suffice, or None to let the rule choose.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        ...

    @property
    def outcomes(self) -> int:
        """Number of values, 0 if continuous."""
        ...

    @property
    def nodes(self) -> int | None:
        """Quadrature nodes that suffice."""
        ...

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Draw an array of shape (*shape, *self.shape)."""
        ...

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Nodes and weights of a one-dimensional quadrature, float64 (host)."""
        ...

    def quantile(self, level: Array) -> Array:
        """Inverse of the distribution function, float64 (host)."""
        ...


def _shape(value: Any) -> None:
    if not isinstance(value, tuple):
        raise reject("shape", "be a tuple of whole numbers", repr(value))
    if value:
        integers("shape", value, least=0)


@configuration
class Normal:
    """Standard normal variables; Gauss-Hermite rule."""

    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)

    def __post_init__(self) -> None:
        _shape(self.shape)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Independent N(0, 1)."""
        return random.normal(key, (*shape, *self.shape), dtype)

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Gauss-Hermite nodes for the standard normal weight."""
        return gauss_hermite(nodes)

    def quantile(self, level: Array) -> Array:
        """Normal quantile."""
        return np.asarray(special.ndtri(level))


@configuration
class Discrete:
    """Variables with finitely many values; quadrature is the exact sum over them.

    Attributes:
        values: shape (outcomes,).
        probabilities: shape (outcomes,), positive, summing to one; uniform when left out.
        shape: shape of the array of independent copies.
    """

    values: Any
    probabilities: Any = None
    shape: tuple[int, ...] = static(default=())

    def __post_init__(self) -> None:
        _shape(self.shape)
        if self.probabilities is None:
            count = np.size(self.values)
            object.__setattr__(self, "probabilities", np.full(count, 1.0 / max(count, 1)))
        if is_traced((self.values, self.probabilities)):
            return
        values = finite_array("values", self.values, ndim=1)
        weights = finite_array("probabilities", self.probabilities, ndim=1)
        if weights.shape != values.shape:
            raise reject("probabilities", f"have shape {values.shape}", f"shape {weights.shape}")
        if np.any(weights <= 0) or abs(weights.sum() - 1) > 1e-9:
            raise reject("probabilities", "be positive and sum to one", weights.tolist())
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "probabilities", weights)

    @property
    def outcomes(self) -> int:
        """Number of values."""
        return int(np.shape(self.values)[0])

    @property
    def nodes(self) -> int | None:
        """All values, always."""
        return self.outcomes

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Invert the distribution function at a uniform variable."""
        uniform = random.uniform(key, (*shape, *self.shape), dtype)
        values = jnp.asarray(self.values, dtype)
        bounds = jnp.cumsum(jnp.asarray(self.probabilities, dtype))
        drawn = jnp.full(uniform.shape, values[0], dtype)
        for index in range(1, self.outcomes):
            drawn = jnp.where(uniform >= bounds[index - 1], values[index], drawn)
        return drawn

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """All values with their probabilities, traced ones as they are."""
        if is_traced((self.values, self.probabilities)):
            traced: Any = jnp.asarray(self.values), jnp.asarray(self.probabilities)
            return traced
        return np.asarray(self.values), np.asarray(self.probabilities)

    def quantile(self, level: Array) -> Array:
        """Smallest value whose distribution function exceeds the level."""
        bounds = np.cumsum(self.probabilities)[:-1]
        return np.asarray(self.values)[np.searchsorted(bounds, level, side="right")]


@configuration
class Uniform:
    """Uniform variables on [low, high); Gauss-Legendre rule, or trapezoidal when periodic."""

    low: Any = 0.0
    high: Any = 1.0
    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)
    periodic: bool = static(default=False)

    def __post_init__(self) -> None:
        _shape(self.shape)
        if is_traced((self.low, self.high)):
            return
        low, high = (finite_array(n, getattr(self, n), ndim=0) for n in ("low", "high"))
        if not low < high:
            raise reject("high", f"exceed low = {self.low}", self.high)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Independent uniform variables."""
        uniform = random.uniform(key, (*shape, *self.shape), dtype)
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
        _shape(self.shape)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Lengths of standard normal vectors of the plane over sqrt(2)."""
        plane = random.normal(key, (2, *shape, *self.shape), dtype)
        return jnp.sqrt((plane[0] * plane[0] + plane[1] * plane[1]) / 2)

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
        _shape(self.shape)
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
