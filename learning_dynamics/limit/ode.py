"""Solutions of differential equations whose compiled programs can be kept between processes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffrax
import equinox.internal as eqxi

__all__ = ["solve"]

_lock = threading.Lock()
_solving = 0  # how many solutions are being traced
_check: Any = eqxi.error_if  # the library's check meanwhile


class _Thread(threading.local):
    """State of a thread.

    What is reached by name from here is the same before the first solution and after it. Otherwise
    it would be taken for an edit of the code, and all programs would be compiled anew.

    Attributes:
        bare: whether the thread traces a solver, and no field.
    """

    def __init__(self) -> None:
        self.bare = False


_thread = _Thread()


def solve(field: Callable[[Any, Any, Any], Any], **options: Any) -> Any:
    """Solve dy/dt = field(t, y, args) by Tsitouras 5/4, without the solver's checks of its times.

    The checks of times and of the first step call the host from within the program, and JAX keeps
    no such program in its persistent cache: every process would compile it anew. Callers pass times
    that increase and lie within the interval, and a first step along it. Checks within the field
    and those of other threads stay.

    Args:
        field: right-hand side.
        **options: as of `diffrax.diffeqsolve`, without `throw`.

    Returns:
        The solution; `result` tells whether it came to its end.
    """

    def checked(t: Any, y: Any, args: Any) -> Any:
        with _checks(bare=False):
            return field(t, y, args)

    with _replaced(), _checks(bare=True):
        term = diffrax.ODETerm(checked)
        return diffrax.diffeqsolve(term, diffrax.Tsit5(), throw=False, **options)


@contextmanager
def _replaced() -> Iterator[None]:
    """Put a check in place of the library's that asks which thread it is in."""
    global _solving, _check
    with _lock:
        if not _solving:
            _check, eqxi.error_if = eqxi.error_if, _error_if
        _solving += 1
    try:
        yield
    finally:
        with _lock:
            _solving -= 1
            if not _solving:
                eqxi.error_if = _check


@contextmanager
def _checks(*, bare: bool) -> Iterator[None]:
    before, _thread.bare = _thread.bare, bare
    try:
        yield
    finally:
        _thread.bare = before


def _error_if(x: Any, *given: Any, **options: Any) -> Any:
    return x if _thread.bare else _check(x, *given, **options)
