"""Mehler's expansion: forms of the loss from averages of Hermite functions of the fields."""

import itertools
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.search.field_averages import multi_indices
from learning_dynamics.search.polynomials import positions, powers_of, product

__all__ = ["contract"]

Array = NDArray[np.float64]
_CHUNK = 2**23  # coefficients at a time: nodes times monomials times multi-indices


def contract(
    v: Array,
    spread: Array,
    weights: Array,
    averages: list[Estimate],
    neurons: int,
    highest: int,
) -> list[Estimate]:
    """Coefficients of L_1 .. L_highest from averages over the fields at every node."""
    nodes, p, r = v.shape
    n = neurons * r
    total = [np.zeros(len(powers_of(n, k))) for k in range(highest + 1)]
    bounds = [np.zeros_like(values) for values in total]
    indices = multi_indices(neurons * p, highest)
    size = max(1, _CHUNK // (len(total[-1]) * len(indices)))
    for first in range(0, nodes, size):
        some = slice(first, first + size)
        polynomials, mass = _mehler(v[some], spread, neurons, highest), weights[some, None]
        for j, average in enumerate(averages):
            products = _norm_products(neurons, r, j)
            for column, a in enumerate(multi_indices(neurons * p, highest - 2 * j)):
                order, table = sum(a) + 2 * j, polynomials[a]
                if not order:
                    continue
                scale = 1 / np.prod([float(factorial(i)) for i in a])
                value = scale * (mass * average.value[some, :, column]).T @ table
                error = scale * (mass * average.error[some, :, column]).T @ np.abs(table)
                for pairs, terms in enumerate(products):
                    for row, factor in terms:  # to different places for a fixed row
                        at = positions(powers_of(n, sum(a)) + row, order)
                        total[order][at] += factor * value[pairs]
                        bounds[order][at] += factor * error[pairs]
    return [Estimate(*pair) for pair in zip(total[1:], bounds[1:], strict=True)]


def _mehler(v: Array, spread: Array, neurons: int, highest: int) -> dict[tuple[int, ...], Array]:
    """E prod He_(a_i)(x_i; |m|^2) as polynomials in the overlaps, for every multi-index a.

    x_i = (v_j + W_j g).m_k for i = (k, j), g ~ N(0, 1) the latents that enter linearly and
    W_j W_j'^T the `spread`. The generating function exp(sum_i t_i v_j.m_k + t M t / 2) with
    M_ii' = m_k W_j W_j'^T m_k' - delta_ii' |m_k|^2 gives

        h_(a + e_i) = (v_j.m_k) h_a + sum_i' M_ii' a_i' h_(a - e_i').
    """
    nodes, p, r = v.shape
    n, width = neurons * r, neurons * p
    linear, matrices = [], {}
    for i, (k, j) in enumerate(itertools.product(range(neurons), range(p))):
        row = np.zeros((nodes, n))
        row[:, k * r : (k + 1) * r] = v[:, j]
        linear.append(row)
        for other, (k2, j2) in enumerate(itertools.product(range(neurons), range(p))):
            matrix = np.zeros((n, n))
            matrix[k * r : (k + 1) * r, k2 * r : (k2 + 1) * r] = spread[j, j2]
            if i == other:
                matrix[k * r : (k + 1) * r, k * r : (k + 1) * r] -= np.eye(r)
            both = matrix + matrix.T - np.diag(np.diagonal(matrix))
            matrices[i, other] = both[np.triu_indices(n)][None]
    table = {(0,) * width: np.ones((nodes, 1))}
    for a in multi_indices(width, highest)[1:]:
        i, order = next(i for i, count in enumerate(a) if count), sum(a) - 1
        lower = _lowered(a, i)
        value = product(table[lower], order, linear[i], 1, n)
        for other, count in enumerate(lower):
            if count:
                part = product(table[_lowered(lower, other)], order - 1, matrices[i, other], 2, n)
                value = value + count * part
        table[a] = value
    return table


def _lowered(a: tuple[int, ...], i: int) -> tuple[int, ...]:
    return (*a[:i], a[i] - 1, *a[i + 1 :])


@lru_cache(maxsize=64)
def _norm_products(
    neurons: int, r: int, derivatives: int
) -> list[list[tuple[NDArray[np.int64], float]]]:
    """Products of Q_kl = m_k.m_l over j-tuples of pairs k < l, over j!: monomials and factors."""
    unit = np.eye(neurons * r, dtype=np.int64)
    pairs = list(itertools.combinations(range(neurons), 2))
    results = []
    for chosen in itertools.product(pairs, repeat=derivatives):
        terms: dict[tuple[int, ...], float] = {}
        for places in itertools.product(range(r), repeat=derivatives):
            row = np.zeros(neurons * r, np.int64)
            for (first, second), i in zip(chosen, places, strict=True):
                row = row + unit[first * r + i] + unit[second * r + i]
            key = tuple(row.tolist())
            terms[key] = terms.get(key, 0.0) + 1 / factorial(derivatives)
        results.append([(np.array(key, np.int64), factor) for key, factor in terms.items()])
    return results
