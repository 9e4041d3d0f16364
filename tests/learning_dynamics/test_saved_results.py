"""Results on disk and across processes: every bit comes back, and damage is named."""

import pickle
from dataclasses import replace

import jax
import numpy as np
import pytest
import xarray as xr

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from learning_dynamics import saved_results
from learning_dynamics.netcdf_trees import Part, write_tree
from tests.learning_dynamics.results_of_each_kind import KINDS, PROVENANCE, Net, leaves


@pytest.mark.parametrize("kind", KINDS)
def test_saved_results_come_back_bit_for_bit(tmp_path, kind):
    given = KINDS[kind]()
    ld.save(tmp_path / "result.nc", given)
    found = ld.load(tmp_path / "result.nc")
    assert type(found) is type(given)
    assert dict(leaves(found)) == dict(leaves(given))
    ld.save(tmp_path / "again.nc", found)  # a loaded result is a result
    assert dict(leaves(ld.load(tmp_path / "again.nc"))) == dict(leaves(given))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.nc", "result.nc"]


@pytest.mark.parametrize("kind", KINDS)
def test_results_cross_processes(kind):
    given = KINDS[kind]()
    assert dict(leaves(pickle.loads(pickle.dumps(given)))) == dict(leaves(given))


@pytest.mark.parametrize("kind", ["InaccurateError", "IncompleteError"])
def test_errors_that_hold_a_result_cross_processes(kind):
    given = getattr(ld, kind)("not reached", KINDS["Limit"]())
    found = pickle.loads(pickle.dumps(given))
    assert type(found) is type(given)
    assert str(found) == "not reached"
    assert dict(leaves(found.result)) == dict(leaves(given.result))


@pytest.mark.parametrize("kind", ["Trajectory", "Limit"])
def test_batches_of_results_are_shown_and_saved(tmp_path, kind):
    given = KINDS[kind]()
    if kind == "Trajectory":
        given = replace(given, values={"signal": given.values["signal"]})
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), given)
    assert "signal (2, " in repr(batch)
    assert len(repr(batch).splitlines()) <= 12
    ld.save(tmp_path / "a.nc", batch)
    assert dict(leaves(ld.load(tmp_path / "a.nc"))) == dict(leaves(batch))


def test_every_kind_that_is_stored_is_tested():
    registered = {name.rsplit(".", 1)[1] for name in saved_results._REGISTERED}
    assert set(KINDS) >= (set(saved_results._KINDS) | registered) - {
        "Form", "Direction", "Leap", "Own"
    }  # fmt: skip


def test_other_programs_read_the_file(tmp_path):
    given = KINDS["Trajectory"]()
    ld.save(tmp_path / "a.nc", given)
    tree = xr.open_datatree(tmp_path / "a.nc", engine="h5netcdf")
    assert tree["values/signal"].dims[:2] == ("replica", "time")
    np.testing.assert_array_equal(tree["values/signal"], given.values["signal"])
    np.testing.assert_array_equal(tree["values/loss_test"], given.values["loss/test"])
    np.testing.assert_array_equal(tree["times"], given.times)
    assert tree.attrs["precision"] == PROVENANCE["precision"]
    ld.save(tmp_path / "b.nc", KINDS["Measurement"]())
    tree = xr.open_datatree(tmp_path / "b.nc", engine="h5netcdf")
    assert tree["values"].dims == ("time", "quantity")
    assert list(tree["coordinates"].coords) == ["time", "quantity"]


@pytest.mark.parametrize("kind", ["Trajectory", "Limit", "Comparison", "Comparisons"])
def test_datasets_of_results_are_written_by_xarray_itself(tmp_path, kind):
    result = KINDS[kind]()
    if kind == "Trajectory":  # without names and types that netCDF does not have
        result = replace(result, values={"signal": result.values["signal"]})
    data = result.to_xarray()
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    found = xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf")
    assert set(found.variables) == set(data.variables)
    assert set(found.attrs) == set(data.attrs)


PROBLEM = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), 0.2)


