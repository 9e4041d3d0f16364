"""Diffusion information exponent: which spike attracts, at which order, at what cost."""

from __future__ import annotations

from math import factorial, prod
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffusion_theory.inputs import ALPHA_BAR, MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.contrast import alone, contrast
from diffusion_theory.theory.loss import gradient_norm
from learning_dynamics import short_text
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.validation import (
    finite_array,
    one_of,
    positive_integer,
    positive_number,
    reject,
)

__all__ = ["DirectionExponent", "Growth", "exponent_along", "growth", "information_exponents"]
__all__ += ["sample_complexity", "signal_form"]

Array = NDArray[np.float64]
Verdict = Literal["attractive", "repelled", "flat"]
_ORDERS = 6


class DirectionExponent(NamedTuple):
    """Leading order of the population loss along one direction.

    Attributes:
        verdict: "attractive" if the loss falls (odd orders always do, on one side), "repelled" if
            it rises, "flat" if all orders looked at (1 to 6) vanish.
        order: first order k that does not vanish, the diffusion information exponent if attractive;
            None if flat.
        coefficient: L_k in L = const + L_k alpha^k + ...
        error: bound on its error.
    """

    verdict: Verdict
    order: int | None
    coefficient: float
    error: float


class Growth(NamedTuple):
    """Linear growth of the overlaps from zero, d alpha / d tau = matrix alpha.

    Attributes:
        matrix: shape (r, r).
        rates: eigenvalues, largest first, shape (r,).
        directions: eigenvectors as rows, shape (r, r).
    """

    matrix: Array
    rates: Array
    directions: Array

    def __repr__(self) -> str:
        return short_text.represent(self)


def _hermite_along(inputs: MixedCumulant, name: str) -> Array:
    """E He_k(x.e) for k = 0..6 along one direction.

    Along v, of variance one, E He_k = kappa_k up to k = 5 and E He_6 = kappa_6 + 10 kappa_3^2.
    """
    a = float(inputs.noise_level.signal)
    scale = a * dict(zip("uvm", inputs.strengths(), strict=True))[name]
    k = np.arange(_ORDERS + 1)
    if name == "u":
        double = [prod(range(1, n, 2)) if n % 2 == 0 else 0 for n in k]
        return np.array(double, np.float64) * scale**k
    if name == "m":
        return np.asarray(scale**k)
    _, _, _, third, fourth, fifth, sixth = inputs.cumulants()[0]
    moments = [1.0, 0.0, 0.0, third, fourth, fifth, sixth + 10 * third**2]
    return np.array(moments) * scale**k


def information_exponents(
    inputs: MixedCumulant, learner: TiedDenoiser
) -> dict[str, DirectionExponent]:
    """Leading order of the loss along each direction alone, by name; "uv" if rho != 0.

    Along a unit vector e, L(alpha e) = sum_k c_k alpha^k E He_k(x.e) / k! exactly (Mehler). With
    rho != 0 the quadratic form c_2 a^2 [beta_u alpha_u^2 + 2 rho gamma sqrt(beta_u) alpha_u
    alpha_v] / 2 is indefinite: u and v together ("uv") are attractive at order two whatever the
    sign of c_2; the coefficient is its smaller eigenvalue.

    Equation: :eq:`eq:mcm-exponent`.

    Args:
        inputs: the model.
        learner: a denoiser; of several neurons, each moves so while overlaps are small.

    Source: the notion is that of Bardone, Merger and Goldt (arXiv 2603.12901); formulas derived
    here.
    """
    c = contrast(inputs, alone(learner)).coefficients(_ORDERS)
    exponents = {name: _leading(c, _hermite_along(inputs, name)) for name in inputs.names}
    if {"u", "v"} <= set(inputs.names) and abs(inputs.pair.rho) > 1e-12:
        form = _quadratic(inputs)
        value, error = c.values[2], c.error[2]
        lowest = float(np.linalg.eigvalsh(value / 2 * form)[0])
        size = error / 2 * float(np.abs(form).sum())
        if lowest < -5 * size:
            exponents["uv"] = DirectionExponent("attractive", 2, lowest, size)
    return exponents


