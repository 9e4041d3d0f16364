import json
import os

import numpy as np
import pytest

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.report import claims
from learning_dynamics.report.claims import Evidence, claim, run_claim
from learning_dynamics.report.cli import main

CALLS: list = []


def measure(samples, replicas):
    """A cell of the claim below."""
    CALLS.append(samples)
    if os.environ.get("STOP_AT") == str(samples):
        raise KeyboardInterrupt
    return np.random.default_rng(samples).standard_normal(replicas)


def evidence(values, wrong=9.0):
    measured = Measurement.from_replicas(values.T, {"samples": np.arange(values.shape[0])})

    def beside(value):
        return compare(measured, Prediction(np.full(values.shape[0], value), 0.0), name="mean")

    return Evidence([beside(0.0)], [beside(wrong)], {})


def sweeping(run):
    """Three cells of a sweep."""
    CALLS.append("swept")
    found = run.sweep(measure, {"samples": [1, 2, 3]}, fixed={"replicas": 20})
    return evidence(found["value"].values)


def plain(run):
    """A claim without a sweep."""
    CALLS.append("plain")
    return evidence(np.random.default_rng(5).standard_normal((2, 20)))


def broken(run):
    """A claim that stops with an error."""
    CALLS.append("broken")
    raise RuntimeError("no")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Claims of this module in a registry of their own."""
    monkeypatch.setattr(claims, "_registry", {})
    monkeypatch.setattr(claims, "entry_points", lambda group: [])
    CALLS.clear()
    for name, test in (("a/plain", plain), ("b/sweeping", sweeping)):
        claim(name, statement="statement", source="here")(test)


def report(out, *more):
    CALLS.clear()
    return main(["report", "--size", "full", "--out", str(out), *more])


def test_a_full_report_goes_on_where_it_was_interrupted(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STOP_AT", "3")
    assert report(tmp_path) == 130
    assert CALLS == ["plain", "swept", 1, 2, 3]
    monkeypatch.delenv("STOP_AT")
    assert report(tmp_path) == 0
    assert CALLS == ["swept", 3]
    assert "[1/2] a/plain: holds (kept from an earlier run)" in capsys.readouterr().err
    assert report(tmp_path) == 0
    assert CALLS == []
    assert [entry["id"] for entry in json.loads((tmp_path / "claims.json").read_text())] == [
        "a/plain",
        "b/sweeping",
    ]
    assert report(tmp_path, "--fresh") == 0
    assert CALLS == ["plain", "swept", 1, 2, 3]


def test_another_seed_size_or_code_is_another_run(tmp_path, monkeypatch):
    assert report(tmp_path) == 0
    assert report(tmp_path, "--seed", "1") == 0
    assert CALLS == ["plain", "swept"]  # the cells do not depend on the key here
    assert report(tmp_path, "--seed", "1") == 0
    assert CALLS == []
    claims._registry.clear()
    claim("a/plain", statement="statement", source="here")(broken)
    assert report(tmp_path, "--seed", "1", "a/plain") == 1
    assert CALLS == ["broken"]
    assert report(tmp_path, "--seed", "1", "a/plain") == 1  # an error is not an outcome to keep
    assert CALLS == ["broken"]


@pytest.mark.slow
def test_a_quick_report_always_runs(tmp_path):
    for _ in range(2):
        CALLS.clear()
        assert main(["report", "--out", str(tmp_path)]) == 0
        assert CALLS == ["plain", "swept", 1, 2, 3]
    assert not (tmp_path / "sweeps").exists()


def test_a_kept_failure_still_fails(tmp_path):
    claims._registry.clear()
    claim("a/fails", statement="statement", source="here")(failing)
    assert report(tmp_path) == 1
    assert report(tmp_path) == 1
    assert CALLS == []


def failing(run):
    """A claim whose theory is wrong."""
    CALLS.append("failing")
    return evidence(3 + np.random.default_rng(5).standard_normal((2, 20)))


def test_seconds_count_what_an_interrupted_run_had_spent(tmp_path, monkeypatch):
    chosen = claims._registry["b/sweeping"]
    run_claim(chosen, size="full", store=tmp_path)
    from learning_dynamics.sweeps import store as store_module

    original = store_module.Store.read

    def slow(store, key):
        record = original(store, key)
        record.about["seconds"] = 100.0
        return record

    monkeypatch.setattr(store_module.Store, "read", slow)
    assert 290 < run_claim(chosen, size="full", store=tmp_path).seconds < 310
