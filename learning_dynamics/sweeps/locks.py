"""Who works on a cell: byte-range locks on one file, and signs of life of their owners.

The operating system frees the locks of a process that dies. It does not free those of a process
that is stopped, or of a host that is gone from a network file system. Whoever holds a cell for long
therefore writes a sign of life now and then; a cell whose owner has given none may be computed by
someone else. Results are equal and written whole, so that it does not matter if the owner goes on.
"""

import errno
import os
import platform
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Locks", "Standstill"]

BEAT = 10.0  # seconds between two signs of life
STILL = 120.0  # seconds without one after which an owner is taken for stopped


class Locks:
    """Byte-range locks (POSIX), which also hold on NFS, and signs of life for what they lock.

    One open file per process and store: closing a second one would free all locks of the first.
    It is open only while something is locked.

    Args:
        path: file whose bytes are locked.
        signs: folder for the signs of life.
    """

    def __init__(self, path: Path, signs: Path) -> None:
        self.path, self.signs = path, signs
        self.file: IO[bytes] | None = None
        self.guard = threading.Lock()
        self.held: set[int] = set()  # POSIX locks do not keep threads of one process apart
        self.working: dict[str, float] = {}  # since when, for all keys under work
        self.works = True
        self.beating = False

    def acquire(self, keys: Sequence[str]) -> bool:
        """Lock the bytes of all keys; False if one of them is taken, and then none is locked."""
        places = [_place(key) for key in keys]
        with self.guard:
            if self.held.intersection(places):
                return False
            if self.file is None:
                self.file = self.path.open("ab")
            got: list[int] = []
            for place in dict.fromkeys(places):
                if not self._lock(place):
                    self._unlock(got)
                    return False
                got.append(place)
            self.held.update(got)
            return True

    def release(self, keys: Sequence[str]) -> None:
        """Free the bytes of the keys."""
        places = [_place(key) for key in keys]
        with self.guard:
            self.held.difference_update(places)
            self._unlock(places)

    @contextmanager
    def working_on(self, keys: Sequence[str], *, at_once: bool = False) -> Iterator[None]:
        """Give signs of life for keys, after a while or `at_once`."""
        began = time.monotonic()
        with self.guard:
            self.working.update(dict.fromkeys(keys, began))
            if at_once:
                self._beat(keys)
            if not self.beating:
                self.beating = True
                threading.Thread(target=self._beat_on, daemon=True).start()
        try:
            yield
        finally:
            with self.guard:
                for key in keys:
                    self.working.pop(key, None)
                    if at_once or time.monotonic() - began >= BEAT / 2:
                        with suppress(OSError):
                            (self.signs / key).unlink(missing_ok=True)

    def sign(self, key: str) -> bytes | None:
        """The last sign of life for a key, by whichever process; None if there is none."""
        try:
            return (self.signs / key).read_bytes()
        except OSError:
            return None

    def _beat_on(self) -> None:
        while True:
            time.sleep(BEAT)
            with self.guard:
                if not self.working:
                    self.beating = False
                    return
                now = time.monotonic()
                self._beat([key for key, since in self.working.items() if now - since >= BEAT / 2])

    def _beat(self, keys: Sequence[str]) -> None:
        text = f"process {os.getpid()} on {platform.node()} at {time.monotonic_ns()}"
        for key in keys:
            with suppress(OSError):
                self.signs.mkdir(exist_ok=True)
                (self.signs / key).write_text(text)

    def _lock(self, place: int) -> bool:
        if not self.works:
            return True
        reason = "this system has none"
        try:
            if fcntl is not None:
                fcntl.lockf(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                return True
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            reason = error.strerror or str(error)
        self.works = False
        warnings.warn(
            f"the file system of {self.path} has no locks ({reason}): two "
            "processes on this store may compute the same cell",
            stacklevel=2,
        )
        return True

    def _unlock(self, places: Sequence[int]) -> None:
        file = self._open()
        if not self.held:
            file.close()  # which frees all
            self.file = None
        elif self.works:
            for place in places:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    def _open(self) -> IO[bytes]:
        if self.file is None:
            raise RuntimeError("the lock file is closed while it is in use")
        return self.file


def _place(key: str) -> int:
    return int(key[:15], 16)


class Standstill:
    """Tells cells whose owners give no sign of life, to a process that has nothing else to do.

    Only changes count, watched by the clock of this process: clocks of other hosts may be wrong.
    """

    def __init__(self) -> None:
        self.seen: dict[str, tuple[bytes | None, float, float]] = {}

    def __call__(self, key: str, sign: bytes | None) -> bool:
        """Look at the sign of a cell that is taken; whether it has stood still for long."""
        now = time.monotonic()
        before, since, looked = self.seen.get(key, (sign, now, now))
        if before != sign or now - looked > BEAT:  # no one watched in between
            since = now
        self.seen[key] = (sign, since, now)
        return now - since > STILL
