"""Independent witnesses of the theory of linear diffusion models.

Everything here is computed from the definitions: Gaussian data are drawn, their mean and
covariance estimated, the affine denoiser fitted, trained or run as a sampler, and the losses and
divergences taken as the Gaussian integrals they are. Functions called `*_draws` return one row
per replica. The references further down evaluate closed forms with 50 digits or by quadrature
over the Marchenko-Pastur law; none of them shares code with `linear_diffusion.theory`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm
from threadpoolctl import threadpool_limits

from learning_dynamics.testing import assert_agrees

Array = NDArray[np.float64]
single_thread = threadpool_limits.wrap(limits=1)  # the matrices are small


# --------------------------------------------------------------------------- data


def spectrum(name: str, dimension: int) -> Array:
    """White, power laws nu^-k, or three large eigenvalues; trace d, largest first."""
    if name == "spiked":
        values = np.ones(dimension)
        values[:3] = (30.0, 12.0, 5.0)
    else:
        exponent = {"white": 0, "power1": 1, "power2": 2, "power3": 3}[name]
        values = np.arange(1, dimension + 1, dtype=np.float64) ** -exponent
    return values * dimension / values.sum()


def linear_schedule(
    steps: int = 1000, first: float = 1e-4, last: float = 2e-2
) -> tuple[Array, Array]:
    """beta_t and alpha_bar_t, t = 1..T."""
    beta = first + (last - first) * np.arange(steps) / (steps - 1)
    return beta, np.cumprod(1 - beta)


class Estimate(NamedTuple):
    """What a finite data set says about N(0, Sigma)."""

    mean: Array  # (d,)
    covariance: Array  # (d, d), maximum likelihood


def estimates(
    spectrum: Array, samples: int, replicas: int, seed: int, *, mean_known: bool = False
) -> Iterator[Estimate]:
    """Estimated mean and covariance of `samples` draws from N(0, diag(spectrum))."""
    rng = np.random.default_rng(seed)
    for _ in range(replicas):
        data = rng.standard_normal((samples, spectrum.size)) * np.sqrt(spectrum)
        mean = np.zeros(spectrum.size) if mean_known else data.mean(axis=0)
        yield Estimate(mean, (data - mean).T @ (data - mean) / samples)


# --------------------------------------------------------------------------- divergences


def gaussian_kl(mean_p: Array, cov_p: Array, mean_q: Array, cov_q: Array) -> float:
    """KL(N(mean_p, cov_p) || N(mean_q, cov_q)) in nats."""
    shift = mean_q - mean_p
    log_p, log_q = np.linalg.slogdet(cov_p)[1], np.linalg.slogdet(cov_q)[1]
    inverse = np.linalg.inv(cov_q)
    overlap = np.sum(inverse * cov_p) + shift @ inverse @ shift
    return float(0.5 * (overlap - mean_p.size + log_q - log_p))


def both_kl(spectrum: Array, mean: Array, covariance: Array) -> tuple[float, float]:
    """KL(rho || rho_N) and KL(rho_N || rho) for rho = N(0, diag(spectrum))."""
    zero, truth = np.zeros(spectrum.size), np.diag(spectrum)
    return gaussian_kl(zero, truth, mean, covariance), gaussian_kl(mean, covariance, zero, truth)


@single_thread
def kl_draws(
    spectrum: Array,
    samples: int,
    ridges: Array,
    replicas: int,
    seed: int,
    *,
    mean_known: bool = False,
) -> Array:
    """Forward and reverse KL of N(mean, covariance + c), shape (replicas, ridges, 2)."""
    eye = np.eye(spectrum.size)
    return np.array(
        [
            [both_kl(spectrum, e.mean, e.covariance + c * eye) for c in np.atleast_1d(ridges)]
            for e in estimates(spectrum, samples, replicas, seed, mean_known=mean_known)
        ]
    )


# --------------------------------------------------------------------------- denoiser


def optimum(covariance: Array, ridge: float, alpha_bar: float) -> Array:
    """Minimiser W of the training loss with penalty alpha_bar c |W|^2 / d (normal equations)."""
    eye = np.eye(len(covariance))
    moment = alpha_bar * covariance + (1 - alpha_bar) * eye + alpha_bar * ridge * eye
    return np.linalg.solve(moment, np.sqrt(1 - alpha_bar) * eye).T


def quadratic_loss(weights: Array, clean_moment: Array, alpha_bar: float) -> float:
    """E |W (sqrt(a) y + sqrt(1-a) eps) - eps|^2 / d with E y y' = clean_moment."""
    d = len(weights)
    moment = alpha_bar * clean_moment + (1 - alpha_bar) * np.eye(d)
    square = np.sum((weights @ moment) * weights)
    return float((square - 2 * np.sqrt(1 - alpha_bar) * np.trace(weights) + d) / d)


