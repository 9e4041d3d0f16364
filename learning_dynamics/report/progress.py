"""Progress on the terminal: bars between compiled calls on the host, never inside compiled code."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["Progressing"]

T = TypeVar("T")


class Progressing:
    """Bars that may be nested, and plain lines; off a terminal only the lines are written."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._open = 0

    def say(self, line: str) -> None:
        """Write one plain line, above the bars if there are any."""
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def line(self) -> Iterator[Callable[[str], None]]:
        """Give what replaces one line at the bottom of the terminal; elsewhere it does nothing."""
        if not self.console.is_terminal:
            yield lambda _: None
            return
        with self.console.status("") as status:
            yield lambda text: status.update(Text(text))

    def track(self, items: Iterable[T], description: str) -> Iterator[T]:
        """Iterate over `items`; on a terminal with a bar that disappears at the end."""
        if not self.console.is_terminal:
            yield from items
            return
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )
            self._bars.start()
        bars = self._bars
        bar = bars.add_task(description, total=len(items) if isinstance(items, Sized) else None)
        self._open += 1
        try:
            for item in items:
                yield item
                bars.advance(bar)
        finally:
            self._open -= 1
            bars.remove_task(bar)
            if self._open == 0:
                bars.stop()
                self._bars = None