@pytest.mark.slow
def test_loaded_results_go_on(tmp_path, key):
    start = ld.order_parameters([[0.2, 0.1]], [[1.0]])
    run = {"dimension": 30, "times": [0.2, 0.4], "replicas": 4, "key": key, "level": "overlaps"}
    seen = ld.simulate(PROBLEM, **run, start=start)
    limit = ld.integrate(PROBLEM, times=[0.2, 0.4], start=seen, points=2**6, finite_size=False)
    for name, result in (("seen", seen), ("limit", limit)):
        ld.save(tmp_path / name, result)
    seen_again, limit_again = ld.load(tmp_path / "seen"), ld.load(tmp_path / "limit")
    again = ld.integrate(
        PROBLEM, times=[0.2, 0.4], start=seen_again, points=2**6, finite_size=False
    )
    np.testing.assert_array_equal(again.values["signal"], limit.values["signal"])
    onwards = [ld.simulate(PROBLEM, **run, start=s.last) for s in (seen, seen_again)]
    np.testing.assert_array_equal(*(o.values["signal"] for o in onwards))
    first, second = ld.compare(seen, limit), ld.compare(seen_again, limit_again)
    assert first.summary() == second.summary()


def test_a_loaded_limit_has_no_equation(tmp_path):
    ld.save(tmp_path / "limit.nc", KINDS["Limit"]())
    with pytest.raises(ValueError, match=r"carry its equation.* from a file"):
        ld.load(tmp_path / "limit.nc").at([0.7])


@pytest.mark.slow
def test_networks_of_loaded_runs_need_their_build(tmp_path):
    given = KINDS["Training"]()
    ld.save(tmp_path / "run.nc", given)
    found = ld.load(tmp_path / "run.nc")
    for replica in (0, 1):
        one, two = given.network(replica), found.network(replica, build=Net)
        x = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(one(x), two(x))
    with pytest.raises(ValueError, match="`build` must make the network of a run that was loaded"):
        found.network()
    with pytest.raises(ValueError, match="`build` must be left out unless the run was loaded"):
        given.network(build=Net)
    with pytest.raises(ValueError, match=r"`build` must make the network that was trained.*layer"):
        found.network(build=lambda rngs: Net(rngs).norm)


def cut(content):
    return content[:-1]


