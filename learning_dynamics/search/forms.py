"""Homogeneous polynomials in the overlaps: values, minima, restrictions, null spaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.search.polynomials import powers_of, product

__all__ = ["CLEAR", "Form"]

Array = NDArray[np.float64]
CLEAR = 3.2  # errors that leave no doubt: 17 standard errors of 8 sets, as rare as 5 of a normal


@dataclass(frozen=True, eq=False)
class Form:
    """Homogeneous polynomial L_k(m) = sum_i coefficients_i prod_j m_j^powers_ij.

    Attributes:
        order: k.
        powers: shape (monomials, n), n = K r overlaps (neuron by neuron).
        coefficients: shape (monomials,).
        errors: bound on the error of each coefficient, same shape.
    """

    order: int
    powers: NDArray[np.int64]
    coefficients: Array
    errors: Array

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        monomials, variables = np.shape(self.powers)
        return f"order {self.order}, {monomials} monomials in {variables} overlaps", {
            "coefficients": short_text.extent(self.coefficients),
            "errors": short_text.largest({"": self.errors}).removesuffix(" ()"),
        }

    @cached_property
    def factors(self) -> NDArray[np.int64]:
        """The variables of each monomial, repeated as often as they occur, (monomials, order).

        Monomials of lower order (zeros that hold a place) are filled up with the number n.
        """
        n = self.powers.shape[1]
        table = np.full((len(self.powers), self.order), n, np.int64)
        for row, powers in zip(table, self.powers, strict=True):
            variables = np.repeat(np.arange(n), powers)
            row[: variables.size] = variables
        return table

    def __call__(self, overlaps: ArrayLike) -> Array:
        """Values at overlaps of shape (..., n)."""
        m = np.asarray(overlaps, np.float64)
        return self._monomials(m, self.factors) @ self.coefficients

    def gradient(self, overlaps: ArrayLike) -> Array:
        """Gradient at overlaps of shape (..., n)."""
        m = np.asarray(overlaps, np.float64)
        total = np.zeros(m.shape)
        for slot in range(self.order):
            others = np.delete(self.factors, slot, axis=1)
            terms = self._monomials(m, others) * self.coefficients
            choice = self.factors[:, slot, None] == np.arange(m.shape[-1])
            total += terms @ choice.astype(np.float64)
        return total

    def _monomials(self, m: Array, factors: NDArray[np.int64]) -> Array:
        m = np.concatenate([m, np.ones((*m.shape[:-1], 1))], axis=-1)
        values = np.ones((*m.shape[:-1], len(factors)))
        for slot in range(factors.shape[1]):
            values = values * m[..., factors[:, slot]]
        return values

    @property
    def significant(self) -> bool:
        """Whether any coefficient differs from zero beyond doubt, by more than 3.2 errors."""
        return bool(np.any(np.abs(self.coefficients) > CLEAR * self.errors))

    def error(self, overlaps: ArrayLike) -> Array:
        """Bound on the error of a value (errors of the coefficients added up)."""
        m = np.abs(np.asarray(overlaps, np.float64))
        return self._monomials(m, self.factors) @ self.errors

    @property
    def clear(self) -> Form:
        """The form without the coefficients that are zero within 3.2 errors."""
        keep = np.abs(self.coefficients) > CLEAR * self.errors
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
        step, values = np.full(tries, (2 + self.order) / scale), self(u)
        for _ in range(500):
            trial = u - step[:, None] * self.gradient(u)
            trial /= np.linalg.norm(trial, axis=1, keepdims=True)
            lower = self(trial)
            fell = lower <= values
            u, values = np.where(fell[:, None], trial, u), np.where(fell, lower, values)
            step *= np.where(fell, 1.1, 0.5)
        ranks = np.argsort(values)
        return values[ranks], u[ranks]

    def lowest(self, tries: int = 64, seed: int = 0) -> tuple[float, Array]:
        """Minimum on the unit sphere, and where it is."""
        values, where = self.minima(tries, seed)
        return float(values[0]), where[0]

    def restricted(self, basis: Array) -> Form:
        """The form on the span of the rows of `basis`, in its coordinates."""
        count = basis.shape[0]
        change, rows = np.ones((len(self.powers), 1)), np.vstack([basis.T, np.zeros(count)])
        for slot in range(self.order):  # every overlap is a linear form in the new coordinates
            change = product(change, slot, rows[self.factors[:, slot]], 1, count)
        change[np.abs(change) < 1e-12] = 0.0
        powers = powers_of(count, self.order)
        return Form(self.order, powers, self.coefficients @ change, self.errors @ np.abs(change))

    def seen(self) -> tuple[Array, Array]:
        """Orthonormal rows that span what the form depends on, and the rest of the space.

        L(m + v) = L(m) for every v of the rest: the null space of E[grad L grad L^T], up to
        3.2 errors of the coefficients. Axes where they do: forms stay sparse.
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
        keep = values > np.maximum((CLEAR * lost) ** 2, 1e-16 * values.max(initial=0.0))
        occurs = np.any(self.powers > 0, axis=0)
        if occurs.sum() == keep.sum():
            return np.eye(n)[occurs], np.eye(n)[~occurs]
        return vectors[:, keep].T, vectors[:, ~keep].T
