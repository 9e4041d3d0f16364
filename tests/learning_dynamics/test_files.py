"""Files are whole or not there, JSON is strict, and text is text."""

import json
import os
import threading

import pytest

from learning_dynamics import files
from learning_dynamics.files import (
    check_writable,
    folder_path,
    plain_text,
    replacing,
    strict_json,
    write_files,
)


def test_text_without_an_encoding_becomes_text():
    assert plain_text("é \udc80 \ud800") == "é \\udc80 \\ud800"
    value = json.loads(strict_json({"\udc80": ["\udcff", Unprintable()]}))
    assert value == {"\\udc80": ["\\udcff", "\\ud8ff"]}


class Unprintable:
    def __str__(self):
        return "\ud8ff"


def test_files_appear_together_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*/b'") as error:
        write_files({tmp_path / "a": lambda file: file.write(b"new"), tmp_path / "b": fail})
    assert error.value.errno == 28
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    write_files({tmp_path / name: lambda file: file.write(b"new") for name in "ab"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_a_temporary_file_that_another_host_removed_is_written_again(tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def vanish(source, target):
        calls.append(source)
        if len(calls) == 1:
            os.unlink(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", vanish)
    write_files({tmp_path / "a": lambda file: file.write(b"new")})
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(calls) == 2


def test_threads_that_write_one_file_do_not_meet(tmp_path):
    def write(letter):
        for _ in range(20):
            write_files({tmp_path / "a": lambda file: file.write(letter * 10_000)})

    threads = [threading.Thread(target=write, args=(bytes([x]),)) for x in b"abcd"]
    for thread in threads:
        thread.start()
    whole = []
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "a").exists():
            whole.append(len(set((tmp_path / "a").read_bytes())) == 1)
    for thread in threads:
        thread.join()
    assert all(whole)
    assert whole
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "figure.svg"
    with replacing(path) as temporary:
        assert temporary.suffix == ".svg"  # from which matplotlib takes the format
        temporary.write_text("one")
    with pytest.raises(TypeError), replacing(path) as temporary:
        temporary.write_text(b"two")
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_long_names_are_no_trouble(tmp_path):
    write_files({tmp_path / ("é" * 127): lambda file: file.write(b"x")})
    assert len(list(tmp_path.iterdir())) == 1


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder_path("out", ".") == tmp_path
    assert folder_path("out", "new/one") == tmp_path / "new" / "one"
    (tmp_path / "file").touch()
    for wrong in ("", tmp_path / "file"):
        with pytest.raises(ValueError, match="Argument `out` must"):
            folder_path("out", wrong)
    with pytest.raises(OSError, match="missing"):
        check_writable(tmp_path / "missing" / "file")
    check_writable(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_processes_cannot_be_asked_for_they_are_taken_for_alive(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "kill", None)  # on Windows it would end the process
    assert files._alive(1)
