"""What a sweep returns as a file: names, types and places, tried before the work."""

import os
import sys

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import xarray as xr

import learning_dynamics as ld
from learning_dynamics.report.cli import main
from learning_dynamics.sweeps.results import normalise
from learning_dynamics.sweeps.store import Store

FILE = """
from pathlib import Path

over = {"n": [1, 2, 3]}

def measure(n):
    with Path(__file__).with_name("calls").open("a") as file:
        file.write(".")
    return RESULT
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Run the command on a measure that returns an expression; status, calls, messages."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("learning_dynamics.sweeps.commands.share_compiled", lambda store: None)
    numbers = iter(range(9))

    def run(result, out, more=""):
        path = tmp_path / f"export_{os.getpid()}_{tmp_path.name}_{next(numbers)}.py"
        path.write_text(FILE.replace("RESULT", result) + more)
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        capsys.readouterr()
        try:
            status = main(["sweep", str(path), "--store", str(tmp_path / "s"), "--out", str(out)])
        except SystemExit as stopped:
            status = stopped.code
        return status, len(calls.read_text()) if calls.exists() else 0, capsys.readouterr().err

    return run


def test_names_with_a_slash_are_written_under_another_sign(sweep, tmp_path):
    assert sweep('{"loss/train": 1.0 * n}', tmp_path / "all.nc")[:2] == (0, 3)
    with xr.open_dataset(tmp_path / "all.nc", engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["loss_train"], [1.0, 2.0, 3.0])
        assert found["loss_train"].attrs["name"] == "loss/train"


@pytest.mark.parametrize(
    ("result", "more", "message"),
    [
        ('{"a/b": 1.0, "a_b": 2.0}', "", "'a/b', 'a_b'"),
        ('{"": 1.0}', "", "names of printable signs"),
        ('{"a\\0b": 1.0}', "", "names of printable signs"),
        ('{"\\udc80": 1.0}', "", "names of printable signs"),
        ('{"n": 1.0}', "", "other names than those of the axes"),
        ('{"a": [1.0, 2.0], "a_0": 1.0}', "", ""),
        ('{"a": __import__("numpy").longdouble(1) * 1j}', "", "cannot be written"),
        ('{"a": "x\\0y"}', "", "cannot be written"),
        ('{"a": 1.0}', 'units = {"b": "nats"}', "Argument `units` must name some of"),
    ],
)
def test_what_has_no_place_in_a_file_is_refused_at_the_first_cell(
    sweep, tmp_path, result, more, message
):
    status, calls, told = sweep(result, tmp_path / "all.nc", more)
    if status == 0:  # or there is a place for it
        assert message == ""
        return
    assert (status, calls) == (2, 1)
    assert message in told
    assert not (tmp_path / "all.nc").exists()


def test_a_result_that_cannot_be_kept_ends_the_sweep_at_the_first_cell(tmp_path):
    calls = []

    def structured(n):
        calls.append(n)
        return {"loss": np.zeros(2, "i4,f8")}

    with pytest.raises(
        RuntimeError, match=r"`loss` is numpy.ndarray of type \[\('f0'.*at n=1, the"
    ):
        ld.sweep(structured, {"n": [1, 2, 3]}, store=tmp_path)
    assert calls == [1]


def test_programs_are_refused_before_anything_is_computed(tmp_path):
    def refuse(cell):
        assert cell["loss/train"].dims == ("n",)
        raise ValueError("no place")

    with pytest.raises(ValueError, match="no place"):
        ld.sweep(lambda n: {"loss/train": n}, {"n": [1.0, 2.0]}, together="n", store=tmp_path,
                 check=refuse)  # fmt: skip
    assert not Store(tmp_path).keys()


def test_a_place_that_cannot_be_written_is_found_before_the_work(sweep, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out, message in [(tmp_path, "must name a file"), (tmp_path / "file" / "a.nc", "--out")]:
        status, calls, told = sweep("1.0 * n", out)
        assert (status, calls) == (2, 0)
        assert message in told

    def read_only(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("learning_dynamics.sweeps.commands.check_writable", read_only)
    assert sweep("1.0 * n", tmp_path / "a.nc")[:2] == (2, 0)


def test_a_store_without_a_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: Store(""), lambda: ld.sweep(narrow, {"n": [1]}, store="")):
        with pytest.raises(ValueError, match="Argument `store` must name a folder"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_at_the_end_costs_no_cell(sweep, tmp_path, monkeypatch):
    def full(dataset, path):
        if path.name == "a.nc":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("learning_dynamics.sweeps.commands.write_netcdf", full)
    status, calls, told = sweep("1.0 * n", tmp_path / "a.nc")
    assert (status, calls) == (1, 3)
    assert "No space left" in told
    assert "All cells are in the store" in told


NARROW = {
    "bfloat16": np.float32, "float8_e4m3fn": np.float32, "float8_e5m2": np.float32,
    "int4": np.int8, "uint4": np.uint8,
}  # fmt: skip


def narrow(n):
    values = jnp.asarray([0, 1, 3]).astype("int8") * jnp.asarray(n).astype("int8")
    return {name: values.astype(name) for name in NARROW}


@pytest.mark.parametrize("together", [(), "n"])
def test_narrow_types_are_kept_without_loss(tmp_path, together):
    for _ in range(2):  # computed, then read
        found = ld.sweep(narrow, {"n": [1, 2]}, store=tmp_path, together=together)
        for name, kind in NARROW.items():
            assert found[name].dtype == kind
            np.testing.assert_array_equal(found[name], [[0, 1, 3], [0, 2, 6]])
    found.to_netcdf(tmp_path / "all.nc", engine="h5netcdf")


@pytest.mark.parametrize(
    "name",
    ["bfloat16", "float8_e4m3fn", "float8_e4m3b11fnuz", "float8_e5m2", "float8_e8m0fnu",
     "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "int4", "uint4", "int2", "uint2"],
)  # fmt: skip
def test_the_wider_types_hold_every_number_of_the_narrow_ones(name):
    narrow = np.dtype(getattr(ml_dtypes, name))
    limits = ml_dtypes.iinfo if "int" in name else ml_dtypes.finfo
    raw = np.arange(2 ** limits(narrow).bits).astype(f"u{narrow.itemsize}")
    wide = normalise(raw.view(narrow)).variables["value"][1]
    number = ~np.isnan(wide)
    assert number.sum() > 0.93 * raw.size
    assert np.unique(wide[number]).size >= number.sum() - 1  # 0.0 and -0.0
    np.testing.assert_array_equal(wide[number].astype(narrow).view(raw.dtype), raw[number])
