"""How well a neuron tells structured inputs from noise: the law of its field, and the AUC.

With a_j = sqrt(2 lambda_j) |m_j|, Rayleigh amplitudes and field variance s, Jacobi-Anger gives the
characteristic function of the field u = w.x for structured inputs,

    E exp(itu) = exp(-t^2 s / 2) + sum_n 2 i^|n| E exp(i n.phi) cos(n.arg m) exp(-t^2 (s - sum_j a_j^2 / 2) / 2)
                                    prod_j R_|n_j|(a_j t),
    R_n(b) = E J_n(b rho) = (sqrt(pi) b / 4) exp(-b^2/8) [I_((n-1)/2)(b^2/8) - I_((n+1)/2)(b^2/8)],

the sum over one of each pair n, -n of relations; the first term is that of noise. A Fourier integral gives the
densities p_+ and p_-, and AUC = P(sigma(u_+) > sigma(u_-)) + P(equal) / 2. Derived here.
"""  # noqa: E501

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy.stats import rankdata

from fourier_simplicity.inputs import FourierInputs, draw
from fourier_simplicity.learners import Activation, activation_function
from fourier_simplicity.theory import HIGHEST, Relation, activation_values, relations
from learning_dynamics.random import check_key
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["detection_auc", "field_densities", "held_out_auc"]

Array = NDArray[np.float64]
REACH, POINTS = 9.0, 901  # fields looked at, in standard deviations
FASTEST, WAVES = 24.0, 700  # t sqrt(s)
BATCH = 512


def field_densities(
    inputs: FourierInputs,
    overlaps: ArrayLike,
    *,
    field_variance: ArrayLike = 1.0,
    highest: int = HIGHEST,
) -> tuple[Array, Array, Array]:
    """Densities of the field in standard deviations, u / sqrt(s), for both classes.

    Equation: :eq:`eq:phases-field`.

    Args:
        inputs: input model with Rayleigh amplitudes.
        overlaps: m, real, (Re m_1, Im m_1, ..), shape (..., r), in the order of `inputs.tied()`.
        field_variance: s = w' Sigma w, broadcast against the leading axes.
        highest: largest |n|_1 of a relation in the sum. With 12 the AUC is exact to 1e-4 unless
            more than nine tenths of the field come from tied modes, to 3e-3 always.

    Returns:
        Fields, shape (points,); density of structured inputs, shape (..., points); of noise,
        shape (points,).

    Raises:
        ValueError: on overlaps of another shape, more signal than s holds, or deterministic
            amplitudes.
    """
    if inputs.amplitudes != "rayleigh":
        raise reject("inputs.amplitudes", "be 'rayleigh'", repr(inputs.amplitudes))
    real = finite_array("overlaps", overlaps)
    if real.ndim < 1 or real.shape[-1] != inputs.directions:
        raise reject("overlaps", f"have shape (..., {inputs.directions})", f"shape {real.shape}")
    lead = real.shape[:-1]
    s = np.broadcast_to(finite_array("field_variance", field_variance), lead).reshape(-1, 1)
    if np.any(s <= 0):
        raise reject("field_variance", "be positive", s.min())
    shares = (real.reshape(-1, inputs.directions)) * np.sqrt(
        np.asarray(inputs.signal_variances(), np.float64) / s
    )
    untied = 1 - (shares**2).sum(axis=1)
    if np.any(untied < -1e-4):
        raise reject("overlaps", "take no more than the field variance", f"{1 - untied.min():.4g}")
    v = shares[:, ::2] + 1j * shares[:, 1::2]
    t = np.linspace(0, FASTEST, WAVES)
    u = np.linspace(-REACH, REACH, POINTS)
    step = np.full(WAVES, t[1] / np.pi)
    step[[0, -1]] /= 2
    even, odd = step[:, None] * np.cos(t[:, None] * u), step[:, None] * np.sin(t[:, None] * u)
    held = relations(inputs, highest)
    noise = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    structured = np.empty((len(v), POINTS))
    for first in range(0, len(v), BATCH):
        part = slice(first, first + BATCH)
        wave = _wave(held, v[part], np.maximum(untied[part], 0), t)
        structured[part] = noise + wave.real @ even + wave.imag @ odd
    return u, structured.reshape(*lead, POINTS), noise


