"""Traces of functions of a sample covariance as one contour integral.

For g analytic around the spectrum of Sigma_hat,

    E tr g(Sigma_hat)       = - oint dz/(2 pi i) g(z) (kappa/(-z)) tr (Sigma + kappa)^-1,
    E tr Sigma g(Sigma_hat) = - oint dz/(2 pi i) g(z) (kappa/(-z)) tr Sigma (Sigma + kappa)^-1,

up to the first correction of `trace_measure`, with kappa = kappa(-z) the implicit ridge continued
to complex lam = -z. The contour is
z = -delta + e^w with w on the ellipse whose foci are log(delta) and log(s_max + delta): it
resolves eigenvalues on all scales, passes left of a mass of null eigenvalues at z = 0, and stays
in the half plane Re z > -delta, where exp(-tau z) is at most e^(tau delta). The trapezoidal rule
converges geometrically on it. Derived here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linear_diffusion.theory.resolvent import EPSILON, equivalent

__all__ = ["Contour", "make_contour", "trace_measure"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
INTERVALS = 320  # on the upper half; even, so that every second node is a coarser rule


class Contour(NamedTuple):
    """Upper half of the contour, from the right end to the left, for one sample size."""

    nodes: Complex  #: z, (m + 1,)
    weights: Complex  #: -dz/dtheta / m, ends halved: tr g = Im sum_j weights_j g(z_j) plain_j
    coarse: Complex  #: the same for every second node, zero elsewhere
    kappa: Complex  #: (m + 1,)
    plain: Complex  #: tr (Sigma_hat - z)^-1, (m + 1,)
    signal: Complex  #: tr Sigma (Sigma_hat - z)^-1, (m + 1,)
    freedom: float  #: n

    def trace(self, values: Complex, measure: Complex) -> tuple[Array, Array]:
        """Trace of g and its error, from `values` g(z) of shape (..., m + 1) and a measure.

        The error is the distance to the rule with half the nodes plus the rounding error; the
        first overestimates, since the rule converges geometrically.

        Equation: :eq:`eq:linear-contour`.
        """
        terms = values * (self.weights * measure)
        fine = terms.imag.sum(axis=-1)
        half = (values * (self.coarse * measure)).imag.sum(axis=-1)
        rounding = 16 * EPSILON * np.abs(terms).sum(axis=-1)
        return fine, np.abs(fine - half) + rounding

    def quadratic_trace(self, values: Complex, s: Array) -> Array:
        """E tr h(Sigma_hat) Sigma^-1 h(Sigma_hat) Sigma for h of shape (..., m + 1).

        Double contour integral with the two-point equivalent, G_a = (Sigma + kappa_a)^-1,

            E tr R_a Sigma^-1 R_b Sigma = (kappa_a kappa_b / (z_a z_b)) tr G_a G_b
                                          / (1 - tr Sigma G_a Sigma G_b / n).

        Equation: :eq:`eq:linear-two-point`.
        """
        z = np.concatenate([self.nodes, self.nodes.conj()])
        kappa = np.concatenate([self.kappa, self.kappa.conj()])
        weights = np.concatenate([self.weights, -self.weights.conj()]) / 2j
        G = 1 / (s + kappa[:, None])
        share = G * s
        kernel = (G @ G.T) / (1 - (share @ share.T) / self.freedom)
        both = np.concatenate([values, values.conj()], axis=-1) * (weights * kappa / -z)
        return np.einsum("...a,ab,...b->...", both, kernel, both, optimize=True).real


def _continued(s: Array, n: float, target: Complex, start: complex) -> Complex:
    """Follow the root of kappa (n - df_1(kappa)) = target_j from `start` near j = 0."""
    kappa, kappas = complex(start), []
    for goal in target:
        for _ in range(50):
            ratio = s / (s + kappa)
            slope = n - (ratio**2).sum()
            step = (kappa * (n - ratio.sum()) - goal) / slope
            kappa -= step
            if abs(step) <= 4 * EPSILON * abs(kappa):
                break
        kappas.append(kappa)
    return np.array(kappas)


def make_contour(
    s: Array, samples: float, freedom: float, delta: float | None, *, opening: float = 1.2
) -> Contour:
    """Build the contour for one sample size.

    Args:
        s: eigenvalues of Sigma, (d,).
        samples: N.
        freedom: n.
        delta: distance of the contour's leftmost point from zero; functions must be analytic
            for Re z > -delta within the opening. None lets the contour pass between zero and the
            spectrum, which is possible for n > d only.
        opening: largest angle of z + delta, below pi/2.

    Equation: :eq:`eq:linear-contour`.
    """
    spread, scale = np.sqrt(s.size / freedom), freedom / samples
    lowest, largest = 0.0, s[0] * (1 + spread) ** 2 * scale
    if delta is None:
        lowest = s[-1] * (1 - spread) ** 2 * scale
        delta = -lowest / 2
    left, right = np.log(lowest + delta), np.log(largest + delta)
    half = (right - left) / 2
    eta = np.arcsinh(opening / half)
    theta = np.linspace(0, np.pi, INTERVALS + 1)
    w = (left + right) / 2 + half * (
        np.cosh(eta) * np.cos(theta) + 1j * np.sinh(eta) * np.sin(theta)
    )
    slope = half * (-np.cosh(eta) * np.sin(theta) + 1j * np.sinh(eta) * np.cos(theta))
    w.imag[[0, -1]] = 0.0  # sin(pi) is not zero in floating point
    z = np.exp(w) - delta
    weights = -np.exp(w) * slope / INTERVALS
    weights[[0, -1]] /= 2
    coarse = np.where(np.arange(INTERVALS + 1) % 2, 0, 2 * weights)
    # The continuation starts at the real left end. Left of zero the real solver knows kappa there;
    # between zero and the spectrum it is reached from kappa = 0 at z = 0.
    target = -samples * z[::-1]
    if lowest == 0:
        first = float(equivalent(s, np.array(freedom), np.array(target[0].real)).kappa)
    else:
        first = _continued(s, freedom, target[0] * np.linspace(0.1, 1, 10), 0.0)[-1]
    kappa = _continued(s, freedom, target, first)[::-1]
    plain = trace_measure(1 / s, s, z, kappa, freedom)
    signal = trace_measure(np.ones_like(s), s, z, kappa, freedom)
    return Contour(z, weights, coarse, kappa, plain, signal, freedom)


def trace_measure(weight: Array, s: Array, z: Complex, kappa: Complex, freedom: float) -> Complex:
    """E tr B Sigma (Sigma_hat - z)^-1 on the nodes, for B = diag(weight) in Sigma's eigenbasis.

    `weight` has shape (d,), or (d, ...) for several B; the result (nodes, ...).

        (kappa/(-z)) { tr B r + [tr B r^3 - (df_2 - df_3) tr B r^2 / (n - df_2)] / (n - df_2) },

    r = Sigma (Sigma + kappa)^-1. The second term is the first correction for real Gaussian data.

    Equation: :eq:`eq:linear-correction`.
    """
    ratio = s / (s + kappa[:, None])
    df2 = (ratio**2).sum(axis=1)
    free = freedom - df2
    first, second, third = ((ratio**k) @ weight for k in (1, 2, 3))
    # Trailing axes of `weight` stand behind the nodes' axis.
    free, factor, gap = (
        column.reshape(-1, *(1,) * (np.ndim(weight) - 1))
        for column in (free, kappa / -z, df2 - (ratio**3).sum(axis=1))
    )
    return factor * (first + (third - gap * second / free) / free)
