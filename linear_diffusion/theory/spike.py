"""Recovery of a spike: the overlap of what is generated with one strong direction of the data.

Every gain of a linear denoiser is a decreasing function of the sample variance, so that for each
sampler, ridge, number of steps and training time the generated covariance is an increasing
function of Sigma_hat, with its eigenvectors. The leading direction of the generated *law* is the
leading eigenvector of Sigma_hat; a *finite number* of generated samples adds a second transition,
in which the law that is generated is the population. Notation: alpha = -kappa, so that the
deterministic equivalent outside the spectrum is z = (alpha/N) [n + sum_i s_i/(alpha - s_i)].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.validation import (
    integers,
    positive_integer,
    positive_number,
    reject,
    spectrum_array,
)
from linear_diffusion.theory.edge import critical_weight
from linear_diffusion.theory.resolvent import EPSILON, make_grid
from linear_diffusion.theory.sampler import Sampler, generated_variance

__all__ = ["SpikeRecovery", "generated_spike_recovery", "spike_recovery", "spike_threshold"]

Array = NDArray[np.float64]
LEFT_OUT = "$n^{-2/3}$"
NODES = 400  # of the Marchenko-Pastur law


class SpikeRecovery(NamedTuple):
    """Squared overlap of the leading generated direction with the spike, and its sharp limit."""

    overlap: Prediction  #: at finite size; the bias is of order n^(-2/3)
    limit: Prediction  #: d, n -> infinity: zero below the threshold
    eigenvalue: Array  #: leading eigenvalue of the sample covariance, infinite size

    def __repr__(self) -> str:
        return short_text.represent(self)


class _Bulk(NamedTuple):
    """Eigenvalues of a population without its spike, with the number of directions at each."""

    values: Array
    counts: Array

    def sums(self, alpha: float) -> tuple[float, float, float, float]:
        """Sums of s/(alpha - s) and of s^2/(alpha - s)^k, k = 2, 3, 4."""
        gap = alpha - self.values
        square = self.counts * self.values**2
        first = self.counts @ (self.values / gap)
        second, third, fourth = (np.sum(square / gap**k) for k in (2, 3, 4))
        return float(first), float(second), float(third), float(fourth)

    def edge(self, freedom: float) -> float:
        """The alpha of the upper edge of the sample spectrum, sum s^2/(alpha - s)^2 = n."""
        used = self.counts > 0
        top, count = self.values[used].max(), self.counts[used]
        most = self.counts[self.values == top].sum()
        low = top * (1 + np.sqrt(most / freedom))
        high = top * (1 + np.sqrt(count.sum() / freedom))
        if high <= low * (1 + 4 * EPSILON):
            return float(high)  # a flat bulk
        return float(brentq(lambda a: self.sums(a)[1] - freedom, low, high, rtol=4 * EPSILON))


class _Point(NamedTuple):
    limit: float
    overlap: float
    error: float
    bias: float
    eigenvalue: float


def _recovered(bulk: _Bulk, spike: float, n: float, N: float) -> _Point:
    """Closed form and critical rounding for one sample size (`spike_recovery`)."""
    edge = bulk.edge(n)
    first, _, third, fourth = bulk.sums(edge)
    unit = (edge**2 / third) ** (1 / 3)
    size = third * unit * spike / (edge * (n + first))
    w = (spike - edge) / unit
    alpha = max(spike, edge)
    first, second, *_ = bulk.sums(alpha)
    limit = max(n - second, 0.0) / (n + first) if w > 0 else 0.0
    critical = critical_weight(w)
    scaled, error = float(critical.values), float(critical.numerical_error)
    above, below = max(w, 0.0), max(-w, 0.0)
    left_out = size / 2 / (1 + above**2 / 4) + unit * fourth / third * scaled * below / (1 + below)
    return _Point(
        limit,
        min(max(limit + size * (scaled - 2 * above), 0.0), 1.0),
        size * error + 64 * EPSILON * (1 + above) ** 2,
        min(size * left_out, 1.0),
        alpha * (n + first) / N,
    )


def _stacked(points: list[_Point], shape: tuple[int, ...]) -> SpikeRecovery:
    columns = np.array(points, np.float64).reshape(-1, len(_Point._fields)).T
    limit, overlap, error, bias, eigenvalue = (column.reshape(shape) for column in columns)
    return SpikeRecovery(
        Prediction(
            overlap, error, bias, LEFT_OUT if bias.size else "", "threshold, rounded at finite d"
        ),
        Prediction(limit, 64 * EPSILON, label="d → ∞"),
        eigenvalue,
    )


def _checked_spike(bulk: Array, spike: float) -> float:
    strength = positive_number("spike", spike)
    if strength <= bulk[0]:
        raise reject("spike", f"exceed the largest variance of the bulk, {bulk[0]:.6g}", strength)
    return strength


def spike_threshold(bulk: ArrayLike, spike: float, *, mean_known: bool = False) -> Prediction:
    """Number of samples from which the leading direction of Sigma_hat turns towards the spike.

        n* = sum_i s_i^2 / (l - s_i)^2 = df_2(-l)   over the bulk,

    d/(l - 1)^2 for a flat bulk of unit variance (Baik, Ben Arous and Peche 2005).

    Args:
        bulk: variances s_i of the other directions, shape (d - 1,), largest first.
        spike: l, the variance along the spike, above all of them.
        mean_known: N = n if true, else N = n + 1.

    Returns:
        N*, not rounded to a whole number.

    Raises:
        ValueError: on a bad spectrum, or a spike that does not exceed it.

    Equation: :eq:`eq:linear-threshold`.

    Source: derived here from the deterministic equivalent; known for flat bulks.
    """
    s = spectrum_array("bulk", bulk)
    n = _Bulk(s, np.ones(s.size)).sums(_checked_spike(s, spike))[1]
    return Prediction(n + (not mean_known), 64 * EPSILON * n * s.size, label="threshold")


def spike_recovery(
    bulk: ArrayLike, spike: float, samples: ArrayLike, *, mean_known: bool = False
) -> SpikeRecovery:
    """Squared overlap of the leading direction of the generated law with a spike in the data.

    With D(alpha) = sum_i s_i/(alpha - s_i) and df_2(-alpha) over the bulk, in the limit

        q = [n - df_2(-l)] / [n + D(l)]   for n > df_2(-l),   zero below,

    which is (1 - r/t^2)/(1 + r/t), r = d/n, t = l - 1, for a flat bulk. At finite size, with the
    edge alpha_e, df_2(-alpha_e) = n, T = sum_i s_i^2/(alpha_e - s_i)^3 and Phi of
    `critical_weight`,

        q + Q [Phi(w) - 2 max(w, 0)],   a^3 = alpha_e^2/T,   w = (l - alpha_e)/a,
        Q = T a l / (alpha_e [n + D(alpha_e)]),

    of order n^(-1/3) at the threshold, where both branches vanish, and 1/n far from it. It is the
    same for every sampler, ridge, number of steps and training time (module docstring).

    Args:
        bulk: variances s_i of the other directions, shape (d - 1,), largest first.
        spike: l, the variance along the spike, above all of them.
        samples: N, any shape.
        mean_known: n = samples if true, else n = samples - 1.

    Returns:
        Arrays of the shape of `samples`. The bias of the overlap is of the size of the next order,
        Q {(Q/2)/(1 + w^2/4)} at w > 0 and Q {Q/2 + a (T'/T) Phi(w) |w|/(1 + |w|)} below, with
        T' = sum_i s_i^2/(alpha_e - s_i)^4; simulations
        with n > 30 stay inside.

    Raises:
        ValueError: samples < 2, a bad spectrum, or a spike that does not exceed it.

    Equations: :eq:`eq:linear-spike`, :eq:`eq:linear-rounding`.

    Source: derived here; the limit is known for flat bulks (Paul 2007).
    """
    grid = make_grid(spectrum_array("bulk", bulk), samples, mean_known)
    strength = _checked_spike(grid.spectrum, spike)
    rest = _Bulk(grid.spectrum, np.ones(grid.spectrum.size))
    points = [
        _recovered(rest, strength, float(n), float(N))
        for n, N in zip(grid.freedom.ravel(), grid.samples.ravel(), strict=True)
    ]
    return _stacked(points, grid.samples.shape)


def _sample_bulk(directions: int, n: float, N: float) -> _Bulk:
    """Marchenko-Pastur law of a flat bulk of unit variance: Gauss nodes, and the null directions.

    The number of its d eigenvalues in dx is d (2/pi) sin^2(theta) dtheta / x at
    x = 1 + r + 2 r^(1/2) cos theta, r = d/n.
    """
    r = directions / n
    theta = np.pi * (np.arange(NODES) + 0.5) / NODES
    x = 1 + r + 2 * np.sqrt(r) * np.cos(theta)
    counts = directions * (2 / NODES) * np.sin(theta) ** 2 / x
    values = np.append(x * n / N, 0.0)
    return _Bulk(values, np.append(counts, max(directions - n, 0.0)))


def generated_spike_recovery(
    dimension: int,
    spike: float,
    samples: ArrayLike,
    generated: int,
    schedule: NoiseSchedule,
    *,
    ridge: float = 0.0,
    sampler: Sampler = "ddpm",
) -> SpikeRecovery:
    """Squared overlap with the spike of the leading direction of `generated` samples.

    The generated law is a population with the bulk p(x), x distributed by the Marchenko-Pastur
    law, and the spike p(x_1), x_1 the leading eigenvalue of Sigma_hat, p the generated variance.
    Its own spike is recovered from m samples with the overlap q_m, and

        overlap = q q_m + (1 - q)(1 - q_m)/(d - 1):

    there are two thresholds to pass. The second depends on the ridge, the sampler and its steps.
    Below the first the generated law has no spike of its own, and the bias is q itself.

    Args:
        dimension: d of data with variance one in all directions but the spike.
        spike: l > 1, the variance along the spike.
        samples: N >= 2 training samples, any shape; the mean is estimated.
        generated: m >= 2 generated samples, of which mean and covariance are estimated.
        schedule: noise schedule.
        ridge: c >= 0.
        sampler: "ddpm", "ddim" or "flow".

    Returns:
        Arrays of the shape of `samples`; the eigenvalue is that of the generated samples.

    Raises:
        ValueError: samples or generated < 2, a spike of at most one, negative ridge.

    Equation: :eq:`eq:linear-two-thresholds`.

    Source: derived here.
    """
    d = positive_integer("dimension", dimension, least=2)
    m = int(integers("generated", generated, least=2))
    law = spike_recovery(np.ones(d - 1), spike, samples)
    sizes = integers("samples", samples, least=2)
    points = []
    for at, N in enumerate(sizes.ravel()):
        bulk = _sample_bulk(d - 1, N - 1.0, float(N))
        leading = law.eigenvalue.ravel()[at]
        variance = generated_variance(
            np.append(bulk.values, leading), schedule, ridge=ridge, sampler=sampler
        ).values
        second = _recovered(_Bulk(variance[:-1], bulk.counts), variance[-1], m - 1.0, m)
        q, bias = law.overlap.values.ravel()[at], law.overlap.bias.ravel()[at]
        q_m = second.overlap
        lost = (1 - q) * (1 - q_m) / (d - 1)
        limit = law.limit.values.ravel()[at] * second.limit
        # Without an outlier the spike of the generated law is the edge of its bulk.
        left_out = bias * q_m + q * second.bias if law.limit.values.ravel()[at] > 0 else q
        error = second.error + law.overlap.numerical_error.ravel()[at]
        points.append(
            _Point(limit, q * q_m + lost, error, min(left_out + lost, 1.0), second.eigenvalue)
        )
    return _stacked(points, sizes.shape)
