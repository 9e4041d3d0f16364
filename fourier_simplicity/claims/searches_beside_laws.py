"""Recovery times of searches beside the laws without N, a part of `fourier/phases-cost-n-cubed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from fourier_simplicity.claims.searches import AT, HARMONIC, Case, Search
from learning_dynamics.evidence.statistics import share_until, shares, slopes

Array = NDArray[np.float64]
LEVELS = np.array([0.1, 0.2, 0.3, 0.4])
FINITE = 2.5  # relative bias of the diffusion's n* times N: its noise is that at zero overlap
SHIFT = "the shift, of order log(N)/N"


def shares_at(law: Array, case: Case, times: ld.Recoveries, first: int = 0) -> ld.Measurement:
    """Share recovered by quantiles of the law, from N number `first` on; axes (N, time)."""
    grid = np.quantile(law, LEVELS)
    scaled = ld.collapse(times.dimensions, times.samples, case.order - 1.0)[first:]
    recovered = np.stack([column[:, None] <= grid for column in scaled], axis=1)
    axes = {"N": times.dimensions[first:], "time": grid}
    return shares(recovered, axes, lost=times.lost[first:, None])


def shares_of_law(law: Array, sizes: Sequence[int]) -> ld.Prediction:
    """The same of the law for the harmonic tie, shifted."""
    grid, shift = np.quantile(law, LEVELS), HARMONIC.shifts(sizes)
    none, once, twice = (share_until(law, grid - factor * shift) for factor in (0, 1, 2))
    bias = np.maximum(np.abs(none - once), np.abs(twice - once))
    error = np.sqrt(LEVELS * (1 - LEVELS) / law.size)
    return ld.Prediction(once, error * np.ones(once.shape), bias, SHIFT, "law without N, shifted")


def distribution(each: Search) -> ld.Comparisons:
    """Share recovered against n / N^3 at all N but the first; as a control n* grows as N^2."""
    first, *sizes = each.times.dimensions.tolist()
    law = shares_of_law(each.law, sizes)
    sooner = np.quantile(each.law, LEVELS) * np.array(sizes)[:, None] / first
    return ld.compare_each(
        shares_at(each.law, each.case, each.times, first=1),
        law,
        replace(law, values=share_until(each.law, sooner), label="n* ~ N²"),
        name=["distribution of n*/N³", "n* of order N²"],
        quantity="share recovered",
    )


def exponents(searches: Sequence[Search]) -> ld.Comparisons:
    """Growth of a quantile of n*, over all N and between neighbours, against the diffusion."""
    parts, names = [], []
    for each in searches:
        measured, predicted = each.fit.measurement(), each.paths.measurement()
        finite = slopes(each.times.dimensions, np.log1p(FINITE / each.times.dimensions))
        rows = (
            measured.values, measured.standard_error, predicted.values, predicted.standard_error,
            np.abs(finite)[: measured.values.size], 0 * measured.values + each.case.order - 1,
        )  # fmt: skip
        parts.append(np.stack(rows))
        names += [f"{each.name} {sizes}" for sizes in measured.coordinates["range"]]
    values, errors, exact, numerical, bias, order = np.concatenate(parts, axis=1)
    few, why = min(each.fit.replicas for each in searches), f"of n* of {FINITE:g}/N"
    return ld.compare_each(
        ld.Measurement(values, errors, few, {"range": names}),
        ld.Prediction(exact, numerical, bias, why, "diffusion at finite N"),
        ld.Prediction(5 - order, numerical, bias + np.abs(exact - order), why, "exchanged"),
        name=["local exponents", "exponents of triad and quartet exchanged"],
        quantity="exponent of n* in N",
    )


def prefactors(searches: Sequence[Search]) -> ld.Comparison:
    """Lower quantiles of n* at the largest N over those of the law without N."""
    rows, names = [], []
    for each in searches:
        n = int(each.times.dimensions[-1])
        law, error = _lower_middle(each.law)
        shifted, _ = _lower_middle(each.law + each.case.shifts([n])[0])
        least, most = each.fit.quantile_intervals[-1]
        scale = each.case.samples(n, law)
        rows.append(
            (each.fit.quantile[-1] / scale, (most - least) / 2 / scale, shifted / law, error)
        )
        names.append(f"{each.name}, N = {n}")
    values, errors, predicted, numerical = np.array(rows).T
    few = min(each.fit.replicas for each in searches)
    return ld.compare(
        ld.Measurement(values, errors, few, {"tie": names}),
        ld.Prediction(predicted, numerical, np.abs(predicted - 1), SHIFT, "law without N, shifted"),
        name="prefactors at the largest N",
        quantity="n* / law",
    )


def _lower_middle(times: Array) -> tuple[float, float]:
    """Geometric mean of the quantiles AT of draws, and its relative bootstrap error."""
    again = np.random.default_rng(0).choice(times, (200, times.size))
    logs = np.log(np.quantile(np.concatenate([times[None], again]), AT, axis=1, method="lower"))
    means = logs.mean(axis=0)
    return float(np.exp(means[0])), float(means[1:].std(ddof=1))
