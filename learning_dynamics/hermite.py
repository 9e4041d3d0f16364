"""Probabilists' Hermite polynomials He_k and quadrature of normal variables, float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.validation import (
    finite_array,
    integers,
    positive_integer,
    real_array,
    reject,
)

__all__ = ["gauss_hermite", "hermite", "hermite_coefficients", "normal_rule", "trapezoid"]

Array = NDArray[np.float64]
_CUT = 9.5  # of the trapezoidal rule: what lies beyond weighs 1e-20
_MOST_GAUSS = 40  # nodes from where on the trapezoidal rule converges faster


@lru_cache(maxsize=64)
def _rule(nodes: int) -> tuple[Array, Array]:
    points, weights = hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    points.setflags(write=False)
    weights.setflags(write=False)
    return points, weights


def gauss_hermite(nodes: int) -> tuple[Array, Array]:
    """Nodes and weights with sum_i w_i f(x_i) = E f(g), g ~ N(0, 1); exact to degree 2 nodes - 1.

    Raises:
        ValueError: if `nodes` is not a whole number from 1 to 250 (weights underflow beyond).
    """
    count = positive_integer("nodes", nodes)
    if count > 250:
        raise reject("nodes", "be at most 250", count)
    return _rule(count)


def trapezoid(step: float, dimensions: int = 1) -> tuple[Array, Array]:
    """Trapezoidal rule for standard normal variables: grid, shape (points, d), and weights.

    Its error is of order exp(-2 pi c / step) for integrands analytic in a strip of half-width c,
    where Gauss-Hermite rules manage exp(-2 c n^(1/2)); step^2 at kinks. Cut off at 9.5.

    Args:
        step: distance of neighbouring points.
        dimensions: d.

    Raises:
        ValueError: if the step is not between 0 and 1.
    """
    if not 0 < step <= 1:
        raise reject("step", "lie between 0 and 1", step)
    half = int(_CUT / step)
    points = step * np.arange(-half, half + 1)
    weights = np.exp(-(points**2) / 2)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(*[points] * dimensions, indexing="ij"), axis=-1)
    mass = np.ones(1)
    for _ in range(dimensions):
        mass = np.multiply.outer(mass, weights).ravel()
    return grid.reshape(-1, dimensions), mass


def normal_rule(nodes: int) -> tuple[Array, Array]:
    """The better rule of so many nodes for E f(g), g ~ N(0, 1): `gauss_hermite` or `trapezoid`.

    Gauss-Hermite nodes, exact for polynomials, lie pi / n^(1/2) apart, those of the trapezoidal
    rule 19 / (n - 1): with c as in `trapezoid` its error exp(-0.33 c n) is the smaller one from 40
    nodes on. It integrates polynomials of degree ten to rounding then.

    Raises:
        ValueError: if `nodes` is no positive whole number.
    """
    count = positive_integer("nodes", nodes)
    if count <= _MOST_GAUSS:
        return gauss_hermite(count)
    points = np.linspace(-_CUT, _CUT, count)
    weights = np.exp(-(points**2) / 2)
    return points, weights / weights.sum()


def hermite(order: int, x: ArrayLike) -> Array:
    """Probabilists' Hermite polynomial: He_0 = 1, He_1 = x, He_(k+1) = x He_k - k He_(k-1).

    Args:
        order: k >= 0.
        x: points, any shape.

    Raises:
        ValueError: if `order` is no whole number or negative.

    Source: numpy.polynomial.hermite_e.
    """
    index = int(integers("order", order, least=0))
    return np.asarray(hermite_e.hermeval(real_array("x", x), [0.0] * index + [1.0]))


def hermite_coefficients(
    function: Callable[[Array], ArrayLike], orders: int, *, nodes: int = 200
) -> tuple[Array, Array]:
    """Coefficients c_k = E[f(g) He_k(g)], k = 0..orders, so that f = sum_k c_k He_k / k!.

    Args:
        function: vectorised f.
        orders: highest k.
        nodes: quadrature nodes.

    Returns:
        The coefficients and an estimate of their error: twice the largest change from rules with
        one node less and with 0.7 times as many (slow convergence at kinks shows up here).

    Raises:
        ValueError: if f is not finite at the nodes.
    """
    highest = int(integers("orders", orders, least=0))

    def coefficients(count: int) -> Array:
        points, weights = gauss_hermite(count)
        values = finite_array("function", function(points))
        basis = np.stack([hermite(k, points) for k in range(highest + 1)])
        return np.asarray(basis @ (weights * values))

    fine = coefficients(nodes)
    others = (max(nodes - 1, 1), max(int(0.7 * nodes), 1))
    coarser = [np.abs(fine - coefficients(count)) for count in others]
    scale = np.sqrt([float(factorial(k)) for k in range(highest + 1)])
    rounding = 1e-14 * scale * max(1.0, float(np.max(np.abs(fine / scale))))
    return fine, 2 * np.maximum(*coarser) + rounding
