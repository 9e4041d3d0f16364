"""Plug-ins and records that are broken, and claims that end the program."""

import io
import json
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.report import claims
from learning_dynamics.report.claims import Evidence, claim, load_claims, load_plugins
from learning_dynamics.report.cli import main
from learning_dynamics.report.page import run_report, write_report
from learning_dynamics.report.progress import Progressing
from learning_dynamics.report.records import load_records

GOOD = """
from learning_dynamics.report.claims import claim
from tests.learning_dynamics.test_plugins import evidence

claim("{id}", statement="s", source="here")(lambda run: evidence())
"""


def evidence():
    draws = np.random.default_rng(0).standard_normal((20, 2))
    measured = Measurement.from_replicas(draws, {"x": [1, 2]})
    found = [
        compare(measured, Prediction(np.full(2, p), 0.0), name="mean", quantity="q")
        for p in (0.0, 9.0)
    ]
    return Evidence(found[:1], found[1:], {})


@pytest.fixture(autouse=True)
def plugins(monkeypatch, tmp_path):
    """A registry of its own; installs modules, given as texts, as plug-ins."""
    folder = tmp_path / "site"
    folder.mkdir()
    entries = []
    monkeypatch.setattr(claims, "_registry", {})
    monkeypatch.setattr(claims, "entry_points", lambda group: list(entries))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    def install(name, text, distribution="other"):
        (folder / f"plugin_{name}.py").write_text(text)
        dist = SimpleNamespace(name=distribution)
        entries.append(SimpleNamespace(name=name, value=f"plugin_{name}", dist=dist))

    yield install
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


@pytest.fixture
def quiet():
    return Progressing(Console(file=io.StringIO(), force_terminal=False))


BROKEN = {
    "raises": "1 / 0",
    "ends": "import sys; sys.exit(5)",
    "misspelt": "import no_such_module",
    "unreadable": "def",
    "odd": 'raise ValueError("\\udc80")',
    "half": GOOD.format(id="half/one") + "1 / 0",
    "bad": GOOD.format(id="no identifier"),
    "taken": GOOD.format(id="good/one"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_costs_its_own_claims(plugins, capsys, kind):
    plugins(kind, BROKEN[kind])
    plugins("good", GOOD.format(id="good/one"), "learning-dynamics")
    assert main(["list"]) == 3
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["good/one\tplugin_good\ts"]
    assert f"plug-in {kind} is left out: " in printed.err
    with pytest.warns(UserWarning, match=f"plug-in {kind} is left out"):
        assert list(load_claims()) == ["good/one"]


def test_a_broken_plugin_is_shown_where_its_claims_are_asked_for(plugins, tmp_path, capsys):
    plugins("broken", "1 / 0")
    plugins("good", GOOD.format(id="good/one"))
    out = tmp_path / "report"
    assert main(["report", "--out", str(out), "good/"]) == 0
    assert main(["report", "--out", str(out)]) == 3
    page = (out / "index.html").read_text("utf-8")
    assert "1 of 1 claims hold" in page
    assert "The claims of broken are missing, plugin_broken cannot be imported." in page
    assert [entry["id"] for entry in json.loads((out / "claims.json").read_text())] == ["good/one"]
    with pytest.raises(SystemExit) as stopped:
        main(["report", "--out", str(out), "broken/"])
    assert stopped.value.code == 2
    assert "not loaded: broken, ZeroDivisionError" in capsys.readouterr().err


def test_a_failing_claim_counts_more_than_a_broken_plugin(plugins, tmp_path):
    plugins("broken", "1 / 0")
    plugins("bad", GOOD.format(id="bad/one").replace("evidence()", "1 / 0"))
    assert main(["report", "--out", str(tmp_path / "report")]) == 1


def test_an_interruption_is_no_broken_plugin(plugins):
    plugins("stopped", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_plugins()


def undecodable(run):
    raise ValueError("no file \udc80 here")


def ends(run):
    sys.exit("enough")


@pytest.mark.parametrize(
    ("test", "text"), [(undecodable, "no file \\udc80 here"), (ends, "SystemExit: enough")]
)
def test_whatever_a_claim_raises_the_others_go_on(tmp_path, quiet, test, text):
    claim("toy/a", statement="s \udc80", source="here \udc81")(test)
    claim("toy/b", statement="s", source="here")(lambda run: evidence())
    outcomes = run_report(out=tmp_path, progress=quiet)
    assert [outcome.holds for outcome in outcomes] == [False, True]
    first, second = json.loads((tmp_path / "claims.json").read_text("utf-8"))
    assert text in first["error"]
    assert first["statement"] == "s \\udc80"
    assert second["verdict"] == "pass"
    assert "1 of 2 claims hold" in (tmp_path / "index.html").read_text("utf-8")


def test_records_without_their_parts_are_left_out(tmp_path, quiet):
    claim("toy/a", statement="s", source="here")(lambda run: evidence())
    run_report(out=tmp_path, progress=quiet)
    path = tmp_path / "records" / "toy_a.json"
    good = json.loads(path.read_text())
    entry = good["comparisons"][0]
    bad = [{"format": good["format"]}, [], 3, None, {**good, "format": good["format"] - 1}]
    bad += [{k: v for k, v in good.items() if k != name} for name in good if name != "code"]
    bad += [{**good, "comparisons": [{**entry, name: None}]} for name in ("at", "data", "points")]
    bad += [
        {**good, "comparisons": [{k: v for k, v in entry.items() if k != name}]}
        for name in ("residual", "measured", "verdict")
    ]
    bad += [{**good, "figures": [{"file": "x"}]}, {**good, "seconds": "long"}]
    for record in bad:
        path.write_text(json.dumps(record))
        with pytest.warns(UserWarning, match=r"toy_a\.json is no record"):
            assert load_records(tmp_path) == [], record
    path.write_text("[" * 100_000)
    with warnings.catch_warnings(action="ignore"):
        assert load_records(tmp_path) == []
        run_report(out=tmp_path, progress=quiet)  # and writes it anew
    assert [record["id"] for record in load_records(tmp_path)] == ["toy/a"]


def test_a_record_of_other_versions_and_signs_is_shown(tmp_path, quiet):
    claim("toy/a", statement="s", source="here")(lambda run: evidence())
    run_report(out=tmp_path, progress=quiet)
    path = tmp_path / "records" / "toy_a.json"
    record = json.loads(path.read_text())
    record |= {"id": "toy/old", "notes": ["a \udc80"], "date": "2020-01-01T00:00:00+00:00"}
    record["versions"]["theano"] = "1"
    path.with_name("toy_old.json").write_text(json.dumps(record))
    path.with_name(".learning-dynamics-x.tmp.json").write_text("{")  # of another process
    write_report([], tmp_path)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "theano 1" in page
    assert "a \\udc80" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "--out", ""], "argument --out: must be a path"),
        (["report", "--seed", "x"], "whole number between 0 and 2**32 - 1, but got 'x'"),
        (["report", "--seed", "4294967296"], "whole number between 0 and 2**32 - 1"),
        (["sweep", "f.py", "--store", ""], "argument --store: must be a path"),
        (["sweep", "f.py", "--store", "s", "--out", ""], "argument --out: must be a path"),
        (["sweep", "f.py", "--store", "s", "--workers", "two"], "at least 1, but got 'two'"),
        (["sweep", "", "--store", "s"], "must be a path"),
        (["show", ""], "must be a path"),
    ],
)
def test_arguments_that_say_nothing_exit_with_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
