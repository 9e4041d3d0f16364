"""The denoising loss as a contrast of one variable, and its Hermite coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion_theory.activations import activation_values
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser, denoiser_numbers
from learning_dynamics import short_text
from learning_dynamics.hermite import hermite
from learning_dynamics.validation import finite_array, integers, real_array, reject

__all__ = ["Coefficients", "Contrast", "alone", "contrast", "smooth_nodes"]

Array = NDArray[np.float64]
_FINE, _COARSE = 24, 16  # Gauss-Legendre points per panel
_FAR = 13.0  # standard deviations


class Coefficients(NamedTuple):
    """Hermite coefficients c_0, c_1, ..., with a bound on their error, shape (orders + 1,)."""

    values: Array
    error: Array

    def __repr__(self) -> str:
        return short_text.represent(self)


@dataclass(frozen=True, eq=False)
class Contrast:
    """psi with E l = L_lin + E psi(w.x) for one neuron of norm one, exact for any data law.

        psi(h) = sigma^2 + 2 e (s - p) h sigma - 2 e b q kappa sigma',   sigma = sigma(kappa h),

    e the sign of the denoiser, w.target = p h + q w.z: p = 0, q = 1 for "eps"; p = 1/a, q = -b/a
    for "x0" (Stein's identity for the Gaussian z).

    Equation: :eq:`eq:mcm-contrast`.

    Attributes:
        activation: name or function.
        sign: e.
        a: alpha_bar^(1/2).
        b: (1 - alpha_bar)^(1/2).
        kappa: scale inside the activation.
        skip: s.
        p: slope of the target's field in h.
        q: slope of the target's field in w.z.

    Source: derived here.
    """

    activation: Any
    sign: int
    a: float
    b: float
    kappa: float
    skip: float
    p: float
    q: float

    def sigma(self, h: ArrayLike) -> tuple[Array, Array]:
        """Values of the activation and of its derivative at kappa h."""
        return activation_values(self.activation, self.kappa * real_array("h", h))

    def __call__(self, h: ArrayLike) -> Array:
        """psi(h)."""
        field = real_array("h", h)
        value, slope = self.sigma(field)
        cross = (self.skip - self.p) * field * value - self.b * self.q * self.kappa * slope
        return value**2 + 2 * self.sign * cross

    def coefficients(self, orders: int = 4) -> Coefficients:
        """c_k = E psi(g) He_k(g), k = 0..orders, by quadrature on panels graded towards h = 0.

        The error is the change under fewer points per panel.
        """
        highest = int(integers("orders", orders, least=0))

        def of(count: int) -> Array:
            g, weights = smooth_nodes(np.zeros(1), np.ones(1), count)
            values = weights[0] * self(g[0])
            return np.array([values @ hermite(k, g[0]) for k in range(highest + 1)])

        fine = of(_FINE)
        return Coefficients(fine, np.abs(fine - of(_COARSE)) + 1e-14 * np.abs(fine).max())

    def closed_form(self, orders: int = 4) -> Array | None:
        """The same in closed form for "erf", "relu" and "linear"; None for other activations.

            c_k = [sigma^2]_k + 2 e (s - p) (sigma_(k+1) + k sigma_(k-1)) - 2 e b q sigma_(k+1)

        Raises:
            ValueError: on orders beyond 4.
        """
        highest = int(integers("orders", orders, least=0))
        if highest > 4:
            raise reject("orders", "be at most 4 in closed form", orders)
        form = _FORMS.get(self.activation) if isinstance(self.activation, str) else None
        if form is None:
            return None
        one, two = form(self.kappa)
        k = np.arange(5)
        below = np.concatenate([[0.0], one[:4]])
        skip = (self.skip - self.p) * (one[1:6] + k * below)
        coefficients = two + 2 * self.sign * (skip - self.b * self.q * one[1:6])
        return np.asarray(coefficients[: highest + 1])


def contrast(inputs: MixedCumulant, learner: TiedDenoiser) -> Contrast:
    """The contrast of a denoiser with one neuron, at its noise level; a learned skip at its end.

    Equations: :eq:`eq:mcm-contrast`, :eq:`eq:mcm-coefficients`.

    Args:
        inputs: the model.
        learner: the denoiser.

    Raises:
        ValueError: if these are not the model and the denoiser of this package, or K > 1.

    Source: derived here.
    """
    if not isinstance(inputs, MixedCumulant):
        raise reject("inputs", "be a MixedCumulant", repr(inputs))
    if not isinstance(learner, TiedDenoiser):
        raise reject("learner", "be a TiedDenoiser", repr(learner))
    if learner.neurons != 1:
        raise reject("learner.neurons", "be one for the contrast", learner.neurons)
    a, b, kappa, s = denoiser_numbers(inputs, learner)
    p, q = (0.0, 1.0) if learner.target == "eps" else (1 / a, -b / a)
    return Contrast(learner.activation, int(np.squeeze(learner.sign)), a, b, kappa, s, p, q)


def alone(learner: TiedDenoiser) -> TiedDenoiser:
    """One neuron of a denoiser whose neurons all have the same sign.

    Neurons of orthogonal weights do not see each other: their mean outputs and their part of the
    residual along another neuron vanish with the overlaps. At small overlaps, and in number small
    against d, each of them does what it would do alone.

    Raises:
        ValueError: if the neurons have both signs.
    """
    if not isinstance(learner, TiedDenoiser):
        raise reject("learner", "be a TiedDenoiser", repr(learner))
    signs = np.unique(np.asarray(learner.sign))
    if signs.size != 1:
        raise reject("learner.sign", "be the same for all neurons", np.asarray(learner.sign))
    return replace(learner, neurons=1, sign=int(signs[0]))


@lru_cache(maxsize=8)
def _legendre(count: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(count)


def smooth_nodes(means: Array, deviations: Array, count: int = _FINE) -> tuple[Array, Array]:
    """Nodes h and weights for E f(m + s g), f smooth but for h = 0 and near it.

    Panels in g break at h = 0 and shrink towards it down to 2^-20.

    Args:
        means: m, shape (n,).
        deviations: s, shape (n,).
        count: Gauss-Legendre points per panel.

    Returns:
        Nodes and weights, both of shape (n, points).
    """
    m, s = finite_array("means", means, ndim=1), finite_array("deviations", deviations, ndim=1)
    near = 2.0 ** -np.arange(1, 21)
    far = np.arange(1.0, 2 * _FAR + 1)
    half = np.concatenate([near[::-1], far])
    offsets = np.concatenate([-half[::-1], [0.0], half])
    centre = np.clip(-m / s, -_FAR, _FAR)
    edges = np.clip(centre[:, None] + offsets, -_FAR, _FAR)
    width = np.diff(edges, axis=1)
    points, weights = _legendre(count)
    g = edges[:, :-1, None] + width[:, :, None] * (points + 1) / 2
    mass = width[:, :, None] / 2 * weights * np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi)
    rows = m.size
    return (m[:, None, None] + s[:, None, None] * g).reshape(rows, -1), mass.reshape(rows, -1)


def _erf(kappa: float) -> tuple[Array, Array]:
    """sigma_k (k = 0..5) and [sigma^2]_k (k = 0..4) of erf(kappa h / sqrt 2)."""
    y = kappa**2
    ratio = y / (1 + y)
    first = np.sqrt(2 / np.pi * ratio)
    one = np.array([0, first, 0, -first * ratio, 0, 3 * first * ratio**2])
    pi2 = 2 / np.pi
    second = 2 * y * pi2 / ((1 + y) * np.sqrt(1 + 2 * y))
    fourth = -4 * y**2 * pi2 * (2 + 3 * y) / ((1 + y) ** 2 * (1 + 2 * y) ** 1.5)
    return one, np.array([pi2 * np.arcsin(ratio), 0, second, 0, fourth])


def _relu(kappa: float) -> tuple[Array, Array]:
    phi = 1 / np.sqrt(2 * np.pi)
    one = kappa * np.array([phi, 0.5, phi, 0, -phi, 0])
    return one, kappa**2 * np.array([0.5, 2 * phi, 1.0, 2 * phi, 0.0])


def _linear(kappa: float) -> tuple[Array, Array]:
    return kappa * np.array([0.0, 1, 0, 0, 0, 0]), kappa**2 * np.array([1.0, 0, 2, 0, 0])


_FORMS: dict[str, Callable[[float], tuple[Array, Array]]] = {
    "erf": _erf,
    "relu": _relu,
    "linear": _linear,
}
