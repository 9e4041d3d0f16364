"""Overlaps with a spike in several dimensions and of generated samples, see `spike_recovery`."""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Run
from linear_diffusion import theory
from linear_diffusion.claims.spike_thresholds import OVERLAP, SCHEDULE
from linear_diffusion.data import LatentLaw
from linear_diffusion.spiked import draw_spike_overlaps, generated_spike_overlaps

Array = NDArray[Any]


def sharpness(run: Run) -> ld.Comparisons:
    """Overlaps in three dimensions against the law with and without the rounding at finite d."""
    ratios, dimensions, spike = 2.0 ** np.arange(-2, 3), np.array([64, 512, 4096]), 2.0
    table = run.sweep(
        reduced_overlaps,
        {"dimension": dimensions, "ratio": ratios},
        fixed={"spike": spike, "replicas": 128 if run.quick else 2048, "key": run.key},
    )
    laws = [
        theory.spike_recovery(np.ones(d - 1), spike, np.rint(ratios * d).astype(int))
        for d in dimensions
    ]
    axes = {"dimension": dimensions, "N_over_d": ratios}
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(table["value"], axes, axis=-1),
        stack(law.overlap for law in laws),
        stack(law.limit for law in laws).labelled("no rounding at finite d"),
        name="sharpness in the dimension",
        quantity=OVERLAP,
    )


def reduced_overlaps(
    dimension: int, ratio: float, spike: float, replicas: int, key: jax.Array
) -> Array:
    """Squared overlap of the leading sample eigenvector at N = ratio * d, shape (replicas,)."""
    N = round(ratio * dimension)
    chosen = jax.random.fold_in(jax.random.fold_in(key, dimension), N)
    return draw_spike_overlaps(dimension, spike, N, replicas=replicas, key=chosen)


def generated(run: Run) -> ld.Comparisons:
    """Leading direction of generated samples, with and without a ridge."""
    d, spike, ridges = 64, 1 + np.sqrt(2), np.array([0.0, 2.0])
    ratios = np.array([1.0, 2.0, 5.0, 10.0])
    sizes = np.rint(ratios * d).astype(int)
    table = run.sweep(
        generated_spike_overlaps,
        {"ridge": ridges, "samples": sizes},
        fixed={
            "law": LatentLaw(np.append(spike, np.ones(d - 1))), "generated": 4 * d,
            "schedule": SCHEDULE, "replicas": 48 if run.quick else 512,
            "key": jax.random.fold_in(run.key, 50),
        },
    )  # fmt: skip
    laws = [
        theory.generated_spike_recovery(d, spike, sizes, 4 * d, SCHEDULE, ridge=ridge).overlap
        for ridge in ridges
    ]
    whole = theory.spike_recovery(np.ones(d - 1), spike, sizes).overlap
    axes = {"model": np.array(["no ridge", "ridge c = 2"]), "N_over_d": ratios}
    return ld.compare_with_controls(
        ld.Measurement.from_replicas(table["value"], axes, axis=-1),
        stack(laws),
        stack([whole] * 2).labelled("the law in place of samples"),
        stack(laws[:1] * 2).labelled("a ridge without effect"),
        name="generated samples",
        quantity=OVERLAP,
    )
