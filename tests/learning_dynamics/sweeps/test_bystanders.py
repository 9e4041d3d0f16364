"""Processes that are stopped, or whose parent is gone, and files that are no results."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.sweeps import locks, worker
from learning_dynamics.sweeps.locks import Locks, Standstill
from learning_dynamics.sweeps.store import Store
from tests.learning_dynamics.sweeps import measures

posix = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def start(folder, text, *arguments):
    script = folder / "stopped_sweep.py"
    script.write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


@posix
def test_a_cell_whose_owner_gives_no_sign_of_life_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "STILL", 0.5)
    options = {"fixed": {"folder": str(tmp_path)}, "store": tmp_path / "s"}
    ld.sweep(measures.slow, {"x": [1.0]}, **options)
    store = Store(tmp_path / "s")
    (key,) = store.keys()
    store.cell(key).unlink()
    text = f"""
        import fcntl, sys
        file = open({str(store.folder / "lock")!r}, "ab")
        fcntl.lockf(file, fcntl.LOCK_EX, 1, {int(key[:15], 16)})
        print("locked", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout.readline() == "locked\n"
        began = time.monotonic()
        with pytest.warns(UserWarning, match=r"the process that works on x=1\.0 has given no sign"):
            found = ld.sweep(measures.slow, {"x": [1.0]}, **options)
        assert time.monotonic() - began > 0.5
        assert store.busy(key)
        owner.stdin.close()
    np.testing.assert_array_equal(found["value"], [1.0])


@posix
@pytest.mark.slow
def test_a_cell_of_a_stopped_process_is_computed_by_another_one(tmp_path, monkeypatch):
    """The stopped one goes on afterwards and finds it done."""
    monkeypatch.setattr(locks, "STILL", 0.5)
    monkeypatch.setattr(locks, "BEAT", 0.25)
    (tmp_path / "calls").mkdir()
    fixed = {"folder": str(tmp_path / "calls")}
    text = """
        import os, sys
        import jax
        import learning_dynamics as ld
        from tests.learning_dynamics.sweeps import measures

        jax.config.update("jax_numpy_dtype_promotion", "strict")  # part of the key
        os.environ["STOP_AT"] = "2"
        found = ld.sweep(measures.stopping, {"x": [1, 2, 3]}, store=sys.argv[1],
                         fixed={"folder": sys.argv[2]})
        print(found["value"].values.tolist())
    """
    child = start(tmp_path, text, tmp_path / "s", tmp_path / "calls")
    with child:
        while not (tmp_path / "calls" / "stopped").exists():
            assert child.poll() is None
            time.sleep(0.01)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        try:
            with pytest.warns(UserWarning, match="works on x=2 has given no sign of life"):
                found = ld.sweep(
                    measures.stopping, {"x": [1, 2, 3]}, store=tmp_path / "s", fixed=fixed
                )
            store = Store(tmp_path / "s")
            before = {key: store.cell(key).stat().st_ino for key in store.keys()}  # noqa: SIM118
        finally:
            os.kill(child.pid, signal.SIGCONT)
        assert child.stdout.readline() == "[1.0, 2.0, 3.0]\n"
    np.testing.assert_array_equal(found["value"], [1.0, 2.0, 3.0])
    assert {key: store.cell(key).stat().st_ino for key in before} == before
    assert [measures.counted(tmp_path / "calls", x) for x in "123"] == [1, 2, 1]
    assert not list((tmp_path / "s" / "running").glob("*"))


def test_who_works_for_long_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.02)
    monkeypatch.setattr(locks, "STILL", 0.2)
    store, standstill = Store(tmp_path), Standstill()
    store.prepare()
    key = "a" * 32
    signs, still = set(), []
    with store.claim([key]):
        for _ in range(60):
            signs.add(store.sign_of_life(key))
            still.append(standstill(key, store.sign_of_life(key)))
            time.sleep(0.01)
    assert len(signs) > 3
    assert not any(still)
    assert store.sign_of_life(key) is None
    assert store.keys() == set()


def test_a_standstill_is_measured_by_looking_all_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
    standstill = Standstill()

    def look(after, sign):
        clock[0] += after
        return standstill("key", sign)

    assert not look(0, b"1")
    assert not any(look(9, b"1") for _ in range(13))  # 117 s
    assert look(9, b"1")
    assert not look(1, b"2")  # it lives
    assert not look(500, b"2")  # who looks was stopped itself
    assert not any(look(10, None) for _ in range(13))
    assert look(10, None)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, how):
    """Also those that compute a cell, and those that wait for work; its output is closed."""
    text = """
        import multiprocessing, os, sys, time
        from concurrent.futures import ProcessPoolExecutor
        from learning_dynamics.sweeps.worker import end_with_parent

        def wait(seconds):
            print(os.getpid(), flush=True)
            time.sleep(seconds)

        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(2, mp_context=context, initializer=end_with_parent)
            for seconds in (0.5, 60):
                pool.submit(wait, seconds)
            time.sleep(60)
    """
    child = start(tmp_path, text)
    workers = [int(child.stdout.readline()) for _ in range(2)]
    time.sleep(0.7)
    child.send_signal(how)
    began = time.monotonic()
    child.communicate(timeout=20)  # ends when no one holds the output any more
    assert time.monotonic() - began < 10
    assert child.returncode == -how
    assert not any(map(_runs, workers))


