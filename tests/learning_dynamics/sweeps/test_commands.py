import json
import os
import sys

import numpy as np
import pytest
import xarray as xr

from learning_dynamics.report.cli import main
from learning_dynamics.sweeps.estimate import remaining_seconds, time_left
from learning_dynamics.sweeps.show import states
from learning_dynamics.sweeps.store import Store

FILE = """
from pathlib import Path

over = {"n": [1, 2, 5], "seed": range(3)}
fixed = {"power": 2}
units = {"loss": "nats"}

def measure(n, seed, power):
    if n == 5 and seed == 1 and Path(__file__).with_name("broken").exists():
        raise ValueError("four and one")
    return {"loss": float(n**power + seed)}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / f"sweep_of_{os.getpid()}_{tmp_path.name}.py"
    path.write_text(FILE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("learning_dynamics.sweeps.commands.share_compiled", lambda store: None)
    return path


def test_sweep_runs_a_file_and_show_tells_the_state(file, tmp_path, capsys):
    store, out = str(tmp_path / "store"), tmp_path / "all.nc"
    (tmp_path / "broken").touch()
    assert main(["sweep", str(file), "--store", store]) == 1
    printed = capsys.readouterr()
    assert "1 of 9 cells are missing" in printed.err
    assert main(["show", store]) == 1
    shown = capsys.readouterr().out
    assert f"{file.stem}.measure over 3 n × 3 seed" in shown
    assert "8 of 9 cells done, 0 running, 1 failed, 0 missing" in shown
    assert "failed   n=5, seed=1: ValueError: four and one" in shown
    (tmp_path / "broken").unlink()
    assert main(["sweep", str(file), "--store", store, "--out", str(out)]) == 0
    with xr.open_dataset(out, engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["loss"], [[1, 2, 3], [4, 5, 6], [25, 26, 27]])
        assert found["loss"].attrs["units"] == "nats"
    capsys.readouterr()
    assert main(["show", store]) == 0
    assert "9 of 9 cells done, 0 running, 0 failed, 0 missing\n" in capsys.readouterr().out


def test_show_sees_what_runs_and_what_is_missing(file, tmp_path, capsys):
    store = tmp_path / "store"
    assert main(["sweep", str(file), "--store", str(store)]) == 0
    folder = Store(store)
    [manifest] = (json.loads(p.read_text()) for p in (store / "sweeps").iterdir())
    for key in manifest["keys"][4:]:
        folder.cell(key).unlink()
    with folder.claim(manifest["keys"][5:7]):
        [state] = states(store)
    assert (state.done, state.running, state.failed) == (4, 2, {})
    assert state.missing == ["n=2, seed=1", "n=5, seed=1", "n=5, seed=2"]
    assert "left, extrapolated for 3 cells" in state.left
    assert main(["show", str(store)]) == 1
    assert "… and 2 more" in capsys.readouterr().out


@pytest.mark.slow
def test_sweep_by_worker_processes(file, tmp_path):
    assert main(["sweep", str(file), "--store", str(tmp_path / "s"), "--workers", "2"]) == 0
    store = Store(tmp_path / "s")
    assert os.getpid() not in {store.read(key).about["process"] for key in store.keys()}  # noqa: SIM118


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "FILE"], "--store"),
        (["sweep", "nothing.py", "--store", "s"], "must be a Python file"),
        (["sweep", "FILE", "--store", "FILE"], "`store` must be a folder"),
        (["sweep", "FILE", "--store", "s", "--workers", "0"], "at least 1"),
        (["show", "nowhere"], "`DIR` must be the store of a sweep"),
        (["show", "FILE"], "`store` must be a folder"),
    ],
)
def test_wrong_usage_exits_with_2(file, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([str(file) if a == "FILE" else a for a in arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("over =", "axes =", "has no `over`"),
        ("def measure", "def other", "has no `measure`"),
        ('"power": 2', '"power": object()', "be a number, text"),
        ("range(3)", "[]", "at least one value"),
    ],
)
def test_a_file_that_defines_no_sweep_exits_with_2(file, tmp_path, capsys, old, new, message):
    file.write_text(FILE.replace(old, new))
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", str(file), "--store", str(tmp_path / "s")])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_store_that_cannot_be_written_exits_with_1(file, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("learning_dynamics.sweeps.store.os.fsync", full)
    assert main(["sweep", str(file), "--store", str(tmp_path / "s")]) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_a_name_that_another_module_has_exits_with_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "json.py").write_text(FILE)
    with pytest.raises(SystemExit):
        main(["sweep", str(tmp_path / "json.py"), "--store", str(tmp_path / "s")])
    assert "name of another module" in capsys.readouterr().err


def test_estimate_scales_with_the_axes():
    """Seconds that grow like N^2 are extrapolated; the sum over what is missing is exact."""
    axes = {"n": [10, 20, 40], "seed": [0, 1, 2, 3], "kind": ["a", "b"]}
    cost = {place: 1e-3 * axes["n"][place // 8] ** 2 for place in range(24)}
    done = {place: seconds for place, seconds in cost.items() if place < 16 and place % 3}
    missing = [place for place in cost if place not in done]
    seconds, new = remaining_seconds(axes, done, missing)
    assert seconds == pytest.approx(sum(cost[place] for place in missing), rel=1e-9)
    assert new == 0  # 40 is within twice the largest N that was seen
    done = {place: seconds for place, seconds in done.items() if place < 8 or place % 2}
    axes["n"][2] = 41
    axes["kind"] = ["a", "b"]
    assert remaining_seconds(axes, done, missing)[1] == 8
    assert remaining_seconds({"kind": ["a", "b"]}, {0: 1.0}, [1]) == (1.0, 1)
    assert remaining_seconds({"seed": [0, 1, 2, 3]}, {0: 1.0, 1: 1.0, 2: 1.0}, [3]) == (1.0, 0)
    assert remaining_seconds(axes, cost, []) == (0.0, 0)
    assert time_left(*remaining_seconds(axes, {}, missing)) == "time left unknown"
    assert time_left(120.0, 0, at_once=2.0) == "about 1 min 0 s left"
