"""Kullback-Leibler divergence between the data and what a linear diffusion model generates.

The generated law of a fully trained model (many steps, alpha_bar_T -> 0) is the Gaussian
rho_N = N(mu_hat, Sigma_hat + c). "forward" is KL(rho || rho_N), which punishes directions that
the model misses; "reverse" is KL(rho_N || rho). All values in nats, summed over dimensions.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise
from scipy.special import digamma

from learning_dynamics import short_text
from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.validation import (
    fractions,
    integers,
    non_negative,
    one_of,
    positive_integer,
    reject,
    spectrum_array,
)
from linear_diffusion.theory.resolvent import EPSILON, Grid, equivalent, evaluate, make_grid, total

__all__ = [
    "Direction",
    "OptimalRidge",
    "exact_kl",
    "kl",
    "kl_proportional",
    "kl_slope",
    "optimal_ridge",
]

Array = NDArray[np.float64]
Direction = Literal["forward", "reverse"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "reverse")


def exact_kl(
    dimension: int, samples: ArrayLike, *, direction: Direction, mean_known: bool = False
) -> Prediction:
    """Exact expected KL for Gaussian data without ridge; it does not depend on the spectrum.

        Psi = sum_(i=1..d) digamma((N - i)/2) + d ln(2/N),
        E KL(rho || rho_N) = 1/2 [ (N + 1) d / (N - d - 2) - d + Psi ],
        E KL(rho_N || rho) = - Psi / 2;

    with a known mean (N - i)/2 becomes (N + 1 - i)/2 and the fraction N d / (N - d - 1).

    Args:
        dimension: d.
        samples: N, any shape; N > d + 2 for "forward", N > d for "reverse" (one less each with
            a known mean).
        direction: "forward" or "reverse".
        mean_known: no mean is estimated.

    Raises:
        ValueError: if an N is too small for the expectation to exist.

    Equations: :eq:`eq:linear-psi`, :eq:`eq:linear-exact`.

    Source: derived here from the moments of the Wishart distribution.
    """
    d = positive_integer("dimension", dimension)
    one_of("direction", direction, DIRECTIONS)
    least = (d + 3 if direction == "forward" else d + 1) - mean_known
    N = integers("samples", samples, least=2).astype(np.float64)
    if np.any(least > N):
        raise reject(
            "samples",
            f"be at least {least} for the exact {direction} KL in dimension {d} "
            "(the expectation is infinite below)",
            int(N.min()),
        )
    n = N if mean_known else N - 1
    terms = digamma((n[..., None] - np.arange(d)) / 2)
    psi = terms.sum(axis=-1) + d * np.log(2 / N)
    rounding = 8 * EPSILON * (np.abs(terms).sum(axis=-1) + d * np.log(N))
    if direction == "reverse":
        return Prediction(-psi / 2, rounding, label="exact")
    inverse = (N + (not mean_known)) * d / (n - d - 1)
    return Prediction((inverse - d + psi) / 2, rounding + 4 * EPSILON * inverse, label="exact")


def kl_proportional(ratio: ArrayLike, *, direction: Direction) -> Prediction:
    """KL per dimension in the limit d, N -> infinity at fixed r = d/N < 1, without ridge.

        forward: 1/2 [ r/(1 - r) - 1 - ((1 - r)/r) ln(1 - r) ],
        reverse: 1/2 [ 1 + ((1 - r)/r) ln(1 - r) ].

    Args:
        ratio: r = d/N in (0, 1), any shape.
        direction: "forward" or "reverse".

    Raises:
        ValueError: if a ratio leaves (0, 1).

    Equation: :eq:`eq:linear-proportional`.

    Source: derived here (limit of `exact_kl`).
    """
    one_of("direction", direction, DIRECTIONS)
    r = fractions("ratio", ratio)
    # 1 + ((1 - r)/r) ln(1 - r) = sum_(k>=1) r^k / (k (k + 1)) cancels badly at small r.
    order = np.arange(1, 25)
    series = (r[..., None] ** order / (order * (order + 1))).sum(axis=-1)
    core = np.where(r < 0.1, series, 1 + (1 - r) / r * np.log1p(-r))
    value = core / 2 if direction == "reverse" else (r / (1 - r) - core) / 2
    return Prediction(value, 8 * EPSILON * (1 + r / (1 - r)), label="N, d → ∞")


def kl_slope(
    spectrum: ArrayLike,
    ridge: ArrayLike = 0.0,
    *,
    direction: Direction,
    fourth_moment: float | None = None,
) -> Prediction:
    """Coefficient of 1/N at large N of KL(N) - KL(infinity).

    With df_k = tr [Sigma (Sigma + c)^-1]^k, for Gaussian data with estimated mean,

        forward: (2 df_1 df_2 - df_1^2 + df_2 + 2 df_3) / 4,
        reverse: (df_1^2 + 2 df_1 + df_2) / 4,

    which both are d (d + 3)/4 at c = 0. For data of any law and c = 0 it is
    (E|y|^4 + d)/4 both ways, with y = Sigma^(-1/2) (x - mu): independent coordinates of excess
    kurtosis k add only k d / 4, while a fluctuating overall contrast changes the slope itself.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        ridge: c >= 0, any shape.
        direction: "forward" or "reverse".
        fourth_moment: E|y|^4 of non-Gaussian data, only with ridge 0.

    Raises:
        ValueError: on a bad spectrum, a negative ridge, or a fourth moment with a ridge or below
            its least value d^2.

    Equations: :eq:`eq:linear-slope`, :eq:`eq:linear-fourth`.

    Source: derived here by second-order perturbation theory.
    """
    one_of("direction", direction, DIRECTIONS)
    s, c = spectrum_array("spectrum", spectrum), non_negative("ridge", ridge)
    d = s.size
    if fourth_moment is not None:
        if np.any(c > 0):
            raise reject("fourth_moment", "come with ridge 0", f"ridge {c.max()}")
        if not fourth_moment >= d**2:
            raise reject("fourth_moment", f"be at least d^2 = {d**2}", fourth_moment)
        value = np.full(c.shape, (fourth_moment + d) / 4)
        return Prediction(value, 4 * EPSILON * value, label="linear in d/N")
    ratio = s / (s + c[..., None])
    df1, df2, df3 = (np.sum(ratio**k, axis=-1) for k in (1, 2, 3))
    if direction == "forward":
        value = (2 * df1 * df2 - df1**2 + df2 + 2 * df3) / 4
    else:
        value = (df1**2 + 2 * df1 + df2) / 4
    return Prediction(value, 8 * EPSILON * (1 + df1) ** 2, label="linear in d/N")


def _divergence(grid: Grid, c: Array, direction: str, mean_known: bool) -> Prediction:
    """KL on a checked grid; infinite values are left to the caller."""
    solution = equivalent(grid.spectrum, grid.freedom, grid.samples * c)
    s = grid.spectrum
    inverse_trace = (1 / s).sum()
    mean_error = 0.0 if mean_known else 1.0

    def formula(ratio: Array, kappa: Array, n: Array, N: Array, c: Array) -> tuple[Array, Array]:
        # u = c / kappa, written so that ridge 0 is no special case.
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.where(c > 0, c / kappa, (n - s.size) / N)
            logs = (s.size * np.log(u), -np.log(ratio).sum(axis=1), n * np.log(n / (N * u)))
            # ln det (Sigma_hat + c) - ln det Sigma, the last term its shift by fluctuations
            df2, df3 = (ratio**2).sum(axis=1), (ratio**3).sum(axis=1)
            free = N * u + (ratio * (1 - ratio)).sum(axis=1)  # n - df_2 without cancellation
            log_det = (*logs, N * u, -n, np.log(free / n) / 2)
            if direction == "reverse":
                mean = (mean_error + n) / N  # tr Sigma^-1 (Sigma_hat + delta delta') / d
                terms = ((mean - 1) * s.size, c * inverse_trace, *(-t for t in log_det))
            else:
                shift = (df3 - df2 * (ratio**2 * (1 - ratio)).sum(axis=1) / free) / free
                terms = (
                    (1 + mean_error / N) * (ratio.sum(axis=1) + shift) / u,
                    np.full_like(u, -float(s.size)),
                    *log_det,
                )
            return total(*(term / 2 for term in terms))

    return evaluate(formula, solution, grid, c).labelled("deterministic equivalent")


def kl(
    spectrum: ArrayLike,
    samples: ArrayLike,
    ridge: ArrayLike,
    *,
    direction: Direction,
    mean_known: bool = False,
) -> Prediction:
    """Expected KL for any spectrum, sample size and ridge (deterministic equivalent; exact at 0).

    With kappa the implicit ridge at c, u = c/kappa, and df_k at kappa,

        tr Sigma (Sigma_hat + c)^-1 = (df_1 + [n df_3 - df_2^2] / [n - df_2]^2) / u,
        ln det (Sigma_hat + c) = ln det Sigma + d ln u + sum_i ln(1 + kappa/s_i)
                                 + n ln(n/(N u)) + N u - n + ln(1 - df_2/n) / 2,
        forward = 1/2 { (1 + 1/N) tr Sigma (Sigma_hat + c)^-1 - d
                        + ln det (Sigma_hat + c) - ln det Sigma },
        reverse = 1/2 { c tr Sigma^-1 - ln det (Sigma_hat + c) + ln det Sigma }.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        samples: N; broadcast with `ridge` to the result's shape.
        ridge: c >= 0, added to Sigma_hat at every noise level.
        direction: "forward" or "reverse".
        mean_known: no mean is estimated (n = N and no factor 1 + 1/N).

    Raises:
        ValueError: samples < 2, negative ridge, bad spectrum; ridge 0 with n < d, where both
            divergences are infinite (the sample covariance has null directions), or with so few
            samples above d that the expectation of the forward KL is.

    The terms in df_3 and ln(1 - df_2/n) are the first correction for real Gaussian data, of
    relative order 1/d; the second is the mean of the fluctuations of the log-determinant and the
    first its derivative. At n = d they need c well above 1/d^2 in units of the spectrum. Without
    ridge the value is that of `exact_kl`.

    Equations: :eq:`eq:linear-logdet`, :eq:`eq:linear-kl`.

    Source: derived here; relative corrections of order 1/d^2.
    """
    one_of("direction", direction, DIRECTIONS)
    grid = make_grid(spectrum, samples, mean_known, ridge=ridge)
    (c,) = grid.others
    infinite = (c == 0) & (grid.freedom < grid.spectrum.size)
    if np.any(infinite):
        raise reject(
            "ridge",
            f"be positive where samples leave n < d = {grid.spectrum.size} degrees of freedom "
            "(the generated law is degenerate there and its KL infinite)",
            f"0 at samples = {int(grid.samples[infinite].ravel()[0])}",
        )
    equivalent_kl = _divergence(grid, c, direction, mean_known)
    bare = c == 0
    if not np.any(bare):
        return equivalent_kl
    exact = exact_kl(
        grid.spectrum.size, grid.samples[bare], direction=direction, mean_known=mean_known
    )
    values, errors = equivalent_kl.values.copy(), equivalent_kl.numerical_error.copy()
    values[bare], errors[bare] = exact.values, exact.numerical_error
    return Prediction(values, errors, label=equivalent_kl.label)


class OptimalRidge(NamedTuple):
    """The ridge of least expected KL, and that KL."""

    ridge: Prediction
    kl: Prediction

    def __repr__(self) -> str:
        return short_text.represent(self)


def optimal_ridge(
    spectrum: ArrayLike,
    samples: ArrayLike,
    *,
    direction: Direction,
    mean_known: bool = False,
) -> OptimalRidge:
    """Ridge that minimises the deterministic equivalent of the KL.

    Args:
        spectrum: eigenvalues of Sigma, shape (d,), largest first.
        samples: N, any shape.
        direction: "forward" or "reverse".
        mean_known: see `kl`.

    Returns:
        The ridge with the width of the last bracket as its error, and the KL there.

    Raises:
        ValueError: samples < 2 or a bad spectrum.

    Equation: :eq:`eq:linear-kl`.

    Source: derived here (minimum of `kl`).
    """
    one_of("direction", direction, DIRECTIONS)
    grid = make_grid(spectrum, samples, mean_known)
    s, N, n = grid.spectrum, np.ravel(grid.samples), np.ravel(grid.freedom)

    def objective(log_c: Array, N: Array, n: Array) -> Array:
        N, n, log_c = np.broadcast_arrays(N, n, log_c)
        return _divergence(Grid(s, N, n, ()), np.exp(log_c), direction, mean_known).values

    # A coarse scan brackets the minimum, because the KL need not be convex in ln c.
    scan = np.linspace(np.log(s[-1]) - 25, np.log(s.sum()) + 5, 240)
    values = objective(scan, N[:, None], n[:, None])
    best = np.clip(np.argmin(values, axis=1), 1, scan.size - 2)
    minimum = elementwise.find_minimum(
        objective, (scan[best - 1], scan[best], scan[best + 1]), args=(N, n)
    )
    log_c, shape = minimum.x, grid.samples.shape
    width = np.exp(log_c) * np.maximum(minimum.bracket[2] - minimum.bracket[0], EPSILON)
    ridge = Prediction(np.exp(log_c).reshape(shape), np.abs(width).reshape(shape))
    reached = _divergence(grid, ridge.values, direction, mean_known)
    return OptimalRidge(ridge.labelled("optimal ridge"), reached)
