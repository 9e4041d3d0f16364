"""The search phase: the law of the time to weak recovery from a random start, without N."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics.identity.session import sees_edits
from learning_dynamics.kernel.alone import one_neuron
from learning_dynamics.kernel.escape import escape_constant
from learning_dynamics.kernel.explosion import moving_explosion_times
from learning_dynamics.kernel.exponent import InformationExponent
from learning_dynamics.kernel.forms import Form
from learning_dynamics.kernel.leading import Place, leading_noise
from learning_dynamics.kernel.problem import Problem
from learning_dynamics.kernel.quadrature import Method
from learning_dynamics.kernel.slow import relaxed_spread, way_of_the_blocks
from learning_dynamics.random import check_key
from learning_dynamics.validation import positive_integer, reject

__all__ = ["SearchLaw", "search_law"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SearchLaw:
    """Law of the number of updates n* to weak recovery at large N.

    Attributes:
        order: information exponent k.
        draws: independent draws of n* / N^(k-1) for k >= 3, of n* / N - log N / (2 g) for k = 2;
            infinite where a path had not exploded by the end (`censored`).
        growth: growth rate g of the overlap for k = 2, otherwise NaN.
        direction: steepest direction, shape (r,).
        gradient_covariance: S0 = E[A C C^T A] at zero overlap, per update, shape (r, r).
        gradient_norm: V = E[A Gamma A^T] at zero overlap, per update, Gamma the covariance of the
            noise per dimension.
        form: the leading part L_k of the population loss.
        rate: delta (k = 2) or delta' (k >= 3).
        errors: quadrature errors of "growth", "gradient_covariance", "gradient_norm" (largest
            entries) and, for k = 2, of the "constant" c.

    S0, V and the form are those at the end of the way of the noise blocks (see `search_law`).
    """

    order: int
    draws: Array
    growth: float
    direction: Array
    gradient_covariance: Array
    gradient_norm: float
    form: Form
    rate: float
    errors: Mapping[str, float]

    @property
    def censored(self) -> int:
        """Number of draws that are only known to be late."""
        return int(np.sum(~np.isfinite(self.draws)))

    def learning_rate(self, dimension: int) -> float:
        """Learning rate to simulate with at N: rate * N^(-(k-2)/2)."""
        return float(self.rate * float(dimension) ** (-(self.order - 2) / 2))

    def updates(self, dimension: int) -> Array:
        """Draws of n* at N."""
        n = float(dimension)
        if self.order == 2:
            return n * (self.draws + np.log(n) / (2 * self.growth))
        return self.draws * n ** (self.order - 1)

    def median(self) -> float:
        """Median of the draws: the prefactor of the sample complexity."""
        return float(np.median(self.draws))

    def quantile(self, level: ArrayLike) -> Array:
        """Quantiles of the draws (infinite ones count)."""
        ranks = np.clip(np.ceil(np.asarray(level) * self.draws.size).astype(int) - 1, 0, None)
        return np.asarray(np.sort(self.draws)[ranks])


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
    points: int = 2**14,
    method: Method = "auto",
    longest: float = 1e3,
    step: float = 0.02,
    most_steps: int = 20_000,
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

    c from the unstable manifold of zero overlap in the limit, up to `threshold`. Derived here.

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
        points: quadrature nodes.
        method: quadrature, see `expectation_nodes`.
        longest: for k >= 3, largest time looked at; later explosions count as infinite.
        step: for k >= 3, relative size of the time steps.
        most_steps: for k >= 3, paths that need more time steps count as infinite too.

    Raises:
        ValueError: if no direction attracts, or recovery starts at once (order 1); if neurons are
            coupled, or parameters move on the scale of the search; if the norm or the noise blocks
            do not come to rest where they must.
    """
    check_key(key)
    count = positive_integer("draws", draws)
    if not 0 < threshold < 1:
        raise reject("threshold", "lie strictly between 0 and 1", threshold)
    single = one_neuron(problem, neuron)
    place = Place(single, dimension, points, method)
    moving = sorted(set(single.parameter_rates) - place.held())
    if moving:
        raise reject("problem.parameter_rates", "leave slow parameters fixed in a search", moving)
    found = place.exponent(place.start, highest)
    if found.verdict != "attractive" or found.order is None:
        raise reject("problem", "have an attractive leading loss", f"a {found.verdict} one")
    if found.order == 1:
        raise reject("problem", "need a search: order 1 starts at once, see `integrate`", "order 1")
    if found.order == 2:
        return _linear_law(place, key, count, threshold)
    return _explosion_law(place, found, highest, key, count, longest, step, most_steps)


def _linear_law(place: Place, key: jax.Array, count: int, threshold: float) -> SearchLaw:
    rate = float(place.problem.learning_rate)
    last, spread = relaxed_spread(place)
    values, vectors = np.linalg.eigh(last.growth)
    g = float(values[-1])
    if g <= 0:
        raise reject("problem.learning_rate", "leave a growing overlap", f"rate {g:.3g}")
    top = vectors[:, values > g - 1e-6 * abs(g)]
    normal = np.asarray(jax.random.normal(key, (count, top.shape[1])), np.float64)
    size = np.linalg.norm(normal @ np.linalg.cholesky(top.T @ spread @ top).T, axis=1)
    constant, error = escape_constant(place, last.state, vectors[:, -1], threshold)
    times = -np.log(size) / g + constant
    errors = {**last.errors, "constant": error}
    return SearchLaw(
        2, times, g, vectors[:, -1], last.covariance, last.norm, last.form, rate, errors
    )


def _explosion_law(
    place: Place,
    found: InformationExponent,
    highest: int,
    key: jax.Array,
    count: int,
    longest: float,
    step: float,
    most_steps: int,
) -> SearchLaw:
    order, rate = int(found.order or 0), float(place.problem.learning_rate)
    way, relaxation = way_of_the_blocks(place)
    basis = found.subspaces[order - 1]
    moments = [leading_noise(place, state, order) for state in way]
    _check_elimination(found, basis, order)
    forms = [
        each.form.restricted(basis) if len(basis) < len(basis.T) else each.form for each in moments
    ]
    times = moving_explosion_times(
        forms, [basis @ m.covariance @ basis.T for m in moments], [m.norm for m in moments],
        relaxation, rate, key=key, draws=count, longest=longest, step=step, most_steps=most_steps,
    )  # fmt: skip
    last = moments[-1]
    return SearchLaw(
        order, times, np.nan, found.direction, last.covariance, last.norm, last.form, rate,
        last.errors,
    )  # fmt: skip


def _check_elimination(found: InformationExponent, basis: Array, order: int) -> None:
    """Directions held at zero by lower orders must not feel the square of the searching ones.

    With L_2 = a u^2, a > 0, and a term c u q(v) of order j + 1 the held u follows -c q(v) / (2 a),
    which adds -c^2 q^2 / (4 a) of order 2 j to the loss of v: part of L_k if 2 j = k.
    """
    held = np.linalg.svd(basis)[2][len(basis) :]
    if not len(held) or order % 2:
        return
    form = found.forms[order // 2]
    points = np.random.default_rng(4).normal(size=(50, len(basis))) @ basis
    pull = form.clear.gradient(points) @ held.T
    if np.max(np.abs(pull), initial=0.0) > 1e-9:
        demand = "leave directions of lower order alone while it searches"
        raise reject("problem", demand, f"a term of order {order // 2 + 1} that couples them")
