"""Clones of the data, and the losses of a denoiser on them, which tell the statistics in use."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory.inputs import ALPHA_BAR, MixedCumulant
from diffusion_theory.latents import Gaussian
from diffusion_theory.learners import Target, TiedDenoiser
from diffusion_theory.theory.loss import pair_nodes
from learning_dynamics import short_text
from learning_dynamics.model.latent import Latent
from learning_dynamics.noise_schedule import NoiseLevels
from learning_dynamics.pytrees import configuration, is_traced
from learning_dynamics.random import check_key
from learning_dynamics.validation import (
    between,
    finite_array,
    one_of,
    positive_integer,
    positive_number,
    reject,
)

__all__ = ["CloneLosses", "MeanClone", "best_loss", "clone_losses", "linear_optimum"]
__all__ += ["mean_clone"]

Array = NDArray[np.float64]
NAMES = ("data", "mean clone", "covariance clone")


@configuration
class MeanClone(ld.InputModel):
    """N(mean, variance 1) under the forward process: the mean of a law and its average variance.

    Attributes:
        strengths: components of the mean along the spikes of the model, shape (r,).
        variance: tr Sigma / d.
        alpha_bar: noise level.

    Raises:
        ValueError: on a variance that is not positive or a level outside (0, 1).
    """

    strengths: Any
    variance: Any
    alpha_bar: Any = field(default=ALPHA_BAR, kw_only=True)

    def __post_init__(self) -> None:
        if not is_traced(self.strengths):
            finite_array("strengths", self.strengths, ndim=1)
        if not is_traced(self.variance):
            positive_number("variance", self.variance)
        if not is_traced(self.alpha_bar):
            between("alpha_bar", self.alpha_bar, 0, 1)

    @property
    def directions(self) -> int:
        """Number of spikes of the model."""
        return int(np.shape(self.strengths)[0])

    @property
    def vectors(self) -> int:
        """Two: the noisy input x and the noise z."""
        return 2

    def _levels(self, dtype: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Deviations of the signal a x0, of the noise b z and of their sum."""
        power = jnp.asarray(self.alpha_bar, dtype)
        b = jnp.sqrt(1 - power)
        clean = jnp.sqrt(power) * jnp.sqrt(jnp.asarray(self.variance, dtype))
        return clean, b, jnp.sqrt(clean * clean + b * b)

    def mixing(self) -> Any:
        """Matrix with x = D n_1 and z = (b / D) n_1 + ..., D the deviation of x."""
        numbers = (self.variance, self.alpha_bar)
        if any(isinstance(x, jax.Array) for x in numbers):
            clean, b, deviation = self._levels(jnp.result_type(*numbers))
            rows = [[deviation, jnp.zeros_like(b)], [b / deviation, clean / deviation]]
            return jnp.stack([jnp.stack(row) for row in rows])
        variance, a2 = float(self.variance), float(self.alpha_bar)
        b2 = 1 - a2
        total = a2 * variance + b2
        return np.array([[total**0.5, 0.0], [(b2 / total) ** 0.5, (1 - b2 / total) ** 0.5]])

    def latents(self) -> dict[str, Latent]:
        """Normals inside the signal space; the added noise enters a loss at most squared."""
        r = self.directions
        return {"inner": ld.Normal((r,)), "added": ld.Normal((r,), nodes=2)}

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, NoiseLevels]:
        """Coordinates of x and z along the spikes, shape (2, r), and the noise level."""
        inner, added = latents["inner"], latents["added"]
        clean, b, deviation = self._levels(inner.dtype)
        power = jnp.asarray(self.alpha_bar, inner.dtype)
        level = NoiseLevels(power, 1 - power)
        noisy = level.signal * jnp.asarray(self.strengths, inner.dtype) + deviation * inner
        noise = (b * inner + clean * added) / deviation
        return jnp.stack([noisy, noise]), level


