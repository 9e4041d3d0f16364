"""`diffusion/orders`: statistics of the data that a denoiser learns first, and their directions."""

from typing import NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diffusion_theory.claims.common import SOURCE
from diffusion_theory.inputs import ALPHA_BAR
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory import DirectionExponent, exponent_along
from learning_dynamics.evidence.figures import (
    draw_simulation,
    figure_style,
    image_grid,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.statistics import jackknife
from learning_dynamics.images.patches import generator
from learning_dynamics.inspection.samples import Samples, in_blocks
from learning_dynamics.inspection.sections import Findings, Number, Table, inspection
from learning_dynamics.inspection.shared.gaussianity import whitened
from learning_dynamics.markup import with_error
from learning_dynamics.report.claims import Panel
from learning_dynamics.tracking import track

__all__ = ["kurtotic_directions", "orders"]

Array = NDArray[np.float64]
EIGENVECTORS, KURTOTIC, SEARCHED = 6, 4, 32
STARTS, STEPS = 6, 40  # of the search for kurtotic directions
CLEAR = 4.0  # standard errors from which on an order counts
LEARNERS = {"minus": TiedDenoiser("tanh", sign=-1), "plus": TiedDenoiser("tanh", sign=1)}
COSTS = {1: "d", 2: "d log d", 3: "d²", 4: "d³"}
STATISTICS = {
    1: "Means",
    2: "Pairwise statistics",
    3: "Third-order statistics",
    4: "Fourth-order statistics",
}


class _Seen(NamedTuple):
    """What a denoiser meets along one direction."""

    name: str
    exponents: tuple[DirectionExponent, ...]  # of the learners
    moments: Array  # a = sqrt(alpha_bar); a^k E He_k, k = 0..4
    errors: Array
    kurtosis: tuple[float, float]

    @property
    def order(self) -> int | None:
        """Of the leading term; the same for all learners, as only its sign is theirs."""
        return self.exponents[0].order

    @property
    def rank(self) -> tuple[bool, float]:
        """Resolved orders come first, by their kurtosis; the others by kurtosis over error."""
        value, error = abs(self.kurtosis[0]), self.kurtosis[1]
        return self.order is None, -(value if self.order is not None else value / max(error, 1e-12))


@inspection(
    "diffusion/orders",
    title="Which statistics a denoiser learns first",
    source=SOURCE,
)
def orders(samples: Samples, key: jax.Array) -> Findings:
    """Leading information exponents along eigenvectors and along kurtotic directions."""
    halves = _halves(len(samples.rows))
    own = _along_eigenvectors(samples.coordinates, halves)
    raw = [_look(f"eigenvector {i}", field) for i, field in enumerate(own.T, 1)]
    white = whitened(samples, SEARCHED)
    directions = kurtotic_directions(white[halves[0]], KURTOTIC, generator(key))
    fields = white[halves[1]] @ directions.T
    found = [_look("", field, True) for field in fields.T]
    places = sorted(range(len(found)), key=lambda place: found[place].rank)
    directions = directions[places]
    kurtotic = [found[at]._replace(name=f"kurtotic {i}") for i, at in enumerate(places, 1)]
    same = [_look(f"eigenvector {i}, whitened", field, True) for i, field in enumerate(own.T, 1)]
    panels = {"terms": Panel(_terms(raw, [*same, *kurtotic]), TERMS)}
    if samples.images is not None:
        vectors = (
            directions
            @ (
                samples.spectrum.basis[:, : white.shape[1]]
                * np.sqrt(samples.spectrum.spectrum[: white.shape[1]])
            ).T
        )
        pictures = vectors.reshape(-1, *samples.images.shape[1:])
        panels["kurtotic"] = Panel(
            image_grid([pictures], ["kurtotic"], scale="image"),
            "What the rows have in common along the most kurtotic directions found: their "
            "covariance with the projection.",
        )
    numbers = [
        Number(f"excess kurtosis of kurtotic direction {i}", *each.kurtosis,
               KURTOSIS + (UNRESOLVED if each.order is None else ""))
        for i, each in enumerate(kurtotic, 1)
    ]  # fmt: skip
    notes = [
        "A denoiser with one neuron w predicts the noise z of x = a x₀ + b z as "
        f"b x ± w tanh(κ w·x), κ = a/b², a² = alpha_bar = {ALPHA_BAR:.3f}, b² = 1 − a², from zero "
        "overlap with all directions. “sign −” and “sign +” are the two denoisers of this form. "
        "“Attractive” means that the loss of that denoiser falls along the direction, “repelled” "
        "that it rises: sign − learns large variance and light tails, sign + heavy tails.",
        "“order” is the lowest order of the loss in the overlap with the direction, up to the "
        f"fourth. It counts where its moment exceeds {CLEAR:g} standard errors; what is not "
        "resolved may be there with more data.",
        "Eigenvectors are found in each half of the rows and measured in the other half: in the "
        "rows that they were found in, their variance is too large by selection, even for white "
        "noise.",
        f"“kurtotic” are the {len(kurtotic)} directions of largest absolute excess kurtosis that a "
        f"search finds among the {white.shape[1]} leading whitened directions. There is no "
        "threshold: their numbers above, with errors, tell how far they are from a Gaussian. They "
        "are searched for in one half of the rows and measured in the other half. Those whose "
        "order is resolved come first, by absolute kurtosis; then the others, by kurtosis over "
        "error.",
        "“samples” is how the number of samples grows with the number d of components, for online "
        "learning of this direction alone from random weights. A direction that is learned earlier "
        "can lower the order of another one, and make it cheaper.",
    ]
    tables = [
        _table("Along the data's own directions", raw),
        _table(
            "The same directions at variance one, and the most kurtotic ones", [*same, *kurtotic]
        ),
    ]
    answer = _answer(raw, same, kurtotic)
    n, d = samples.rows.shape
    if samples.coordinates.shape[1] == n - 1:  # variance one is that of fewer directions than vary
        answer += f" Do not rely on this: {n} rows do not span the {d} components."
    return Findings(numbers, panels=panels, tables=tables, notes=notes, answer=answer)


def _answer(raw: list[_Seen], same: list[_Seen], kurtotic: list[_Seen]) -> str:
    """The lowest order that is resolved, where, at what cost, and what follows it."""

    def along(order: int) -> str:
        own = [order in (each.order, white.order) for each, white in zip(raw, same, strict=True)]
        found = [each.order == order for each in kurtotic]
        groups = {"leading eigenvectors": own, "kurtotic directions": found}
        return " and ".join(
            f"{sum(group)} of {len(group)} {name}" for name, group in groups.items() if any(group)
        )

    orders = {each.order for each in (*raw, *same, *kurtotic) if each.order is not None}
    if not orders:
        return (
            f"No order up to four is resolved along {len(raw)} eigenvectors and {len(kurtotic)} "
            "kurtotic directions: nothing is told from white noise that a denoiser would learn."
        )
    first = min(orders)
    text = (
        f"{STATISTICS[first]} first: order {first} along {along(first)} ({COSTS[first]} samples); "
    )
    higher = [
        f"order {order} ({COSTS[order]}) along {along(order)}" for order in sorted(orders - {first})
    ]
    if not higher:
        return f"{text}higher orders are not resolved."
    return f"{text}higher orders follow, at variance one: {', '.join(higher)}."


UNRESOLVED = f"; its order is not resolved at {CLEAR:g} standard errors"
KURTOSIS = "0 for a Gaussian; measured in the half of the rows that the search did not see"
TERMS = (
    "Moments behind the terms of the loss in the overlap with a direction: order two is the "
    "variance beside that of white data, order four the tails; e. are eigenvectors, k. kurtotic "
    "directions; a² is the noise level alpha_bar, He_k the Hermite polynomial of the projection. "
    "Left the data as they are, right at variance one, where order two vanishes."
)


def _halves(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every other part of the rows, and the parts between them."""
    parts = np.array_split(np.arange(rows), min(20, rows))
    return np.concatenate(parts[::2]), np.concatenate(parts[1::2])


def _along_eigenvectors(rows: Array, halves: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Array:
    """Coordinates of each half along the leading eigenvectors of the other, shape (n, count)."""
    first, second = (
        np.linalg.eigh(np.cov(rows[half].T, bias=True).reshape(2 * rows.shape[1:]))[1][:, ::-1]
        for half in halves
    )
    first, second = first[:, :EIGENVECTORS], second[:, :EIGENVECTORS]
    second = second * np.where(np.sum(first * second, axis=0) < 0, -1, 1)
    fields = np.empty((len(rows), first.shape[1]))
    fields[halves[0]], fields[halves[1]] = rows[halves[0]] @ second, rows[halves[1]] @ first
    return fields


def kurtotic_directions(white: Array, count: int, rng: np.random.Generator) -> Array:
    """Orthogonal directions of largest absolute excess kurtosis found, as rows.

    Fixed-point iteration u <- E y (u.y)^3 - 3 u from random starts, the best of them kept, each
    further direction orthogonal to those before (deflation).

    Args:
        white: whitened rows y, shape (n, d).
        count: number of directions, at most d.
        rng: of the starts.

    Source: Hyvärinen and Oja, "A fast fixed-point algorithm for independent component analysis"
    (1997).
    """
    n, d = white.shape
    kept = np.zeros((0, d))
    for _ in track(range(min(count, d)), "kurtotic directions"):
        u = rng.standard_normal((STARTS, d))
        for _ in range(STEPS):
            u -= u @ kept.T @ kept
            u /= np.linalg.norm(u, axis=1, keepdims=True)
            u = ((white @ u.T) ** 3).T @ white / n - 3 * u
        u -= u @ kept.T @ kept
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        fields = white @ u.T
        excess = np.abs((fields**4).mean(axis=0) / (fields**2).mean(axis=0) ** 2 - 3)
        kept = np.concatenate([kept, u[[int(np.argmax(excess))]]])
    return kept


def _look(name: str, field: Array, white: bool = False) -> _Seen:
    parts = in_blocks(len(field))
    looks = [
        exponent_along(
            field, learner, alpha_bar=ALPHA_BAR, unit_variance=white, parts=len(parts), clear=CLEAR
        )
        for learner in LEARNERS.values()
    ]
    means = np.stack([[(field[part] ** k).mean() for k in (2, 4)] for part in parts])
    kurtosis = jackknife(
        means, lambda mean: np.array([mean[1] / mean[0] ** 2 - 3]), {"k": np.arange(1)}
    )
    _, moments, errors = looks[0]
    pair = (float(kurtosis.values[0]), float(kurtosis.standard_error[0]))
    return _Seen(name, tuple(exponent for exponent, *_ in looks), moments, errors, pair)


def _table(title: str, rows: list[_Seen]) -> Table:
    columns = ("direction", "variance", "excess kurtosis", "order", "sign −", "sign +", "samples")
    lines = []
    for each in rows:
        order = each.order
        variance = 1 + each.moments[2] / ALPHA_BAR
        cells = (
            each.name,
            with_error(variance, each.errors[2] / ALPHA_BAR) if each.errors[2] > 0 else "1",
            with_error(*each.kurtosis),
            "not resolved" if order is None else str(order),
            *("–" if order is None else exponent.verdict for exponent in each.exponents),
            "–" if order is None else COSTS[order],
        )
        lines.append(cells)
    return Table(title, columns, tuple(lines))


def _terms(raw: list[_Seen], white: list[_Seen]) -> Figure:
    figure, grid = new_figure(1, 2, width=9.0, height=4.4)
    for axes, rows, title in zip(
        grid[0], (raw, white), ("as they are", "at variance one"), strict=True
    ):
        at, shown = np.arange(len(rows)), []
        for index, order in enumerate((2, 4)):
            values = [each.moments[order] / (2, 24)[index] for each in rows]
            errors = [each.errors[order] / (2, 24)[index] for each in rows]
            shown += [np.subtract(values, errors), np.add(values, errors)]
            draw_simulation(
                axes, at + 0.15 * (2 * index - 1), values, errors, index=index,
                label=f"order {order}, $a^{order} E\\, He_{order} / {order}!$",
            )  # fmt: skip
        with figure_style():
            axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
            names = [
                each.name.replace("eigenvector", "e.").replace("kurtotic", "k.") for each in rows
            ]
            names = [name.replace(", whitened", "") for name in names]
            axes.set_xticks(at, names, rotation=60, size=8)
            axes.set_title(title)
            axes.set_yscale("symlog", linthresh=0.1)
            ends = np.concatenate(shown)
            axes.set_ylim(min(1.6 * ends.min(), -0.05), max(1.6 * ends.max(), 0.2))
    with figure_style():
        grid[0, 0].set_ylabel("moment of the loss")
    legend_below(figure)
    return figure
