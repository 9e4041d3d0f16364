"""Phase relations in the population loss of a neuron: their order in the overlaps, and its cost.

The neuron's complex overlaps are m_k = w.(k: cosine) + i w.(k: minus sine), so that the field of the tied
modes is v = Re sum_k conj(m_k) z_k. With the activation's c_k(s) = E sigma^(k)(sqrt(s) g), s = w' Sigma w,

    E[y sigma(w.x)] = (1/2) sum_k c_k [t^k] D(t),
    D(t) = sum_(n != 0) E exp(i n.phi) cos(n.arg m) prod_j E_rho I_|n_j|(t a_j rho) exp(-t^2 a_j^2 / 4),

a_j = sqrt(2 lambda_j) |m_j|, the sum over all integer relations n of the tied modes: exact for Rayleigh
amplitudes, when all other modes are Gaussian. Derived here (Jacobi-Anger and Mehler).
"""  # noqa: E501

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial, sqrt

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.inputs import FourierInputs
from fourier_simplicity.learners import Activation, activation_function
from fourier_simplicity.moments import amplitude_moment
from learning_dynamics.hermite import hermite
from learning_dynamics.search.forms import Form
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = [
    "VisibleOrder",
    "activation_coefficients",
    "correlation",
    "effective_dimension",
    "leading_form",
    "relations",
    "shortest_relations",
    "slope_moments",
    "visible_order",
]

Array = NDArray[np.float64]
Relation = tuple[tuple[int, ...], float]
HIGHEST = 12
RULES = (97, 60, 71, 83)  # panels; where a kink lies in its panel differs between them


def _rule(panels: int) -> tuple[Array, Array]:
    """Gauss-Legendre on panels of [-14, 14], one edge at zero, for the normal density."""
    points, weights = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(-14, 14, 2 * panels + 1)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    g = (middle[:, None] + half[:, None] * points).ravel()
    mass = (half[:, None] * weights).ravel() * np.exp(-(g**2) / 2) / np.sqrt(2 * np.pi)
    return g, mass / mass.sum()


def activation_values(activation: Activation, at: Array, *, slope: bool = False) -> Array:
    """sigma, or sigma', at points of shape (points,), in double precision.

    Raises:
        ValueError: on an unknown activation, or values that are not finite.
    """
    function = activation_function(activation)
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        chosen = jax.vmap(jax.grad(function)) if slope else function
        values = chosen(jnp.asarray(at, jnp.float64))
    return finite_array("activation", values, ndim=1)


def _on_rules(
    activation: Activation, s: float, *, finer: int = 1, slope: bool = False
) -> Iterator[tuple[Array, Array, Array]]:
    """Nodes g and weights of each rule with sigma, or sigma', at sqrt(s) g.

    All nodes at once, since JAX compiles every operation of sigma for each number of them.
    """
    rules = [_rule(finer * panels) for panels in RULES]
    nodes = np.sqrt(s) * np.concatenate([g for g, _ in rules])
    values = activation_values(activation, nodes, slope=slope)
    ends = np.cumsum([g.size for g, _ in rules])[:-1]
    for (g, mass), part in zip(rules, np.split(values, ends), strict=True):
        yield g, mass, part


def _variance(argument: str, value: float) -> float:
    variance = float(finite_array(argument, value, ndim=0))
    if variance <= 0:
        raise reject(argument, "be positive", variance)
    return variance


def activation_coefficients(
    activation: Activation, highest: int = HIGHEST, *, variance: float = 1.0
) -> tuple[Array, Array]:
    """c_k = E[sigma(sqrt(s) g) He_k(g)] s^(-k/2), k = 0 .. highest, and their numerical errors.

    Equation: :eq:`eq:phases-coefficients`.

    Args:
        activation: see `activation_function`; kinks at zero cost no accuracy.
        highest: highest order.
        variance: s > 0.

    Raises:
        ValueError: on an unknown activation, one that is not finite, or another variance.
    """
    s = _variance("variance", variance)
    orders = range(positive_integer("highest", highest) + 1)
    estimates = []
    for g, mass, values in _on_rules(activation, s):
        weighted = mass * values
        estimates.append(np.array([hermite(k, g) @ weighted for k in orders]))
    scale = np.array([s ** (-k / 2) for k in orders])
    size = np.array([sqrt(float(factorial(k))) for k in orders])
    change = np.max([np.abs(estimates[0] - other) for other in estimates[1:]], axis=0)
    error = 2 * change + 1e-13 * size * max(1.0, float(np.abs(estimates[0] / size).max()))
    return estimates[0] * scale, error * scale


