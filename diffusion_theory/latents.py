"""Joint laws of the latent variables of the two spikes: lambda ~ N(0, 1) and nu."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from math import factorial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import special

import learning_dynamics as ld
from diffusion_theory.laws import Rademacher, inside, law_of_nu, require_law
from learning_dynamics import random
from learning_dynamics.model.discrete import Atoms
from learning_dynamics.model.latent import Latent
from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.validation import finite_array, one_of, reject

__all__ = ["BrokenNormal", "Coupling", "Dependent", "Gaussian", "Independent", "LatentPair"]
__all__ += ["Sign", "joint_cumulants", "latent_pair"]

Array = NDArray[np.float64]
_MOMENTS = 6  # highest order of the moments kept


@configuration
class BrokenNormal:
    """Standard normal variable whose quadrature is a Gauss rule on each piece between `breaks`.

    Integrands that jump at the breaks cost no accuracy.
    """

    breaks: tuple[Any, ...] = ()
    shape: tuple[int, ...] = static(default=())
    nodes: int | None = static(default=None)

    @property
    def outcomes(self) -> int:
        """Zero: continuous."""
        return 0

    def draw(
        self, key: jax.Array, shape: tuple[int, ...], dtype: Any, first: jax.Array | None = None
    ) -> jax.Array:
        """Draw N(0, 1)."""
        return random.normal(key, (*shape, *self.shape), dtype, first=first)

    def rule(self, nodes: int) -> tuple[Array, Array]:
        """Gauss rules of the pieces' truncated normal laws, about `nodes` points in all."""
        edges = (-np.inf, *(float(edge) for edge in self.breaks), np.inf)
        each = max(2, -(-nodes // (len(edges) - 1)))
        rules = [_piece(a, b, each) for a, b in itertools.pairwise(edges)]
        return np.concatenate([r[0] for r in rules]), np.concatenate([r[1] for r in rules])

    def quantile(self, level: Array) -> Array:
        """Normal quantile."""
        return np.asarray(special.ndtri(level))


@lru_cache(maxsize=64)
def _piece(low: float, high: float, nodes: int) -> tuple[Array, Array]:
    """Gauss rule of the normal weight on [low, high] (discretised Stieltjes, Golub-Welsch)."""
    a, b = max(low, -10.0), min(high, 10.0)
    points, weights = np.polynomial.legendre.leggauss(40)
    width = (b - a) / 10  # ten panels of 40 points
    x = (a + width * (np.arange(10)[:, None] + (points + 1) / 2)).ravel()
    mass = np.tile(width / 2 * weights, 10) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    total = special.ndtr(high) - special.ndtr(low)
    mass *= total / mass.sum()
    diagonal, off = np.zeros(nodes), np.zeros(nodes)
    before, now = np.zeros_like(x), np.full_like(x, total**-0.5)
    for k in range(nodes):
        diagonal[k] = np.sum(mass * now * now * x)
        after = (x - diagonal[k]) * now - (off[k - 1] * before if k else 0.0)
        off[k] = np.sqrt(np.sum(mass * after * after))
        before, now = now, after / off[k]
    values, vectors = np.linalg.eigh(
        np.diag(diagonal) + np.diag(off[:-1], 1) + np.diag(off[:-1], -1)
    )
    return values, total * vectors[0] ** 2


class LatentPair(ABC):
    """Joint law of lambda ~ N(0, 1) and nu (E nu = 0, E nu^2 = 1)."""

    independent: bool = False

    @abstractmethod
    def latents(self) -> Mapping[str, Latent]:
        """Random variables behind the pair."""

    @abstractmethod
    def pair(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Lambda and nu from one draw of `latents`."""

    @abstractmethod
    def moments(self) -> Array:
        """E lambda^j nu^k, shape (7, 7); NaN beyond order 6 and where it does not exist."""

    @property
    def rho(self) -> float:
        """Correlation E lambda nu."""
        return float(self.moments()[1, 1])


def _triangle(moments: Array) -> Array:
    j, k = np.indices(moments.shape)
    return np.where(j + k <= _MOMENTS, moments, np.nan)


@configuration
class Independent(LatentPair):
    """Lambda and nu independent of each other."""

    law: Any = Rademacher()
    independent = True

    def __post_init__(self) -> None:
        require_law("law", self.law)

    def latents(self) -> Mapping[str, Latent]:
        """Lambda and nu themselves."""
        return {"lambda": ld.Normal(), "nu": self.law}

    def pair(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Lambda and nu themselves."""
        return latents["lambda"], latents["nu"]

    def moments(self) -> Array:
        """Products of the moments."""
        return _triangle(np.outer(ld.Normal().moments(), self.law.moments()))


@configuration
class Gaussian(LatentPair):
    """Jointly Gaussian pair of correlation rho: data with all the covariances and nothing else.

    Raises:
        ValueError: unless -1 < rho < 1.
    """

    correlation: Any = 0.0

    def __post_init__(self) -> None:
        inside("correlation", self.correlation, -1.0, 1.0, "lie strictly between -1 and 1")

    def latents(self) -> Mapping[str, Latent]:
        """Two independent normals."""
        return {"lambda": ld.Normal(), "rest": ld.Normal()}

    def pair(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Regress nu on lambda."""
        first, rest = latents["lambda"], latents["rest"]
        rho = jnp.asarray(self.correlation, first.dtype)
        return first, rho * first + jnp.sqrt(1 - rho * rho) * rest

    def moments(self) -> Array:
        """Gauss-Hermite quadrature, exact for polynomials."""
        rho, size = float(self.correlation), _MOMENTS + 1
        table = np.zeros((size, size))
        points, weights = np.polynomial.hermite_e.hermegauss(20)
        weights = weights / weights.sum()
        nu = rho * points[:, None] + np.sqrt(1 - rho**2) * points[None]
        for j in range(size):
            for k in range(size):
                table[j, k] = weights @ (points[:, None] ** j * nu**k) @ weights
        return _triangle(table)


class Step(NamedTuple):
    """Piecewise constant nu(lambda): `values[i]` between the breaks i - 1 and i."""

    breaks: tuple[Any, ...]
    values: tuple[Any, ...]

    def __call__(self, lam: jax.Array) -> jax.Array:
        """Evaluate nu(lambda)."""
        nu = jnp.broadcast_to(jnp.asarray(self.values[0], lam.dtype), lam.shape)
        for edge, value in zip(self.breaks, self.values[1:], strict=True):
            nu = jnp.where(lam > jnp.asarray(edge, lam.dtype), jnp.asarray(value, lam.dtype), nu)
        return nu

    def moments(self) -> Array:
        """E lambda^j nu(lambda)^k from the truncated moments of the normal law."""
        size = _MOMENTS + 1
        edges = np.array([-np.inf, *self.breaks, np.inf])
        finite = np.where(np.isfinite(edges), edges, 0.0)
        density = np.where(np.isfinite(edges), np.exp(-(finite**2) / 2) / np.sqrt(2 * np.pi), 0)
        truncated = [np.diff(special.ndtr(edges)), -np.diff(density)]
        for j in range(2, size):  # T_j = (j-1) T_(j-2) - [x^(j-1) phi(x)]
            boundary = np.diff(finite ** (j - 1) * density)
            truncated.append((j - 1) * truncated[j - 2] - boundary)
        values = np.asarray(self.values)
        return _triangle(np.array([[t @ values**k for k in range(size)] for t in truncated]))


class _Deterministic(LatentPair):
    """A function nu(lambda)."""

    @abstractmethod
    def step(self) -> Step:
        """The function."""

    def latents(self) -> Mapping[str, Latent]:
        """Lambda alone."""
        return {"lambda": BrokenNormal(self.step().breaks)}

    def pair(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Evaluate nu at lambda."""
        return latents["lambda"], self.step()(latents["lambda"])

    def moments(self) -> Array:
        """Truncated normal moments."""
        return self.step().moments()


@configuration
class Sign(_Deterministic):
    """nu = sign(lambda), rho = sqrt(2/pi): as correlated as a Rademacher variable can be."""

    def step(self) -> Step:
        """One step."""
        return Step((0.0,), (-1.0, 1.0))


@configuration
class Dependent(_Deterministic):
    """nu = -1 or 1, a function of lambda, uncorrelated with it.

    kind "square": nu = sign(|lambda| - c), c the median of |lambda|; E lambda^2 nu = 4 c phi(c).
    kind "cube": nu = sign(lambda) sign(|lambda| - c), c = sqrt(2 log 2); E lambda^2 nu = 0 and
    E lambda^3 nu = 4 log(2) phi(0). Both derived here.
    """

    kind: Literal["square", "cube"] = static(default="cube")

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("square", "cube"))

    def step(self) -> Step:
        """Two or three steps."""
        if self.kind == "square":
            c = float(special.ndtri(0.75))
            return Step((-c, c), (1.0, -1.0, 1.0))
        c = float(np.sqrt(2 * np.log(2)))
        return Step((-c, 0.0, c), (-1.0, 1.0, -1.0, 1.0))


@configuration
class Coupling(LatentPair):
    """nu with correlation rho to lambda: monotone in lambda with probability q, else independent.

    q = rho / rho_max, where rho_max = E lambda nu of the monotone coupling (of the decreasing one
    for rho < 0); sqrt(2/pi) for a Rademacher nu, where q = 1 is `Sign`.

    Raises:
        ValueError: unless rho lies strictly between the two extremes and is not zero.
    """

    correlation: Any = 0.4
    law: Any = Rademacher()

    def __post_init__(self) -> None:
        if not isinstance(self.law, Atoms):
            raise reject("law", "be a law with finitely many values", repr(self.law))
        if is_traced((self.correlation, self.law)):
            return
        rho = float(finite_array("correlation", self.correlation, ndim=0))
        if rho == 0 or not self._monotone()[2] < 1:
            most = abs(rho / self._monotone()[2]) if rho else 0.0
            demand = f"be nonzero and below {most:.6g} in size, what this law of nu allows"
            raise reject("correlation", demand, rho)

    def _monotone(self) -> tuple[Any, Any, Any]:
        """Breaks and values of the extreme coupling of rho's sign, and its weight q."""
        values, probabilities = self.law.atoms()
        leaves = (self.correlation, self.law)
        rho: Any
        v: Any
        p: Any
        breaks: Any
        xp: Any = np
        if is_traced(leaves):
            xp = jnp
            kind = jnp.result_type(*[leaf for leaf in jax.tree.leaves(leaves) if is_traced(leaf)])
            rho, v, p = (jnp.asarray(x, kind) for x in (self.correlation, values, probabilities))
            breaks = jax.scipy.special.ndtri(jnp.cumsum(p)[:-1])
        else:
            rho, v, p = (
                np.asarray(x, np.float64) for x in (self.correlation, values, probabilities)
            )
            breaks = special.ndtri(np.cumsum(p)[:-1])
        breaks = xp.where(rho > 0, breaks, -breaks[::-1])
        v = xp.where(rho > 0, v, v[::-1])
        density = xp.exp(-(breaks**2) / 2) / (2 * np.pi) ** 0.5
        most = xp.sum(density * (v[1:] - v[:-1]))  # E lambda nu, summed by parts
        return breaks, v, rho / most

    def latents(self) -> Mapping[str, Latent]:
        """Lambda, a coin for the monotone coupling, an independent nu."""
        breaks, _, q = self._monotone()
        coin = jnp.stack([1 - q, q]) if is_traced(q) else np.array([1 - q, q])
        return {
            "lambda": BrokenNormal(tuple(breaks)),
            "coupled": ld.Discrete(np.array([0.0, 1.0]), coin),
            "nu": self.law,
        }

    def pair(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Take the monotone function where the coin says so."""
        lam = latents["lambda"]
        breaks, values, _ = self._monotone()
        nu = Step(tuple(breaks), tuple(values))(lam)
        return lam, jnp.where(latents["coupled"] > 0.5, nu, latents["nu"])

    def moments(self) -> Array:
        """Mixture of the two."""
        breaks, values, q = self._monotone()
        apart = np.outer(ld.Normal().moments(), self.law.moments())
        return _triangle(q * Step(tuple(breaks), tuple(values)).moments() + (1 - q) * apart)


_SPELLED: dict[str, LatentPair] = {
    "rademacher": Independent(Rademacher()),
    "sign": Sign(),
    "square": Dependent("square"),
    "cube": Dependent("cube"),
}


def latent_pair(pair: Any) -> LatentPair:
    """A `LatentPair` from itself, a law of nu (independent), or "rademacher", "sign", "square",
    "cube".

    Raises:
        ValueError: on anything else.
    """  # noqa: D205
    if isinstance(pair, LatentPair):
        return pair
    if law_of_nu(pair):
        return Independent(pair)
    if isinstance(pair, str):
        return _SPELLED[one_of("pair", pair, tuple(_SPELLED))]
    raise reject("pair", "be a LatentPair, a law of nu or a name", repr(pair))


def joint_cumulants(moments: Array) -> Array:
    """Joint cumulants k[i, j] of i copies of lambda and j of nu, from E lambda^i nu^j.

    Recursion over the moments, up to order 6; NaN where a moment is missing.
    """
    size = moments.shape[0]
    cumulants = np.full((size, size), np.nan)
    cumulants[0, 0] = 0.0
    for order in range(1, size):
        for i in range(order + 1):
            j = order - i
            total = moments[i, j]
            # mark one variable: m(i,j) = sum over blocks that hold it
            for p in range(i + 1):
                for q in range(j + 1):
                    if p + q == order or p + q == 0 or (p == 0 and i > 0):
                        continue
                    ways = _choose(i - 1, p - 1) * _choose(j, q) if i else _choose(j - 1, q - 1)
                    total = total - ways * cumulants[p, q] * moments[i - p, j - q]
            cumulants[i, j] = total
    return cumulants


def _choose(n: int, k: int) -> int:
    if k < 0 or k > n:
        return 0
    return factorial(n) // (factorial(k) * factorial(n - k))
