"""Training and test loss of the optimal linear denoiser at one noise level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import fractions, spectrum_array
from linear_diffusion.theory.resolvent import EPSILON, equivalent, evaluate, make_grid, total

__all__ = ["Losses", "bayes_loss", "loss_excess", "losses"]

Array = NDArray[np.float64]


class Losses(NamedTuple):
    """Losses per dimension, without the ridge penalty."""

    train: Prediction
    test: Prediction
    bayes: Prediction  #: loss of the best linear denoiser that knows the population

    def __repr__(self) -> str:
        return short_text.represent(self)


def noise_ratio(alpha_bar: ArrayLike) -> Array:
    """Noise-to-signal ratio sigma2 = (1 - alpha_bar) / alpha_bar of checked noise levels."""
    signal = fractions("alpha_bar", alpha_bar)
    return (1 - signal) / signal


def bayes_loss(spectrum: ArrayLike, alpha_bar: ArrayLike) -> Prediction:
    """Loss of the optimal linear denoiser, R* = (1/d) tr Sigma (Sigma + sigma2)^-1.

    sigma2 = (1 - alpha_bar) / alpha_bar is the noise-to-signal ratio.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        alpha_bar: noise level in (0, 1), any shape.

    Raises:
        ValueError: on a bad spectrum or a level outside (0, 1).

    Equation: :eq:`eq:linear-bayes`.

    Source: elementary (Wiener filter).
    """
    s, sigma2 = spectrum_array("spectrum", spectrum), noise_ratio(alpha_bar)
    value = (s / (s + sigma2[..., None])).mean(axis=-1)
    return Prediction(value, 4 * EPSILON * value, label="best linear denoiser")


def losses(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    alpha_bar: ArrayLike,
    *,
    mean_known: bool = False,
) -> Losses:
    """Expected training and test loss of the optimum W* at one noise level.

    With sigma2 = (1 - alpha_bar) / alpha_bar, lam = sigma2 + ridge c, G_hat = (Sigma_hat + lam)^-1
    and delta the error of the mean, per dimension and without the penalty,

        R_train = 1 - (sigma2/d) tr G_hat - (c sigma2/d) tr G_hat^2,
        R_test  = 1 - (2 sigma2/d) tr G_hat
                  + (sigma2/d) tr G_hat (Sigma + delta delta' + sigma2) G_hat,

    where, with kappa the implicit ridge at lam, G = (Sigma + kappa)^-1 and
    kappa' = dkappa/dlam = N / (n - df_2),

        tr G_hat = (kappa/lam) tr G + C,
        tr G_hat^2 = (kappa/lam^2) tr G - (kappa'/lam) tr Sigma G^2 - dC/dlam,
        tr G_hat Sigma G_hat = (n/N) (kappa^2 kappa'/lam^2) tr Sigma G^2 - dS/dlam,

    with the first corrections for real Gaussian data (relative order 1/N), for df_k at kappa,

        C = N (df_2 - df_3) / (kappa (n - df_2)^2),
        S = (kappa/lam) (n df_3 - df_2^2) / (n - df_2)^2.

    The error of the mean multiplies the last trace by 1 + 1/N.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        samples: N; with `ridge` and `alpha_bar` broadcast to the result's shape.
        ridge: c >= 0, the penalty is alpha_bar c |W|^2 / d.
        alpha_bar: noise level in (0, 1).
        mean_known: no mean is estimated (n = N and delta = 0).

    Raises:
        ValueError: samples < 2, negative ridge, a level outside (0, 1), bad spectrum.

    Equations: :eq:`eq:linear-losses`, :eq:`eq:linear-traces`, :eq:`eq:linear-explode`.

    Source: derived here.
    """
    sigma2 = noise_ratio(alpha_bar)
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge, noise_to_signal=sigma2)
    c, sigma2 = grid.others
    d = grid.spectrum.size
    lam = c + sigma2
    solution = equivalent(grid.spectrum, grid.freedom, grid.samples * lam)
    mean_error = 0.0 if mean_known else 1.0

    def traces(ratio: Array, kappa: Array, n: Array, N: Array, lam: Array) -> tuple[Array, ...]:
        complement = 1 - ratio  # kappa G
        tr_G = complement.sum(axis=1)
        tr_SG2 = (ratio * complement).sum(axis=1)  # kappa tr Sigma G^2
        df2, df3 = (ratio**2).sum(axis=1), (ratio**3).sum(axis=1)
        gap2 = (ratio**2 * complement).sum(axis=1)  # df_2 - df_3
        gap3 = (ratio**3 * complement).sum(axis=1)  # df_3 - df_4
        free = N * lam / kappa + tr_SG2  # n - df_2
        slope = N / free
        signal = (n / N) * kappa * slope * tr_SG2 / lam**2
        excess = (free * df3 - df2 * gap2) / free**2  # S lam / kappa
        signal_shift = (
            excess * (kappa / lam - slope) / lam
            + slope / lam * (3 * n * gap3 - 4 * df2 * gap2) / free**2
            + slope / lam * 4 * excess * gap2 / free
        )
        return (
            tr_G / lam + slope * gap2 / (kappa * free),
            tr_G / lam**2,
            -slope * tr_SG2 / (kappa * lam),
            (slope / kappa) ** 2 / free * (3 * (gap2 - gap3) + 4 * gap2**2 / free),
            (signal + signal_shift) * (1 + mean_error / N),
        )

    def train(r: Array, k: Array, n: Array, N: Array, c: Array, s2: Array) -> tuple[Array, Array]:
        first, *second, _ = traces(r, k, n, N, c + s2)
        return total(1.0, -s2 / d * first, *(-c * s2 / d * term for term in second))

    def test(r: Array, k: Array, n: Array, N: Array, c: Array, s2: Array) -> tuple[Array, Array]:
        first, *second, signal = traces(r, k, n, N, c + s2)
        return total(
            1.0, -2 * s2 / d * first, s2 / d * signal, *(s2**2 / d * term for term in second)
        )

    return Losses(
        evaluate(train, solution, grid, c, sigma2).labelled("training loss"),
        evaluate(test, solution, grid, c, sigma2).labelled("test loss"),
        bayes_loss(grid.spectrum, np.broadcast_to(alpha_bar, sigma2.shape)),
    )


def loss_excess(spectrum: ArrayLike, alpha_bar: ArrayLike) -> Prediction:
    """Coefficient of 1/N at large N of R_test - R* and of R* - R_train, without ridge.

        [ df_1 (df_1 - df_2) + df_1 - df_3 ] / d   at kappa = sigma2,  df_k = tr (Sigma G)^k,

    the same for test and training. Exact to first order in 1/N for Gaussian data, mean estimated.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        alpha_bar: noise level in (0, 1), sigma2 = (1 - alpha_bar) / alpha_bar; any shape.

    Raises:
        ValueError: on a bad spectrum or a level outside (0, 1).

    Equation: :eq:`eq:linear-excess`.

    Source: derived here by second-order perturbation theory.
    """
    s, sigma2 = spectrum_array("spectrum", spectrum), noise_ratio(alpha_bar)
    ratio = s / (s + sigma2[..., None])
    df1, df2, df3 = (np.sum(ratio**k, axis=-1) for k in (1, 2, 3))
    value = (df1 * (df1 - df2) + df1 - df3) / s.size
    return Prediction(value, 8 * EPSILON * df1 * (1 + df1) / s.size)