def slope_moments(activation: Activation, *, variance: float = 1.0) -> tuple[float, float]:
    """E sigma'(sqrt(s) g)^2 and s E g^2 sigma'(sqrt(s) g)^2: squared steps at zero overlap.

    The first is the step per dimension of unit variance, the second that along Sigma w / s - w.

    Equation: :eq:`eq:phases-noise`.

    Raises:
        ValueError: on an unknown activation, one whose slope is not finite, or whose mean square is
            infinite or not resolved to a thousandth.
    """
    s = _variance("variance", variance)
    for finer in (1, 8, 64, 512):  # kinks away from zero need finer panels
        moments = []
        for g, mass, values in _on_rules(activation, s, finer=finer, slope=True):
            square = mass * values**2
            moments.append([square.sum(), s * (square @ g**2)])
        first, second = moments[0]
        if np.all(np.ptp(moments, axis=0) <= 1e-3 * np.abs(moments[0])):
            return float(first), float(second)
    raise reject(
        "activation",
        "have a slope whose mean square over a normal variable is finite",
        f"means that change with the nodes, {first:.6g} and {moments[-1][0]:.6g}",
    )


def relations(inputs: FourierInputs, highest: int = HIGHEST) -> tuple[Relation, ...]:
    """All n with E exp(i n.phi) != 0 and |n|_1 <= highest, one of each pair n, -n, with that value.

    n refers to the tied modes in the order of `inputs.tied()`, and to their canonical phases.
    """
    combined: list[Relation] = [((), 1.0)]
    for tie in inputs.ties:
        every = (n for order in range(highest + 1) for n in tie.relations(order))
        of_tie = [(n, value) for n in every if abs(value := tie.character(n)) > 1e-12]
        combined = [
            ((*n, *more), value * factor)
            for (n, value), (more, factor) in itertools.product(combined, of_tie)
            if sum(map(abs, (*n, *more))) <= highest
        ]
    signs = inputs.tied()[1]
    signed_relations = []
    for n, value in combined:
        signed = tuple(int(i) for i in np.asarray(n, np.int64) * signs)
        if next((i for i in signed if i), 0) > 0:
            signed_relations.append((signed, value))
    return tuple(sorted(signed_relations, key=lambda each: (sum(map(abs, each[0])), each[0])))


def shortest_relations(inputs: FourierInputs, highest: int = HIGHEST) -> tuple[Relation, ...]:
    """The relations of smallest |n|_1, as `relations` gives them; none if it exceeds `highest`."""
    for order in range(1, highest + 1):
        held = relations(inputs, order)
        if held:
            return held
    return ()


def _radial(inputs: FourierInputs, power: int, terms: int) -> Array:
    """Coefficients of (a/2)^(power + 2j) in E I_power(a rho) exp(-a^2/4), j = 0 .. terms."""
    bessel = np.array(
        [
            amplitude_moment(inputs, 2 * j + power) / (factorial(j) * factorial(j + power))
            for j in range(terms + 1)
        ]
    )
    gauss = np.array([(-1.0) ** j / factorial(j) for j in range(terms + 1)])
    product = np.convolve(bessel, gauss)[: terms + 1]
    product[np.abs(product) < 1e-13] = 0  # Rayleigh, power 0: exactly 1
    return product


