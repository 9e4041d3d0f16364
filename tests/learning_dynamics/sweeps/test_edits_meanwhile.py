"""Sweeps of one session whose code changes between them, and while they run."""

import collections
import functools
import importlib
import json
import sys
import threading

import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.sweeps.plan import make_plan
from learning_dynamics.sweeps.store import Store
from learning_dynamics.sweeps.worker import package, run_remote

GAMMA = 1.0
CALLS = []


class Model:
    def rate(self):
        return 1.0


def times(n):
    CALLS.append(n)
    return GAMMA * n * Model().rate()


def traced(n):
    return GAMMA * jnp.asarray(n)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    CALLS.clear()
    monkeypatch.setitem(globals(), "GAMMA", 1.0)


def values(measure, cells, store, **options):
    return ld.sweep(measure, {"n": cells}, store=store, **options)["value"].values.tolist()


def test_a_changed_global_or_method_is_computed_anew_and_the_old_result_kept(tmp_path, monkeypatch):
    assert values(times, [1.0, 2.0], tmp_path) == [1, 2]
    monkeypatch.setitem(globals(), "GAMMA", 5.0)
    assert values(times, [1.0, 2.0, 3.0], tmp_path) == [5, 10, 15]
    monkeypatch.setitem(globals(), "GAMMA", 1.0)
    CALLS.clear()
    assert values(times, [1.0, 2.0, 3.0], tmp_path) == [1, 2, 3]
    assert CALLS == [3.0]
    monkeypatch.setattr(Model, "rate", lambda self: 7.0)
    assert values(times, [1.0, 2.0], tmp_path) == [7, 14]


def test_compiled_batches_see_edits(tmp_path, monkeypatch):
    assert values(traced, [1.0, 2.0], tmp_path, together="n") == [1, 2]
    monkeypatch.setitem(globals(), "GAMMA", 5.0)
    assert values(traced, [1.0, 2.0], tmp_path, together="n") == [5, 10]


DEFAULTS = collections.defaultdict(lambda: 1.0)


def with_default(n):
    return n * DEFAULTS[n]


def test_a_table_that_fills_itself_with_its_default_is_no_edit(tmp_path):
    assert values(with_default, [1.0, 2.0], tmp_path) == [1, 2]


@functools.cache
def kept_rate():
    return GAMMA


def with_kept_rate(n):
    return n * kept_rate()


def test_what_a_function_keeps_is_not_filed_under_other_code(tmp_path, monkeypatch):
    assert values(with_kept_rate, [1.0, 2.0], tmp_path) == [1, 2]
    monkeypatch.setitem(globals(), "GAMMA", 5.0)
    assert values(with_kept_rate, [1.0, 2.0], tmp_path) == [5, 10]
    monkeypatch.setitem(globals(), "GAMMA", 1.0)
    assert values(with_kept_rate, [1.0, 2.0, 3.0], tmp_path) == [1, 2, 3]


def changing(n):
    """Something else changes a name while the cell is computed."""
    sys.modules[__name__].__dict__.update(GAMMA=GAMMA + 1)
    return n * GAMMA


def test_a_cell_whose_code_changed_meanwhile_is_not_kept(tmp_path):
    with pytest.raises(RuntimeError, match=r"edited meanwhile .*changing.*run the sweep again"):
        values(changing, [1.0], tmp_path)
    assert not list((tmp_path / "cells").glob("*.npz"))


def test_a_worker_with_other_code_says_so(tmp_path, monkeypatch):
    plan = make_plan(times, {"n": [1.0]}, fixed={}, together=(), batch_size=None, version="")
    store = Store(tmp_path)
    store.prepare()
    task = package(plan, plan.units, store, None)
    assert run_remote(task)[0].state == "done"
    monkeypatch.setitem(globals(), "GAMMA", 2.0)  # as in a process that imports the file anew
    with pytest.raises(RuntimeError, match=r"other code than the process that asked: .*times"):
        run_remote(task)


NOISE = iter([1.0, 2.0])


def drawing(n):
    return next(NOISE) * n


def test_what_cannot_be_followed_is_refused_by_name_unless_vouched_for(tmp_path):
    with pytest.raises(ValueError, match=r"`measure` must reach only .*NOISE, an object of type"):
        values(drawing, [1.0], tmp_path)
    assert values(drawing, [1.0], tmp_path, code="v1") == [1]
    assert values(drawing, [1.0], tmp_path, code="v1") == [1]
    assert values(drawing, [1.0], tmp_path, code="v2") == [2]
    manifests = [json.loads(p.read_text()) for p in (tmp_path / "sweeps").glob("*.json")]
    assert {m["code"] for m in manifests} == {"v1", "v2"}
    assert ld.sweep(drawing, {"n": [1.0]}, store=tmp_path, code="v2").attrs["code"] == "v2"
    with pytest.raises(ValueError, match="`code` must be a text"):
        values(drawing, [1.0], tmp_path, code=3)


LOCK, MARK = threading.Lock(), object()


def guarded(n, mark=MARK):
    with LOCK:
        return n if mark is MARK else -n


def locked(n):
    return guarded(n)


def test_locks_and_markers_have_no_state(tmp_path):
    assert values(locked, [2.0], tmp_path) == [2]


def test_a_file_that_was_edited_after_its_import_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "own_edited.py"
    file.write_text("def measure(n):\n    return n\n")
    module = importlib.import_module("own_edited")
    file.write_text("def measure(n):\n    return 2 * n  # other\n")
    with pytest.raises(ValueError, match="own_edited, edited after it was imported"):
        values(module.measure, [1.0], tmp_path / "s")
    importlib.reload(module)
    assert values(module.measure, [1.0], tmp_path / "s") == [2]
    file.write_text("def measure(n):\n    return 3 * n\n")
    # what runs is still the code of the second version, whose results these are
    assert values(module.measure, [1.0, 4.0], tmp_path / "s") == [2, 8]
    importlib.reload(module)
    assert values(module.measure, [1.0], tmp_path / "s") == [3]
    monkeypatch.delitem(sys.modules, "own_edited")


def test_arguments_that_differ_are_not_mixed_up(tmp_path):
    def run(value):
        return values(kind, [1.0], tmp_path, fixed={"value": value})

    assert run(0.1) == ["float"]
    assert run(np.float64(0.1)) == ["float64"]
    assert run(np.ones(2)) == ["ndarray"]
    assert run(jnp.ones(2)) == ["ArrayImpl"]


def kind(n, value):
    return {"value": np.asarray(type(value).__name__)}