def exponent_along(
    fields: ArrayLike,
    learner: TiedDenoiser,
    *,
    alpha_bar: float = ALPHA_BAR,
    unit_variance: bool = False,
    parts: int = 10,
    clear: float = 5.0,
) -> tuple[DirectionExponent, Array, Array]:
    """Leading order of the loss along a direction in which only samples of the data are known.

    With p = x0.e about its mean, the loss at w = alpha e + (what is orthogonal to all structure) is
    sum_k c_k alpha^k a^k E He_k(p) / k!, for the noisy input x = a x0 + b z has
    E He_k(x.e) = a^k E He_k(p). An order counts where it exceeds `clear` standard errors of its
    moment (jackknife over parts of the samples), up to order 4.

    Equation: :eq:`eq:mcm-exponent`.

    Args:
        fields: p, one for each sample, shape (n,); samples that belong together side by side.
        learner: a denoiser; of several neurons, each moves so while overlaps are small.
        alpha_bar: noise level, a^2.
        unit_variance: divide p by its standard deviation, as for whitened data: order 2 vanishes.
        parts: of the samples, at least two.
        clear: standard errors from which on an order counts.

    Returns:
        The leading order, and a^k E He_k(p) for k = 0..4 with standard errors, shape (5,).

    Raises:
        ValueError: with fewer samples than parts, if `clear` is not positive, or a level outside
            (0, 1).

    Source: derived here.
    """
    p = finite_array("fields", fields, ndim=1)
    count = positive_integer("parts", parts)
    if not 2 <= count <= p.size:
        raise reject("parts", f"lie between 2 and the {p.size} samples", parts)
    inputs = MixedCumulant(alpha_bar=alpha_bar)
    powers = float(inputs.noise_level.signal) ** np.arange(5)
    table = (p - p.mean()) ** np.arange(5)[:, None]
    means = np.stack([part.mean(axis=1) for part in np.array_split(table, count, axis=1)])

    def hermite_moments(mean: Array) -> Array:
        second = mean[2] - mean[1] ** 2
        third = mean[3] - 3 * mean[1] * mean[2] + 2 * mean[1] ** 3
        fourth = mean[4] - 4 * mean[1] * mean[3] + 6 * mean[1] ** 2 * mean[2] - 3 * mean[1] ** 4
        scale = np.sqrt(second) if unit_variance else 1.0
        second, third, fourth = second / scale**2, third / scale**3, fourth / scale**4
        excess = 0.0 if unit_variance else second - 1
        return np.asarray(powers * np.array([1.0, 0.0, excess, third, fourth - 6 * second + 3]))

    measured = jackknife(means, hermite_moments, {"order": np.arange(5)})
    c = contrast(inputs, alone(learner)).coefficients(4)
    exponent = _leading(
        c, measured.values, measured.standard_error, positive_number("clear", clear)
    )
    return exponent, measured.values, measured.standard_error


def _leading(
    c: tuple[Array, Array],
    moments: Array,
    moment_errors: Array | None = None,
    clear: float = 5.0,
) -> DirectionExponent:
    values, errors = c
    scale = float(np.abs(values).max())
    for k in range(1, moments.size):
        if not np.isfinite(moments[k]):
            break
        coefficient = float(values[k] * moments[k] / factorial(k))
        numerical = float(errors[k] * abs(moments[k]) + 1e-13 * scale)
        sampled = 0.0 if moment_errors is None else float(abs(values[k]) * moment_errors[k])
        error = float(np.hypot(numerical, sampled)) / factorial(k)
        if abs(coefficient) > clear * error:
            attractive = k % 2 == 1 or coefficient < 0
            return DirectionExponent(
                "attractive" if attractive else "repelled", k, coefficient, error
            )
    return DirectionExponent("flat", None, 0.0, 0.0)


def _quadratic(inputs: MixedCumulant) -> Array:
    """Matrix of a^2 (beta_u alpha_u^2 + 2 rho gamma sqrt(beta_u) alpha_u alpha_v), u and v."""
    u, v, _ = inputs.strengths()
    cross = inputs.pair.rho * u * v
    return float(inputs.noise_level.signal) ** 2 * np.array([[u * u, cross], [cross, 0.0]])


