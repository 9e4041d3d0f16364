"""Options of `Problem` at every level: the table that the tests check and the docs print.

A cell is either "agrees" (the level follows the simulation with that option) or a `Refusal`: the
argument that the ValueError names, and why. Whether a search has a law depends on the loss as much
as on the option; rows where no loss was tried against a simulation say so (`UNTRIED`).
`tests/learning_dynamics/kernel/test_options.py` runs every cell, `docs/_ext/results.py` prints
them.
"""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["LEVELS", "OPTIONS", "UNTRIED", "UPDATES", "Refusal", "refusal", "table"]

UPDATES = ("plain", "spherical", "projected")

# name of a level in the table -> the call behind it
LEVELS = {
    "ambient": '`simulate(level="ambient")`',
    "overlaps": '`simulate(level="overlaps")`',
    "limit": "`integrate`",
    "velocity": "`right_hand_side`",
    "loss": "`expected_loss`",
    "fluctuations": "`fluctuations`",
    "exponent": "`information_exponent`",
    "search": "`search_law`",
}

# key of a row -> its heading
OPTIONS = {
    "bare": "no option",
    "batch": "`batch`",
    "weight decay": "`weight_decay`",
    "label noise": "`label_noise`",
    "initial norm": "`initial_norm`",
    "order 0": "moving parameter of order 0",
    "order 1": "moving parameter of order 1",
    "fast": "moving parameter of order 1, loss with a gram",
    "order 2": "moving parameter of order 2, loss with a gram",
    "normaliser": '`normaliser = "inputs"`',
    "blocks": "several noise blocks",
    "vectors": "several vectors per sample ($p>1$)",
    "neurons": "several coupled neurons ($K>1$)",
    "sum of neurons": "several neurons whose losses add up",
    "decay, batch": "`weight_decay` with `batch`",
    "decay, order 1": "`weight_decay` with a parameter of order 1",
    "decay, blocks": "`weight_decay` with several blocks",
    "decay, neurons": "`weight_decay` with several coupled neurons",
    "noise, batch": "`label_noise` with `batch`",
    "batch, blocks": "`batch` with several blocks",
    "batch, neurons, blocks": "`batch` with several coupled neurons and blocks",
    "batch, fast": "`batch` with a parameter of order 1 and a gram",
    "batch, order 2": "`batch` with a parameter of order 2 and a gram",
    "normaliser, blocks": '`normaliser = "inputs"` with several blocks',
    "decay, normaliser": '`weight_decay` with `normaliser = "inputs"`',
}


UNTRIED = {
    (option, "search")
    for option in (
        "fast", "normaliser", "vectors", "sum of neurons", "batch, fast", "normaliser, blocks",
        "decay, blocks", "decay, normaliser",
    )
}  # fmt: skip


class Refusal(NamedTuple):
    """Why a level refuses an option.

    Attributes:
        argument: what the ValueError names.
        reason: the reason, in a few words.
    """

    argument: str
    reason: str


_UNIT_ROWS = "rows of norm one: the update undoes what the option does"
_NO_LIMIT = Refusal(
    "parameter_orders", "a parameter of order 0 changes by order one in one update and at random"
)
_FAST = Refusal(
    "problem.parameter_rates",
    "a parameter of order 1 with a gram fluctuates within a few updates, which is not followed",
)
_SLOW = Refusal("problem.parameter_rates", "the parameter moves while the search goes on")
_COUPLED = Refusal("problem.learner", "the law is that of one neuron")


def refusal(option: str, update: str, level: str) -> Refusal | None:
    """What a level refuses of an option; None where it agrees with the simulation."""
    parts = option.split(", ")
    if update != "plain" and {"decay", "weight decay"} & set(parts):
        return Refusal("weight_decay", _UNIT_ROWS)
    if update != "plain" and "initial norm" in parts:
        return Refusal("initial_norm", _UNIT_ROWS)
    if "order 0" in parts and level in ("limit", "velocity", "fluctuations", "search"):
        return _NO_LIMIT
    if "fast" in parts and level == "fluctuations":
        return _FAST
    if level == "search":
        if {"order 1", "order 2"} & set(parts):
            return _SLOW
        if "neurons" in parts:
            return _COUPLED
    return None


def table() -> str:
    """The table in Markdown, with numbered reasons below."""
    reasons: dict[Refusal, int] = {}
    lines = ["| option | " + " | ".join(LEVELS.values()) + " |", "|---" * (len(LEVELS) + 1) + "|"]
    for option, heading in OPTIONS.items():
        cells = ["; ".join(_cell(option, level, reasons)) for level in LEVELS]
        lines.append("| " + " | ".join([heading, *cells]) + " |")
    notes = [f"{n}. `{r.argument}`: {r.reason}." for r, n in reasons.items()]
    return "\n".join([*lines, "", *notes])


def _cell(option: str, level: str, reasons: dict[Refusal, int]) -> Iterator[str]:
    """What a cell says, once where all updates agree."""
    found = {update: refusal(option, update, level) for update in UPDATES}
    for why in dict.fromkeys(found.values()):
        updates = [update for update in UPDATES if found[update] == why]
        where = "" if len(updates) == len(UPDATES) else f" {', '.join(updates)}"
        agrees = "depends on the loss" if (option, level) in UNTRIED else "agrees"
        mark = agrees if why is None else f"refused ({reasons.setdefault(why, len(reasons) + 1)})"
        yield mark + where
