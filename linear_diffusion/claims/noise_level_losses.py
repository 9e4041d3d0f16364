"""Training and test losses at several noise levels, a part of `linear/exact-errors`."""

import numpy as np

import learning_dynamics as ld
from learning_dynamics.report.claims import Run
from linear_diffusion import theory
from linear_diffusion.claims.common import data_sets

SIZES, RIDGE = (60, 240), 0.01
LEVELS = np.array([0.2, 0.5, 0.8, 0.95, 0.99])


def losses_at_levels(run: Run) -> dict[tuple[str, int], ld.Comparisons]:
    """Both losses at all noise levels, below and above N = d, by kind and N."""
    sets = data_sets(run, SIZES, replicas=(32, 256), first=10)
    measured, tests = sets.losses(LEVELS, ridge=RIDGE), {}

    def law(kind: str) -> ld.Prediction:
        return sets.expected(
            lambda s, N: getattr(theory.losses(s, N[:, None], RIDGE, LEVELS), kind)
        )

    laws = {"train": law("train"), "test": law("test")}
    for at, N in enumerate(SIZES):
        for kind, title in (("train", "training"), ("test", "test")):
            tests[kind, N] = ld.compare_with_controls(
                getattr(measured, kind).select(N_over_d=at), laws[kind][:, at],
                name=f"{title} loss, N/d = {N / 120:g}", quantity="loss / d",
            )  # fmt: skip
    return tests