def _runs(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_end_of_the_parent_ends_a_worker_and_nothing_else(monkeypatch):
    assert multiprocessing.parent_process() is None
    worker.end_with_parent()
    assert not worker._watched  # no worker of a pool
    alive, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(worker, "_watched", [])
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(join=alive.wait))
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())
    worker.end_with_parent()
    assert not ended.wait(0.05)
    alive.set()
    assert ended.wait(5)


@pytest.mark.parametrize("what", ["folder", "pipe", "sparse", "foreign", "empty"])
def test_what_stands_in_the_place_of_a_result_is_moved_aside(tmp_path, what):
    grid = {"x": [1.0, 2.0]}
    options = {"fixed": {"folder": str(tmp_path)}, "store": tmp_path / "s"}
    whole = ld.sweep(measures.slow, grid, **options)
    store = Store(tmp_path / "s")
    first = store.cell(min(store.keys()))
    for _ in range(2):  # the second finds the place in rejected/ taken
        first.unlink()
        if what == "folder":
            first.mkdir()
            (first / "file").touch()
        elif what == "pipe":
            os.mkfifo(first)
        elif what == "sparse":
            with first.open("wb") as file:
                file.truncate(30_000_000_000)
        else:
            first.write_bytes(b"PK\x05\x06" * 100 if what == "foreign" else b"")
        with pytest.warns(UserWarning, match="counts as missing"):
            again = ld.sweep(measures.slow, grid, **options)
        np.testing.assert_array_equal(again["value"], whole["value"])
    assert len(list((tmp_path / "s" / "rejected").iterdir())) == 2


def test_a_result_with_a_good_checksum_and_a_bad_header_is_moved_aside(tmp_path):
    from learning_dynamics.array_files import write_arrays

    options = {"fixed": {"folder": str(tmp_path)}, "store": tmp_path / "s"}
    whole = ld.sweep(measures.slow, {"x": [1.0]}, **options)
    store = Store(tmp_path / "s")
    (key,) = store.keys()
    good = {
        "format": "learning-dynamics cell 2",
        "key": key,
        "variables": {"value": []},
        "coordinates": {},
        "units": {},
        "attributes": {},
        "about": {"seconds": 1.0},
    }
    bad = {
        "variables": [{"value": ["x", "y"]}, {"other": []}, ["value"], {"value": [1]}, None],
        "coordinates": [{"time": ["time"]}, 3],
        "units": [{"value": 3}, "m"],
        "attributes": [[1]],
        "about": [{}, {"seconds": "long"}, {"seconds": float("nan")}, {"seconds": -1.0}, None],
        "format": ["learning-dynamics cell 1", 2],
        "key": ["0" * 32],
    }
    for name, values in bad.items():
        for value in values:
            with store.cell(key).open("w+b") as file:
                write_arrays(file, {**good, name: value}, {"variable value": np.float64(7.0)})
            with pytest.warns(UserWarning, match="counts as missing"):
                assert store.load(key) is None
    with store.cell(key).open("w+b") as file:
        write_arrays(file, good, {"variable value": np.float64(7.0)})
    assert store.load(key).variables["value"][1] == 7.0  # the good one is good
    store.cell(key).unlink()
    assert ld.sweep(measures.slow, {"x": [1.0]}, **options).equals(whole)


def test_an_error_that_ends_the_program_is_one_of_its_cell(tmp_path):
    with pytest.warns(ld.MissingCells, match="x=2: SystemExit: no luck"):
        found = ld.sweep(ending, {"x": [1, 2, 3]}, store=tmp_path)
    np.testing.assert_array_equal(found["value"], [1.0, np.nan, 3.0])


def ending(x):
    if x == 2:
        sys.exit("no luck")
    return float(x)


def test_an_error_text_without_an_encoding_is_kept(tmp_path):
    with pytest.warns(ld.MissingCells, match="x=2"):
        ld.sweep(undecodable, {"x": [1, 2]}, store=tmp_path)
    (failure,) = (tmp_path / "failed").iterdir()
    assert "no \\\\udc80 file" in failure.read_text("utf-8")


def undecodable(x):
    if x == 2:
        raise ValueError("no \udc80 file")
    return float(x)


def test_a_damaged_checkpoint_costs_its_time_and_not_its_cell(tmp_path):
    """The cell begins anew, although a ValueError is final otherwise."""
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ld.sweep(checkpointed, {"x": [1]}, store=tmp_path)
    (file,) = (tmp_path / "checkpoints").glob("*.npz")
    assert file.read_text() == "half"
    file.write_text("damaged")
    found = ld.sweep(checkpointed, {"x": [1]}, store=tmp_path)
    np.testing.assert_array_equal(found["value"], [2.0])
    assert not list((tmp_path / "checkpoints").glob("*.npz"))
    assert len(store.keys()) == 1


def checkpointed(x, checkpoint):
    if not checkpoint.exists():
        fresh = not checkpoint.with_name("again").exists()
        checkpoint.write_text("half")
        if fresh:
            checkpoint.with_name("again").touch()
            raise KeyboardInterrupt
        return 2.0 * x
    raise ValueError(f"checkpoint is {checkpoint.read_text()}")


def test_locks_without_a_module_for_them_keep_threads_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)  # as on Windows
    held = Locks(tmp_path / "lock", tmp_path / "running")
    with pytest.warns(UserWarning, match="has no locks"):
        assert held.acquire(["a" * 32])
    assert not held.acquire(["a" * 32])
    held.release(["a" * 32])
    assert held.acquire(["a" * 32])
    held.release(["a" * 32])
