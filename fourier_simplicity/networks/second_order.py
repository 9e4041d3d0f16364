"""Pairwise statistics beside the networks: classifiers that use nothing else, and white inputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.networks.cues import CueSets
from learning_dynamics.evidence.measurement import Measurement
from learning_dynamics.validation import finite_array, one_of, positive_integer, reject

__all__ = ["angular_covariance", "gain_over_pairs", "pairwise_accuracy", "white_sets"]

Array = NDArray[np.float64]
ANGULAR = "angular Gaussian"
RULES = ("linear", "quadratic", ANGULAR)


def angular_covariance(rows: Array, *, iterations: int = 30) -> Array:
    """Covariance, up to scale, of the Gaussian whose directions x / |x| are given.

    Fixed point of Sigma = (d/n) sum_i x_i x_i' / (x_i' Sigma^-1 x_i), trace d.

    Args:
        rows: directions, shape (n, d), n > d.
        iterations: of the fixed point; it converges geometrically.

    Source: Tyler, "Statistical analysis for the angular central Gaussian distribution" (1987).
    """
    n, d = rows.shape
    covariance = np.eye(d)
    for _ in range(iterations):
        weights = d / np.einsum("ni,ni->n", rows @ np.linalg.inv(covariance), rows)
        covariance = (rows.T * weights) @ rows / n
        covariance *= d / np.trace(covariance)
    return covariance


def _angular_scores(rows: Array, covariance: Array) -> Array:
    d = len(covariance)
    forms = np.einsum("ni,ni->n", rows @ np.linalg.inv(covariance), rows)
    scores: Array = -0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * d * np.log(forms)
    return scores


def _basis(rows: Array) -> Array:
    """Orthonormal columns that span the directions in which rows vary: without the removed mean."""
    spread, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    return np.asarray(directions[:, spread > 1e-6 * spread[-1]])


def white_sets(sets: CueSets, *, limit: int = 10_000, iterations: int = 12) -> CueSets:
    """The same images without a principal subspace: S^-1/2 x, scaled to unit variance again.

    S is `angular_covariance` of the training images. Its fixed point is the condition that scaled
    S^-1/2 x have a covariance proportional to one. All test sets are turned by the same matrix.

    Args:
        sets: training and test images of zero mean and unit variance.
        limit: most training images that S is taken from.
        iterations: of its fixed point.
    """

    def rows(images: NDArray[Any]) -> Array:
        return np.asarray(images.reshape(len(images), -1), np.float64)

    chosen = rows(sets.train[0][:limit])
    basis = _basis(chosen)
    values, vectors = np.linalg.eigh(angular_covariance(chosen @ basis, iterations=iterations))
    turn = basis @ (vectors / np.sqrt(values)) @ vectors.T @ basis.T

    def white(images: NDArray[Any]) -> NDArray[np.float32]:
        turned = rows(images) @ turn
        size = np.sqrt(np.mean(turned**2, axis=1, keepdims=True))
        return np.asarray(turned / np.maximum(size, 1e-12), np.float32).reshape(images.shape)

    train = white(sets.train[0]), sets.train[1]
    tests = {name: (white(images), labels) for name, (images, labels) in sets.tests.items()}
    return replace(sets, train=train, tests=tests)


def pairwise_accuracy(
    sets: CueSets, *, rules: Sequence[str] = RULES, limit: int = 20_000
) -> dict[str, dict[str, float]]:
    """Accuracy on every test set of classifiers fitted to the training images.

    "linear": linear discriminant analysis. "quadratic": quadratic discriminant analysis. "angular
    Gaussian": the likelihood of directions of Gaussian vectors with each class's covariance,
    log p = -log|Sigma|/2 - (d/2) log(x' Sigma^-1 x): Bayes' rule for normalised patches of
    Gaussian textures, so that no use of pairwise statistics alone does better on them.

    Args:
        sets: training and test images of zero mean and unit variance.
        rules: classifiers to fit, by default all.
        limit: most training images that are used.

    Returns:
        Classifier -> test set -> accuracy.

    Raises:
        ValueError: on an unknown classifier, or a limit below one.
    """
    limit = positive_integer("limit", limit)
    asked = [one_of("rules", rule, RULES) for rule in rules]
    images, labels = sets.train
    rows = images[:limit].reshape(len(images[:limit]), -1).astype(np.float64)
    labels = labels[:limit]
    basis = _basis(rows)
    told = {rule: _fitted(rule, rows @ basis, labels) for rule in asked}
    accuracy: dict[str, dict[str, float]] = {rule: {} for rule in asked}
    for test, (x, y) in sets.tests.items():
        turned = x.reshape(len(x), -1).astype(np.float64) @ basis
        for name, rule in told.items():
            accuracy[name][test] = float(np.mean(rule(turned) == y))
    return accuracy


def _fitted(rule: str, rows: Array, labels: NDArray[Any]) -> Callable[[Array], NDArray[Any]]:
    """Classes of rows by one of `RULES`."""
    from sklearn import discriminant_analysis  # half a second, which few need

    if rule == "linear":
        fit = discriminant_analysis.LinearDiscriminantAnalysis()
        return fit.fit(rows, labels).predict
    if rule == "quadratic":
        fit = discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=1e-4)
        return fit.fit(rows, labels).predict
    classes = np.unique(labels)
    shapes = [angular_covariance(rows[labels == c]) for c in classes]

    def angular(x: Array) -> NDArray[Any]:
        scores = np.stack([_angular_scores(x, shape) for shape in shapes], axis=1)
        return np.asarray(classes[np.argmax(scores, axis=1)])

    return angular


def gain_over_pairs(accuracy: ArrayLike, sets: Sequence[CueSets]) -> Measurement:
    """Accuracy of networks on real images less that of the angular Gaussian rule, mean over seeds.

    Positive gains need more than pairwise statistics.

    Args:
        accuracy: of each network on the test set "real", shape (seeds,).
        sets: of each network.

    Returns:
        One value, on the coordinate "rule".

    Raises:
        ValueError: with fewer than two seeds, another number of sets, or none called "real".
    """
    seen = finite_array("accuracy", accuracy, ndim=1)
    if len(sets) != seen.size:
        raise reject("sets", f"be one for each of {seen.size} networks", len(sets))
    for each in sets:
        if "real" not in each.tests:
            raise reject("sets", "have the test set 'real'", list(each.tests))
    real = [replace(each, tests={"real": each.tests["real"]}) for each in sets]
    best = [pairwise_accuracy(each, rules=[ANGULAR])[ANGULAR]["real"] for each in real]
    axes = {"rule": [f"network - {ANGULAR}"]}
    return Measurement.from_replicas((seen - best)[:, None], axes, label="end of training")
