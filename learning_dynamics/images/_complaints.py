"""What libtiff writes to the standard error stream, past Python."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["complaints"]

# "Module: message", the module in mixed case; names of Python errors belong to other threads
_MODULE = (
    rb"tempfile\.tif|_?(?!\w*(?:Error|Warning|Exception):)(?:\w*[a-z]\d*[A-Z]|[A-Z]{2,}[a-z])\w*"
)
_LINE = re.compile(rb"(?:" + _MODULE + rb"): ")
_LOCK = threading.Lock()
_ERRORS = 2  # the stream's number for the operating system


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect the lines that libtiff writes meanwhile; lines of others go on to the stream.

    libtiff reports damage that it then passes over, so that a decoder may return pixels that were
    never in the file.
    """
    found: list[str] = []
    with _LOCK, tempfile.TemporaryFile() as caught:
        try:
            stream = os.dup(_ERRORS)
        except OSError:  # a program without a standard error stream
            yield found
            return
        try:
            os.dup2(caught.fileno(), _ERRORS)
            yield found
        finally:
            os.dup2(stream, _ERRORS)
            caught.seek(0)
            for line in caught.read().splitlines(keepends=True):
                if _LINE.match(line):
                    found.append(line.decode(errors="replace").strip())
                else:
                    os.write(stream, line)
            os.close(stream)