def mean_clone(inputs: MixedCumulant, dimension: int) -> MeanClone:
    """N(mu, (tr Sigma / d) 1) of a model, in the frame of its spikes.

    Equation: :eq:`eq:mcm-mean-clone`.

    Args:
        inputs: the model.
        dimension: d.
    """
    d = positive_integer("dimension", dimension)
    u, _, m = inputs.strengths()
    mean = np.array([m if name == "m" else 0.0 for name in inputs.names])
    return MeanClone(mean, 1 + u**2 / d, alpha_bar=inputs.alpha_bar)


class CloneLosses(NamedTuple):
    """Losses of one network on data and clones, less that of the best skip alone.

    Attributes:
        values: name -> loss, the leading axes of the order parameters; names "data",
            "mean clone", "covariance clone".
        errors: of the quadrature, likewise.
    """

    values: dict[str, Array]
    errors: dict[str, Array]

    def __repr__(self) -> str:
        return short_text.represent(self)


def clone_losses(
    problem: ld.Problem, overlaps: ld.Overlaps, *, dimension: int, points: int = 2**13
) -> CloneLosses:
    """Population loss at given order parameters on data, mean clone and covariance clone.

        L(law) - L(best skip alone; data),   L = E |target - f(x)|^2

    All laws share their quadrature points, up to the latents. While the loss on a clone equals that
    on the data, the network uses nothing but the statistics that the clone keeps.

    Equation: :eq:`eq:mcm-skip`.

    Args:
        problem: data and denoiser.
        overlaps: order parameters, any leading axes.
        dimension: d.
        points: quadrature nodes.

    Raises:
        ValueError: if the problem is not of this package.
    """
    inputs, learner = problem.inputs, problem.learner
    if not isinstance(inputs, MixedCumulant) or not isinstance(learner, TiedDenoiser):
        raise reject("problem", "pair a MixedCumulant with a TiedDenoiser", repr(problem))
    d = positive_integer("dimension", dimension)
    laws = (inputs, mean_clone(inputs, d), inputs.gaussian())
    s = overlaps.parameters.get("skip", _fast_skip(inputs, learner))
    skip = _skip_loss(inputs, learner.target, d, np.asarray(s, np.float64))
    base = _skip_loss(inputs, learner.target, d, np.asarray(_best_skip(inputs, learner.target, d)))
    values, errors = {}, {}
    for name, law in zip(NAMES, laws, strict=True):
        loss, errors[name] = ld.expected_loss(
            replace(problem, inputs=law), overlaps, dimension=d, points=points
        )
        values[name] = np.asarray(loss + skip - base)
    return CloneLosses(values, errors)


def _fast_skip(inputs: MixedCumulant, learner: TiedDenoiser) -> float:
    if learner.skip is not None:
        return float(learner.skip)
    return float(inputs.noise_level.noise if learner.target == "eps" else inputs.noise_level.signal)


def _second_moments(inputs: MixedCumulant, target: Target, d: int) -> tuple[float, float, float]:
    """E |t|^2, E t.x and E |x|^2."""
    a, b = float(inputs.noise_level.signal), float(inputs.noise_level.noise)
    u, _, m = inputs.strengths()
    clean = d + u**2 + m**2
    total = a * a * clean + b * b * d
    return (float(d), b * d, total) if target == "eps" else (clean, a * clean, total)


def _skip_loss(inputs: MixedCumulant, target: Target, d: int, s: Array) -> Array:
    square, cross, total = _second_moments(inputs, target, d)
    return np.asarray(square - 2 * s * cross + s * s * total)


def _best_skip(inputs: MixedCumulant, target: Target, d: int) -> float:
    _, cross, total = _second_moments(inputs, target, d)
    return cross / total


