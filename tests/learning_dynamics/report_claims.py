"""Claims of a plug-in as a new process finds them; for `test_report_workers`."""

import os
import signal
import time
from pathlib import Path

import jax
import numpy as np

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.evidence.figures import plot_comparison
from learning_dynamics.report.claims import Evidence, Panel, claim

HOLDS = {"statement": "Means of normal draws are zero.", "source": "here"}


def _evidence(run, shift=0.0):
    draws = np.asarray(jax.random.normal(run.key, (400, 3)))
    measured = Measurement.from_replicas(draws, {"x": [1, 2, 3]})
    good, bad = (
        compare(measured, Prediction(np.full(3, mean)), name="mean", quantity="mean")
        for mean in (shift, 1.0)
    )
    return Evidence([good], [bad], {"mean": Panel(plot_comparison(good), "mean")})


@claim("side/long", **HOLDS, seconds=30)
def long(run):
    list(run.track(range(3), "steps"))
    return _evidence(run)


@claim("side/short", **HOLDS, seconds=1)
def short(run):
    return _evidence(run)


@claim("side/wrong", **HOLDS, seconds=10)
def wrong(run):
    return _evidence(run, shift=9.0)


@claim("side/killed", **HOLDS, seconds=20)
def killed(run):
    os.kill(os.getpid(), signal.SIGKILL)


@claim("side/raises", **HOLDS, seconds=15)
def raises(run):
    raise ArithmeticError("no root")


@claim("slow/first", **HOLDS, seconds=1)
def waits_never(run):
    return _evidence(run)


@claim("slow/second", **HOLDS, seconds=5)
def waits(run):
    Path(os.environ["REPORT_CLAIMS_STARTED"]).write_text(str(os.getpid()))
    time.sleep(600)
