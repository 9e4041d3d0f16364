"""Sections of an inspection, what they return, and how packages add theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points

import jax

from learning_dynamics.evidence.comparison import Comparison
from learning_dynamics.inspection.samples import Samples
from learning_dynamics.report.claims import Panel
from learning_dynamics.report.plugins import BrokenPlugin, check_free, check_id, import_plugins
from learning_dynamics.validation import reject

__all__ = ["Findings", "Number", "Section", "Table", "inspection", "load_sections"]

GROUP = "learning_dynamics.inspections"
Look = Callable[[Samples, jax.Array], "Findings"]

_registry: dict[str, "Section"] = {}


@dataclass(frozen=True)
class Number:
    """A number of the page.

    Attributes:
        name: what it is, in words.
        value: the number.
        error: None if it is exact.
        meaning: what it says, in a sentence.
        error_is: what the error is, shown behind ±.
        below: upper bound where the value is not told from zero; shown instead of it.
        unclaimed: whether it is of a theory that does not claim to hold for the data.
    """

    name: str
    value: float
    error: float | None = None
    meaning: str = ""
    error_is: str = "standard error"
    below: float | None = None
    unclaimed: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text below one heading.

    Attributes:
        title: heading.
        columns: names; the first one is that of the rows.
        rows: as many texts as there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise reject("rows", f"have {len(self.columns)} entries each", self.rows)


@dataclass(frozen=True, eq=False)
class Findings:
    """Answer, numbers, comparisons, panels, tables and notes of a section.

    Attributes:
        numbers: in the order of the page.
        comparisons: measured on the data beside a theory that claims to hold for them.
        unclaimed: likewise for a theory that does not, with the reason; shown without a verdict.
        panels: file stem -> figure with caption.
        tables: further tables.
        notes: sentences that a reader should know.
        answer: one or two plain sentences worked out from the data, with which the page opens;
            empty if there is none.
    """

    numbers: Sequence[Number] = ()
    comparisons: Sequence[Comparison] = ()
    unclaimed: Sequence[tuple[Comparison, str]] = ()
    panels: Mapping[str, Panel] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    answer: str = ""


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        id: "package-part/name"; sections are shown in the order of their ids.
        title: one sentence.
        source: where the theory comes from.
        look: finds it.
    """

    id: str
    title: str
    source: str
    look: Look


def inspection(id: str, *, title: str, source: str) -> Callable[[Look], Look]:
    """Register the decorated function `look(samples, key) -> Findings` as a section.

    A package adds sections by an entry point of the group "learning_dynamics.inspections" that
    names the module with them.

    Args:
        id: "part/name" in lower-case letters, digits and hyphens.
        title: one sentence.
        source: where the theory comes from.

    Raises:
        ValueError: on another form of the id, or one that another function has taken.
    """
    check_id(id)

    def register(look: Look) -> Look:
        check_free(id, look, _registry[id].look if id in _registry else None)
        _registry[id] = Section(id, title, source, look)
        return look

    return register


def load_sections() -> tuple[dict[str, Section], list[BrokenPlugin]]:
    """Sections of all plug-ins by id, and the plug-ins that cannot be imported."""
    broken = import_plugins(entry_points(group=GROUP), _registry)
    return dict(sorted(_registry.items())), broken