def _wave(
    held: tuple[Relation, ...], v: NDArray[np.complex128], untied: Array, t: Array
) -> NDArray[np.complex128]:
    """Difference between the characteristic functions of both classes, shape (samples, waves)."""
    b = np.sqrt(2) * np.abs(v)[:, :, None] * t  # a_j t
    x = b**2 / 8
    radial: dict[int, Array] = {0: np.exp(-(b**2) / 4)}
    total = np.zeros((len(v), t.size), np.complex128)
    for n, character in held:
        for size in {abs(i) for i in n} - set(radial):
            bessel = special.ive((size - 1) / 2, x) - special.ive((size + 1) / 2, x)
            radial[size] = np.sqrt(np.pi) / 4 * b * bessel
        phase = np.cos(np.angle(v) @ np.asarray(n, np.float64))
        term = np.prod([radial[abs(i)][:, j] for j, i in enumerate(n)], axis=0)
        total += 2 * 1j ** sum(map(abs, n)) * character * phase[:, None] * term
    total *= np.exp(-(t**2) * untied[:, None] / 2)
    return total


def detection_auc(
    inputs: FourierInputs,
    activation: Activation,
    overlaps: ArrayLike,
    *,
    field_variance: ArrayLike = 1.0,
    normalised: bool = False,
    highest: int = HIGHEST,
) -> Array:
    """Area under the ROC curve of sigma(u) as a score for structured inputs; 1/2 is chance.

    Equation: :eq:`eq:phases-auc`.

    Args:
        inputs: input model with Rayleigh amplitudes.
        activation: see `activation_function`.
        overlaps: as in `field_densities`, shape (..., r).
        field_variance: s, broadcast against the leading axes.
        normalised: whether the activation is applied to u / sqrt(s).
        highest: as in `field_densities`.

    Raises:
        ValueError: as `field_densities`.
    """
    u, structured, noise = field_densities(
        inputs, overlaps, field_variance=field_variance, highest=highest
    )
    lead = structured.shape[:-1]
    s = np.broadcast_to(finite_array("field_variance", field_variance), lead).reshape(-1)
    rows = structured.reshape(-1, u.size)
    auc = np.empty(len(rows))
    scales = np.ones(len(rows)) if normalised else np.sqrt(s)
    for scale in np.unique(scales):
        scaled = scales == scale
        score = np.round(activation_values(activation, scale * u), 9)
        _, rank = np.unique(score, return_inverse=True)
        mass = np.bincount(rank, noise)
        below = np.cumsum(mass) - mass / 2
        total = rows[scaled].sum(axis=1) * noise.sum()
        auc[scaled] = rows[scaled] @ below[rank] / total
    return auc.reshape(lead)


def held_out_auc(
    inputs: FourierInputs,
    activation: Activation,
    overlaps: ArrayLike,
    *,
    held_out: int,
    key: jax.Array,
) -> Array:
    """The same, measured on fresh inputs of both classes, drawn anew for every neuron.

    Args:
        inputs: isotropic inputs with Rayleigh amplitudes.
        activation: see `activation_function`.
        overlaps: of neurons of norm one along training, shape (replicas, times, r).
        held_out: inputs of each class, for each neuron.
        key: typed random key.

    Returns:
        Shape (replicas, times).

    Raises:
        ValueError: on overlaps of another shape or of norm above one, no inputs, or no typed key.
    """
    check_key(key)
    held_out = positive_integer("held_out", held_out)
    signal = finite_array("overlaps", overlaps, ndim=3)
    count, _, r = signal.shape
    if r != inputs.directions or not count:
        demand = f"have shape (replicas, times, {inputs.directions})"
        raise reject("overlaps", demand, f"shape {signal.shape}")
    if (largest := np.max((signal**2).sum(axis=-1), initial=0.0)) > 1 + 1e-4:
        raise reject("overlaps", "be those of neurons of norm one", f"|m|^2 = {largest:.4g}")
    modes = inputs.tied()[0]
    columns = np.stack([2 * modes, 2 * modes + 1], axis=-1).ravel()
    other = np.sqrt(np.maximum(1 - (signal**2).sum(axis=-1), 0))  # of the field: untied modes
    fields = []
    for i, structured in enumerate((True, False)):
        drawn = draw(
            inputs, count * held_out, key=jax.random.fold_in(key, i), structured=structured,
            space="modes",
        )  # fmt: skip
        tied = np.asarray(drawn, np.float64)[:, columns].reshape(count, held_out, r)
        noise = np.asarray(
            jax.random.normal(jax.random.fold_in(key, 10 + i), (count, held_out), np.float32)
        )
        fields.append(np.einsum("ctr,chr->cth", signal, tied) + other[..., None] * noise[:, None])
    scores = activation_function(activation)(jnp.asarray(np.concatenate(fields, axis=-1)))
    ranks = rankdata(np.asarray(scores), axis=-1)[..., :held_out].sum(axis=-1)
    return np.asarray((ranks - held_out * (held_out + 1) / 2) / held_out**2)