def train_and_test(
    weights: Array, estimate: Estimate, spectrum: Array, alpha_bar: float
) -> tuple[float, float]:
    """Loss on the training data and on fresh data, both without the penalty."""
    fresh = np.diag(spectrum) + np.outer(estimate.mean, estimate.mean)
    return (
        quadratic_loss(weights, estimate.covariance, alpha_bar),
        quadratic_loss(weights, fresh, alpha_bar),
    )


@single_thread
def loss_draws(
    spectrum: Array,
    samples: int,
    ridge: float,
    noise_to_signal: Array,
    replicas: int,
    seed: int,
    *,
    mean_known: bool = False,
) -> Array:
    """Train and test loss of the optimum, shape (replicas, noise levels, 2)."""
    levels = 1 / (1 + np.atleast_1d(noise_to_signal))
    return np.array(
        [
            [train_and_test(optimum(e.covariance, ridge, a), e, spectrum, a) for a in levels]
            for e in estimates(spectrum, samples, replicas, seed, mean_known=mean_known)
        ]
    )


def bayes_loss(spectrum: Array, noise_to_signal: float) -> float:
    """Loss of the best denoiser of N(0, diag(spectrum))."""
    a = 1 / (1 + noise_to_signal)
    truth = np.diag(spectrum)
    return quadratic_loss(optimum(truth, 0.0, a), truth, a)


# --------------------------------------------------------------------------- training


def flow_weights(covariance: Array, ridge: float, alpha_bar: float, time: float) -> Array:
    """Gradient flow dW/dtau = sqrt(1-a) 1 - W M from zero, by a matrix exponential."""
    eye = np.eye(len(covariance))
    moment = alpha_bar * (covariance + ridge * eye) + (1 - alpha_bar) * eye
    target = np.sqrt(1 - alpha_bar) * np.linalg.inv(moment)
    return target @ (eye - expm(-moment * time))


def descent_weights(
    covariance: Array, ridge: float, alpha_bar: float, steps: int, step_size: float
) -> Array:
    """Gradient descent from zero, step by step."""
    eye = np.eye(len(covariance))
    moment = alpha_bar * (covariance + ridge * eye) + (1 - alpha_bar) * eye
    weights = np.zeros_like(eye)
    for _ in range(steps):
        weights = weights - step_size * (weights @ moment - np.sqrt(1 - alpha_bar) * eye)
    return weights


def flow_spectrum(
    eigenvalues: Array, ridge: float, alpha_bar: Array, time: Array, step_size: float | None = None
) -> Array:
    """Weights of the eigenmodes, sqrt(1-a) (1 - exp(-m tau)) / m; arguments broadcast."""
    m = alpha_bar * (eigenvalues + ridge) + 1 - alpha_bar
    if step_size is None:
        learned = -np.expm1(-m * time)
    else:
        learned = 1 - (1 - step_size * m) ** np.rint(time / step_size)
    return np.sqrt(1 - alpha_bar) * learned / m


