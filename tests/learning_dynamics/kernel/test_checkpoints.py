"""Checkpoints that are damaged, cannot be written, or hold types that NumPy does not know."""

import dataclasses
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import learning_dynamics as ld
from learning_dynamics import files
from learning_dynamics.array_files import read_arrays, write_arrays
from learning_dynamics.identity.key import Fingerprint
from learning_dynamics.process import simulate as simulation
from learning_dynamics.process.checkpoint import checkpoint_file, restore, save
from learning_dynamics.training import Minibatches, network, train
from tests.learning_dynamics.kernel.models import Committee, Teacher

ME, YOU = Fingerprint("me", {"`key`": "1"}), Fingerprint("you", {"`key`": "2"})
STATE = {"w": jnp.arange(6.0).reshape(2, 3), "n": jnp.arange(3, dtype=jnp.int32)}
PARTS = [{"a": np.arange(4.0), "b:c": np.array(1)}, {"a": np.arange(5.0), "b:c": np.array(2)}]


def saved(path):
    save(path, ME, 2, STATE, PARTS)
    return path


def back(path):
    return restore(path, ME, STATE, None)


def assert_refused(path, what, identity=ME):
    with pytest.raises(ValueError, match="Argument `checkpoint` must") as error:
        restore(path, identity, STATE, None)
    assert str(path) in str(error.value)
    assert what in str(error.value)


def test_a_state_comes_back(tmp_path):
    assert back(tmp_path / "none") == (0, STATE, [])
    done, state, parts = back(saved(tmp_path / "c"))
    assert done == 2
    assert jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), state, STATE) == {
        "w": True,
        "n": True,
    }
    assert parts[1].keys() == PARTS[1].keys()
    for part, expected in zip(parts, PARTS, strict=True):
        for name in expected:
            np.testing.assert_array_equal(part[name], expected[name])
    save(tmp_path / "d", ME, 1, STATE, [{}])  # nothing was observed
    assert back(tmp_path / "d")[2] == [{}]


def test_four_hundred_damages_are_refused_by_name(tmp_path):
    path = saved(tmp_path / "c.npz")
    whole, random = path.read_bytes(), np.random.default_rng(1)
    for number in range(400):
        changed, place = bytearray(whole), int(random.integers(len(whole)))
        if number % 2:
            changed[place] ^= 1 << random.integers(8)
        elif number % 4:
            del changed[place:]
        else:
            changed[place:place] = random.bytes(int(random.integers(1, 99)))
        path.write_bytes(changed)
        assert_refused(path, "")


def test_other_files_are_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    path.touch()
    assert_refused(path, "empty")
    np.savez(path, identity="me", done=1)
    assert_refused(path, "format")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert_refused(path, "format")
    with path.open("wb") as file:
        file.truncate(30_000_000_000)
    assert_refused(path, "truncated")
    assert_refused(saved(path), "another run; what differs: `key`", identity=YOU)

    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("learning_dynamics.process.checkpoint.read_arrays", forbidden)
    assert_refused(path, "Permission denied")


def test_a_missing_array_is_refused_although_the_checksum_fits(tmp_path):
    path = saved(tmp_path / "c.npz")
    header, arrays = read_arrays(path)

    def rewrite(header, arrays):
        with path.open("w+b") as file:
            write_arrays(file, header, arrays)

    for name in arrays:
        rewrite(header, {k: v for k, v in arrays.items() if k != name})
        assert_refused(path, "lacks")
    rewrite(header, arrays | {"particle0": np.zeros((2, 2), np.float32)})
    assert_refused(path, "lacks the state")
    rewrite(header, arrays | {"particle1": arrays["particle1"].astype(np.int64)})
    assert_refused(path, "lacks the state")
    for done in (1, 3, 0, -1, "2", None):
        rewrite({**header, "done": done}, arrays)
        assert_refused(path, "")
    rewrite({**header, "format": "other"}, arrays)
    assert_refused(path, "format")
    rewrite(header, arrays)
    assert back(path)[0] == 2


PROBLEM = ld.Problem(Teacher(np.ones(1)), Committee(), 0.2)


