"""A claim of your own: statement, measurement, law, a control that fails, and a figure."""

# %%
import numpy as np
from linear_regression import problem

import learning_dynamics as ld
from learning_dynamics.report.claims import Evidence, Panel, claim, run_claim

N, RATE = 20, 1.0


# %% A step changes the mean of the overlap M by RATE (1 - M) / N: a closed form at every N
@claim(
    "mine/mean-overlap",
    statement="From zero overlap, 1 - M of online linear regression is (1 - rate/N)^updates.",
    source="derived here",
)
def mean_overlap(run):
    seen = ld.simulate(
        problem(RATE), dimension=N, times=np.linspace(0.5, 3, 6), level="overlaps", key=run.key,
        start=ld.order_parameters([[0.0]], [[0.1]]), replicas=20_000 if run.quick else 200_000,
    )  # fmt: skip
    measured = seen.measurement("signal").select(quantity=0)
    law = ld.Prediction(1 - (1 - RATE / N) ** seen.updates, label="law at N = 20")
    wrong = ld.Prediction(1 - np.exp(-RATE * seen.times), label="infinite N")
    tests = ld.compare_with_controls(measured, law, wrong, name="mean overlap", quantity="M")
    panel = Panel(tests.plot(), "Left: markers on the law of N = 20. Right: above infinite N.")
    return Evidence.of([tests], {"overlap": panel}, ["Control: the limit of infinite N."])


# %%
outcome = run_claim(mean_overlap)
print(f"the claim {'holds' if outcome.holds else 'does not hold'}")
for test in (*outcome.evidence.comparisons, *outcome.evidence.controls):
    print(test)
outcome.evidence.panels["overlap"].figure.savefig("own_claim.png")