@single_thread
def training_draws(
    spectrum: Array,
    samples: int,
    ridge: float,
    alpha_bar: float,
    times: Array,
    replicas: int,
    seed: int,
    *,
    step_size: float | None = None,
) -> Array:
    """Train and test loss along training, shape (replicas, times, 2)."""
    rows = []
    for e in estimates(spectrum, samples, replicas, seed):
        values, basis = np.linalg.eigh(e.covariance)
        curves = [flow_spectrum(values, ridge, alpha_bar, t, step_size) for t in times]
        weights = [(basis * w) @ basis.T for w in curves]
        rows.append([train_and_test(w, e, spectrum, alpha_bar) for w in weights])
    return np.array(rows)


# --------------------------------------------------------------------------- samplers


class Law(NamedTuple):
    """Gaussian law of what a sampler returns."""

    mean: Array  # (d,)
    covariance: Array  # (d, d)


def step_coefficients(
    beta: Array, alpha_bar: Array, sampler: str
) -> Iterator[tuple[int, float, float, float]]:
    """(t - 1, A, B, sigma) of u_(t-1) = A u_t + B eps_theta(u_t) + sigma noise, t = T..1.

    "ddpm" is the ancestral sampler with sigma_t^2 = beta_t; "ddim" the deterministic one
    (Song, Meng, Ermon 2021, eta = 0).
    """
    for t in reversed(range(beta.size)):
        before = alpha_bar[t - 1] if t else 1.0
        if sampler == "ddpm":
            scale = 1 / np.sqrt(1 - beta[t])
            yield t, scale, -scale * beta[t] / np.sqrt(1 - alpha_bar[t]), float(np.sqrt(beta[t]))
        else:
            scale = np.sqrt(before / alpha_bar[t])
            yield t, scale, np.sqrt(1 - before) - scale * np.sqrt(1 - alpha_bar[t]), 0.0


def generated_law(
    weights: Callable[[float], Array], mean: Array, beta: Array, alpha_bar: Array, sampler: str
) -> Law:
    """Mean and covariance after the sampler, by d x d matrix recursion from N(0, 1).

    Args:
        weights: alpha_bar -> W, of the denoiser eps = W (x - sqrt(alpha_bar) mean).
        mean: b, shape (d,).
        beta: variances of the steps.
        alpha_bar: their cumulative signal power.
        sampler: "ddpm" or "ddim".
    """
    eye = np.eye(mean.size)
    location, covariance = np.zeros(mean.size), eye
    for t, keep, push, noise in step_coefficients(beta, alpha_bar, sampler):
        matrix = weights(alpha_bar[t])
        step = keep * eye + push * matrix
        location = step @ location - push * np.sqrt(alpha_bar[t]) * (matrix @ mean)
        covariance = step @ covariance @ step.T + noise**2 * eye
    return Law(location, covariance)


