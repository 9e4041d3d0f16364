"""The search phase: the law of the time to weak recovery from a random start, without N."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.identity.session import sees_edits
from learning_dynamics.limit.accuracy import Estimate, Target
from learning_dynamics.limit.population import Population
from learning_dynamics.limit.quadrature import Method
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.model.rates import schedules_of
from learning_dynamics.random import check_key
from learning_dynamics.search.conditions import check_elimination, check_steps
from learning_dynamics.search.escape_time import escape_constant
from learning_dynamics.search.explosion_time import moving_explosion_times
from learning_dynamics.search.forms import Form
from learning_dynamics.search.information_exponent import InformationExponent, exponents_of
from learning_dynamics.search.leading_order import (
    LeadingOrder,
    forms_at,
    lasting_rate,
    leading_order,
)
from learning_dynamics.search.loss_expansion import zero_overlap
from learning_dynamics.search.recovery_law import SearchLaw
from learning_dynamics.search.relaxation import relaxation_path, relaxed_spread
from learning_dynamics.search.single_neuron import one_neuron
from learning_dynamics.tracking import Tracking, tracked
from learning_dynamics.validation import positive_integer, reject

__all__ = ["search_law"]

Array = NDArray[np.float64]
_COARSE = 0.1  # of the width of the law: what a rule fixed by hand must resolve


@tracked
@sees_edits("problem")
def search_law(
    problem: Problem,
    *,
    key: jax.Array,
    draws: int = 4096,
    threshold: float = 0.5,
    neuron: int = 0,
    dimension: int | None = None,
    highest: int = 4,
    accuracy: float | None = None,
    points: int | None = None,
    max_points: int | None = None,
    method: Method = "auto",
    allow_inaccurate: bool = False,
    longest: float = 1e3,
    step: float = 0.02,
    most_steps: int = 20_000,
    tracker: Tracking = "auto",
) -> SearchLaw:
    """Predicted distribution of the time to weak recovery from random starts.

    For a leading population loss L_k that is attractive somewhere; `problem.learning_rate` is delta
    for k = 2 and delta' for k >= 3, where N is simulated with delta = delta' N^(-(k-2)/2)
    (`SearchLaw.learning_rate`). Overlaps are m = w.e / |w|.

    k >= 3: explosion times of

        d mu = -delta' grad L_k(mu) ds - (delta'^2 V / 2) mu ds + delta' S0^(1/2) dB,

    mu(0) ~ N(0, 1_r), s = n / N^(k-1). k = 2, tau = n / N, G = -delta grad^2 L_2 - delta^2 V / 2
    with largest eigenvalue g:

        n* / N = log(N) / (2 g) - log|xi| / g + c,   xi ~ N(0, 1 + delta^2 S0 / (2 g)),

    c from the unstable manifold of zero overlap in the limit, up to `threshold`, on the side that
    xi is on. Derived here.

    Several noise blocks: R_b starts as N_b / N. For k = 2 it moves in the time tau, and G and S0
    with it. For k >= 3 it moves in the time s if the loss at zero overlap does not depend on it,

        dR_b / ds = delta'^2 V0 ( lambda_b N_b / N - R_b sum_c lambda_c N_c / N ),

    V0 = E[A B B^T A^T], V = V0 sum_b lambda_b N_b / N, and L_k, S0, V0 follow sum_b lambda_b R_b.
    Projected updates have the same law as spherical ones. With plain updates the norm moves too;
    the law exists if it comes to rest. Several neurons: the law of each, if their losses add up.

    Equations: :eq:`eq:kernel-search`, :eq:`eq:kernel-blocks-search`, :eq:`eq:kernel-order-two`,
    :eq:`eq:kernel-escape`.

    Args:
        problem: definition, as in `simulate`.
        key: typed random key.
        draws: number of draws.
        threshold: for k = 2, overlap with the growing direction that counts as recovery. For
            k >= 3 every threshold of order one is reached at the explosion.
        neuron: whose recovery, for several neurons.
        dimension: N that fixes several noise blocks.
        highest: highest order of the loss looked at.
        accuracy: largest relative error of g, S0, V and L_k, and of the constant c in units of
            1/g or of itself; 1e-3 by default. Where `points` are fixed by hand, a tenth will do.
        points: quadrature nodes; None lets them grow until the accuracy is reached.
        max_points: bound on the nodes, 2^21 by default.
        method: quadrature, see `expectation_nodes`.
        allow_inaccurate: warn instead of raising where the accuracy is not reached.
        longest: for k >= 3, largest time looked at; later explosions count as infinite.
        step: for k >= 3, relative size of the time steps.
        most_steps: for k >= 3, paths that need more time steps count as infinite too.
        tracker: progress bar, as of `simulate`.

    Raises:
        ValueError: if no direction attracts, or recovery starts at once (order 1); if neurons are
            coupled, by their loss or by orthogonal updates, or parameters move on the scale of the
            search; on repeats beyond order 2; on normalised steps at order 2; on repeated, clipped
            or normalised steps of several vectors; if the norm or the noise blocks do not come to
            rest where they must; if several directions grow fastest, and some sooner
            than others.
        InaccurateError: if the accuracy is not reached: a law that does not resolve is refused.
    """
    check_key(key)
    count = positive_integer("draws", draws)
    if not 0 < threshold < 1:
        raise reject("threshold", "lie strictly between 0 and 1", threshold)
    for name in schedules_of(problem):
        demand = (
            "be a number: the law is one without N, and in the time that a search takes (log N or "
            "N^(k-2) units of tau) the rate changes with N. Integrate from `random_starts` instead"
        )
        raise reject(f"problem.{name}", demand, "one that depends on the time")
    check_steps(problem)
    single = one_neuron(problem, neuron)
    target = Target(accuracy, points, max_points, method, allow_inaccurate)
    population = Population(single, dimension, target)
    start = zero_overlap(population)
    fast, _ = population.complete(start, moving=False)
    moving = sorted(set(single.parameter_rates) - fast)
    if moving:
        raise reject("problem.parameter_rates", "leave slow parameters fixed in a search", moving)
    exponent = exponents_of(single, forms_at(population, start, highest))
    if exponent.verdict != "attractive" or exponent.order is None:
        raise reject("problem", "have an attractive leading loss", f"a {exponent.verdict} one")
    if exponent.order == 1:
        raise reject("problem", "need a search: order 1 starts at once, see `integrate`", "order 1")
    if exponent.order > 2 and problem.repeats > 1:
        demand = "be 1 for order 3 and more: the learning rate then falls with N, and orders mix"
        raise reject("problem.repeats", demand, problem.repeats)
    if exponent.order == 2 and problem.normalise:
        demand = "be left out at order 2: unit gradients jump, and their limit is not resolved"
        raise reject("problem.normalise", demand, problem.normalise)
    if exponent.order == 2:
        return _escape_law(population, start, key, count, threshold)
    return _explosion_law(population, start, exponent, key, count, longest, step, most_steps)


def _escape_law(
    population: Population, start: Overlaps, key: jax.Array, count: int, threshold: float
) -> SearchLaw:
    """The law for k = 2."""
    rate, target = lasting_rate(population.problem), population.target
    last, spread = relaxed_spread(population, start)
    values, vectors = np.linalg.eigh(last.growth.value)
    g, lost = float(values[-1]), float(last.growth.error)
    if g <= lost and (g <= 0 or not target.allow_inaccurate):
        given = f"rate {g:.3g} +- {lost:.2g}"
        raise reject("problem.learning_rate", "leave a growing overlap", given)
    top = vectors[:, values > g - max(1e-6 * abs(g), lost)]
    xi = np.asarray(jax.random.normal(key, (count, top.shape[1]), jnp.float32), np.float64)
    xi = xi @ np.linalg.cholesky(top.T @ spread @ top).T
    escape = escape_constant(population, last.state, _ways_out(top), threshold)
    if top.shape[1] == 1:  # one constant on either side
        constant, bound = (np.where(xi[:, 0] > 0, *x) for x in (escape.value, escape.error))
    else:
        apart, largest = float(np.ptp(escape.value)), np.abs(escape.value).max()
        if apart > 2 * escape.error.max() + target.aim * max(1.0, largest):
            demand = "have a single fastest growing direction, or the same time along all"
            raise reject("problem", demand, f"times that differ by {apart / g:.3g}")
        constant = np.full(count, np.mean(escape.value))
        bound = np.full(count, apart + escape.error.max())
    size = np.linalg.norm(xi, axis=1)
    relative = lost / g + _relative(rate**2 * last.covariance.error / (2 * g), 1.0)
    times = (constant - np.log(size)) / g
    errors = {**last.errors, "constant": float(bound.max()) / g}
    constant_error = bound.max() / max(1.0, np.abs(constant).max())
    _check(target, last, {"growth": lost / g, "constant": constant_error})
    return SearchLaw(
        2, times, (np.abs(np.log(size)) * lost / g + bound + relative) / g, g, vectors[:, -1],
        last.covariance.value, last.norm.value, last.form,
        float(population.problem.learning_rate), errors,
    )  # fmt: skip


def _ways_out(top: Array) -> Array:
    """Both sides of a direction, or some directions of a space, as unit rows."""
    if top.shape[1] == 1:
        return np.concatenate([top.T, -top.T])
    ways = np.concatenate(
        [np.eye(top.shape[1]), np.random.default_rng(6).normal(size=(4, top.shape[1]))]
    )
    return np.asarray(ways / np.linalg.norm(ways, axis=1, keepdims=True) @ top.T)


def _relative(error: float, size: float) -> float:
    return error / size if size > 0 else np.inf


def _check(target: Target, last: LeadingOrder, more: Mapping[str, float]) -> None:
    """Refuse a law whose numbers are not known well enough.

    Raises:
        InaccurateError: if a relative error exceeds the accuracy, or a tenth where points are fixed
            by hand; with `allow_inaccurate` a warning.
    """
    names = ("form", "gradient_covariance", "gradient_norm")
    relative = {**dict(zip(names, _lost(last), strict=True)), **more}
    if target.accuracy is None and target.points is not None:
        target = replace(target, accuracy=_COARSE)
    ones = dict.fromkeys(relative, 1.0)
    target.check("search_law", Estimate(ones, relative, target.method, target.most), relative)


def _explosion_law(
    population: Population,
    start: Overlaps,
    exponent: InformationExponent,
    key: jax.Array,
    count: int,
    longest: float,
    step: float,
    most_steps: int,
) -> SearchLaw:
    """The law for k >= 3."""
    order, rate = int(exponent.order or 0), lasting_rate(population.problem)
    path, relaxation = relaxation_path(population, start)
    basis = exponent.subspaces[order - 1]
    moments = [leading_order(population, state, order) for state in path]
    check_elimination(exponent, basis, order)
    forms = [
        each.form.restricted(basis) if len(basis) < len(basis.T) else each.form for each in moments
    ]
    last = moments[-1]
    _check(population.target, last, {})
    lost = [_lost(m) for m in moments]

    def times(sign: float) -> Array:
        """Explosion times; with errors that all delay them for sign 1."""
        slower = [
            Form(f.order, f.powers, f.coefficients * (1 - sign * e[0]), f.errors)
            for f, e in zip(forms, lost, strict=True)
        ]
        pairs = list(zip(moments, lost, strict=True))
        weaker = [basis @ m.covariance.value @ basis.T * (1 - sign * e[1]) for m, e in pairs]
        stronger = [m.norm.value * (1 + sign * e[2]) for m, e in pairs]
        return moving_explosion_times(
            slower, weaker, stronger, relaxation, rate, key=key, draws=count, longest=longest,
            step=step, most_steps=most_steps,
        )  # fmt: skip

    draws = times(0.0)
    errors = np.zeros(count)
    if max(max(e) for e in lost) > 1e-9:  # the order statistics move, whichever path is which
        with np.errstate(invalid="ignore"):
            moved = np.abs(np.sort(times(1.0)) - np.sort(draws))
        errors[np.argsort(draws, kind="stable")] = np.where(np.isnan(moved), 0.0, moved)
    return SearchLaw(
        order, draws, errors, np.nan, exponent.direction, last.covariance.value, last.norm.value,
        last.form, float(population.problem.learning_rate), last.errors,
    )  # fmt: skip


def _lost(m: LeadingOrder) -> tuple[float, float, float]:
    """Relative errors of L_k, S0 and V."""
    return (
        _relative(m.errors["form"], float(np.max(np.abs(m.form.coefficients)))),
        _relative(m.errors["gradient_covariance"], float(np.max(np.abs(m.covariance.value)))),
        _relative(m.errors["gradient_norm"], m.norm.value),
    )
