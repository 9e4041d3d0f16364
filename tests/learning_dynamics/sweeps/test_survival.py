"""Sweeps that are killed, run out of disk or may not write any more, and go on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.sweeps import store as store_module
from learning_dynamics.sweeps.store import Store
from tests.learning_dynamics.sweeps import measures

OPAQUE = """
import sys, time
from pathlib import Path
import numpy as np
import learning_dynamics as ld

def measure(x, y):
    with (Path(sys.argv[2]) / f"{x},{y}").open("ab") as file:
        file.write(b".")
    time.sleep(0.002)
    draws = np.random.default_rng([x, y]).standard_normal(200)
    return {"mean": draws.mean(), "draws": draws}

print("ready", flush=True)
found = ld.sweep(measure, {"x": range(%d), "y": range(10)}, store=sys.argv[1])
print("done", flush=True)
"""

TOGETHER = """
import sys
import jax, jax.numpy as jnp
import learning_dynamics as ld

def measure(n, seed, gamma):
    draws = jax.random.normal(jax.random.key(seed), (n,))
    return {"norm": jnp.sum(draws**2) ** gamma, "largest": jnp.sort(draws)[-20:]}

print("ready", flush=True)
found = ld.sweep(measure, {"seed": range(40), "n": [100, 300, 500], "gamma": [0.3, 0.5]},
                 together=("seed", "gamma"), batch_size=7, store=sys.argv[1])
