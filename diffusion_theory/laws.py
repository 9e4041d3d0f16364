"""Laws of nu, the latent variable of the higher-order spike."""

from abc import ABC, abstractmethod
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.model.latents import Latent
from learning_dynamics.pytrees import configuration, is_traced
from learning_dynamics.validation import finite_array, real_array, reject

__all__ = ["Atoms", "Law", "Normal", "Rademacher", "Student", "ThreePoint", "TwoPoint"]
__all__ += ["inside", "normal_moments"]

Array = NDArray[np.float64]
_MOMENTS = 6  # highest order of the moments kept


def _number(value: Any) -> Any:
    """A leaf as float64 on the host (exact probabilities), or as it is while traced."""
    return value if is_traced(value) else np.float64(real_array("number", value))


def inside(name: str, value: Any, low: float, high: float, demand: str) -> None:
    """Refuse numbers outside the open interval (low, high)."""
    if not is_traced(value) and not low < float(finite_array(name, value, ndim=0)) < high:
        raise reject(name, demand, value)


def normal_moments() -> Array:
    """E g^k for k = 0..6, shape (7,)."""
    return np.array([1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0])


class Law(ABC):
    """Law of nu with E nu = 0 and E nu^2 = 1."""

    @abstractmethod
    def latent(self) -> Latent:
        """Sampler and quadrature rule."""

    @abstractmethod
    def moments(self) -> Array:
        """E nu^k for k = 0..6, shape (7,); NaN where it does not exist."""


class Atoms(Law):
    """Finitely many values."""

    @abstractmethod
    def atoms(self) -> tuple[list[Any], list[Any]]:
        """Values in increasing order, and their probabilities."""

    def latent(self) -> Latent:
        """Exact sum over the values."""
        values, probabilities = self.atoms()
        if is_traced((values, probabilities)):
            return ld.Discrete(jnp.stack(values), jnp.stack(probabilities))
        return ld.Discrete(np.array(values), np.array(probabilities))

    def moments(self) -> Array:
        """Exact sums."""
        values, probabilities = (np.asarray(x, np.float64) for x in self.atoms())
        return np.array([probabilities @ values**k for k in range(_MOMENTS + 1)])


@configuration
class Rademacher(Atoms):
    """nu = -1 or 1, fourth cumulant -2."""

    def atoms(self) -> tuple[list[Any], list[Any]]:
        """Two values of equal probability."""
        return [-1.0, 1.0], [0.5, 0.5]


@configuration
class ThreePoint(Atoms):
    """nu = -c, 0, c with probabilities a, 1 - 2a, a; c = (2a)^(-1/2), fourth cumulant 1/(2a) - 3.

    Raises:
        ValueError: unless 0 < mass < 1/2.
    """

    mass: Any = 0.1

    def __post_init__(self) -> None:
        inside("mass", self.mass, 0.0, 0.5, "lie strictly between 0 and 1/2")

    def atoms(self) -> tuple[list[Any], list[Any]]:
        """Three values."""
        a = _number(self.mass)
        c = (2 * a) ** -0.5
        return [-c, 0 * c, c], [a, 1 - 2 * a, a]


@configuration
class TwoPoint(Atoms):
    """nu = ((1-p)/p)^(1/2) with probability p, -(p/(1-p))^(1/2) otherwise; skewed unless p = 1/2.

    Third cumulant (1 - 2p) / (p(1-p))^(1/2), fourth 1/(p(1-p)) - 6.

    Raises:
        ValueError: unless 0 < probability < 1.
    """

    probability: Any = 0.2

    def __post_init__(self) -> None:
        inside("probability", self.probability, 0.0, 1.0, "lie strictly between 0 and 1")

    def atoms(self) -> tuple[list[Any], list[Any]]:
        """Two values, the smaller first."""
        p = _number(self.probability)
        ratio = (1 - p) / p
        return [-(ratio**-0.5), ratio**0.5], [1 - p, p]


@configuration
class Student(Law):
    """Student t scaled to unit variance, fourth cumulant 6 / (freedom - 4).

    Raises:
        ValueError: unless freedom > 4; below, the fourth cumulant does not exist.
    """

    freedom: Any = 8.0

    def __post_init__(self) -> None:
        inside("freedom", self.freedom, 4.0, np.inf, "exceed 4 for a fourth cumulant to exist")

    def latent(self) -> Latent:
        """Continuous variable of the kernel."""
        return ld.StudentT(_number(self.freedom))

    def moments(self) -> Array:
        """E nu^4 = 3 (f-2)/(f-4), E nu^6 = 15 (f-2)^2 / ((f-4)(f-6)) for f > 6."""
        f = float(self.freedom)
        sixth = 15 * (f - 2) ** 2 / ((f - 4) * (f - 6)) if f > 6 else np.nan
        return np.array([1.0, 0.0, 1.0, 0.0, 3 * (f - 2) / (f - 4), 0.0, sixth])


@configuration
class Normal(Law):
    """nu ~ N(0, 1): no higher cumulants, a control."""

    def latent(self) -> Latent:
        """Continuous variable of the kernel."""
        return ld.Normal()

    def moments(self) -> Array:
        """Double factorials."""
        return normal_moments()
