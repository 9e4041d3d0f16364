"""Progress on the terminal: bars between compiled calls on the host, never inside compiled code."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from learning_dynamics.tracking import bar_on_terminal

__all__ = ["Progressing"]

T = TypeVar("T")


class Progressing:
    """Bars that may be nested, and plain lines; off a terminal only the lines are written."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)

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
        """Iterate over `items`; on a terminal with the bar of `track`."""
        if not self.console.is_terminal:
            return iter(items)
        return bar_on_terminal(items, description, console=self.console)
