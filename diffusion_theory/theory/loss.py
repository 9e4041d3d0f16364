"""Population loss of one neuron in its overlaps: exact, expanded, its gradient and V."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.latents import Gaussian
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.contrast import Contrast, contrast, smooth_nodes
from learning_dynamics import short_text
from learning_dynamics.model.latents import StudentT
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["LossTerms", "expanded_loss", "gradient_norm", "hermite_moments", "linear_loss"]
__all__ += ["loss_terms", "pair_nodes", "population_loss"]

Array = NDArray[np.float64]
_NODES = 48  # per continuous latent


class LossTerms(NamedTuple):
    """Loss without its linear part, gradient and squared gradient norm at given overlaps.

    Attributes:
        loss: E psi(w.x).
        gradient: derivatives with respect to the overlaps on the sphere, shape (r,).
        norm: V = lim E |dl/dw|^2 / d.
    """

    loss: float
    gradient: Array
    norm: float

    def __repr__(self) -> str:
        return short_text.represent(self)


def pair_nodes(inputs: MixedCumulant) -> tuple[Array, Array, Array]:
    """Lambda, nu and weights; lambda is zero where it is part of the Gaussian coordinate."""
    pair = inputs.pair
    if isinstance(pair, Gaussian) or (pair.independent and inputs.cumulant is None):
        return np.zeros(1), np.zeros(1), np.ones(1)
    if pair.independent and isinstance(pair.law, StudentT):
        nu, weights = _student_nodes(float(pair.law.freedom))
        return np.zeros_like(nu), nu, weights
    variables = inputs.latents_of_pair()
    rules = {n: v.rule(v.nodes or _NODES) for n, v in variables.items()}
    grids = np.meshgrid(*[r[0] for r in rules.values()], indexing="ij")
    weights = np.ones(1)
    for _, w in rules.values():
        weights = np.multiply.outer(weights, w).ravel()
    values = {n: g.ravel() for n, g in zip(rules, grids, strict=True)}
    if pair.independent:
        return np.zeros_like(values["nu"]), values["nu"], weights
    with jax.enable_x64(True):
        lam, nu = pair.pair({n: jnp.asarray(v) for n, v in values.items()})
        return np.asarray(lam), np.asarray(nu), weights


def _student_nodes(freedom: float) -> tuple[Array, Array]:
    """Gauss-Legendre panels in y, nu = sinh(y), out to |nu| = 10^5."""
    points, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(-np.arcsinh(1e5), np.arcsinh(1e5), 25)
    width = np.diff(edges)[:, None]
    y = (edges[:-1, None] + width * (points + 1) / 2).ravel()
    scale = np.sqrt(freedom / (freedom - 2))
    density = stats.t.pdf(np.sinh(y) * scale, freedom) * scale * np.cosh(y)
    mass = (width / 2 * weights).ravel() * density
    return np.sinh(y), mass / mass.sum()


def loss_terms(inputs: MixedCumulant, learner: TiedDenoiser, overlaps: ArrayLike) -> LossTerms:
    """Exact loss, gradient and gradient norm of one neuron on the sphere.

    h = w.x is a mixture of Gaussians over the latents: mean A lambda + B nu + mu and variance
    1 - B^2, with A = a sqrt(beta_u) alpha_u, B = a gamma alpha_v, mu = a sqrt(beta_m) alpha_m
    (independent latents: lambda counts to the variance, 1 - B^2 + A^2). Derivatives come from
    E psi' = E g psi / s, without derivatives of the contrast. With w.z given h Gaussian of mean
    (b/s^2)(h - mean) and variance 1 - b^2/s^2, r = target - s x - e w sigma,

        V = 4 R E sigma^2 + 4 kappa^2 E sigma'^2 (w.r)^2 + 8 C kappa E sigma sigma' (w.r),

    R and C the limits of |r|^2 / d and r.x / d.

    Equations: :eq:`eq:mcm-population`, :eq:`eq:mcm-norm`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        overlaps: w.u, w.v, w.m for the directions `inputs.names`, shape (r,).

    Raises:
        ValueError: if the overlaps do not fit in the unit ball.

    Source: derived here.
    """
    psi = contrast(inputs, learner)
    alpha = _checked(inputs, overlaps)
    scales = _scales(inputs)
    A, B, mu = scales * alpha
    lam, nu, weights = pair_nodes(inputs)
    gaussian, rho = isinstance(inputs.pair, Gaussian), inputs.pair.rho
    merged = inputs.pair.independent or gaussian
    if gaussian:
        s = np.sqrt(1 + A * A + 2 * rho * A * B)
        slopes = np.array([A + rho * B, rho * A]) / s
    else:
        s = np.sqrt(1 - B * B + (A * A if merged else 0.0))
        slopes = np.array([A if merged else 0.0, -B]) / s
    means = A * lam + B * nu + mu
    h, mass = smooth_nodes(means, np.full(means.shape, s))
    mass = mass * weights[:, None]
    value, slope = psi.sigma(h)
    cross = (psi.skip - psi.p) * h * value - psi.b * psi.q * psi.kappa * slope
    contrasted = value**2 + 2 * psi.sign * cross
    g = (h - means[:, None]) / s
    shift = np.sum(mass * g * contrasted, axis=1) / s  # d/d mean of each component
    stretch = float(np.sum(mass * (g * g - 1) * contrasted)) / s  # d/d s
    gradient = np.array([shift @ lam, shift @ nu, shift.sum()])
    gradient[:2] += slopes * stretch
    norm = _norm(psi, s, h - means[:, None], h, value, slope, mass)
    present = [name in inputs.names for name in "uvm"]
    return LossTerms(float(np.sum(mass * contrasted)), (scales * gradient)[present], norm)


def _norm(
    psi: Contrast, s: float, centred: Array, h: Array, value: Array, slope: Array, mass: Array
) -> float:
    a, b, skip = psi.a, psi.b, psi.skip
    if psi.p == 0:  # eps
        R, C = 1 - 2 * skip * b + skip**2, b - skip
    else:
        R, C = 1 - 2 * skip * a + skip**2, a - skip
    along = (psi.p - skip) * h + psi.q * b / s**2 * centred - psi.sign * value
    square = along**2 + psi.q**2 * (1 - b * b / s**2)
    terms = 4 * R * value**2 + 4 * psi.kappa**2 * slope**2 * square
    return float(np.sum(mass * (terms + 8 * C * psi.kappa * psi.sign**2 * value * slope * along)))


def _checked(inputs: MixedCumulant, overlaps: ArrayLike) -> Array:
    given = finite_array("overlaps", overlaps, ndim=1)
    if given.shape != (inputs.directions,):
        raise reject("overlaps", f"be those of {inputs.names}", f"shape {given.shape}")
    if given @ given > 1 + 1e-12:
        raise reject("overlaps", "lie in the unit ball", given.tolist())
    alpha = np.zeros(3)
    alpha[[name in inputs.names for name in "uvm"]] = given
    return alpha


def _scales(inputs: MixedCumulant) -> Array:
    return float(inputs.noise_level.signal) * np.array(inputs.strengths())


def population_loss(
    inputs: MixedCumulant, learner: TiedDenoiser, overlaps: ArrayLike, dimension: int | None = None
) -> float:
    """Exact population loss of one neuron of norm one; without its linear part if no dimension.

    Equation: :eq:`eq:mcm-population`. Arguments as in `loss_terms`; `dimension` is d.

    Source: derived here.
    """
    loss = loss_terms(inputs, learner, overlaps).loss
    return loss if dimension is None else loss + linear_loss(inputs, learner, dimension)


def gradient_norm(inputs: MixedCumulant, learner: TiedDenoiser, overlaps: ArrayLike) -> float:
    """V(alpha) = lim E |dl/dw|^2 / d; `inputs`, `learner`, `overlaps` as in `loss_terms`.

    Equation: :eq:`eq:mcm-norm`.

    Source: derived here.
    """
    return loss_terms(inputs, learner, overlaps).norm


def linear_loss(inputs: MixedCumulant, learner: TiedDenoiser, dimension: int) -> float:
    """E |target - s x|^2 in d dimensions, exact (the loss of the skip alone).

    Equation: :eq:`eq:mcm-linear-loss`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        dimension: d.

    Source: derived here.
    """
    d = positive_integer("dimension", dimension)
    psi = contrast(inputs, learner)
    a, b, s = psi.a, psi.b, psi.skip
    u, _, m = inputs.strengths()
    clean = d + u**2 + m**2
    if learner.target == "eps":
        return d - 2 * s * b * d + s**2 * (a**2 * clean + b**2 * d)
    return clean - 2 * s * a * clean + s**2 * (a**2 * clean + b**2 * d)


def hermite_moments(inputs: MixedCumulant, overlaps: ArrayLike) -> Array:
    """E He_k(w.x) for k = 0..4, |w| = 1, exact polynomials in the overlaps.

    With mu, q and the joint cumulants of lambda (l) and nu (n),
        q = A^2 + 2 rho A B,   kappa3 = k(nnn) B^3 + 3 k(lnn) A B^2 + 3 k(lln) A^2 B,
        kappa4 = k(nnnn) B^4 + 4 k(lnnn) A B^3 + 6 k(llnn) A^2 B^2 + 4 k(llln) A^3 B;
        E He_4 = kappa4 + 3 q^2 + 4 mu kappa3 + 6 mu^2 q + mu^4, likewise below.

    Equation: :eq:`eq:mcm-hermite`.

    Args:
        inputs: the model.
        overlaps: as in `loss_terms`, shape (r,).

    Source: derived here.
    """
    A, B, mu = _scales(inputs) * _checked(inputs, overlaps)
    k = inputs.cumulants()
    if inputs.cumulant is None:
        k = np.zeros_like(k)
    q = A * A + 2 * k[1, 1] * A * B
    k3 = k[0, 3] * B**3 + 3 * k[1, 2] * A * B**2 + 3 * k[2, 1] * A**2 * B
    k4 = k[0, 4] * B**4 + 4 * k[1, 3] * A * B**3 + 6 * k[2, 2] * A**2 * B**2
    k4 = k4 + 4 * k[3, 1] * A**3 * B
    return np.array(
        [
            1.0,
            mu,
            q + mu**2,
            k3 + 3 * mu * q + mu**3,
            k4 + 3 * q**2 + 4 * mu * k3 + 6 * mu**2 * q + mu**4,
        ]
    )


def expanded_loss(
    inputs: MixedCumulant, learner: TiedDenoiser, overlaps: ArrayLike, order: int = 4
) -> float:
    """Population loss without its linear part, sum_(k <= order) c_k E He_k(w.x) / k!.

    What is left out is of order max(order + 1) in the overlaps. Equation: :eq:`eq:mcm-expanded`.

    Args:
        inputs: the model.
        learner: a denoiser with one neuron.
        overlaps: as in `loss_terms`, shape (r,).
        order: highest k.

    Raises:
        ValueError: on an order beyond 4.

    Source: derived here.
    """
    if positive_integer("order", order) > 4:
        raise reject("order", "be at most 4", order)
    c = contrast(inputs, learner).coefficients(order).values
    factorials = np.cumprod([1.0, 1, 2, 3, 4])
    moments = hermite_moments(inputs, overlaps)
    return float(np.sum(c * moments[: order + 1] / factorials[: order + 1]))
