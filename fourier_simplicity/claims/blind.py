"""Neurons that cannot see a tie, a part of `fourier/phases-cost-n-cubed`."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
from numpy.typing import NDArray

import fourier_simplicity as fs
import learning_dynamics as ld
from fourier_simplicity.claims.searches import HARMONIC
from fourier_simplicity.claims.searches_beside_laws import LEVELS, shares_at, shares_of_law
from learning_dynamics.evidence.statistics import shares
from learning_dynamics.report.claims import Evidence, Run


def blind(run: Run, law: NDArray[np.float64]) -> Evidence:
    """Odd activation, and a tie that full jitter breaks: nobody recovers."""
    n, broken = 24, fs.FourierInputs(64, fs.harmonic(1, jitter=np.pi))
    longest = partial(HARMONIC.samples, scaled=float(np.quantile(law, LEVELS[-1])))
    learners = {
        "erf": replace(HARMONIC, activation="erf"),
        "broken tie": replace(HARMONIC, inputs=broken),
    }
    times = {
        # as many runs and the same threshold as for the whole tie: one program serves both
        name: ld.recovery_times(
            case.problem, dimensions=[n], replicas=HARMONIC.replicas, stop=HARMONIC.stop,
            longest=longest, key=jax.random.fold_in(run.key, 4000 + n), sweep=run.sweep,
        )
        for name, case in learners.items()
    }  # fmt: skip
    recovered = np.stack([np.isfinite(each.samples[:, 0]) for each in times.values()], axis=1)
    lost = np.array([each.lost[0] for each in times.values()])
    measured = shares(recovered, {"learner": list(times)}, lost=lost)
    nothing = ld.Prediction([0.0, 0.0], label="blind")
    at_law = ld.compare(
        shares_at(law, HARMONIC, times["broken tie"]), shares_of_law(law, [n]),
        name="broken tie against the law", quantity="share recovered",
    )  # fmt: skip
    return Evidence(
        [ld.compare(measured, nothing, name="blind learners", quantity="share recovered")],
        [at_law],
        {},
    )