def generated_samples(
    weights: Callable[[float], Array],
    mean: Array,
    beta: Array,
    alpha_bar: Array,
    sampler: str,
    count: int,
    seed: int,
) -> Array:
    """Samples of the sampler itself, shape (count, d)."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal((count, mean.size))
    for t, keep, push, noise in step_coefficients(beta, alpha_bar, sampler):
        eps = (u - np.sqrt(alpha_bar[t]) * mean) @ weights(alpha_bar[t]).T
        u = keep * u + push * eps
        if noise:
            u += noise * rng.standard_normal(u.shape)
    return u


def mode_law(
    weights: Callable[[float], Array], beta: Array, alpha_bar: Array, sampler: str
) -> tuple[Array, Array]:
    """The same recursion for commuting W: mean factor (of b) and variance per eigenmode."""
    shape = weights(alpha_bar[-1]).shape
    factor, variance = np.zeros(shape), np.ones(shape)
    for t, keep, push, noise in step_coefficients(beta, alpha_bar, sampler):
        w = weights(alpha_bar[t])
        step = keep + push * w
        factor = step * factor - push * np.sqrt(alpha_bar[t]) * w
        variance = step**2 * variance + noise**2
    return factor, variance


@single_thread
def training_kl_draws(
    spectrum: Array,
    samples: int,
    ridge: float,
    beta: Array,
    alpha_bar: Array,
    times: Array,
    replicas: int,
    seed: int,
    *,
    sampler: str = "ddpm",
) -> Array:
    """Forward and reverse KL of the generated law along training, (replicas, times, 2)."""
    rows = []
    for e in estimates(spectrum, samples, replicas, seed):
        values, basis = np.linalg.eigh(e.covariance)
        values = np.maximum(values, 0.0)

        def weights(a: float, values: Array = values) -> Array:
            return flow_spectrum(values, ridge, a, times[:, None])

        factor, variance = mode_law(weights, beta, alpha_bar, sampler)
        rows.append(
            [
                both_kl(spectrum, basis @ (f * (basis.T @ e.mean)), (basis * v) @ basis.T)
                for f, v in zip(factor, variance, strict=True)
            ]
        )
    return np.array(rows)


# --------------------------------------------------------------------------- two models


@single_thread
def similarity_draws(
    spectrum: Array,
    samples: int,
    ridge: float,
    replicas: int,
    seed: int,
    *,
    schedule: tuple[Array, Array] | None = None,
) -> Array:
    """E<x, x'> and E|x|^2 over shared noise, for models of disjoint data; (replicas, 2).

    The mean is known to be zero. Without a schedule the models are (Sigma_hat + c)^(1/2) z, with
    one they are the ancestral sampler with every noise shared.
    """
    rows = []
    draws = estimates(spectrum, samples, 2 * replicas, seed, mean_known=True)
    for first, second in zip(draws, draws, strict=True):
        pair = [np.linalg.eigh(e.covariance) for e in (first, second)]
        if schedule is None:
            roots = [(b * np.sqrt(np.maximum(v, 0) + ridge)) @ b.T for v, b in pair]
            rows.append([np.sum(roots[0] * roots[1]), np.sum(roots[0] ** 2 + roots[1] ** 2) / 2])
            continue
        mixing = pair[0][1].T @ pair[1][1]  # eigenbasis of one model in that of the other
        beta, alpha_bar = schedule
        # x = sum over injected noises of P z, x' the same with P': follow P mode by mode
        inner, own = 0.0, 0.0
        factors = [np.ones(spectrum.size), np.ones(spectrum.size)]
        steps = list(step_coefficients(beta, alpha_bar, "ddpm"))[::-1]
        for t, keep, push, noise in steps:
            inner += noise**2 * (factors[0] @ mixing**2 @ factors[1])
            own += noise**2 * sum(np.sum(f**2) for f in factors) / 2
            for k, (values, _) in enumerate(pair):
                m = alpha_bar[t] * (values + ridge) + 1 - alpha_bar[t]
                factors[k] = factors[k] * (keep + push * np.sqrt(1 - alpha_bar[t]) / m)
        inner += factors[0] @ mixing**2 @ factors[1]
        own += sum(np.sum(f**2) for f in factors) / 2
        rows.append([inner, own])
    return np.array(rows)


# --------------------------------------------------------------------------- 50 digits


def exact_kl_reference(dimension: int, samples: int) -> tuple[Any, Any]:
    """Expected KL in both directions at ridge 0, from the moments of the Wishart law.

    E S^-1 = Sigma^-1 n / (n - d - 1) and E ln det S = ln det Sigma + sum_i digamma((n+1-i)/2)
    + d ln(2/n) for S with n = N - 1 degrees of freedom; the mean error is N(0, Sigma/N) and
    independent of S; Sigma_hat = (n/N) S.
    """
    with mp.workdps(50):
        d, n_samples, n = mp.mpf(dimension), mp.mpf(samples), mp.mpf(samples - 1)
        log_det = mp.fsum(mp.digamma((n + 1 - i) / 2) for i in range(1, dimension + 1))
        log_det += d * mp.log(2 / n) + d * mp.log(n / n_samples)
        if samples > dimension + 2:
            trace = d * (n_samples / n) * n / (n - d - 1)
            forward = ((1 + 1 / n_samples) * trace - d + log_det) / 2
        else:
            forward = mp.inf
        reverse = (d * n / n_samples + d / n_samples - d - log_det) / 2
        return forward, reverse


def _root(s: list[Any], degrees: Any, target: Any) -> Any:
    """Positive root of k (n - df_1(k)) = target at the current precision."""
    rough = np.array([float(x) for x in s])
    low, high = 1e-300, float((target + sum(s)) / degrees) * 2
    for _ in range(120):
        middle = np.sqrt(low) * np.sqrt(high)
        below = middle * (float(degrees) - np.sum(rough / (rough + middle))) < float(target)
        low, high = (middle, high) if below else (low, middle)
    root = mp.mpf(high)
    for _ in range(200):
        df1 = mp.fsum(x / (x + root) for x in s)
        df2 = mp.fsum((x / (x + root)) ** 2 for x in s)
        step = (root * (degrees - df1) - target) / (degrees - df2)
        root -= step
        if abs(step) <= abs(root) * mp.mpf(2) ** (8 - mp.mp.prec):
            break
    return root


def implicit_ridge_reference(spectrum: Array, samples: int, ridge: float, degrees: int) -> Any:
    """Positive root of kappa (n - df_1) = N lam with 50 digits; n = `degrees`."""
    with mp.workdps(60):
        if ridge == 0 and degrees >= spectrum.size:
            return mp.mpf(0)
        s = [mp.mpf(float(x)) for x in spectrum]
        return _root(s, mp.mpf(int(degrees)), int(samples) * mp.mpf(float(ridge)))


def log_determinant(s: list[Any], samples: int, lam: Any, tilt: Any) -> Any:
    """E ln det (Sigma_hat + lam + tilt Sigma), from which every trace follows by differentiation.

    The deterministic equivalent with n = N - 1 degrees of freedom and Sigma_hat = (n/N) S, and its
    first correction for real Gaussian data, ln(1 - df_2/n)/2. The tilt is moved into the spectrum:
    with Sigma_hat = Sigma^(1/2) W Sigma^(1/2) the determinant is det Sigma det (W + lam/Sigma +
    tilt), that of a covariance with eigenvalues lam / (lam/s + tilt). Current precision.
    """
    n = mp.mpf(samples - 1)
    tilted = [lam / (lam / x + tilt) for x in s]
    kappa = _root(tilted, n, samples * lam)
    df2 = mp.fsum((x / (x + kappa)) ** 2 for x in tilted)
    equivalent = len(s) * mp.log(lam) + mp.fsum(mp.log(1 + x / kappa) for x in tilted)
    equivalent += n * (mp.log(kappa * n / (samples * lam)) - 1) + samples * lam / kappa
    shift = mp.fsum(mp.log(x / y) for x, y in zip(s, tilted, strict=True))
    return equivalent + shift + mp.log(1 - df2 / n) / 2


class LossReference(NamedTuple):
    """Losses of the optimum, many digits."""

    train: Any
    test: Any
    bayes: Any


def loss_reference(
    spectrum: Array, samples: int, ridge: float, noise_to_signal: float
) -> LossReference:
    """Losses of the optimum as derivatives of `log_determinant`."""
    with mp.workdps(40):
        s = [mp.mpf(float(x)) for x in spectrum]
        d, c, s2 = len(s), mp.mpf(float(ridge)), mp.mpf(float(noise_to_signal))
        unit = c + s2  # the derivatives are taken in units of the total ridge

        def energy(lam: Any, tilt: Any) -> Any:
            return log_determinant(s, samples, unit * lam, unit * tilt)

        one, zero = mp.mpf(1), mp.mpf(0)
        trace = mp.diff(energy, (one, zero), (1, 0)) / unit
        square = -mp.diff(energy, (one, zero), (2, 0)) / unit**2
        weighted = -mp.diff(energy, (one, zero), (1, 1)) / unit**2 * (1 + mp.mpf(1) / samples)
        train = 1 - s2 / d * trace - c * s2 / d * square
        test = 1 - 2 * s2 / d * trace + s2 / d * (weighted + s2 * square)
        bayes = mp.fsum(x / (x + s2) for x in s) / d
        return LossReference(train, test, bayes)


def kl_reference(spectrum: Array, samples: int, ridge: float) -> tuple[Any, Any]:
    """KL in both directions at ridge > 0 from `log_determinant`."""
    with mp.workdps(40):
        s = [mp.mpf(float(x)) for x in spectrum]
        d, c = len(s), mp.mpf(float(ridge))
        log_det = log_determinant(s, samples, c, mp.mpf(0)) - mp.fsum(mp.log(x) for x in s)
        trace = mp.diff(lambda x: log_determinant(s, samples, c, c * x), mp.mpf(0)) / c
        forward = ((1 + mp.mpf(1) / samples) * trace - d + log_det) / 2
        reverse = (c * mp.fsum(1 / x for x in s) - log_det) / 2
        return forward, reverse


def kl_slopes(spectrum: Array, ridge: float) -> tuple[float, float]:
    """Exact coefficients of 1/N of the KL in both directions, by second-order perturbation.

    With Delta = Sigma_hat - Sigma: E Delta = -Sigma/N, E Delta M Delta = [Sigma tr(M Sigma) +
    Sigma M Sigma]/N, and the mean error adds E delta delta' = Sigma/N.
    """
    d1, d2, d3 = ((spectrum / (spectrum + ridge)) ** k for k in (1, 2, 3))
    f1, f2, f3 = d1.sum(), d2.sum(), d3.sum()
    return (2 * f1 * f2 - f1**2 + 2 * f3 + f2) / 4, (f1**2 + 2 * f1 + f2) / 4


def loss_excess_reference(spectrum: Array, noise_to_signal: float) -> float:
    """Exact coefficient of 1/N of the test excess at ridge 0, by second-order perturbation.

    (sigma2/d) E [tr G Delta G Delta G + delta' G^2 delta] with E Delta M Delta as above: the
    fluctuations give df_1 (df_1 - df_2) + df_2 - df_3, the mean error df_1 - df_2, all over d.
    """
    d1, d2, d3 = ((spectrum / (spectrum + noise_to_signal)) ** k for k in (1, 2, 3))
    f1, f2, f3 = d1.sum(), d2.sum(), d3.sum()
    return float(((f1 + 1) * (f1 - f2) + f2 - f3) / spectrum.size)


@single_thread
def kl_slope_draws(spectrum: Array, samples: int, ridge: float, replicas: int, seed: int) -> Array:
    """N (KL - KL at N = infinity), the linear fluctuation replaced by its mean; (replicas, 2)."""
    d, c = spectrum.size, ridge
    g = 1 / (spectrum + c)
    limit = np.array(both_kl(spectrum, np.zeros(d), np.diag(spectrum + c)))
    rows = []
    for e in estimates(spectrum, samples, replicas, seed):
        values = np.array(both_kl(spectrum, e.mean, e.covariance + c * np.eye(d)))
        noise = np.diag(e.covariance) - spectrum * (1 - 1 / samples)
        linear = np.array(
            [np.sum((g - spectrum * g**2) * noise), np.sum((1 / spectrum - g) * noise)]
        )
        rows.append(samples * (values - limit - linear / 2))
    return np.array(rows)


# --------------------------------------------------------------------------- quadratures


def marchenko_pastur_trace(
    function: Callable[[Array], Array],
    dimension: int,
    samples: int,
    degrees: int,
    *,
    nodes: int = 4000,
    corrected: bool = True,
) -> Array:
    """E tr g(Sigma_hat) for Sigma = 1 by its exact limiting density and first correction.

    Sigma_hat = (n/N) S, S of Marchenko-Pastur law with ratio y = d/n; the substitution
    x = 1 + y + 2 sqrt(y) cos(theta) makes the trapezoid rule converge geometrically. For real
    Gaussian data the correction of order one is a quarter of the mass at both edges minus half the
    arcsine law between them (Jonsson 1982; Bai and Silverstein 2004). `function` takes x with
    shape (nodes,) and may return leading axes.
    """
    y = dimension / degrees
    theta = (np.arange(nodes) + 0.5) * np.pi / nodes
    x = 1 + y + 2 * np.sqrt(y) * np.cos(theta)
    weight = dimension * (2 * np.sqrt(y) * np.sin(theta)) ** 2 / (2 * y * x) / nodes
    if corrected:
        weight = weight - 0.5 / nodes
        edges = np.array([(1 - np.sqrt(y)) ** 2, (1 + np.sqrt(y)) ** 2])
        x, weight = np.append(x, edges), np.append(weight, [0.25, 0.25])
    total = np.sum(function(x * degrees / samples) * weight, axis=-1)
    if dimension > degrees:
        total = total + (dimension - degrees) * function(np.zeros(1))[..., 0]
    return total


def contour_traces(
    functions: list[Callable[[Any], Any]],
    spectrum: Array,
    samples: int,
    degrees: int,
    *,
    nodes: int = 400,
    digits: int = 80,
) -> list[tuple[Any, Any]]:
    """E tr g(Sigma_hat) and E tr Sigma g(Sigma_hat) for entire g, on a circle with many digits.

    The circle is drawn in the plane of kappa, where z = -kappa (n - df_1(kappa)) / N is explicit,
    so that no equation has to be solved. Includes the first correction for real Gaussian data.
    """
    with mp.workdps(digits):
        s = [mp.mpf(float(x)) for x in spectrum]
        ratio = mp.mpf(len(s)) / degrees
        edge = s[0] * (1 + mp.sqrt(ratio)) ** 2
        totals = [[mp.mpc(0), mp.mpc(0)] for _ in functions]
        for j in range(nodes):
            phase = mp.expjpi(2 * (mp.mpf(j) + mp.mpf("0.5")) / nodes)
            kappa = mp.mpf("1.3") * edge * phase
            dkappa = 2j * mp.pi * kappa / nodes
            inverse = [1 / (x + kappa) for x in s]
            df1 = mp.fsum(x * g for x, g in zip(s, inverse, strict=True))
            slope = mp.fsum(x * g * g for x, g in zip(s, inverse, strict=True))  # -d df_1/d kappa
            z = -kappa * (degrees - df1) / samples
            dz = -(degrees - df1 + kappa * slope) / samples * dkappa
            powers = [
                mp.fsum((x * g) ** k for x, g in zip(s, inverse, strict=True)) for k in (2, 3)
            ]
            free = degrees - powers[0]
            resolvent = kappa / -z * mp.fsum(inverse)
            resolvent += samples * (powers[0] - powers[1]) / (kappa * free**2)
            weighted = kappa / -z * (df1 + (degrees * powers[1] - powers[0] ** 2) / free**2)
            for total, g in zip(totals, functions, strict=True):
                value = g(z) * dz / (2j * mp.pi)
                total[0] -= value * resolvent
                total[1] -= value * weighted
        return [(mp.re(a), mp.re(b)) for a, b in totals]


# --------------------------------------------------------------------------- comparing


def deviation(theory: Any, draws: Array) -> tuple[Array, Array]:
    """Relative deviation of theory from the mean over replicas (axis 0), and its standard error."""
    mean = draws.mean(axis=0)
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return np.asarray(theory) / mean - 1, error / np.abs(mean)


def assert_close(theory: Any, draws: Array, tolerance: float) -> None:
    """Theory within `tolerance` of the mean, up to three standard errors of that mean.

    The standard error must be smaller than the tolerance, or the comparison would be empty.
    """
    allowed = tolerance * np.abs(draws.mean(axis=0))
    three = min(0.0027 * allowed.size, 0.5)  # Gaussian probability beyond three, at each point
    assert_agrees(draws, theory, bias=allowed, resolution=allowed, false_alarm=three)
