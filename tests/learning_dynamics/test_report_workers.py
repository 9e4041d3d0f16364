"""Claims that run side by side, each in a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from learning_dynamics.report import claims
from learning_dynamics.report.claims import Claim
from learning_dynamics.report.forecast import Forecast, shortest_then_longest
from learning_dynamics.report.page import run_report
from learning_dynamics.report.progress import Progressing
from learning_dynamics.report.workers import can_run_elsewhere
from tests.learning_dynamics.test_processes import ends

HOME = "tests.learning_dynamics.report_claims"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def plugin(monkeypatch):
    """The claims of `report_claims` as those of an installed package."""
    monkeypatch.setattr(claims, "_registry", {})
    sys.modules.pop(HOME, None)
    entry = SimpleNamespace(name="side", value=HOME)
    for module in ("claims", "workers"):
        monkeypatch.setattr(
            f"learning_dynamics.report.{module}.entry_points", lambda group: [entry]
        )
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    return entry


def quiet():
    return Progressing(Console(file=io.StringIO(), force_terminal=False))


def published(out):
    """What is published, without times and dates."""
    records = json.loads((out / "claims.json").read_text())
    return {r["id"]: {k: v for k, v in r.items() if k not in ("seconds", "date")} for r in records}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_side_by_side_comes_to_the_same_results(plugin, tmp_path, workers):
    names = ["side/long", "side/raises", "side/wrong"]
    run_report(names, out=tmp_path / "serial", progress=quiet())
    lines = io.StringIO()
    outcomes = run_report(
        names, out=tmp_path / "side", workers=workers,
        progress=Progressing(Console(file=lines, force_terminal=False)),
    )  # fmt: skip
    assert [o.claim.id for o in outcomes] == names
    assert [o.holds for o in outcomes] == [True, False, False]
    serial, side = published(tmp_path / "serial"), published(tmp_path / "side")
    assert "ArithmeticError: no root" in serial["side/raises"].pop("error")
    assert "ArithmeticError: no root" in side["side/raises"].pop("error")
    assert serial == side
    assert lines.getvalue().count(" left\n") == 2  # the last one is the end
    page = (tmp_path / "side" / "index.html").read_text()
    assert "1 of 3 claims hold" in page
    assert "refresh" not in page
    assert (tmp_path / "side" / "figures" / "side_long-mean.svg").is_file()


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_claim_alone(plugin, tmp_path):
    names = ["side/killed", "side/long", "side/short"]
    outcomes = run_report(names, out=tmp_path, workers=1, progress=quiet())
    assert [o.holds for o in outcomes] == [False, True, True]
    killed, *_ = published(tmp_path).values()
    assert "was ended by signal 9" in killed["error"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_ends_the_processes_and_keeps_what_is_done(plugin, tmp_path, how):
    """Ctrl-C reaches all processes, SIGKILL the command alone."""
    started = tmp_path / "started"
    script = f"""
import sys
from types import SimpleNamespace
from learning_dynamics.report import claims, cli, workers
entry = SimpleNamespace(name="slow", value={HOME!r})
claims.entry_points = workers.entry_points = lambda group: [entry]
if __name__ == "__main__":
    sys.exit(cli.main(["report", "slow/", "--workers", "1", "--out", {str(tmp_path / "out")!r}]))
"""
    (tmp_path / "script.py").write_text(script)
    report = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "REPORT_CLAIMS_STARTED": str(started), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not started.exists() and report.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        page = (tmp_path / "out" / "index.html").read_text()
        assert "running: slow/second; about " in page
        assert '<meta http-equiv="refresh"' in page
        if how == signal.SIGINT:
            os.killpg(report.pid, how)
        else:
            report.kill()
        _, errors = report.communicate(timeout=60)
    finally:
        report.kill()
    if sys.platform == "linux":
        assert ends(report.pid, within=10)  # no process is left behind
    assert list(published(tmp_path / "out")) == ["slow/first"]
    if how == signal.SIGKILL:
        return
    assert report.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted: the finished claims are kept" in errors
    page = (tmp_path / "out" / "index.html").read_text()
    assert "refresh" not in page
    assert "not run yet: slow/second" in page
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_only_functions_of_a_plugin_run_elsewhere(plugin):
    known, _ = claims.load_plugins()
    assert can_run_elsewhere(known["side/long"])
    assert not can_run_elsewhere(Claim("a/b", "tests", "s", "here", quiet))
    local = known["side/long"].test.__globals__["_evidence"]
    assert not can_run_elsewhere(Claim("a/b", HOME, "s", "here", lambda run: local(run)))


def made(**seconds):
    return [Claim(f"a/{name}", "a", "s", "here", quiet, work) for name, work in seconds.items()]


def test_the_shortest_claim_is_first_and_then_the_longest():
    order = shortest_then_longest(made(a=30, b=5, c=50, d=30))
    assert [claim.id for claim in order] == ["a/b", "a/c", "a/a", "a/d"]


def test_time_that_is_left_follows_the_pace_of_this_run():
    now = [0.0]
    a, b, c = made(a=10, b=60, c=30)
    forecast = Forecast([a, b, c], workers=2, clock=lambda: now[0])
    forecast.start(a)
    forecast.start(b)
    # a ends at 10 and c takes its place until 40, b ends at 60
    assert forecast.left() == pytest.approx(60)
    now[0] = 20.0  # twice as slow as recorded
    forecast.end(a)
    pace = (20 + 60) / (10 + 60)  # one short claim says little
    assert forecast.left() == pytest.approx(60 * pace - 20)
    assert forecast.pending == ["a/b", "a/c"]
    now[0] = 6000.0  # b takes long, which says much
    forecast.end(b)
    assert forecast.left() == pytest.approx(30 * (6020 + 60) / (70 + 60))


THREADS = """
import json, os
import numpy
from threadpoolctl import threadpool_info
from learning_dynamics.sweeps.worker import keep_to
before = [pool["num_threads"] for pool in threadpool_info()]
keep_to([min(os.sched_getaffinity(0))])
import scipy.linalg, linear_diffusion  # brings a library of its own
print(json.dumps([before, [pool["num_threads"] for pool in threadpool_info()]]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="has no cores to keep to")
def test_linear_algebra_has_no_more_threads_than_cores():
    """Although its library counted them when it was loaded."""
    told = subprocess.run(
        [sys.executable, "-c", THREADS], check=True, capture_output=True, text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "3"}, cwd=ROOT,
    )  # fmt: skip
    before, after = json.loads(told.stdout)
    assert max(before) > 1
    assert set(after) == {1}
