"""Which of three rungs tell the classes of an image set apart: means, amplitudes, phases.

The mean of a class is a first-order statistic and lives in the phases: random phases destroy it. A
set of aligned objects offers it; the same objects at random places do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from learning_dynamics import short_text
from learning_dynamics.saved_results import saved_as
from learning_dynamics.validation import finite_array, integers, reject

__all__ = [
    "FEWEST",
    "RUNGS",
    "BetweenClasses",
    "ClassMeansDiffer",
    "between_classes",
    "first_of_each",
    "offered_rungs",
]

Array = NDArray[np.float64]
RUNGS = ("mean", "amplitudes", "phases")
FALSE_ALARM = 1e-3  # as of `learning_dynamics.compare`
FEWEST = 4  # rows of a class from which tr Sigma^2 can be estimated without bias
MOST = 2000  # rows, whose inner products are kept
MODES = 12  # of lowest wave number, whose phases are combined


class ClassMeansDiffer(UserWarning):
    """Class means differ: phases hold a first-order statistic, which is learned first."""


@saved_as()
@dataclass(frozen=True)
class BetweenClasses:
    """How far the means of features differ between classes.

    Attributes:
        share: of the variance of the features that lies between the class means, without bias in
            its numerator; it scatters about zero where the means are equal.
        error: standard error of `share`.
        p_value: probability of a larger one if all class means are equal.
    """

    share: float
    error: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether the means differ, at the false alarm of 0.001 of every comparison."""
        return self.p_value < FALSE_ALARM

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        return str(self), {}

    def __str__(self) -> str:
        verdict = "differ" if self.significant else "do not differ significantly"
        return f"{self.share:.3g} +- {self.error:.1g} of the variance, class means {verdict}"


def between_classes(
    features: ArrayLike, labels: ArrayLike, *, groups: ArrayLike | None = None
) -> BetweenClasses:
    """Share of the variance of features that lies between the class means, and its significance.

    M = (1/C) sum_c |mu_c - mu|^2 is estimated without bias from the class means less their noise
    tr S_c / n_c. If all means are equal its variance is V = 2 sum_c A_cc^2 tr Sigma_c^2 / (n_c (n_c
    - 1)) + 2 sum_{c != c'} A_cc'^2 tr Sigma_c Sigma_c' / (n_c n_c'), A = 1/C - 1/C^2, whatever the
    covariances of the classes; the p-value is that of the multiple of a chi-squared variable with
    the same mean and variance.

    Equation: :eq:`eq:phases-between`.

    Args:
        features: shape (n, ...).
        labels: class of each row, integers of shape (n,).
        groups: number of the unit that each row belongs to, integers of shape (n,): units are
            independent, rows of one are not (patches of one photograph). None: rows are
            independent.

    Raises:
        ValueError: on shapes that do not fit, values that are not finite, fewer than two classes or
            fewer than four units of a class.

    Source: Chen and Qin, "A two-sample test for high-dimensional data with applications to
    gene-set testing" (2010), for two classes; Himeno and Yamada, "Estimations for some functions
    of covariance matrix in high dimension under non-normality" (2014), for tr Sigma^2; Box (1954),
    for the chi-squared variable.
    """
    rows = finite_array("features", features)
    if rows.ndim < 2 or not rows.size:
        raise reject("features", "have shape (n, ...)", f"shape {rows.shape}")
    rows = np.asarray(rows.reshape(len(rows), -1), np.float64)
    classes = _numbered("labels", labels, len(rows))
    count = int(classes.max()) + 1
    if count < 2:
        raise reject("labels", "name at least two classes", count)
    within = np.mean([rows[classes == c].var(axis=0).sum() for c in range(count)])
    if groups is not None:
        rows, classes = _unit_means(rows, classes, _numbered("groups", groups, len(rows)))
    each = np.bincount(classes)
    if each.min() < FEWEST:
        demand = f"hold at least {FEWEST} independent rows of every class"
        raise reject("labels", demand, f"{each.min()} of one")
    kept = first_of_each(classes)
    return _between(rows[kept], classes[kept], float(within))


def _numbered(argument: str, given: ArrayLike, count: int) -> NDArray[np.int64]:
    array = integers(argument, given, least=0)
    if array.shape != (count,):
        raise reject(argument, f"be {count} integers, one for each row", f"shape {array.shape}")
    return np.unique(array, return_inverse=True)[1]


def _unit_means(
    rows: Array, classes: NDArray[np.int64], units: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64]]:
    """Mean row and class of each unit."""
    pairs, places = np.unique(np.stack([classes, units]), axis=1, return_inverse=True)
    sums = np.zeros((pairs.shape[1], rows.shape[1]))
    np.add.at(sums, places, rows)
    return sums / np.bincount(places)[:, None], pairs[0]