print("done", flush=True)
"""


def child(script, *arguments):
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_and_resume(script, folder, starts, kills, longest, seed=0):
    """Kill the sweep at random moments until it was killed often enough, then let it finish."""
    random = np.random.default_rng(seed)
    killed = 0
    files, counts = {}, {}
    while True:
        process = child(script, folder, starts)
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        if killed < kills:
            time.sleep(random.uniform(0, longest))
            finished = process.poll() is not None
            process.kill()
            process.communicate()
            assert not finished, f"finished after {killed} kills: the sweep is too short"
            killed += 1
        else:
            out, errors = process.communicate()
            assert out == "done\n", errors
        # what was published before is neither written nor computed again
        now = {path.name: path.stat() for path in (folder / "cells").glob("[!.]*.npz")}
        for name, status in files.items():
            assert (now[name].st_ino, now[name].st_mtime_ns) == status
        files = {name: (status.st_ino, status.st_mtime_ns) for name, status in now.items()}
        counts = {path.name: path.stat().st_size for path in starts.iterdir()}
        if process.returncode == 0:
            return counts, killed


def contents(folder):
    """Arrays of all results."""
    store = Store(folder)
    return {key: store.read(key).variables for key in sorted(store.keys())}


def assert_same(folder, other):
    one, two = contents(folder), contents(other)
    assert one.keys() == two.keys()
    for key, variables in one.items():
        for name, (axes, values) in variables.items():
            assert two[key][name][0] == axes
            np.testing.assert_array_equal(two[key][name][1], values)


@pytest.mark.parametrize(
    ("kills", "rows", "longest"),
    [(5, 20, 0.4), pytest.param(50, 150, 0.4, marks=pytest.mark.slow)],
)
def test_killed_at_random_moments_it_computes_every_cell_once(tmp_path, kills, rows, longest):
    script = tmp_path / "killed_sweep.py"
    script.write_text(OPAQUE % rows)
    for name in ("starts", "whole_starts"):
        (tmp_path / name).mkdir()
    counts, killed = kill_and_resume(
        script, tmp_path / "killed", tmp_path / "starts", kills, longest
    )
    whole = child(script, tmp_path / "whole", tmp_path / "whole_starts")
    assert whole.communicate()[0] == "ready\ndone\n"
    assert_same(tmp_path / "killed", tmp_path / "whole")
    assert len(counts) == 10 * rows
    # a kill costs at most the cell that was being computed
    assert sum(counts.values()) <= 10 * rows + killed
    assert killed == kills


@pytest.mark.slow
def test_killed_at_random_moments_batches_come_out_bit_for_bit(tmp_path):
    script = tmp_path / "killed_batches.py"
    script.write_text(TOGETHER)
    (tmp_path / "starts").mkdir()
    random = np.random.default_rng(1)
    sizes = [0]
    store = Store(tmp_path / "killed")
    for _ in range(12):  # kill it while the next two or three batches are computed and written
        process = child(script, tmp_path / "killed")
        enough = sizes[-1] + random.integers(1, 18)
        while process.poll() is None and len(store.keys()) < enough:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.01))
        process.kill()
        process.communicate()
        sizes.append(len(store.keys()))
    assert sizes[:1] < sizes[1:2] < sizes[6:7] < [240]
    kill_and_resume(script, tmp_path / "killed", tmp_path / "starts", 0, 0.0)
    whole = child(script, tmp_path / "whole")
    assert whole.communicate()[0] == "ready\ndone\n"
    assert_same(tmp_path / "killed", tmp_path / "whole")


def test_two_processes_share_a_store_and_do_nothing_twice(tmp_path):
    script = tmp_path / "shared_sweep.py"
    script.write_text(OPAQUE % 10)
    (tmp_path / "starts").mkdir()
    both = [child(script, tmp_path / "store", tmp_path / "starts") for _ in range(2)]
    for process in both:
        out, errors = process.communicate()
        assert out == "ready\ndone\n", errors
    counts = [path.stat().st_size for path in (tmp_path / "starts").iterdir()]
    assert counts == [1] * 100
    assert len(Store(tmp_path / "store").keys()) == 100


def wide(x, folder):
    """A result of 80 kB."""
    measures.count(Path(folder), f"{x}")
    return np.random.default_rng(x).standard_normal(10_000)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, and a function that changes its options."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"needs the right to mount a file system: {made.stderr.strip()}")

    def change(options):
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

    yield place, change
    subprocess.run(["umount", place], check=True)


def run_until_it_cannot_write(folder, calls, match, **options):
    given = {"fixed": {"folder": str(calls)}, "store": folder, **options}
    with pytest.raises(ld.StoreError, match=match):
        ld.sweep(wide, {"x": range(20)}, **given)
    kept = Store(folder).keys()
    assert 0 < len(kept) < 20
    assert len(contents(folder)) == len(kept)  # every file that is there is whole
    return kept


def assert_only_the_lost_cell_is_computed_again(folder, calls, kept):
    """Go on, and see that only the cell that could not be written was computed again."""
    found = ld.sweep(wide, {"x": range(20)}, fixed={"folder": str(calls)}, store=folder)
    counts = [measures.counted(calls, f"{x}") for x in range(20)]
    assert counts == [1] * len(kept) + [2] + [1] * (19 - len(kept))
    for x in range(20):
        np.testing.assert_array_equal(found["value"][x], wide(x, calls))
    assert not list((folder / "cells").glob(".*"))


@pytest.fixture
def calls(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


def test_a_full_disk_stops_it_and_more_room_lets_it_go_on(small_disk, calls):
    place, change = small_disk
    kept = run_until_it_cannot_write(place, calls, "No space left")
    change("size=10m")
    assert_only_the_lost_cell_is_computed_again(place, calls, kept)


def test_a_store_that_becomes_read_only_stops_it_and_it_goes_on(small_disk, calls):
    place, change = small_disk
    change("size=10m")

    def tracker(items, _):
        for item in items:
            if item == 8:
                change("ro")
            yield item

    kept = run_until_it_cannot_write(place, calls, "Read-only file system", tracker=tracker)
    assert len(kept) == 9
    with pytest.raises(ld.StoreError, match="Read-only"):  # and says so again
        ld.sweep(wide, {"x": range(20)}, fixed={"folder": str(calls)}, store=place)
    change("rw")
    (calls / "9").touch()
    found = ld.sweep(wide, {"x": range(20)}, fixed={"folder": str(calls)}, store=place)
    assert found["value"].shape == (20, 10_000)
    assert [measures.counted(calls, f"{x}") for x in range(20)] == [1] * 20


@pytest.mark.parametrize("error", ["No space left on device", "Read-only file system"])
def test_a_write_error_stops_it_and_it_goes_on(tmp_path, calls, monkeypatch, error):
    number = {"No space left on device": 28, "Read-only file system": 30}[error]
    flushes = []
    original = os.fsync

    def failing(handle):
        flushes.append(handle)
        if len(flushes) > 12:
            raise OSError(number, error)
        original(handle)

    with monkeypatch.context() as patch:
        patch.setattr(store_module.os, "fsync", failing)
        kept = run_until_it_cannot_write(tmp_path / "store", calls, error)
    assert_only_the_lost_cell_is_computed_again(tmp_path / "store", calls, kept)


def test_the_message_says_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(
        store_module.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(ld.StoreError, match="finished cells are kept, run the sweep again"):
        ld.sweep(wide, {"x": [1]}, fixed={"folder": str(tmp_path)}, store=tmp_path)
