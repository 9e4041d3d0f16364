import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics import files
from learning_dynamics.array_files import DamagedFileError
from learning_dynamics.sweeps.results import Record
from learning_dynamics.sweeps.store import Store
from tests.learning_dynamics.sweeps import measures

KEY = "0123456789abcdef" * 2
RECORD = Record(
    {
        "loss": (("time",), np.array([0.1, np.nan, np.inf], np.float32)),
        "name with / and é": ((), np.asarray("text")),
        "empty": (("none", "two"), np.zeros((0, 2), np.complex128)),
        "file": ((), np.asarray(True)),
    },
    {"time": (("time",), np.array([1, 2, 3]))},
    {"loss": "nats"},
    {"rate": 0.1, "note": "é", "other": "[1, 2]"},
    {"seconds": 0.25},
)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path)
    made.prepare()
    return made


def test_a_result_comes_back_as_it_was(store):
    store.publish({KEY: RECORD})
    back = store.read(KEY)
    for name, (axes, values) in {**RECORD.variables, **RECORD.coordinates}.items():
        found_axes, found = {**back.variables, **back.coordinates}[name]
        assert found_axes == axes
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)
    assert (back.units, back.attributes, back.about) == (
        RECORD.units,
        RECORD.attributes,
        RECORD.about,
    )
    with np.load(store.cell(KEY)) as plain:  # readable without us
        np.testing.assert_array_equal(plain["variable loss"], RECORD.variables["loss"][1])


def test_every_truncation_and_every_flipped_byte_is_noticed(store):
    store.publish({KEY: RECORD})
    whole = store.cell(KEY).read_bytes()
    for length in range(0, len(whole), 7):
        store.cell(KEY).write_bytes(whole[:length])
        with pytest.raises(DamagedFileError):
            store.read(KEY)
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        store.cell(KEY).write_bytes(bytes(changed))
        with pytest.raises(DamagedFileError):
            store.read(KEY)


def test_damaged_and_foreign_files_are_reported_moved_and_recomputed(tmp_path):
    grid = {"x": [1, 2, 3, 4]}
    (tmp_path / "calls").mkdir()
    options = {"fixed": {"folder": str(tmp_path / "calls")}, "store": tmp_path / "s"}
    whole = ld.sweep(measures.slow, grid, **options)
    store = Store(tmp_path / "s")
    first, second, third, fourth = (store.cell(key) for key in sorted(store.keys()))
    first.write_bytes(first.read_bytes()[:-10])
    second.write_bytes(b"")
    third.write_bytes(fourth.read_bytes())  # a good file of another cell
    with pytest.warns(UserWarning, match="counts as missing") as seen:
        again = ld.sweep(measures.slow, grid, **options)
    told = " ".join(str(w.message) for w in seen)
    assert len(seen) == 3
    assert told.count("is truncated") == told.count("is empty") == 1
    assert told.count("another cell") == 1
    np.testing.assert_array_equal(again["value"], whole["value"])
    assert sum(measures.counted(tmp_path / "calls", f"{x}") for x in (1, 2, 3, 4)) == 7
    assert len(list((tmp_path / "s" / "rejected").iterdir())) == 3


def test_locks_keep_threads_and_processes_apart(store, tmp_path, other_process):
    other = "f" * 32
    with store.claim([KEY]) as mine:
        assert mine
        assert store.busy(KEY)
        assert not store.busy(other)
        taken = []

        def attempt():
            with Store(tmp_path).claim([other, KEY]) as theirs:
                taken.append(theirs)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        assert taken == [False]
        assert not store.busy(other)  # nothing is kept of a claim that failed
        assert other_process("try", KEY) == "False"
        assert other_process("try", other) == "True"
    assert not store.busy(KEY)
    assert other_process("try", KEY) == "True"
    assert other_process("hold", KEY) == "True"
    assert store.busy(KEY)
    other_process.child.kill()
    other_process.child.wait()
    assert not store.busy(KEY)  # the locks of a dead process are free


@pytest.fixture
def other_process(tmp_path):
    """A process that claims keys of the store."""
    program = textwrap.dedent(f"""
        import sys
        from learning_dynamics.sweeps.store import Store
        store, held = Store({str(tmp_path)!r}), []
        for line in sys.stdin:
            what, key = line.split()
            claim = store.claim([key])
            print(claim.__enter__(), flush=True)
            held.append(claim)
            if what == "try":
                held.pop().__exit__(None, None, None)
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(what, key):
        child.stdin.write(f"{what} {key}\n")
        child.stdin.flush()
        return child.stdout.readline().strip()

    ask.child = child
    with child:
        yield ask
        child.kill()


def test_a_file_system_without_locks_is_told_and_works(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.warns(UserWarning, match="has no locks"):
        found = ld.sweep(lambda x: 2.0 * x, {"x": [1, 2]}, store=tmp_path)
    np.testing.assert_array_equal(found["value"], [2.0, 4.0])


def test_temporary_files_of_killed_processes_go_away(store):
    """Those of living ones stay, however far the clocks of hosts are apart."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    mine, dead = (_temporary(store.cell(KEY), process) for process in (os.getpid(), child.pid))
    elsewhere, long_ago = (_temporary(store.cell(KEY), 1, "0" * 8) for _ in range(2))
    for path in (mine, dead, elsewhere, long_ago):
        path.touch()
    os.utime(mine, (time.time() - 7200,) * 2)  # the clock of this host runs ahead
    os.utime(elsewhere, (time.time() - 7200,) * 2)
    os.utime(long_ago, (time.time() - 2 * 86400,) * 2)
    store.prepare()
    assert [path.exists() for path in (mine, dead, elsewhere, long_ago)] == [
        True,
        False,
        True,
        False,
    ]
    assert store.keys() == set()


def _temporary(path, process, system=None):
    name = files._temporary(path).name.replace(f"-{os.getpid()}-", f"-{process}-")
    return path.with_name(name.replace(files._system(), system or files._system()))
