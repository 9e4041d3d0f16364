"""Pages of one look: every page extends the same template and shares its pieces."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from learning_dynamics.files import plain_text
from learning_dynamics.markup import duration, explained, number, plain_or_math, shown, with_error
from learning_dynamics.report.records import versions

__all__ = ["render"]


def render(template: str, *, records: Sequence[dict[str, Any]], **context: Any) -> str:
    """Fill a template of `learning_dynamics.report`.

    Args:
        template: its file.
        records: what is on the page; each has its `date`, `seconds` and `versions`.
        context: further names that the template uses.
    """
    environment = Environment(
        loader=PackageLoader("learning_dynamics.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        math=lambda text: Markup(plain_or_math(text)),
        number=number,
        duration=duration,
        day=lambda date: date.replace("T", " ").removesuffix("+00:00") + " UTC",
    )
    environment.globals.update(with_error=with_error, shown=shown, explained=explained)
    page = environment.get_template(template).render(
        records=records,
        versions=max(records, key=lambda r: r["date"])["versions"] if records else versions(),
        date=datetime.now(UTC).isoformat(timespec="minutes"),
        seconds=sum(record["seconds"] for record in records),
        **context,
    )
    return plain_text(page)
