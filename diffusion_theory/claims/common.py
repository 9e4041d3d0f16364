"""What the claims share: exponents and medians beside those of a law."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import slopes_of_law

__all__ = ["SOURCE", "compare_exponents", "compare_median"]

SOURCE = "Bardone, Merger and Goldt, arXiv 2603.12901; formulas derived here"


def compare_exponents(
    recoveries: ld.Recoveries,
    medians: ArrayLike,
    *,
    wrong: tuple[float, str],
    logarithm: bool = False,
    left_out: ArrayLike = 0.0,
    order: str = "",
) -> tuple[ld.Comparisons, str]:
    """Overall and local exponents of n* in d beside those of a law and a wrong one, and in words.

    Args:
        recoveries: measured n*.
        medians: of n* by the law, at each d.
        wrong: another exponent, and what it would be that of.
        logarithm: whether to take log d off n*.
        left_out: relative bias of the medians, at each d.
        order: that bias as a formula.
    """
    d = recoveries.dimensions
    fit = ld.fit_exponent(d, recoveries.samples, logarithm=logarithm)
    scaled = np.asarray(medians) / (np.log(d) if logarithm else 1.0)
    law = slopes_of_law(d, scaled, left_out=left_out, order=order, label="law at the same d")
    control = ld.Prediction(np.full(law.values.shape, wrong[0]), label=wrong[1])
    samples = "n* / log d" if logarithm else "n*"
    low, high = fit.interval
    local = zip(fit.local, law.values[1:], strict=False)  # two d have no local slopes of their own
    words = (
        f"Fitted exponent of {samples}: {fit.exponent:.3f}, 95 % interval {low:.3f} to {high:.3f} "
        f"(bootstrap over replicas, jointly across d); "
        f"the law at the same d gives {law.values[0]:.3f}; "
        "local slopes " + ", ".join(f"{slope:.2f} (law {exact:.2f})" for slope, exact in local)
    )
    tests = ld.compare_with_controls(
        fit.measurement(), law, control, name="exponents", quantity=f"exponent of {samples} in d"
    )
    return tests, f"{words}."


def compare_median(quantiles: ld.Measurement, law: float, label: str) -> ld.Comparisons:
    """Median at the largest d against the leading law, a tenth of it allowed."""
    place = int(np.flatnonzero(quantiles.coordinates["quantile"] == 0.5)[0])
    median = quantiles.select(quantile=place, dimension=slice(-1, None))
    leading = ld.Prediction([law], label=label).with_bias([law / 10], "10 %")
    name, quantity = "median at the largest d", "samples to recovery"
    return ld.compare_with_controls(median, leading, name=name, quantity=quantity)