def linear_optimum(inputs: MixedCumulant, target: Target, dimension: int) -> float:
    """Loss of the best linear denoiser less that of the best skip alone, exact.

        E |t - G x|^2 = tr(C_tt - C_tx C_xx^-1 C_xt), second moments about zero,

    the best that any model of means and covariances can do without a bias.

    Equation: :eq:`eq:mcm-linear-optimum`.

    Args:
        inputs: the model.
        target: "eps" or "x0".
        dimension: d.

    Source: derived here.
    """
    one_of("target", target, ("eps", "x0"))
    d = positive_integer("dimension", dimension)
    a, b = float(inputs.noise_level.signal), float(inputs.noise_level.noise)
    u, v, m = inputs.strengths()
    clean = np.eye(3)
    clean[0, 0] += u**2
    clean[2, 2] += m**2
    if inputs.covariance is not None and inputs.cumulant is not None:
        clean[0, 1] = clean[1, 0] = inputs.pair.rho * u * v
    present = [name in inputs.names for name in "uvm"]
    clean = clean[np.ix_(present, present)]
    noisy = a * a * clean + b * b * np.eye(clean.shape[0])
    if target == "eps":
        inside = np.trace(np.eye(clean.shape[0]) - b * b * np.linalg.inv(noisy))
        outside = 1 - b * b
    else:
        inside = np.trace(clean - a * a * clean @ np.linalg.solve(noisy, clean))
        outside = 1 - a * a
    skip = _skip_loss(inputs, target, d, np.asarray(_best_skip(inputs, target, d)))
    return float(inside + (d - clean.shape[0]) * outside - skip)


def best_loss(
    inputs: MixedCumulant, target: Target, dimension: int, *, key: jax.Array, draws: int = 20_000
) -> tuple[float, float]:
    """Loss of the posterior mean less that of the best skip alone, and its standard error.

        E |t - E[t|x]|^2 = sum_i (E t_i^2 - E E[t_i|x]^2),
        E[z|x] = sum_n p(n|x) (b / s^2) (x - m_n),   E[x0|x] = (x - b E[z|x]) / a,

    n the values of the latents (quadrature nodes for continuous ones), m_n and s^2 mean and
    variance of x along the spikes given them: what no denoiser can beat. x is drawn.

    Equation: :eq:`eq:mcm-best`.

    Args:
        inputs: the model; not a Gaussian pair.
        target: "eps" or "x0".
        dimension: d.
        key: typed random key.
        draws: number of draws of x.

    Raises:
        ValueError: on a Gaussian pair, where the best denoiser is linear.

    Source: derived here.
    """
    check_key(key)
    one_of("target", target, ("eps", "x0"))
    d, count = positive_integer("dimension", dimension), positive_integer("draws", draws)
    if isinstance(inputs.pair, Gaussian):
        raise reject("inputs.pair", "not be Gaussian, see `linear_optimum`", inputs.pair)
    variables = inputs.latents()
    keys = jax.random.split(key, len(variables))
    drawn = {
        name: latent.draw(k, (count,), jnp.float32)
        for (name, latent), k in zip(variables.items(), keys, strict=True)
    }
    x = np.asarray(jax.vmap(inputs.signal)(drawn)[0][:, 0], np.float64)
    a, b = float(inputs.noise_level.signal), float(inputs.noise_level.noise)
    u, v, m = inputs.strengths()
    lam, nu, weights = pair_nodes(inputs)
    merged = inputs.pair.independent  # lambda is part of the Gaussian coordinate
    columns = {
        "u": (a * u * lam, 1 + (a * u) ** 2 if merged else 1.0),
        "v": (a * v * nu, 1 - (a * v) ** 2),
        "m": (np.full(lam.shape, a * m), 1.0),
    }
    means = np.stack([columns[name][0] for name in inputs.names], axis=1)
    variance = np.array([columns[name][1] for name in inputs.names])
    away = x[:, None] - means  # (draws, nodes, r)
    log = np.log(weights) - np.sum(away**2 / variance, axis=-1) / 2
    share = np.exp(log - log.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    noise = np.einsum("tn,tnr->tr", share, away) * b / variance
    square, _, _ = _second_moments(inputs, target, d)
    guess = noise if target == "eps" else (x - b * noise) / a
    inside = np.sum(guess**2, axis=1)
    outside = (d - x.shape[1]) * (b * b if target == "eps" else a * a)
    skip = _skip_loss(inputs, target, d, np.asarray(_best_skip(inputs, target, d)))
    error = float(inside.std(ddof=1) / np.sqrt(count))
    return float(square - inside.mean() - outside - skip), error
