"""Law of the time to weak recovery of one spike at finite d, as a one-dimensional diffusion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.contrast import contrast, smooth_nodes
from diffusion_theory.theory.exponent import information_exponents
from diffusion_theory.theory.loss import loss_terms, pair_nodes
from learning_dynamics.search.crossing import overshoot, sustained_delay
from learning_dynamics.search.recovery_diffusion import RecoveryLaw, diffusion_law
from learning_dynamics.validation import (
    between,
    finite_array,
    positive_integer,
    positive_number,
    reject,
)

__all__ = ["explosion_law", "noise_along", "recovery_law"]

Array = NDArray[np.float64]
_ACROSS, _CHEBYSHEV = 5, 40
_FAR = 60.0  # sqrt(d) |alpha| beyond which the explosion is deterministic


def noise_along(inputs: MixedCumulant, learner: TiedDenoiser, overlap: float) -> float:
    """S(alpha) = E T^2, T = A_x (x_e - alpha w.x) + A_z (z_e - alpha w.z), one spike e.

    T is the component along e of the spherical gradient of one sample,
        A_x = -2 s [kappa sigma' ((p - skip) h + q w.z) + (p - skip) sigma] + 2 kappa sigma sigma',
        A_z = -2 s q sigma,   h = w.x, s the sign of the denoiser.
    Given x, T is linear in the Gaussian z and quadratic in the part of x orthogonal to w: only the
    integral over h is left to panels. Equation: :eq:`eq:mcm-step`.

    Args:
        inputs: a model with one spike.
        learner: a denoiser with one neuron.
        overlap: alpha, a scalar.

    Raises:
        ValueError: unless there is exactly one spike, and |overlap| < 1.

    Source: derived here.
    """
    psi = contrast(inputs, learner)
    if inputs.directions != 1:
        raise reject("inputs", "have exactly one spike", inputs.names)
    alpha = float(finite_array("overlap", overlap, ndim=0))
    if not abs(alpha) < 1:
        raise reject("overlap", "lie strictly between -1 and 1", alpha)
    means, masses, deviation = _along_spike(inputs)
    across, weights = np.polynomial.hermite_e.hermegauss(_ACROSS)
    weights = weights / weights.sum()
    transverse, a, b = np.sqrt(1 - alpha**2), psi.a, psi.b
    width = np.hypot(alpha * deviation, transverse)  # deviation of h given the latent
    h, mass = smooth_nodes(alpha * means, np.full(means.shape, width))
    h, mass = h[..., None], (mass * masses[:, None])[..., None] * weights
    first = (h - alpha * means[:, None, None]) / width
    inner = (alpha * deviation * first - transverse * across) / width
    other = (transverse * first + alpha * deviation * across) / width
    aside = means[:, None, None] + deviation * inner - alpha * h
    value, slope = psi.sigma(h)
    fixed = (psi.p - psi.skip) * (psi.kappa * slope * h + value)
    fixed = (-2 * psi.sign * fixed + 2 * psi.kappa * value * slope) * aside
    field = -2 * psi.sign * psi.q * psi.kappa * slope * aside  # times w.z
    push = -2 * psi.sign * psi.q * value  # times z_e - alpha w.z
    on_spike = field * alpha + push * (1 - alpha**2)
    off_spike = field * transverse - push * alpha * transverse
    shared = b / deviation
    average = fixed + on_spike * shared * inner + off_spike * b * other
    square = average**2 + on_spike**2 * (1 - shared**2) + off_spike**2 * a**2
    return float(np.sum(mass * square))


def _along_spike(inputs: MixedCumulant) -> tuple[Array, Array, float]:
    """Means of x along the spike given the latent, their masses, and the deviation about them."""
    a = float(inputs.noise_level.signal)
    u, v, m = inputs.strengths()
    if inputs.names == ("u",):
        return np.zeros(1), np.ones(1), float(np.sqrt(1 + (a * u) ** 2))
    if inputs.names == ("m",):
        return np.array([a * m]), np.ones(1), 1.0
    _, nu, masses = pair_nodes(inputs)
    return a * v * nu, masses, float(np.sqrt(1 - (a * v) ** 2))


def recovery_law(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    learning_rate: float,
    dimension: int,
    threshold: float,
    longest: float,
    batch: int = 1,
    sustained: int = 1,
) -> RecoveryLaw:
    """Time for one spherical neuron to reach |alpha| = threshold from a random start, at finite d.

    The event is that of `learning_dynamics.Stop` with the same `threshold` and `sustained`.

    The overlap moves, per update, as a diffusion with the moments of one step (rate delta / d),

        drift     -(delta/d)(1 - alpha^2) L'(alpha)
                  - (delta^2 / (2 d^2 B)) alpha [(d - 2) V(alpha) + S(alpha) / (1 - alpha^2)],
        variance  (delta/d)^2 S(alpha) / B,     alpha(0)^2 ~ Beta(1/2, (d - 1)/2),

    with exact L', V and S: no expansion in alpha. A chain of steps with drift b and variance s is
    followed to second order by the diffusion with

        b - (b b' + s b'' / 2) / 2   and   s - (b s' + 2 s b' + s s'' / 2) / 2;

    b and s alone are early by a relative g / (2 d), g the growth rate in n / d. The threshold is
    moved outward by the mean overshoot of a random walk with drift (`overshoot`), and a crossing
    that is to last begins later by `sustained_delay`. What is left out is relative of order
    (delta / d)^2: at most 0.01 of the share at d = 50. Solved as a Fokker-Planck equation.

    Equation: :eq:`eq:mcm-recovery`.

    Args:
        inputs: a model with one spike.
        learner: a denoiser with one neuron.
        learning_rate: delta.
        dimension: d.
        threshold: overlap that counts as recovery, between 0 and 1.
        longest: largest number of updates looked at.
        batch: samples per update, B.
        sustained: consecutive updates beyond the threshold that make a crossing; its first counts.

    Raises:
        ValueError: on other models, or numbers out of range.

    Source: derived here.
    """
    d, size = positive_integer("dimension", dimension), positive_integer("batch", batch)
    between("threshold", threshold, 0, 1)
    for name, number in (("learning_rate", learning_rate), ("longest", longest)):
        positive_number(name, number)
    lasting = positive_integer("sustained", sustained)
    step = float(learning_rate) / d
    walk = _step_at(inputs, learner, threshold, step, d, size)
    end = min(threshold + overshoot(*walk), (1 + threshold) / 2)
    nodes = end * np.cos(np.pi * (np.arange(_CHEBYSHEV) + 0.5) / _CHEBYSHEV)
    terms = [loss_terms(inputs, learner, [x]) for x in nodes]
    noise = np.array([noise_along(inputs, learner, x) for x in nodes])
    pull = np.array([t.gradient[0] for t in terms])
    shrink = (d - 2) * np.array([t.norm for t in terms]) + noise / (1 - nodes**2)
    drift = -step * (1 - nodes**2) * pull - step**2 / (2 * size) * shrink * nodes
    b, s = (
        np.polynomial.chebyshev.Chebyshev.fit(nodes, y, _CHEBYSHEV - 1, [-end, end])
        for y in (drift, step**2 / size * noise)
    )
    first, second = b.deriv(), b.deriv(2)
    change, bend = s.deriv(), s.deriv(2)

    def smooth_drift(x: Array) -> Array:
        return np.asarray(b(x) - (b(x) * first(x) + s(x) * second(x) / 2) / 2)

    def smooth_half(x: Array) -> Array:
        moved = b(x) * change(x) + 2 * s(x) * first(x) + s(x) * bend(x) / 2
        return np.asarray((s(x) - moved / 2) / 2)

    def start(alpha: Array) -> Array:
        share = special.betainc(0.5, (d - 1) / 2, np.minimum(alpha**2, 1))
        return np.asarray((1 + np.sign(alpha) * share) / 2)

    scale = np.sqrt(d)
    law = diffusion_law(
        lambda mu: scale * smooth_drift(mu / scale),
        lambda mu: d * smooth_half(mu / scale),
        lambda mu: start(mu / scale),
        scale * end,
        float(longest),
    )
    if lasting == 1:
        return law
    if walk[0] <= 0:
        demand = "be 1 where the overlap is pushed back at the threshold"
        raise reject("sustained", demand, lasting)
    return RecoveryLaw(law.times + sustained_delay(*walk, lasting), law.share, law.error)


def _step_at(
    inputs: MixedCumulant, learner: TiedDenoiser, alpha: float, step: float, d: int, batch: int
) -> tuple[float, float]:
    """Drift and standard deviation of one update at an overlap."""
    terms, noise = loss_terms(inputs, learner, [alpha]), noise_along(inputs, learner, alpha)
    shrink = (d - 2) * terms.norm + noise / (1 - alpha**2)
    drift = -step * (1 - alpha**2) * terms.gradient[0] - step**2 / (2 * batch) * shrink * alpha
    return float(drift), float(step * (noise / batch) ** 0.5)


def explosion_law(
    inputs: MixedCumulant, learner: TiedDenoiser, rate: float, longest: float, batch: int = 1
) -> RecoveryLaw:
    """Limit law of n*/d^(k-1), one spike of information exponent k >= 3, step delta' d^(-(k-2)/2).

        d mu = -delta' k L_k mu^(k-1) ds - (delta'^2 V / (2 B)) mu ds + delta' (S0 / B)^(1/2) dB

    up to its explosion, mu(0) ~ N(0, 1): what the kernel's `search_law` draws, by Fokker-Planck.

    Equation: :eq:`eq:mcm-search`.

    Args:
        inputs: a model with one spike.
        learner: a denoiser with one neuron.
        rate: delta'.
        longest: largest n*/d^(k-1) looked at, in updates.
        batch: samples per update, B.

    Raises:
        ValueError: unless the spike attracts at order three or more.

    Source: derived here.
    """
    norm = loss_terms(inputs, learner, np.zeros(inputs.directions)).norm
    noise = noise_along(inputs, learner, 0.0)  # also checks that there is one spike
    (exponent,) = information_exponents(inputs, learner).values()
    if exponent.verdict != "attractive" or exponent.order is None or exponent.order < 3:
        raise reject("inputs", "attract at order three or more", exponent)
    k, size = exponent.order, positive_integer("batch", batch)
    for name, number in (("rate", rate), ("longest", longest)):
        if not (np.isfinite(number) and number > 0):
            raise reject(name, "be positive", number)
    pull, shrink = rate * k * exponent.coefficient, rate**2 * norm / (2 * size)
    return diffusion_law(
        lambda mu: -pull * mu ** (k - 1) - shrink * mu,
        lambda mu: np.full(mu.shape, rate**2 * noise / (2 * size)),
        lambda mu: np.asarray(stats.norm.cdf(mu)),
        _FAR,
        float(longest),
    )
