"""Laws of nu, the latent variable of the higher-order spike.

A law is a latent of one variable with `moments`: those here, `ld.StudentT`, `ld.Discrete`, or
`ld.Normal`, a control without higher cumulants.
"""

from typing import Any

import numpy as np

from learning_dynamics.model.discrete import Atoms
from learning_dynamics.pytrees import configuration, is_traced
from learning_dynamics.validation import finite_array, real_array, reject

__all__ = ["Rademacher", "ThreePoint", "TwoPoint", "inside", "law_of_nu", "require_law"]


def _number(value: Any) -> Any:
    """A leaf as float64 on the host (exact probabilities), or as it is while traced."""
    return value if is_traced(value) else np.float64(real_array("number", value))


def inside(name: str, value: Any, low: float, high: float, demand: str) -> None:
    """Refuse numbers outside the open interval (low, high)."""
    if not is_traced(value) and not low < float(finite_array(name, value, ndim=0)) < high:
        raise reject(name, demand, value)


def law_of_nu(value: Any) -> bool:
    """Whether something is a latent of one variable that knows its moments."""
    known = all(callable(getattr(value, name, None)) for name in ("draw", "rule", "moments"))
    return known and getattr(value, "shape", None) == ()


def require_law(name: str, value: Any) -> None:
    """Refuse what is no law of nu with E nu = 0, E nu^2 = 1 and a fourth cumulant."""
    if not law_of_nu(value):
        raise reject(name, "be a law of nu, such as Rademacher()", repr(value))
    if is_traced(value):
        return
    moments = value.moments()
    if not np.allclose(moments[:3], [1, 0, 1], atol=1e-6):
        raise reject(name, "have mean zero and variance one", moments[1:3].tolist())
    if not np.isfinite(moments[4]):
        raise reject(name, "have a fourth cumulant", repr(value))


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
