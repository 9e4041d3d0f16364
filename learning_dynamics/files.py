"""Files that are written whole or not at all, and text and JSON that every reader takes."""

import hashlib
import json
import math
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from learning_dynamics.validation import reject

__all__ = [
    "check_writable",
    "flush_folder",
    "folder_path",
    "plain_text",
    "remove_abandoned",
    "replacing",
    "strict_json",
    "write_files",
]

Write = Callable[[IO[bytes]], object]

_TEMPORARY = re.compile(r"\.learning-dynamics-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.tmp(\.\w{1,8})?")
LONGEST_WRITE = 86_400.0  # seconds after which no temporary file has a writer any more


def plain_text(text: str) -> str:
    r"""Text that UTF-8 can hold: lone surrogates, as in undecodable file names, become \\udcxx."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def strict_json(value: Any) -> str:
    """JSON without NaN or Infinity: null for NaN, the strings "Infinity" and "-Infinity"."""
    return json.dumps(_strict(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {plain_text(str(key)): _strict(entry) for key, entry in value.items()}
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Sequence):
        return [_strict(entry) for entry in value]
    return plain_text(str(value))


def folder_path(argument: str, value: str | Path) -> Path:
    """Absolute path of a folder that exists or can be made.

    Raises:
        ValueError: if the text is empty, which `Path` takes for the current folder, or a file.
    """
    if not str(value):
        raise reject(argument, 'name a folder ("." for the current one)', repr(value))
    path = Path(value).absolute()
    if path.exists() and not path.is_dir():
        raise reject(argument, "be a folder", f"the file {path}")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    The content is flushed to the disk before the name appears.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_files(contents: Mapping[Path, Write]) -> None:
    """Write files, each whole or not at all.

    All are flushed under temporary names before the first one is renamed, so that files which
    belong together are hardly ever cut in two.

    Args:
        contents: path -> function that writes the content to an open file.

    Raises:
        OSError: naming the file, if the disk is full or the folder cannot be written.
    """
    temporary = {path: _temporary(path) for path in contents}
    try:
        for path, write in contents.items():
            _write_flushed(temporary[path], path, write)
        for path, write in contents.items():
            try:
                os.replace(temporary[path], path)
            except FileNotFoundError:  # another machine took it for abandoned
                _write_flushed(temporary[path], path, write)
                os.replace(temporary[path], path)
    finally:
        for name in temporary.values():
            with suppress(OSError):
                name.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Try whether a file can be written, without touching it.

    Raises:
        OSError: if its folder does not take a new file.
    """
    probe = _temporary(path)
    try:
        probe.touch()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _write_flushed(temporary: Path, path: Path, write: Write) -> None:
    try:
        with temporary.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # one of a full disk names no file
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from error


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    with suppress(OSError):  # Windows and some network file systems refuse
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _temporary(path: Path) -> Path:
    """Name of a temporary file beside `path`: it tells who writes it, and is used once."""
    suffix = path.suffix if re.fullmatch(r"\.\w{1,8}", path.suffix) else ""  # matplotlib reads it
    writer = f"{_system()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    return path.with_name(f".learning-dynamics-{writer}.tmp{suffix}")


@cache
def _system() -> str:
    """Name of the range in which process numbers are unique: host, boot and container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:8]


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files of writers that are gone.

    A writer is gone if it ran on this system and its process has ended. For other systems the age
    decides, a day on the clock of the file system: the clock of this machine may be wrong, and so
    may that of the writer.
    """
    now: float | None = None
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _TEMPORARY.fullmatch(entry.name)
            if match is None:
                continue
            with suppress(OSError):
                if match[1] == _system() and not _alive(int(match[2])):
                    os.unlink(entry.path)
                    continue
                now = _clock(folder) if now is None else now
                if now - entry.stat().st_mtime > LONGEST_WRITE:
                    os.unlink(entry.path)


def _alive(process: int) -> bool:
    """Whether a process of this system lives; True where that cannot be asked."""
    if os.name != "posix":  # there, os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user
        return True
    return True


def _clock(folder: Path) -> float:
    """Time by the clock that stamps files in a folder."""
    probe = _temporary(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
