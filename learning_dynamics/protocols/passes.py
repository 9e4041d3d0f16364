"""Linear regression by SGD that uses a fixed set of samples again and again: the exact curve."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.protocols.equations import solution_at, variance_of_labels
from learning_dynamics.validation import (
    finite_array,
    increasing_times,
    non_negative,
    positive_integer,
    reject,
)

__all__ = ["RegressionCurve", "regression_on_fixed_samples"]

Array = NDArray[np.float64]
_NODES = 400  # of the spectrum; the midpoint rule converges exponentially in their number


class RegressionCurve(NamedTuple):
    """Losses E (w.x - y)^2 / 2 along training, shape (times,).

    Attributes:
        test: on fresh samples, their noise included.
        training: on the set.
    """

    test: Array
    training: Array

    def __repr__(self) -> str:
        return short_text.represent(self)


def regression_on_fixed_samples(
    times: ArrayLike,
    *,
    ratio: float,
    rate: float,
    label_noise: float = 0.0,
    distance: float = 1.0,
    batch: int = 1,
) -> RegressionCurve:
    """Losses of linear regression by SGD with replacement on n = `ratio` N samples, N -> infinity.

    y = w_*.x + sigma xi with x and xi standard normal, W' = W - (eta/N) mean of (w.x - y) x over
    the batch. With the eigenvalues s of X'X / n (law of Marchenko and Pastur, n/N = alpha),
    gradient flow has

        L_0 = (sigma^2/2) (1 - min(1, alpha) / alpha)
              + (1/2) E[(s D + (sigma^2 / alpha) 1(s > 0)) exp(-2 eta s tau)],
        R_0 = sigma^2/2
              + (1/2) E[D exp(-2 eta s tau) + (sigma^2 / alpha) (1 - exp(-eta s tau))^2 / s],

    D = |w - w_*|^2 at time zero. The noise of the steps adds to the square of the component along
    an eigenvector (2 eta^2 / b) s L per unit of time, which decays at the rate 2 eta s:

        L = L_0 + (eta^2/b) int E[s^2 exp(-2 eta s (tau - t))] L(t) dt,
        R = R_0 + (eta^2/b) int E[s exp(-2 eta s (tau - t))] L(t) dt.

    For alpha -> infinity, at fixed tau, both are the online limit. The start must have no preferred
    direction among the eigenvectors, as any start has that does not know the samples.

    Args:
        times: tau = updates / N, increasing, from zero on.
        ratio: alpha = n / N.
        rate: eta.
        label_noise: sigma.
        distance: D.
        batch: b.

    Raises:
        ValueError: on values outside their range, and if the loss does not come down:
            eta >= 2 b (L then grows for alpha >= 1).

    Source: derived here; a Volterra equation of this form is known from Paquette, Lee, Pedregosa
    and Paquette (2021).
    """
    tau = increasing_times(times)
    values = {"ratio": ratio, "rate": rate, "distance": distance, "label_noise": label_noise}
    for name, value in values.items():
        number = float(non_negative(name, finite_array(name, value, ndim=0)))
        if name in ("ratio", "rate") and number == 0:
            raise reject(name, "be positive", value)
    b = positive_integer("batch", batch)
    alpha, eta, noise = float(ratio), float(rate), variance_of_labels(label_noise)
    s, weights, null = _spectrum(alpha)
    kick = eta**2 / b
    if eta >= 2 * b:  # the integral of the first kernel: E s = 1
        raise reject("rate", f"be below {2 * b:g}, from where on the loss grows", rate)
    floor = noise / 2 * (1 - min(1.0, alpha) / alpha)

    def flow(at: Array) -> tuple[Array, Array]:
        decay = np.exp(-eta * s * at[:, None])
        training = floor + (s * distance + noise / alpha) * decay**2 @ (weights / 2)
        test = noise / 2 + (distance * decay**2 + noise / alpha * (1 - decay) ** 2 / s) @ (
            weights / 2
        )
        return training, test + null * distance / 2

    def loss(at: float, spread: Array) -> float:
        return float(flow(np.array([at]))[0][0] + np.sum(weights * s * spread) / 2)

    def velocity(at: float, spread: Array) -> Array:
        return -2 * eta * s * spread + 2 * kick * s * loss(at, spread)

    spread = solution_at(tau, velocity, np.zeros(s.size), rtol=1e-9, atol=1e-12)
    training, test = flow(tau)
    return RegressionCurve(test + spread @ weights / 2, training + spread @ (weights * s) / 2)


def _spectrum(alpha: float) -> tuple[Array, Array, float]:
    """Positive eigenvalues of X'X / n with their weights, and the weight of zero.

    The density alpha (s_+ - s)^(1/2) (s - s_-)^(1/2) / (2 pi s), s_+- = (1 +- alpha^(-1/2))^2, by
    the midpoint rule in theta, s = s_- + h (1 + cos theta).
    """
    low, high = ((1 + sign * alpha**-0.5) ** 2 for sign in (-1, 1))
    h = (high - low) / 2
    theta = (np.arange(_NODES) + 0.5) * np.pi / _NODES
    # of alpha = 1 and theta near pi: no difference of near numbers
    s = low + 2 * h * np.cos(theta / 2) ** 2
    weights = alpha * h**2 * np.sin(theta) ** 2 / (2 * s * _NODES)
    return s, weights, max(0.0, 1 - alpha)
