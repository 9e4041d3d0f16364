"""`linear/remedies-below-dimension`: ridge, early stopping and hierarchical covariances."""

from collections.abc import Sequence

import numpy as np

import learning_dynamics as ld
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion.claims.common import SOURCE, SPECTRA, data_sets
from linear_diffusion.claims.hierarchy import hierarchy
from linear_diffusion.data_sets import DataSets
from linear_diffusion.remedies import Remedy, early_stopping, ridge_regularisation
from linear_diffusion.simulation import SampleModes

ALPHA_BAR, SAMPLES, D, CASES = 0.9, 60, 120, {"spectrum": SPECTRA}
RIDGE, RIDGES = ridge_regularisation("forward"), np.geomspace(3e-3, 10.0, 12)
STOPPING, TIMES = early_stopping(ALPHA_BAR), np.geomspace(0.05, 200.0, 14)


@claim(
    "linear/remedies-below-dimension",
    statement=(
        "With fewer samples than dimensions the test loss exceeds the training loss by far; ridge "
        "regularisation, early stopping and a hierarchical covariance prevent this overfitting."
    ),
    source=SOURCE,
    seconds=8,
)
def remedies(run: Run) -> Evidence:
    """KL against ridge, test loss against training time, and both optima, at N = d/2."""
    sets = data_sets(run, [SAMPLES], replicas=(32, 256))
    sources = run.track(list(sets.sources.values()), "training sets")
    drawn = [source.modes(SAMPLES, sets.replicas) for source in sources]
    ridge = ld.compare_with_controls(
        RIDGE.errors(drawn, RIDGES, CASES), _law(RIDGE, sets, RIDGES),
        name="KL against ridge", quantity="forward KL (nats)",
    )  # fmt: skip
    ridge_optimum = _optimum(RIDGE, drawn, "optimal ridge", "optimal ridge")
    stopping = ld.compare_with_controls(
        STOPPING.errors(drawn, TIMES, CASES), _law(STOPPING, sets, TIMES),
        name="test loss along training", quantity="test loss / d",
    )  # fmt: skip
    stopping_optimum = _optimum(
        STOPPING, drawn, "optimal stopping", r"optimal stopping time $\tau$"
    )
    hierarchical, hierarchy_panel = hierarchy(run)
    ridges, times = (np.geomspace(x[0], x[-1], 100) for x in (RIDGES, TIMES))
    panels = {
        "ridge": Panel(
            ridge[0].plot(
                x="ridge", series="spectrum", logx=True, logy=True, x_label="ridge c",
                fine=(ridges, _law(RIDGE, sets, ridges).values),
            ),
            "Forward KL against ridge with half as many samples as dimensions: infinite without "
            "ridge, least at an interior optimum.",
        ),
        "ridge-optimum": Panel(
            ridge_optimum[0].plot(logy=True),
            "The ridge of least KL, read off the simulated curves (jackknife error) and predicted.",
        ),
        "stopping": Panel(
            stopping[0].plot(
                x="tau", series="spectrum", logx=True, logy=False, x_label=r"training time $\tau$",
                fine=(times, _law(STOPPING, sets, times).values),
            ),
            "Test loss along training without ridge: it overshoots once the null directions are "
            "fitted, most for flat spectra, and hardly at all for steep ones.",
        ),
        "stopping-optimum": Panel(
            stopping_optimum[0].plot(logy=False),
            "The time of least test loss, simulated and predicted.",
        ),
        "hierarchy": hierarchy_panel,
    }  # fmt: skip
    tests = [ridge, ridge_optimum, stopping, stopping_optimum, hierarchical]
    return Evidence.of(tests, panels, NOTES)


NOTES = (
    "N = d/2 = 60, and alpha_bar = 0.9 for early stopping. The time tau is that of gradient flow, "
    "2 (learning rate) steps / d.",
    "Controls: the optimal ridge and stopping time of models with twice the data.",
)


def _law(remedy: Remedy, sets: DataSets, values: np.ndarray) -> ld.Prediction:
    return sets.expected(lambda s, N: remedy.expected(s, N, values))[:, 0]


def _optimum(
    remedy: Remedy, drawn: Sequence[SampleModes], name: str, quantity: str
) -> ld.Comparisons:
    """Where the error is least, with twice the data as a control."""
    right, twice = (
        stack(remedy.best(modes.spectrum, samples) for modes in drawn)
        for samples in (SAMPLES, 2 * SAMPLES)
    )
    bias = right.values / D, "$1/d$, relative"
    return ld.compare_with_controls(
        remedy.optimum(drawn, right.values, CASES),
        right.with_bias(*bias).labelled("predicted"),
        twice.with_bias(*bias).labelled(f"{name} for twice the data"),
        name=name, quantity=quantity,
    )  # fmt: skip