def halved(content):
    return content[: len(content) // 2]


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGE = {
    "empty": lambda content: b"",
    "another format": lambda content: b"PK\3\4" + content,
    "short": lambda content: content[:30],
    "cut": cut,
    "half": halved,
    "flipped in the head": lambda content: flipped(content, 40),
    "flipped in the middle": lambda content: flipped(content, len(content) // 2),
    "flipped in the checksum": lambda content: flipped(content, len(content) - 3),
    "longer": lambda content: content + b"more",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused_by_name(tmp_path, damage):
    path = tmp_path / "broken.nc"
    ld.save(path, KINDS["Prediction"]())
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"`path` must be a whole file as `save` wrote it.*broken"):
        ld.load(path)


def test_any_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "a.nc"
    ld.save(path, KINDS["Prediction"]())
    content = path.read_bytes()
    for at in range(0, len(content), 197):
        path.write_bytes(flipped(content, at))
        with pytest.raises(ValueError, match=r"but got .*a\.nc, which"):
            ld.load(path)


def test_files_of_others_are_refused(tmp_path):
    xr.Dataset({"x": ("n", np.arange(3))}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"a\.nc, which is truncated, or was written by another"):
        ld.load(tmp_path / "a.nc")
    write_tree(
        tmp_path / "b.nc", {"format": "learning-dynamics result 9"}, Part("Overlaps", {}, {})
    )
    with pytest.raises(ValueError, match=r"b\.nc, which is of another format \('learning-dynamics"):
        ld.load(tmp_path / "b.nc")
    header = {"format": saved_results.FORMAT}
    write_tree(tmp_path / "c.nc", header, Part("os.system", {"command": "true"}, {}))
    with pytest.raises(ValueError, match=r"holds a system that is not known: import os first"):
        ld.load(tmp_path / "c.nc")
    write_tree(tmp_path / "d.nc", header, Part("Overlaps", {"unknown": 1}, {}))
    with pytest.raises(ValueError, match="holds a Overlaps of another version"):
        ld.load(tmp_path / "d.nc")
    write_tree(tmp_path / "e.nc", header, Part("Nothing", {}, {}))
    with pytest.raises(ValueError, match="holds a Nothing that is not known"):
        ld.load(tmp_path / "e.nc")
    with pytest.raises(FileNotFoundError):
        ld.load(tmp_path / "missing.nc")


@pytest.mark.parametrize("path", ["", None, 3])
def test_paths_that_name_no_file(path):
    for call in (lambda: ld.load(path), lambda: ld.save(path, KINDS["Prediction"]())):
        with pytest.raises(ValueError, match="`path` must name a file"):
            call()


def test_folders_are_no_files(tmp_path):
    with pytest.raises(ValueError, match="`path` must name a file, but got the folder"):
        ld.save(tmp_path, KINDS["Prediction"]())
    with pytest.raises(ValueError, match="`path` must name a file, but got the folder"):
        ld.load(tmp_path)


def test_what_is_no_result_is_refused_and_leaves_no_file(tmp_path):
    old = KINDS["Prediction"]()
    ld.save(tmp_path / "a.nc", old)
    for odd in ({"a": 1}, np.ones(3), None, xr.Dataset()):
        with pytest.raises(ValueError, match="`result` must be one of Trajectory, "):
            ld.save(tmp_path / "a.nc", odd)
    for value in (object(), np.array([object()]), np.ones(2, np.longdouble), {1, 2}, b"x"):
        overlaps = ld.Overlaps(np.zeros((1, 1)), np.zeros((1, 1, 1)), {"a": value})
        with pytest.raises(ValueError, match=r"`result` must hold .* in `result\.parameters\.a`"):
            ld.save(tmp_path / "a.nc", overlaps)

    def traced(x):
        ld.save(tmp_path / "a.nc", ld.Overlaps(x, x, {}))
        return x

    with pytest.raises(ValueError, match=r"outside of `jit`.*traced `result\.signal`"):
        jax.jit(traced)(np.ones(2, np.float32))
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    assert dict(leaves(ld.load(tmp_path / "a.nc"))) == dict(leaves(old))


@pytest.mark.parametrize(
    "kind", ["f2", "f4", ">f8", "c8", "c16", "?", "i1", "u8", "U3", "m8[ns]", "M8[s]", "bfloat16",
             "float8_e4m3fn", "int4"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (2,), (0, 3)])
def test_numbers_of_all_types(tmp_path, kind, shape):
    import ml_dtypes

    dtype = np.dtype(getattr(ml_dtypes, kind, kind))
    values = (np.arange(2) if shape == (2,) else np.ones(shape, int)).astype(dtype)
    ld.save(tmp_path / "a.nc", ld.Overlaps(values, values, {"a": values, "a/b": values[()]}))
    found = ld.load(tmp_path / "a.nc")
    for array in (found.signal, found.blocks, found.parameters["a"]):
        assert (array.dtype, array.shape) == (dtype, values.shape)
        assert array.tobytes() == values.tobytes()


def test_texts_that_netcdf_cannot_hold(tmp_path):
    texts = np.array(["a\0b", "\udc80", "ä", ""])
    ld.save(tmp_path / "a.nc", ld.Overlaps(texts, texts[2:], {"\0": 1, "": 2, "ä": texts[2]}))
    found = ld.load(tmp_path / "a.nc")
    assert found.signal.tolist() == texts.tolist()
    assert found.blocks.tolist() == ["ä", ""]
    assert list(found.parameters) == ["\0", "", "ä"]


def test_results_of_users(tmp_path):
    @ld.saved_as(values=("time",))
    @__import__("dataclasses").dataclass
    class Own:
        values: np.ndarray
        inner: ld.Prediction

    ld.save(tmp_path / "a.nc", Own(np.arange(3), KINDS["Prediction"]()))
    found = ld.load(tmp_path / "a.nc")
    assert type(found) is Own
    assert found.inner.bias_order == "1/N"
    saved_results._REGISTERED.pop(f"{__name__}.test_results_of_users.<locals>.Own")
    with pytest.raises(ValueError, match=r"a Own that is not known: import .* first"):
        ld.load(tmp_path / "a.nc")
