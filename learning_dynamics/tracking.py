"""Progress of long work: bars after two seconds on a terminal or in a notebook, or the user's own.

Loops on the host call `track`; what it does is set by the keyword `tracker` of the public function
around them. Nothing of this happens inside compiled code.
"""

import html
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from learning_dynamics.pytrees import is_traced
from learning_dynamics.validation import reject

__all__ = ["Tracker", "Tracking", "bar_on_terminal", "track", "tracked", "tracking"]

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")
Note = Callable[[], str] | None

# called as `tracker(iterable, description)`, returns an iterable of the same items
Tracker = Callable[[Iterable[Any], str], Iterable[Any]]
# the keyword `tracker`: one's own, "auto" for bars unless a caller has chosen, None for quiet
Tracking = Tracker | Literal["auto"] | None

PATIENCE = 2.0  # seconds before a bar appears
_EVERY = 0.25  # seconds between two changes of a bar

# what callers have chosen, by thread; kept in tables that code writes to, which are no part of the
# identity of code
_chosen: dict[int, list[Tracker | None]] = {}
_open: dict[str, Any] = {}
_lock = threading.RLock()


def track(items: Iterable[T], description: str, note: Note = None) -> Iterator[T]:
    """Iterate over `items` and show how far that is, as the function around it was asked to.

    Args:
        items: of known length, best.
        description: what is done.
        note: words to show beside the bar, asked for anew whenever it changes.
    """
    chosen = _choices()
    if chosen:
        return iter(items) if chosen[-1] is None else iter(chosen[-1](items, description))
    if multiprocessing.parent_process() is not None:
        return iter(items)  # workers share the terminal of the process that asked
    if threading.current_thread() is not threading.main_thread():
        return iter(items)
    if _in_notebook():
        return _in_cell(items, description, note)
    if sys.stderr is not None and sys.stderr.isatty():
        return bar_on_terminal(items, description, note)
    return iter(items)


def _choices() -> list[Tracker | None]:
    """What this thread's callers have chosen; written to, so that it is no part of an identity."""
    thread = threading.get_ident()
    choices = _chosen.setdefault(thread, [])
    if not choices:
        del _chosen[thread]
    return choices


@contextmanager
def tracking(tracker: Tracking) -> Iterator[None]:
    """Show the progress of all that happens inside by one tracker; "auto" leaves the choice as is.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(tracker, str) and tracker == "auto":
        yield
        return
    chosen: Any = tracker
    if chosen is not None and not callable(chosen):
        demand = "be 'auto', None for quiet, or called as tracker(iterable, description)"
        raise reject("tracker", demand, repr(chosen))
    thread = threading.get_ident()
    stack = _chosen.setdefault(thread, [])
    stack.append(chosen)
    try:
        yield
    finally:
        stack.pop()
        if not stack:
            del _chosen[thread]


def tracked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its keyword `tracker` holds for everything that it calls."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        tracker: Any = kwargs.get("tracker", "auto")
        if callable(tracker) and is_traced((args, kwargs)):
            demand = "be left out under jax.jit, jax.vmap and jax.grad"
            raise reject("tracker", demand, repr(tracker))
        with tracking(tracker):
            return function(*args, **kwargs)

    return called


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this code."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def bar_on_terminal(
    items: Iterable[T], description: str, note: Note = None, console: Any = None
) -> Iterator[T]:
    """Nested bars on a terminal after two seconds, which disappear at the end.

    Args:
        items: of known length, best.
        description: what is done.
        note: as of `track`.
        console: rich's, by default one on standard error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with _lock:
        outermost = "bars" not in _open
        if outermost:
            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TextColumn("{task.fields[note]}"),
            )  # fmt: skip
            place = console or Console(stderr=True, highlight=False)
            _open["bars"] = Progress(*columns, console=place, transient=True)
        bars: Any = _open["bars"]
        total = len(items) if isinstance(items, Sized) else None
        bar = bars.add_task(description, total=total, visible=False, note="")
    began = time.monotonic()

    def show() -> None:
        with _lock:
            if "bars" in _open and _open["bars"] is bars:
                bars.start()
                bars.update(bar, visible=True, refresh=True)

    # the first item may take long; bars inside of it need no clock of their own
    clock = threading.Timer(PATIENCE, show) if outermost else None
    if clock is not None:
        clock.daemon = True
        clock.start()
    looked, shown = 0.0, False
    try:
        for item in items:
            now = time.monotonic()
            if now - began >= PATIENCE and now - looked >= _EVERY:
                if not shown:
                    show()
                    shown = True
                bars.update(bar, note=note() if note else "")
                looked = now
            yield item
            bars.advance(bar)
    finally:
        with _lock:
            if clock is not None:
                clock.cancel()
            bars.remove_task(bar)
            if outermost:
                bars.stop()
                _open.pop("bars", None)


def _in_cell(items: Iterable[T], description: str, note: Note) -> Iterator[T]:
    """A bar below the cell of a notebook, which is emptied at the end."""
    from IPython.display import display

    total = len(items) if isinstance(items, Sized) else None
    began, looked, handle = time.monotonic(), 0.0, None
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - began >= PATIENCE and now - looked >= _EVERY:
                looked = now
                text = f"{description}: {done}" + (f"/{total}" if total is not None else "")
                text += f", {now - began:.0f} s" + (f", {note()}" if note else "")
                bar = f'<progress value="{done}" max="{total}"></progress> ' if total else ""
                content = {"text/plain": text, "text/html": bar + html.escape(text)}
                if handle is None:
                    handle = display(content, raw=True, display_id=True)
                else:
                    handle.update(content, raw=True)
            yield item
    finally:
        if handle is not None:
            handle.update({"text/plain": "", "text/html": ""}, raw=True)
