"""Homogeneous polynomials in several variables, many at a time, by their coefficients."""

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["positions", "powers_of", "product"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@lru_cache(maxsize=256)
def powers_of(variables: int, order: int) -> Integers:
    """Exponents of all monomials of an order, shape (monomials, variables), read-only."""
    choices = itertools.combinations_with_replacement(range(variables), order)
    rows = [np.bincount(c, minlength=variables) for c in choices]
    table: Integers = np.asarray(rows, np.int64).reshape(-1, variables)
    table.setflags(write=False)
    return table


def positions(powers: Integers, order: int) -> Integers:
    """Places of monomials in `powers_of(variables, order)`, shape (monomials,)."""
    places = _places(powers.shape[1], order)
    rows = np.ascontiguousarray(powers, np.int64)
    return np.array([places[row.tobytes()] for row in rows], np.int64)


@lru_cache(maxsize=64)
def _places(variables: int, order: int) -> dict[bytes, int]:
    return {row.tobytes(): i for i, row in enumerate(powers_of(variables, order))}


@lru_cache(maxsize=128)
def _table(variables: int, first: int, second: int) -> Integers:
    """Place of the product of two monomials, shape (monomials of second, of first)."""
    one, two = powers_of(variables, first), powers_of(variables, second)
    both = (two[:, None] + one[None]).reshape(-1, variables)
    return positions(both, first + second).reshape(len(two), len(one))


def product(one: Array, first: int, two: Array, second: int, variables: int) -> Array:
    """Coefficients of products, node by node, of polynomials of orders `first` and `second`.

    Args:
        one: shape (nodes, monomials of the first order).
        first: its order.
        two: shape (nodes or 1, monomials of the second order).
        second: its order.
        variables: number of variables.
    """
    if one.shape[1] < two.shape[1]:
        one, first, two, second = two, second, one, first
    nodes = max(len(one), len(two))
    total = np.zeros((nodes, len(powers_of(variables, first + second))))
    for i, row in enumerate(_table(variables, first, second)):
        if np.any(two[:, i]):  # a fixed monomial maps the others to different places
            total[:, row] += one * two[:, i : i + 1]
    return total
