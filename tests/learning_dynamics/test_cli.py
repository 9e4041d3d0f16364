import json
import subprocess
import sys

import numpy as np
import pytest

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.report import claims
from learning_dynamics.report.claims import Evidence, claim
from learning_dynamics.report.cli import main


def comparison(shift):
    draws = np.random.default_rng(0).standard_normal((20, 3))
    measured = Measurement.from_replicas(draws, {"x": [1, 2, 3]})
    return compare(measured, Prediction(np.full(3, shift), 0.0), name="mean", quantity="mean")


def evidence(shift=0.0, wrong=9.0):
    return Evidence([comparison(shift)], [comparison(wrong)], {})


def interrupt(run):
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Tiny claims in a registry of their own; the list of (size, seed key) they were run with."""
    monkeypatch.setattr(claims, "_registry", {})
    monkeypatch.setattr(claims, "entry_points", lambda group: [])
    runs = []

    def register(id, test):
        claim(id, statement=f"statement of {id}", source="here")(test)

    def good(run):
        runs.append(run)
        return evidence()

    register("good/one", good)
    register("good/two", lambda run: evidence())
    register("bad/theory", lambda run: evidence(shift=9.0))
    register("bad/control", lambda run: evidence(wrong=0.0))
    register("bad/error", lambda run: 1 / 0)
    register("stop/a", lambda run: evidence())
    register("stop/b", interrupt)
    return runs


def ids(out):
    return [entry["id"] for entry in json.loads((out / "claims.json").read_text())]


def test_claims_that_hold_exit_with_0(tmp_path, capsys, seen):
    out = tmp_path / "new" / "folder"
    status = main(["report", "--out", str(out), "--size", "full", "--seed", "7", "good/"])
    assert status == 0
    assert ids(out) == ["good/one", "good/two"]
    assert seen[0].size == "full"
    printed = capsys.readouterr()
    assert f"open {out / 'index.html'}" in printed.out.replace("\n", "")
    assert "good/one" in printed.out
    assert "[1/2] good/one: holds" in printed.err


OWN_CLAIM = """
import numpy as np
from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.report.claims import Evidence, claim

@claim("mine/mean", statement="The mean is zero.", source="here")
def mean(run):
    draws = np.random.default_rng(0).standard_normal((20, 3))
    seen = Measurement.from_replicas(draws, {"x": [1, 2, 3]})
    zero, nine = (compare(seen, Prediction(np.full(3, each))) for each in (0.0, 9.0))
    return Evidence([zero], [nine], {})
"""


def test_claims_in_a_file_of_ones_own_are_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_claim.py").write_text(OWN_CLAIM, encoding="utf-8")
    assert main(["report", "my_own_claim.py", "--out", "out", "--workers", "2"]) == 0
    assert ids(tmp_path / "out") == ["mine/mean"]
    (tmp_path / "no_claim_here.py").write_text("", encoding="utf-8")
    for name, reason in (
        ("no_claim_here.py", "must hold a function decorated with `claim`"),
        ("missing.py", "must be a Python file"),
    ):
        with pytest.raises(SystemExit) as error:
            main(["report", name])
        assert error.value.code == 2
        printed = capsys.readouterr().err
        assert reason in printed
        assert name in printed
    for name in ("my_own_claim", "no_claim_here"):
        del sys.modules[name]


@pytest.mark.parametrize("name", ["bad/theory", "bad/control", "bad/error"])
def test_claims_that_do_not_hold_exit_with_1(tmp_path, name):
    assert main(["report", "--out", str(tmp_path), name, "good/one"]) == 1
    assert ids(tmp_path) == [name, "good/one"]


def test_earlier_failures_in_the_folder_do_not_count(tmp_path):
    assert main(["report", "--out", str(tmp_path), "bad/theory"]) == 1
    assert main(["report", "--out", str(tmp_path), "good/one"]) == 0
    assert ids(tmp_path) == ["bad/theory", "good/one"]


def test_interruption_exits_with_130_and_keeps_what_is_done(tmp_path, capsys):
    assert main(["report", "--out", str(tmp_path), "stop/"]) == 130
    assert ids(tmp_path) == ["stop/a"]
    printed = capsys.readouterr()
    assert "interrupted" in printed.err
    assert "stop/a" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["print"], "invalid choice"),
        (["report", "--size", "huge"], "--size"),
        (["report", "--seed", "-1"], "--seed"),
        (["report", "--seed", "x"], "--seed"),
        (["report", "nothing/here"], "the known claims are:\n  bad/control\n"),
        (["list", "good/one"], "unrecognized"),
        (["inspect", ""], "PATH: must be a path"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_out_that_is_a_file_exits_with_2(name, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as stopped:
        main(["report", "--out", str(tmp_path / name), "good/one"])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert "--out" in printed.err
    if name == "file":
        assert "`--out` must be a folder, but got the file" in printed.err


def test_a_page_that_could_not_be_written_is_not_offered(tmp_path, capsys, monkeypatch):
    def refuse(*given, **options):
        raise PermissionError(13, "Permission denied", "index.html")

    monkeypatch.setattr("learning_dynamics.report.page.run_report", refuse)
    assert main(["report", "--out", str(tmp_path), "good/one"]) == 1
    printed = capsys.readouterr()
    assert "the report cannot be written" in printed.err
    assert "open" not in printed.out


def test_list_names_the_claims_one_a_line(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[3].split("\t")[::2] == ["good/one", "statement of good/one"]


def test_report_without_any_claim_exits_with_2(monkeypatch, capsys):
    monkeypatch.setattr(claims, "_registry", {})
    with pytest.raises(SystemExit) as stopped:
        main(["report"])
    assert stopped.value.code == 2
    assert "no package with claims" in capsys.readouterr().err


def test_module_runs_and_prints_its_version():
    run = subprocess.run(
        [sys.executable, "-m", "learning_dynamics", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout[0].isdigit()
