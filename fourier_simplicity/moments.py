"""Exact moments of the input model: covariance, bispectrum, trispectrum, any product of modes.

Fourier coefficients here are Z(k) = S^(-1/2) sum_t x(t) exp(-2 pi i k.t / side), so that
E |Z(k)|^2 = lambda_k, Z(-k) = conj Z(k).
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from math import gamma, sqrt

import numpy as np
from numpy.typing import NDArray

from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.modes import (
    canonical,
    fft_places,
    wave_vectors,
    whole_vector,
    whole_vectors,
    wrap,
)

__all__ = [
    "amplitude_moment",
    "autocovariance",
    "bispectrum",
    "mode_moment",
    "site_moment",
    "trispectrum",
]

Mode = int | tuple[int, ...]


def amplitude_moment(inputs: FourierInputs, order: int) -> float:
    """E rho^order: 1 for deterministic amplitudes, Gamma(1 + order / 2) for Rayleigh ones."""
    return 1.0 if inputs.amplitudes == "deterministic" else gamma(1 + order / 2)


def autocovariance(inputs: FourierInputs) -> NDArray[np.float64]:
    """C(s) = E x(t) x(t + s) = (1/S) sum_k lambda_k cos(k.s), shape of the grid; either class."""
    at, _ = fft_places(inputs.shape)
    power = np.zeros(int(np.prod(inputs.shape)))
    power[at] = inputs.variances()
    full = np.fft.fftn(power.reshape(inputs.shape)) / power.size
    return 2 * full.real


def mode_moment(
    inputs: FourierInputs, wave_vectors: Sequence[Mode], *, structured: bool = True
) -> complex:
    """E Z(k_1) Z(k_2) .. for wave vectors of any sign, repeated as often as wanted.

        E prod_k Z_k^(p_k) conj(Z_k)^(q_k) = prod_k lambda_k^((p_k + q_k)/2) E rho^(p_k + q_k)
                                             E exp(i sum_k (p_k - q_k) phi_k)

    Equation: :eq:`eq:phases-moment`.

    Raises:
        ValueError: on wave vectors that are not whole, lie beyond the Nyquist frequency or have
            no phase.
    """
    sizes: Counter[int] = Counter()
    powers: Counter[int] = Counter()
    for mode in wave_vectors:
        at, sign = canonical(inputs.shape, mode, argument="wave_vectors")
        sizes[at] += 1
        powers[at] += sign
    spectrum = np.asarray(inputs.variances())
    value = 1.0
    for at, size in sizes.items():
        value *= sqrt(spectrum[at]) ** size * amplitude_moment(inputs, size)
    indices, signs = inputs.tied()
    first = 0
    for tie in inputs.ties if structured else ():
        mine = slice(first, first + len(tie.modes))
        tie_powers = [powers.pop(int(i), 0) * int(s) for i, s in zip(indices[mine], signs[mine])]  # noqa: B905
        value *= tie.character(tie_powers)
        first += len(tie.modes)
    return complex(0.0 if any(powers.values()) else value)


def site_moment(inputs: FourierInputs, lags: Sequence[Mode], *, structured: bool = True) -> float:
    """E x(t) x(t + a) x(t + b) .., the same at every site t: correlations in space.

        S^(-p/2) sum E Z(k_1) .. Z(k_p) exp(2 pi i sum_j k_j.a_j / side)

    over all k_1 .. k_p, of either sign, that add up to zero. Their number grows like S^(p-1).

    Args:
        inputs: input model.
        lags: a, b, .. in sites; 0 for a further power of x(t).
        structured: which class.

    Raises:
        ValueError: on lags that are no whole vectors of the grid.
    """
    sides = np.array(inputs.shape)
    shifts = np.array([0 * sides, *whole_vectors("lags", lags, sides.size)])
    half = wave_vectors(inputs.shape)
    every = np.concatenate([half, -half])
    places = np.array(list(itertools.product(range(len(every)), repeat=len(shifts))))
    chosen = every[places]  # (terms, factors, axes)
    kept = chosen[np.all(chosen.sum(axis=1) % sides == 0, axis=1)]
    waves = np.exp(2j * np.pi * np.sum(kept * shifts / sides, axis=(1, 2)))
    total = sum(
        (mode_moment(inputs, [tuple(k) for k in term], structured=structured) * wave).real
        for term, wave in zip(kept.tolist(), waves, strict=True)
    )
    return float(total / np.prod(sides) ** (len(shifts) / 2))


def bispectrum(inputs: FourierInputs, first: Mode, second: Mode) -> complex:
    """E Z(k_1) Z(k_2) conj Z(k_1 + k_2) of the structured class (noise: zero).

    Raises:
        ValueError: as `mode_moment`.
    """
    k, q = whole_vector("first", first), whole_vector("second", second)
    return mode_moment(inputs, [tuple(k), tuple(q), wrap(inputs.shape, -k - q)])


def trispectrum(
    inputs: FourierInputs, first: Mode, second: Mode, third: Mode, *, structured: bool = True
) -> complex:
    """Fourth cumulant of Z(k_1), Z(k_2), Z(k_3), conj Z(k_1 + k_2 + k_3).

    For noise it vanishes with Rayleigh amplitudes; with deterministic ones it is -lambda^2 where
    the wave vectors are k, k, -k, -k.

    Raises:
        ValueError: if the wave vectors add up to one without phase.
    """
    named = {"first": first, "second": second, "third": third}
    k = [whole_vector(name, mode) for name, mode in named.items()]
    vectors = [tuple(v) for v in k]
    vectors.append(wrap(inputs.shape, -(k[0] + k[1] + k[2])))

    def second_moment(i: int, j: int) -> complex:
        return mode_moment(inputs, [vectors[i], vectors[j]], structured=structured)

    pairs = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))
    gaussian = sum(second_moment(a, b) * second_moment(c, d) for a, b, c, d in pairs)
    return mode_moment(inputs, vectors, structured=structured) - gaussian
