"""Searches for a tie: neurons, the diffusion at finite N and the law without N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld
from learning_dynamics.report.claims import Run

Array = NDArray[np.float64]
AT = (0.1, 0.2, 0.3)  # quantiles whose geometric mean gives exponents and prefactors
UNTIL = 0.52  # quantile of the law at which runs are given up: the heavy tail is never followed


@dataclass(frozen=True)
class Case:
    """A tie with the activation that sees it at order k, and delta' = rate.

    Attributes:
        share: part of the largest overlap product that counts as recovery.
        replicas: number of runs at each N, four times as many at full size.
        label: for the legend; it begins with the kind of the tie.
    """

    inputs: fs.FourierInputs
    activation: str
    order: int
    rate: float
    share: float
    replicas: int
    label: str

    def problem(self, n: int) -> ld.Problem:
        """One neuron at N, with the learning rate of its order."""
        rate = self.rate * n ** (-(self.order - 2) / 2)
        return fs.phase_problem(self.inputs, self.activation, learning_rate=rate, may_be_blind=True)

    def stop(self, n: int) -> ld.Stop:
        """What counts as recovery, the same at every N."""
        watched = fs.TieOverlap(self.inputs)
        return ld.Stop(watched, self.share * watched.largest)

    def samples(self, n: int, scaled: float) -> float:
        """Number of samples scaled N^(k-1)."""
        return float(scaled * n ** (self.order - 1.0))

    def shifts(self, sizes: Sequence[int]) -> Array:
        """Finite-N shift of n* / N^(k-1), shape (sizes, 1)."""
        shift = partial(
            fs.recovery_shift, self.inputs, self.activation, self.rate, share=self.share
        )
        return np.array([[shift(dimension=n)] for n in sizes])


LABELS = ("harmonic 3φ₁ = φ₃, He4: N³", "triad φ₁ + φ₂ = φ₃, He3: N²")
HARMONIC = Case(fs.FourierInputs(64, fs.harmonic(1)), "he4", 4, 0.4, 0.25, 160, LABELS[0])
TRIAD = Case(fs.FourierInputs(64, fs.triad(1, 2)), "he3", 3, 0.25, 0.5, 256, LABELS[1])


@dataclass(frozen=True, eq=False)
class Search:
    """Recovery times of a case beside the laws of its search.

    Attributes:
        law: draws of n* / N^(k-1), without N.
        times: of the runs.
        fit: exponents of the runs.
        paths: the same of the diffusion at finite N.
    """

    case: Case
    law: Array
    times: ld.Recoveries
    fit: ld.ExponentFit
    paths: ld.ExponentFit

    @property
    def name(self) -> str:
        """Kind of the tie."""
        return self.case.label.split(" ")[0]


def search(run: Run, case: Case, number: int, *, sizes: Sequence[int], longest: float) -> Search:
    """Runs, paths of the diffusion and draws of the law.

    Args:
        run: of the claim.
        case: which tie.
        number: of the case, for its random keys.
        sizes: N.
        longest: n / N^(k-1) up to which laws are followed, past the quantile UNTIL.
    """
    law = fs.recovery_law(
        case.inputs, case.activation, case.rate, key=jax.random.fold_in(run.key, number),
        draws=1024 if run.quick else 8192, longest=longest,
    )  # fmt: skip
    times = ld.recovery_times(  # the same scaled starts at every N
        case.problem, dimensions=sizes, replicas=case.replicas * (1 if run.quick else 4),
        longest=partial(case.samples, scaled=float(np.quantile(law, UNTIL))), stop=case.stop,
        key=jax.random.fold_in(run.key, 1000 * case.order), sweep=run.sweep,
    )  # fmt: skip
    paths = fs.diffusion_recovery_times(
        case.problem, dimensions=sizes, paths=512, longest=partial(case.samples, scaled=longest),
        stop=case.stop, key=jax.random.fold_in(run.key, 300 + number), step=0.06, sweep=run.sweep,
    )  # fmt: skip
    of_runs, of_paths = (
        ld.fit_exponent(times.dimensions, each.samples, level=AT, confidence=0.68)
        for each in (times, paths)
    )
    return Search(case, law, times, of_runs, of_paths)
