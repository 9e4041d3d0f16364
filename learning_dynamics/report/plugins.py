"""Modules of entry points that register something when they are imported."""

import importlib
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from learning_dynamics.files import plain_text
from learning_dynamics.validation import reject

__all__ = ["BrokenPlugin", "check_free", "check_id", "import_plugins"]


@dataclass(frozen=True)
class BrokenPlugin:
    """A plug-in that cannot be imported; what it would register is missing.

    Attributes:
        name: of its entry point.
        module: that cannot be imported.
        error: its traceback.
    """

    name: str
    module: str
    error: str

    @property
    def reason(self) -> str:
        """The last line of the traceback."""
        return self.error.strip().splitlines()[-1]


def check_id(id: str) -> None:
    """Refuse an identifier that cannot name files and anchors.

    Raises:
        ValueError: if it is not of the form "part/name".
    """
    if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", id):
        raise reject("id", 'have the form "part/name"', repr(id))


def check_free(id: str, function: Callable[..., Any], holder: Callable[..., Any] | None) -> None:
    """Refuse an identifier that another function holds; a module may be imported again.

    Raises:
        ValueError: naming the function that holds it.
    """
    if holder is None:
        return
    taken = f"{holder.__module__}.{holder.__qualname__}"
    if taken != f"{function.__module__}.{function.__qualname__}":
        raise reject("id", "be new", f"{id!r}, taken by {taken}")


def import_plugins(entries: Iterable[Any], registry: dict[str, Any]) -> list[BrokenPlugin]:
    """Import the modules of entry points, which add to a registry.

    Of one that raises an error nothing is kept, since nothing tells what of it is whole.

    Args:
        entries: entry points of one group.
        registry: what the modules write to.

    Returns:
        The plug-ins that raised an error.
    """
    broken = []
    for entry in sorted(entries, key=_foreign):
        before = dict(registry)
        try:
            importlib.import_module(entry.value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also one that ends the program
            registry.clear()
            registry.update(before)
            text = plain_text("".join(traceback.format_exception(error)))
            broken.append(BrokenPlugin(entry.name, entry.value, text))
    return broken


def _foreign(entry: Any) -> bool:
    """Order of plug-ins: another one that takes an id of this project does not cost its own."""
    distribution = getattr(entry, "dist", None)
    return distribution is None or distribution.name != "learning-dynamics"