def first_of_each(classes: NDArray[Any]) -> NDArray[np.int64]:
    """Places of the first rows of each class, at most `MOST` of all: what the statistics look at.

    Args:
        classes: numbers from zero on, shape (n,).
    """
    count = int(classes.max()) + 1
    each = max(MOST // count, FEWEST)
    return np.concatenate([np.flatnonzero(classes == c)[:each] for c in range(count)])


def _between(rows: Array, classes: NDArray[np.int64], within: float) -> BetweenClasses:
    n = np.bincount(classes).astype(np.float64)
    count = len(n)
    member = np.eye(count)[classes]
    means = (member.T @ rows) / n[:, None]
    centred = rows - means[classes]
    gram = centred @ centred.T
    squares = np.diag(gram)  # |x_i - mean|^2
    trace = (member.T @ squares) / (n - 1)
    products = (member.T @ gram**2 @ member) / np.outer(n - 1, n - 1)  # tr S_c S_c'
    fourth = (member.T @ squares**2) / (n - 1)
    unbiased = (n - 1) * ((n - 1) * (n - 2) * np.diag(products) + trace**2 - n * fourth)
    np.fill_diagonal(products, np.maximum(unbiased / (n * (n - 2) * (n - 3)), 0))

    weights = np.eye(count) / count - 1 / count**2
    noise = float(np.sum(np.diag(weights) * trace / n))
    middle = means - means.mean(axis=0)
    raw = float(np.sum(middle**2) / count)  # M + noise
    pairs = products / np.outer(n, n)
    np.fill_diagonal(pairs, np.diag(products) / (n * (n - 1)))
    null = float(2 * np.sum(weights**2 * pairs))
    # the noise of the means alone gives 2 V to the variance along their differences
    along = np.einsum("ij,ij->i", centred, middle[classes])
    slope = float(np.sum((member.T @ along**2) / ((n - 1) * n)) * 4 / count**2)
    error = np.sqrt(null + max(slope - 2 * null, 0.0))
    value = raw - noise
    total = value + within
    if not (total > 0 and noise > 0 and null > 0):  # nothing varies within the classes
        return BetweenClasses(float(raw > 0), 0.0, float(raw <= 0))
    degrees = 2 * noise**2 / null
    p = stats.chi2.sf(raw * degrees / noise, degrees)
    return BetweenClasses(value / total, float(error) * within / total**2, float(p))


def offered_rungs(
    images: ArrayLike, labels: ArrayLike, *, groups: ArrayLike | None = None
) -> dict[str, BetweenClasses]:
    """Which rungs a labelled set offers: what of its means, amplitudes and phases tells classes.

    "mean": of the pixels. "amplitudes": mean of |X_k|. "phases": mean of exp i (phi_k + phi_q -
    phi_{k+q}) of images without their class mean, over the triples of twelve modes of lowest wave
    number; relations of four and more phases are not looked for. Amplitudes and triples do not
    change when an image is shifted around the torus. Each is tested by `between_classes`.

    Args:
        images: shape (n, height, width) or (n, height, width, channels).
        labels: class of each image, integers of shape (n,).
        groups: as of `between_classes`.

    Raises:
        ValueError: on another shape of images, and as `between_classes`.
    """
    batch = finite_array("images", images)
    if batch.ndim not in (3, 4):
        demand = "have shape (n, height, width) or (n, height, width, channels)"
        raise reject("images", demand, f"shape {batch.shape}")
    classes = _numbered("labels", labels, len(batch))
    units = None if groups is None else _numbered("groups", groups, len(batch))
    kept = first_of_each(classes)
    batch, classes = np.asarray(batch[kept], np.float64), classes[kept]
    units = None if units is None else units[kept]
    member = np.eye(int(classes.max()) + 1)[classes]
    means = np.tensordot(member / member.sum(axis=0), batch, ((0,), (0,)))
    features = {
        "mean": batch.reshape(len(batch), -1),
        "amplitudes": _amplitudes(batch).reshape(len(batch), -1),
        "phases": _triples(batch - means[classes]).reshape(len(batch), -1),
    }
    nothing = BetweenClasses(0.0, 0.0, 1.0)  # of images without modes, or without triples of them
    return {
        name: between_classes(rows, classes, groups=units) if rows.shape[1] else nothing
        for name, rows in features.items()
    }


def _half(height: int, width: int) -> list[tuple[int, int]]:
    """One of each pair of modes k, -k but k = 0, lowest wave number first."""
    chosen: dict[tuple[int, int], tuple[int, int]] = {}
    near = [(_signed(a, height), _signed(b, width)) for a in range(height) for b in range(width)]
    for a, b in sorted(near, key=lambda k: (k[0] ** 2 + k[1] ** 2, -k[0], -k[1])):
        mirror = (-a % height, -b % width)
        if (a, b) != (0, 0) and mirror not in chosen:
            chosen[a % height, b % width] = (a, b)
    return list(chosen)


def _signed(k: int, length: int) -> int:
    return k if k <= length // 2 else k - length


def _amplitudes(batch: Array) -> Array:
    size = np.abs(np.fft.fft2(batch, axes=(1, 2)))
    rows, columns = np.array(_half(*batch.shape[1:3]), int).reshape(-1, 2).T
    return np.asarray(size[:, rows, columns])


def _triples(batch: Array) -> Array:
    """Real and imaginary parts of exp i (phi_k + phi_q - phi_{k+q}), without amplitudes."""
    height, width = batch.shape[1:3]
    turned = np.fft.fft2(batch, axes=(1, 2))
    size = np.abs(turned)
    floor = 1e-9 * size.max() if size.size else 0.0
    phase = np.where(size > floor, turned / np.maximum(size, max(floor, 1e-300)), 0)
    half = _half(height, width)[:MODES]
    both = half + [(-a % height, -b % width) for a, b in half]
    triples: dict[frozenset[Any], tuple[Any, Any, Any]] = {}
    for k, q in combinations_with_replacement(both, 2):
        last = ((k[0] + q[0]) % height, (k[1] + q[1]) % width)
        opposite = (-last[0] % height, -last[1] % width)
        name = tuple(sorted((k, q, opposite)))
        mirror = tuple(sorted((-a % height, -b % width) for a, b in name))
        if (0, 0) not in name:
            triples.setdefault(frozenset((name, mirror)), (k, q, opposite))
    rows, columns = np.array(list(triples.values()), int).reshape(-1, 3, 2).transpose(2, 1, 0)
    products = np.prod(phase[:, rows, columns], axis=1)
    return np.concatenate([products.real, products.imag], axis=1)