def _shares(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Ways to write a number as an ordered sum of `parts` numbers >= 0."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for remaining in _shares(total - first, parts - 1):
            yield (first, *remaining)


def _terms(
    inputs: FourierInputs, order: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """Terms of [t^order] D / 2: relation n, powers j, and the factor of Re prod m^n |m|^(2j)."""
    variances = np.asarray(inputs.variances(), np.float64)[inputs.tied()[0]]
    for n, character in relations(inputs, order):
        size = sum(map(abs, n))
        if (order - size) % 2:
            continue
        extra = (order - size) // 2
        radial = [_radial(inputs, abs(i), extra) for i in n]
        for powers in _shares(extra, len(n)):
            factor = character * float(np.prod([r[j] for r, j in zip(radial, powers, strict=True)]))
            degrees = np.abs(n) + 2 * np.asarray(powers)
            if factor:
                yield n, powers, factor * float(np.prod((variances / 2) ** (degrees / 2)))


def correlation(
    inputs: FourierInputs,
    activation: Activation,
    overlaps: ArrayLike,
    *,
    field_variance: float = 1.0,
    highest: int = 8,
) -> Array:
    """E[y sigma(w.x)] = 1 - population loss, as a series in the overlaps of a neuron.

    Equation: :eq:`eq:phases-correlation`.

    Args:
        inputs: input model with Rayleigh amplitudes.
        activation: see `activation_function`; exact for polynomials of degree <= highest.
        overlaps: m, real, (Re m_1, Im m_1, ..), shape (..., r), in the order of `inputs.tied()`.
        field_variance: s = w' Sigma w (1 for a neuron of norm one and isotropic inputs).
        highest: last order of the series. The number of relations of a template grows with it like
            a power of the number of modes.

    Raises:
        ValueError: on overlaps of another shape or larger than the field, or deterministic
            amplitudes.
    """
    if inputs.amplitudes != "rayleigh":
        raise reject("inputs.amplitudes", "be 'rayleigh'", repr(inputs.amplitudes))
    real = finite_array("overlaps", overlaps)
    if real.ndim < 1 or real.shape[-1] != inputs.directions:
        raise reject("overlaps", f"have shape (..., {inputs.directions})", f"shape {real.shape}")
    s = _variance("field_variance", field_variance)
    taken = (real**2) @ np.asarray(inputs.signal_variances(), np.float64)
    if np.any(taken > s * (1 + 1e-4)):
        demand = f"take no more than the field variance {s:g}"
        raise reject("overlaps", demand, f"{np.max(taken):.4g}")
    m = real[..., ::2] + 1j * real[..., 1::2]
    c, error = activation_coefficients(activation, highest, variance=s)
    total = np.zeros(m.shape[:-1])
    for k in range(1, highest + 1):
        if abs(c[k]) <= 5 * error[k]:
            continue
        for n, powers, factor in _terms(inputs, k):
            turned = np.where(np.asarray(n) < 0, m.conj(), m) ** np.abs(n)
            product = np.prod(turned * np.abs(m) ** (2 * np.asarray(powers)), axis=-1)
            total = total + c[k] * factor * product.real
    return total


@dataclass(frozen=True)
class VisibleOrder:
    """The first order in the overlaps at which the population loss depends on the label.

    Attributes:
        order: k*, or None if the activation is blind up to the highest order looked at.
        coefficient: c_(k*) of the activation, NaN if there is none.
        tie_order: smallest |n|_1 of a relation that holds; None without any.
        message: the same in words, with the Hermite coefficients that decide.
    """

    order: int | None
    coefficient: float
    tie_order: int | None
    message: str


def visible_order(
    inputs: FourierInputs, activation: Activation, *, highest: int = HIGHEST
) -> VisibleOrder:
    """k* = min { k = |n|_1 + 2j : E exp(i n.phi) != 0, c_k != 0 }, j >= 0.

    j = 0 is the rule "c_|n| != 0"; where that coefficient vanishes, the next one of the same
    parity sees the same relation through an amplitude: a triad with c_3 = 0 shows at order 5.

    Equation: :eq:`eq:phases-order`.

    Raises:
        ValueError: on an unknown activation.
    """
    c, error = activation_coefficients(activation, highest)
    name = (
        activation if isinstance(activation, str) else getattr(activation, "__name__", "callable")
    )
    held = shortest_relations(inputs, highest)
    if not held:
        return VisibleOrder(None, float("nan"), None, "no phases are tied (or full jitter)")
    first = sum(map(abs, held[0][0]))
    for k in range(first, highest + 1):
        if abs(c[k]) > 5 * error[k] and any(True for _ in _terms(inputs, k)):
            return VisibleOrder(k, float(c[k]), first, f"{name}: c_{k} = {c[k]:.3g}")
    orders = _orders(inputs, first, highest)
    blind = ", ".join(
        f"c_{k} = {0.0 if abs(c[k]) < 5 * error[k] else c[k]:.3g}" for k in orders[:4]
    )
    message = f"activation {name} is blind to the ties up to order {highest}: {blind}"
    return VisibleOrder(None, float("nan"), first, message)


def _orders(inputs: FourierInputs, first: int, highest: int) -> list[int]:
    """Orders at which a relation could show: those of its own parity from its own order on."""
    for other in range(first + 1, highest + 1, 2):
        if any(next(tie.relations(other), None) for tie in inputs.ties):
            return sorted({*range(first, highest + 1, 2), *range(other, highest + 1, 2)})
    return list(range(first, highest + 1, 2))


Polynomial = dict[tuple[int, ...], complex]


def _times(one: Polynomial, two: Polynomial) -> Polynomial:
    product: Polynomial = {}
    for (p, a), (q, b) in itertools.product(one.items(), two.items()):
        key = tuple(i + j for i, j in zip(p, q, strict=True))
        product[key] = product.get(key, 0) + a * b
    return product


def leading_form(inputs: FourierInputs, activation: Activation) -> Form:
    """L_k(m), k = k*: leading part of the population loss at small overlaps, field variance one.

    The kernel's `Form`, a polynomial in (Re m_1, Im m_1, ..), here in closed form.

    Equation: :eq:`eq:phases-form`.

    Raises:
        ValueError: if the activation is blind to the ties.
    """
    visible = visible_order(inputs, activation)
    if visible.order is None:
        raise reject("activation", "see the ties", visible.message)
    r = 2 * len(inputs.tied()[0])
    unit = np.eye(r, dtype=np.int64)
    total: Polynomial = {}
    for n, powers, factor in _terms(inputs, visible.order):
        product: Polynomial = {(0,) * r: 1.0}
        for j, (count, power) in enumerate(zip(n, powers, strict=True)):
            x, y = tuple(unit[2 * j]), tuple(unit[2 * j + 1])
            linear: Polynomial = {x: 1.0, y: 1j if count > 0 else -1j}
            square: Polynomial = {tuple(2 * unit[2 * j]): 1.0, tuple(2 * unit[2 * j + 1]): 1.0}
            for part in [linear] * abs(count) + [square] * power:
                product = _times(product, part)
        for key, value in product.items():
            total[key] = total.get(key, 0) - visible.coefficient * factor * value
    kept = {key: value.real for key, value in total.items() if abs(value.real) > 1e-15}
    coefficients = np.array(list(kept.values()))
    return Form(visible.order, np.array(list(kept)), coefficients, 1e-12 * np.abs(coefficients))


def effective_dimension(inputs: FourierInputs) -> float:
    """N_eff = tr Sigma / lambda_S; the cost of the phases is N_eff^(k* - 1).

    lambda_S is the geometric mean of the eigenvalues of the tied modes, each counted |n_j| times, for the
    shortest relation: the whitened overlaps of a random start have squares of size 1 / N_eff. Isotropic
    inputs have N_eff = N. With several relations of that length, the cheapest one counts.

    Equation: :eq:`eq:phases-effective`.

    Raises:
        ValueError: if no relation holds.
    """  # noqa: E501
    held = shortest_relations(inputs)
    if not held:
        raise reject("inputs.ties", "hold a relation", "none (or full jitter)")
    variances = np.asarray(inputs.variances(), np.float64)
    tied, first = variances[inputs.tied()[0]], sum(map(abs, held[0][0]))
    means = [np.exp(np.abs(n) @ np.log(tied) / first) for n, _ in held]
    return float(2 * variances.sum() / max(means))
