"""Arrays in files: every type comes back, every changed byte is seen, nothing unpacks to more."""

import io
import os
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest

from learning_dynamics.array_files import DamagedFileError, read_arrays, write_arrays

NARROW = [
    "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float6_e2m3fn",
    "float4_e2m1fn", "int4", "uint4", "int2", "uint2",
]  # fmt: skip
ARRAYS = {
    "number": np.float64(0.1),
    "numbers": np.array([[1, np.nan], [np.inf, -0.0]], np.float32),
    "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10)[::3],
    "nothing": np.zeros((0, 3), np.complex128),
    "text": np.array(["a", "é"]),
    "no text": np.zeros(2, "U0"),
    "dates": np.array(["2020-01-01"], "M8[s]"),
    "a/b \\ \n \udc80": np.array([True]),
    **{name: np.arange(4).astype(getattr(ml_dtypes, name)) for name in NARROW},
    "narrow number": np.asarray(3, ml_dtypes.bfloat16),
}


def write(path, header=None, arrays=None):
    with path.open("w+b") as file:
        write_arrays(file, header or {"format": "test", "é": [1, None]}, arrays or ARRAYS)
    return path


def test_arrays_of_all_types_come_back(tmp_path):
    path = write(tmp_path / "all.npz")
    header, arrays = read_arrays(path)
    assert header == {"format": "test", "é": [1, None]}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == np.asarray(array).dtype, name
        assert arrays[name].shape == np.shape(array)
        assert arrays[name].tobytes() == np.asarray(array).tobytes(), name  # bit by bit
        assert arrays[name].flags.writeable
    assert write(tmp_path / "again.npz").read_bytes() == path.read_bytes()
    with np.load(path) as plain:  # readable without us
        np.testing.assert_array_equal(plain["numbers"], ARRAYS["numbers"])


def test_every_damage_is_seen(tmp_path):
    path = write(tmp_path / "a.npz", arrays={"x": np.arange(7.0), "y": np.float32(2)})
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for kind in range(5):
        for _ in range(20):
            changed, place = bytearray(whole), int(random.integers(len(whole)))
            if kind == 0:
                del changed[place:]
            elif kind == 1:
                changed[place] ^= 1 << random.integers(8)
            elif kind == 2:
                del changed[place : place + int(random.integers(1, 50))]
            elif kind == 3:
                changed[place:place] = random.bytes(int(random.integers(1, 50)))
            else:
                changed += random.bytes(int(random.integers(1, 100)))
            path.write_bytes(changed)
            with pytest.raises(DamagedFileError):
                read_arrays(path)


def sealed(path, fill):
    """An archive with a good checksum and a content of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        fill(archive)
        archive.comment = b"0" * 64
    import hashlib

    content = buffer.getvalue()[:-64]
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


def npy(array, shape=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), version=(1, 0))
    if shape is None:
        return stream.getvalue()
    return stream.getvalue().replace(repr(np.shape(array)).encode(), repr(shape).encode())


def header(archive, text=b'{"types": {}}'):
    archive.writestr("header.npy", npy(np.frombuffer(text, np.uint8)))


def bomb(archive):
    header(archive)
    archive.writestr("x.npy", npy(np.zeros(2**23)), zipfile.ZIP_DEFLATED)


def pickled(archive):
    header(archive)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([{}], object), allow_pickle=True)
    archive.writestr("x.npy", stream.getvalue())


def longer_than_it_is(archive):
    header(archive)
    archive.writestr("x.npy", npy(np.zeros(10), (99,)))


def without_header(archive):
    archive.writestr("x.npy", npy(np.zeros(3)))


def without_types(archive):
    header(archive, b"{}")


def of_an_unknown_type(archive):
    header(archive, b'{"types": {"x": "finfo"}}')
    archive.writestr("x.npy", npy(np.zeros(3, np.uint16)))


def no_array(archive):
    header(archive)
    archive.writestr("x.npy", b"text")


@pytest.mark.parametrize(
    "fill",
    [bomb, pickled, longer_than_it_is, without_header, without_types, of_an_unknown_type, no_array],
)
def test_crafted_archives_are_refused_before_they_take_memory(tmp_path, fill):
    path = tmp_path / "crafted.npz"
    sealed(path, fill)
    tracemalloc.start()
    with pytest.raises(DamagedFileError):
        read_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    sealed(path, header)  # the seal is good
    assert read_arrays(path) == ({}, {})


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(DamagedFileError, match="is a folder"):
        read_arrays(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedFileError, match="no regular file"):  # at once
        read_arrays(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(30_000_000_000)
    with pytest.raises(DamagedFileError, match="truncated"):
        read_arrays(tmp_path / "sparse")
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "plain.npz", x=np.zeros(3))
    for name in ("one.npy", "plain.npz"):
        with pytest.raises(DamagedFileError, match="format"):
            read_arrays(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "missing")
