"""Homogeneous polynomials in the overlaps: values, minima, restrictions, what they do not see."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Form", "fitted_form", "powers_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Form:
    """Homogeneous polynomial L_k(m) = sum_i coefficients_i prod_j m_j^powers_ij.

    Attributes:
        order: k.
        powers: shape (monomials, n), n = K r overlaps (neuron by neuron).
        coefficients: shape (monomials,).
        errors: standard or rounding error of each coefficient, same shape.
    """

    order: int
    powers: NDArray[np.int64]
    coefficients: Array
    errors: Array

    def __call__(self, overlaps: ArrayLike) -> Array:
        """Values at overlaps of shape (..., n)."""
        m = np.asarray(overlaps, np.float64)
        return np.prod(m[..., None, :] ** self.powers, axis=-1) @ self.coefficients

    def gradient(self, overlaps: ArrayLike) -> Array:
        """Gradient at overlaps of shape (..., n)."""
        m = np.asarray(overlaps, np.float64)
        parts = []
        for j in range(self.powers.shape[1]):
            lowered = self.powers.copy()
            lowered[:, j] = np.maximum(lowered[:, j] - 1, 0)
            monomials = np.prod(m[..., None, :] ** lowered, axis=-1)
            parts.append(monomials @ (self.coefficients * self.powers[:, j]))
        return np.stack(parts, axis=-1)

    @property
    def significant(self) -> bool:
        """Whether any coefficient differs from zero by more than five errors."""
        return bool(np.any(np.abs(self.coefficients) > 5 * self.errors))

    def error(self, overlaps: ArrayLike) -> Array:
        """Bound on the error of a value (errors of the coefficients added up)."""
        m = np.abs(np.asarray(overlaps, np.float64))
        return np.prod(m[..., None, :] ** self.powers, axis=-1) @ self.errors

    @property
    def clear(self) -> "Form":
        """The form without the coefficients that are zero within five errors."""
        keep = np.abs(self.coefficients) > 5 * self.errors
        return Form(self.order, self.powers[keep], self.coefficients[keep], self.errors[keep])

    def minima(self, tries: int = 64, seed: int = 0) -> tuple[Array, Array]:
        """Where projected gradient descent on the unit sphere ends from many starts, lowest first.

        Returns:
            Values, shape (tries,), and unit vectors, shape (tries, n).
        """
        rng = np.random.default_rng(seed)
        u = rng.normal(size=(tries, self.powers.shape[1]))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        scale = np.abs(self.coefficients).sum() * self.order + 1e-300
        for _ in range(500):
            u = u - self.gradient(u) / scale * (2 + self.order)
            u /= np.linalg.norm(u, axis=1, keepdims=True)
        values = self(u)
        ranks = np.argsort(values)
        return values[ranks], u[ranks]

    def lowest(self, tries: int = 64, seed: int = 0) -> tuple[float, Array]:
        """Minimum on the unit sphere, and where it is."""
        values, where = self.minima(tries, seed)
        return float(values[0]), where[0]

    def restricted(self, basis: Array) -> "Form":
        """The form on the span of the rows of `basis`, in its coordinates."""
        powers = powers_of(basis.shape[0], self.order)
        points = np.random.default_rng(1).normal(size=(3 * len(powers) + 5, basis.shape[0]))
        inverse = np.linalg.pinv(np.prod(points[:, None, :] ** powers, axis=-1))
        change = inverse @ np.prod((points @ basis)[:, None, :] ** self.powers, axis=-1)
        change[np.abs(change) < 1e-12] = 0.0
        return Form(self.order, powers, change @ self.coefficients, np.abs(change) @ self.errors)

    def seen(self) -> tuple[Array, Array]:
        """Orthonormal rows that span what the form depends on, and the rest of the space.

        L(m + v) = L(m) for every v of the rest: the null space of E[grad L grad L^T], up to five
        errors of the coefficients.
        """
        n = self.powers.shape[1]
        points = np.random.default_rng(2).normal(size=(20 * n + 20, n))
        gradients = self.gradient(points)
        values, vectors = np.linalg.eigh(gradients.T @ gradients / len(points))
        lost = np.sqrt(
            np.mean(
                np.sum(
                    Form(self.order, self.powers, self.errors, self.errors).gradient(points) ** 2,
                    axis=1,
                )
            )
        )
        keep = values > np.maximum((5 * lost) ** 2, 1e-16 * values.max(initial=0.0))
        return vectors[:, keep].T, vectors[:, ~keep].T


def powers_of(variables: int, order: int) -> NDArray[np.int64]:
    """Exponents of all monomials of an order, shape (monomials, variables)."""
    choices = itertools.combinations_with_replacement(range(variables), order)
    rows = [np.bincount(c, minlength=variables) for c in choices]
    return np.asarray(rows, np.int64).reshape(-1, variables)


def fitted_form(points: Array, values: Array, errors: Array, order: int) -> Form:
    """The form of an order with given values at given points, shape (points, n)."""
    powers = powers_of(points.shape[1], order)
    inverse = np.linalg.pinv(np.prod(points[:, None, :] ** powers, axis=-1))
    return Form(order, powers, inverse @ values, np.sqrt((inverse**2) @ errors**2))