def run(checkpoint):
    return ld.simulate(
        PROBLEM, dimension=8, times=[1.0], replicas=2, key=jax.random.key(0), checkpoint=checkpoint
    )


def learn(checkpoint, optimiser=None):
    def loss(model, batch, key):
        return jnp.mean((model(batch) - 1.0) ** 2)

    def observe(model, tests, key):
        return {"w": model.kernel[...].sum()}

    return train(
        lambda rngs: nnx.Linear(3, 1, rngs=rngs), loss, Minibatches(jnp.ones((8, 3)), 4),
        optimiser=optimiser or optax.sgd(0.1), steps=[0, 3], observe=observe,
        key=jax.random.key(0), checkpoint=checkpoint,
    )  # fmt: skip


@pytest.mark.slow
def test_a_refusal_names_what_differs(tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    run(path)

    def assert_refused_for(name, work, *arguments):
        with pytest.raises(ValueError, match=f"saved by another run; what differs: {name}"):
            work(*arguments)

    for changes in ({"learning_rate": 0.3}, {"label_noise": 0.1}):
        monkeypatch.setitem(globals(), "PROBLEM", dataclasses.replace(PROBLEM, **changes))
        assert_refused_for(r"`problem`\.$", run, path)
        monkeypatch.undo()

    def steep(self, fields, norms, parameters, sample):
        return 2.0 * (fields[0, 0] - sample.label) ** 2

    monkeypatch.setattr(Committee, "loss", steep)
    assert_refused_for(".*Committee", run, path)
    monkeypatch.undo()
    run(path)
    learn(path := tmp_path / "d.npz")
    assert_refused_for(".*`optimiser`", learn, path, optax.sgd(0.2))


@pytest.mark.parametrize("work", [run, learn])
def test_a_place_that_cannot_be_written_is_found_before_any_work(tmp_path, monkeypatch, work):
    def started(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(simulation, "begin", started)
    monkeypatch.setattr(network, "_start", started)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path / "missing" / "c.npz", "a folder that exists"),
        (tmp_path / "file" / "c.npz", "a folder that exists"),
        (tmp_path, "which is a folder"),
        (tmp_path / "pipe", "no regular file"),
        ("", "name a file"),
        (3, "name a file"),
    ]:
        with pytest.raises(ValueError, match=f"Argument `checkpoint` must.*{reason}"):
            work(path)

    def read_only(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("learning_dynamics.process.checkpoint.check_writable", read_only)
    with pytest.raises(ValueError, match="`checkpoint` must name a file that can be written"):
        work(tmp_path / "c.npz")


def test_temporary_files_of_killed_runs_go_away(tmp_path):
    name = files._temporary(tmp_path / "c.npz").name
    dead = tmp_path / name.replace(f"-{os.getpid()}-", "-4194304-")  # above the largest process
    mine, others = tmp_path / name, tmp_path / "c.npz.123.tmp"
    for path in (dead, mine, others):
        path.touch()
    checkpoint_file(tmp_path / "c.npz")
    assert not dead.exists()
    assert mine.exists()
    assert others.exists()  # not ours to judge


def test_threads_do_not_meet(tmp_path):
    threads = [threading.Thread(target=saved, args=(tmp_path / "c",)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert back(tmp_path / "c")[0] == 2
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4", "uint4", "float8_e5m2"])
def test_narrow_types_come_back_bit_by_bit(tmp_path, dtype):
    state = jnp.arange(6).reshape(2, 3).astype(dtype)
    save(tmp_path / "c", ME, 1, state, [{"x": np.asarray(state)}])
    _, again, parts = restore(tmp_path / "c", ME, state, None)
    assert again.dtype == state.dtype
    assert np.asarray(again).tobytes() == np.asarray(state).tobytes()
    assert parts[0]["x"].dtype == np.asarray(state).dtype


@pytest.mark.slow
def test_training_with_narrow_moments_resumes(tmp_path):
    adam = optax.adam(0.1, mu_dtype=jnp.bfloat16)
    first = learn(tmp_path / "c.npz", adam)
    again = learn(tmp_path / "c.npz", adam)
    np.testing.assert_array_equal(first.values["w"], again.values["w"])
