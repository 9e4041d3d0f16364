"""Neurons that learn a quartet in a power-law spectrum, and the diffusion beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import jax
import numpy as np
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld

Array = NDArray[np.float64]
SHARE = 0.4  # of the largest tie overlap: beyond the reach of diffusion, within that of a neuron
LEVEL = 0.35  # share of the runs that know the tie at n*
POINTS = 24  # observations of a run
HORIZON = 3.0  # of isotropic inputs, n / N^3
STEP = 0.05  # of the diffusion


@dataclass(frozen=True)
class Case:
    """One neuron, a spectrum |k|^-gamma and a quartet tied at its low or high end.

    Attributes:
        gamma: exponent of the spectrum.
        dimension: N, even.
        replicas: number of runs.
        low: whether modes 1 to 4 are tied, or the last four.
        broken: whether jitter of the tie covers the circle.
    """

    gamma: float
    dimension: int
    replicas: int = 1
    low: bool = True
    broken: bool = False

    @property
    def label(self) -> str:
        """Name in tables."""
        place = f"{'low' if self.low else 'high'}{' broken' * self.broken}"
        return f"γ={self.gamma:g} {place} N={self.dimension}"

    @property
    def inputs(self) -> fs.FourierInputs:
        """The input model, on a ring of N + 2 sites."""
        n, jitter = self.dimension, np.pi * self.broken
        if self.gamma == 0:  # any N will do
            return fs.FourierInputs(12, fs.quartet(1, 4, 2, jitter=jitter))
        modes = (1, 4, 2) if self.low else (n // 2 - 3, n // 2, n // 2 - 2)
        spectrum = fs.power_law_spectrum(n + 2, self.gamma)
        return fs.FourierInputs(n + 2, fs.quartet(*modes, jitter=jitter), spectrum)

    @property
    def effective(self) -> float:
        """N_eff of the whole tie."""
        whole = replace(self, broken=False)
        return float(self.dimension) if self.gamma == 0 else fs.effective_dimension(whole.inputs)

    def problem(self) -> ld.Problem:
        """He4 on the normalised preactivation, step 0.3 min(1, N / N_eff) / N_eff."""
        rate = 0.3 * min(1.0, self.dimension / self.effective) / self.effective
        return fs.phase_problem(
            self.inputs, "he4", learning_rate=rate, normalised=True, may_be_blind=self.broken
        )

    def observations(self) -> Array:
        """Samples, to beyond the quantile LEVEL, which steep spectra delay."""
        scaled = HORIZON if self.gamma < 1.5 else 2 * HORIZON
        last = scaled * self.effective**3 * max(1.0, self.effective / self.dimension)
        return np.asarray(np.rint(np.geomspace(last / 30, last, POINTS)))


WHOLE, BROKEN = Case(1.0, 24, 128), Case(1.0, 24, 128, broken=True)


def recovery(case: Case, paths: int, key: jax.Array) -> dict[str, Array | float]:
    """Cell of a sweep: n* of runs and of paths from the same starts, and what is known along n."""
    number = round(10 * case.gamma) + 100 * case.dimension
    number += 10**6 * case.low + 2 * 10**6 * case.broken
    samples = case.observations()
    along = fs.recover_along(
        case.problem(), samples, dimension=case.dimension, replicas=case.replicas,
        paths=max(case.replicas, paths), quantile=LEVEL, share=SHARE, step=STEP,
        watched=fs.TieOverlap(replace(case, broken=False).inputs),
        level="overlaps" if case.gamma == 0 else "ambient", key=jax.random.fold_in(key, number),
    )  # fmt: skip
    return {
        "gamma": case.gamma,
        "N": float(case.dimension),
        "N_eff": case.effective,
        "replicas": float(case.replicas),
        "low": case.low,
        "samples": samples,
        "measured": along.measured.value,
        "measured_error": along.measured.error,
        "predicted": along.predicted.value,
        "predicted_error": along.predicted.error,
        "known": along.known,
        "expected": along.expected,
        "lost": float(along.lost),
    }


def isotropic(dimension: int, key: jax.Array) -> dict[str, float]:
    """Cell of a sweep: n* of isotropic inputs by the diffusion."""
    case = Case(0.0, dimension)
    samples = dimension**3 * np.geomspace(0.2, HORIZON, POINTS)
    diffusion = fs.neuron_diffusion(
        case.problem(), dimension=dimension, times=samples / dimension, paths=256, key=key,
        step=STEP,
    )  # fmt: skip
    known = fs.TieOverlap(case.inputs).known(diffusion, SHARE)
    crossing = fs.samples_to_share(samples, known, LEVEL, rng=np.random.default_rng(0))
    return {"samples": crossing.value}