def signal_form(inputs: MixedCumulant) -> Array:
    """E x x' - 1 along the spikes, shape (r, r)."""
    form = np.zeros((3, 3))
    form[:2, :2] = _quadratic(inputs)
    form[2, 2] = (float(inputs.noise_level.signal) * inputs.strengths()[2]) ** 2
    present = [i for i, name in enumerate("uvm") if name in inputs.names]
    return form[np.ix_(present, present)]


def growth(inputs: MixedCumulant, learner: TiedDenoiser, learning_rate: float) -> Growth:
    """Linearised spherical flow around zero overlap, tau = n / d, delta = `learning_rate`.

        matrix = -delta c_2 a^2 [[beta_u, g, 0], [g, 0, 0], [0, 0, beta_m]] - (delta^2 / 2) V(0) 1,
        g = rho gamma sqrt(beta_u),   on the directions of the model.

    Equation: :eq:`eq:mcm-growth`.

    Args:
        inputs: the model.
        learner: a denoiser; of several neurons, each moves so while overlaps are small.
        learning_rate: delta.

    Raises:
        ValueError: on a learning rate that is not positive, or a mean with c_1 != 0 (order one: the
            overlap does not start from a fixed point).

    Source: derived here.
    """
    delta = float(finite_array("learning_rate", learning_rate, ndim=0))
    if not delta > 0:
        raise reject("learning_rate", "be positive", learning_rate)
    learner = alone(learner)
    c = contrast(inputs, learner).coefficients(2)
    if "m" in inputs.names and abs(c.values[1]) > 5 * c.error[1]:
        raise reject("inputs.mean", "be None: the mean attracts at order one", inputs.mean)
    norm = gradient_norm(inputs, learner, np.zeros(inputs.directions))
    matrix = -delta * c.values[2] * signal_form(inputs)
    matrix -= delta**2 / 2 * norm * np.eye(inputs.directions)
    rates, vectors = np.linalg.eigh(matrix)
    return Growth(matrix, rates[::-1], vectors.T[::-1])


def sample_complexity(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    direction: str,
    learning_rate: float,
    dimension: ArrayLike,
    start: float = 1.0,
) -> Array:
    """Leading number of samples to weak recovery of a direction from alpha = start / sqrt(d).

        k = 2:   n = d log d / (2 rate), step delta = learning_rate, rate from `growth`;
        k >= 3:  n = d^(k-1) / ((k-2) k |L_k| delta' start^(k-2)), step delta = delta' d^(-(k-2)/2).

    Noise is left out for k >= 3 (the kernel's search-phase law has it) and the constant besides
    the logarithm for k = 2.

    Equation: :eq:`eq:mcm-complexity`.

    Args:
        inputs: the model.
        learner: a denoiser; of several neurons, each moves so while overlaps are small.
        direction: one of `information_exponents`.
        learning_rate: delta (k = 2) or delta' (k >= 3).
        dimension: d, any shape.
        start: sqrt(d) alpha(0).

    Raises:
        ValueError: if the direction is repelled or flat, attractive at order one (no search), or
            the step is too large for it to grow.

    Source: the orders are those of Bardone, Merger and Goldt (arXiv 2603.12901); prefactors
    derived here.
    """
    d = finite_array("dimension", dimension)
    known = information_exponents(inputs, learner)
    one_of("direction", direction, tuple(known))
    exponent = known[direction]
    if exponent.verdict != "attractive" or exponent.order is None:
        raise reject("direction", "be attractive", f"{direction!r}, which is {exponent.verdict}")
    k = exponent.order
    if k == 1:
        raise reject("direction", "need a search, order two or more", f"{direction!r} at order 1")
    if k == 2:
        growing = growth(inputs, learner, learning_rate)
        place = inputs.names.index(direction) if direction != "uv" else None
        rate = growing.rates[0] if place is None else growing.matrix[place, place]
        if rate <= 0:
            raise reject("learning_rate", "leave a growing overlap", f"rate {rate:.3g}")
        return d * np.log(d) / (2 * rate)
    strength = (k - 2) * k * abs(exponent.coefficient) * float(learning_rate) * start ** (k - 2)
    return d ** (k - 1) / strength
