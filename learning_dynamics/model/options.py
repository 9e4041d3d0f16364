"""Options of `Problem` at every level: the table that the tests check and the docs print.

A cell is "agrees" (the level follows the simulation with that option), or a `Refusal`: the
argument that the ValueError names, and why. Whether a search has a law depends on the loss as much
as on the option; cells where no loss was tried against a simulation say so (`UNTRIED`).

Options are tried in `combinations.COMBINATIONS`, each at every level at once: all cells occur in
one that the level does not refuse, with each of the updates, and so do all pairs of options that go
together.
`tests/learning_dynamics/kernel/test_options.py` checks that they do and runs them,
`docs/_ext/shown.py` prints the table.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

__all__ = [
    "LEVELS",
    "OPTIONS",
    "UNTRIED",
    "UPDATES",
    "Refusal",
    "go_together",
    "need",
    "refusal",
    "table",
]

UPDATES = ("plain", "spherical", "projected", "orthogonal")

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
    "schedule": "rates and, by `protocol`, numbers that depend on the time",
    "decay": "`weight_decay`",
    "noise": "`label_noise`",
    "norm": "`initial_norm`",
    "order 0": "moving parameter of order 0",
    "order 1": "moving parameter of order 1",
    "fast": "moving parameter of order 1, loss with a gram",
    "order 2": "moving parameter of order 2, loss with a gram",
    "normaliser": '`normaliser = "inputs"`',
    "blocks": "several noise blocks",
    "vectors": "several vectors per sample ($p>1$)",
    "neurons": "several coupled neurons ($K>1$)",
    "sum": "several neurons whose losses add up",
    "repeats": "`repeats`",
    "repeated batch": "`repeats` of a `batch`",
    "clip": "`clip`, by either `gradient_norm`",
    "normalise": "`normalise`, likewise",
    "clipped batch": "`clip` or `normalise` of a `batch`",
    "momentum": "`momentum`",
    "heavy ball": "`momentum=HeavyBall(...)`",
}


UNTRIED = {(option, "search") for option in ("vectors", "fast")}


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
_CLOCK = Refusal(
    "problem.learning_rate", "the law has no N, but a rate changes by an amount that depends on N"
)
_COUPLED = Refusal(
    "problem.learner", "the law is that of one neuron; `recovery_times` measures times of several"
)
_PUSHED = Refusal("problem.update", "orthonormal rows of several neurons push each other")
_JOINT = Refusal("problem.batch", "the norm of the gradient holds all samples of a batch jointly")
_CROSSED = Refusal(
    "problem.batch", "samples of a batch move each other's fields between the steps by N^(-1/2)"
)
_MEMORY = Refusal("problem.momentum", "a step remembers earlier samples, of order 1/N")
_VELOCITY = Refusal("problem.momentum", "the velocity of the weights is a variable of its own")
_JUMPS = Refusal(
    "problem.normalise",
    "unit gradients jump: the limit at small overlaps (order 2) is not resolved",
)
_AT_REST = Refusal("problem.momentum", "the law is one without velocities")
_GROWING = Refusal(
    "problem.update", "every step lengthens a row whose norm the loss leaves free, for ever"
)
_THEORY = ("limit", "velocity", "fluctuations", "exponent", "search")

# options that exclude each other by what they mean; a sample of several vectors has no label
_ALTERNATIVES = [
    {"order 0", "order 1", "fast", "order 2"},
    {"neurons", "sum"},
    {"normaliser", "sum"},
    *({"normaliser", "vectors"}, {"normaliser", "fast"}, {"normaliser", "order 2"}),
    *({"sum", "vectors"}, {"sum", "fast"}, {"sum", "order 2"}),
    *({"noise", "vectors"}, {"noise", "fast"}, {"noise", "order 2"}),
    *({"order 0", "vectors"}, {"order 1", "vectors"}),
    {"batch", "repeats", "repeated batch"},
    {"clip", "normalise", "clipped batch"},
    *({"batch", "clip"}, {"batch", "normalise"}, {"batch", "clipped batch"}),
    *({"repeated batch", "clip"}, {"repeated batch", "normalise"}, {"repeats", "clipped batch"}),
    {"heavy ball", "momentum"},  # steps of order 1/N^2 repeat nothing, and a fast skip oscillates
    *({"heavy ball", "repeats"}, {"heavy ball", "repeated batch"}, {"heavy ball", "fast"}),
]


def go_together(options: Iterable[str]) -> bool:
    """Whether options can be tried together: no two of them exclude each other."""
    pairs = combinations(sorted(options), 2)
    return not any(set(pair) <= group for pair in pairs for group in _ALTERNATIVES)


def refusal(option: str, update: str, level: str) -> Refusal | None:
    """What a level refuses of an option; None where it agrees with the simulation."""
    if update != "plain" and option in ("decay", "norm"):
        return Refusal({"decay": "weight_decay", "norm": "initial_norm"}[option], _UNIT_ROWS)
    if option == "order 0" and level not in ("ambient", "overlaps", "loss"):
        return _NO_LIMIT
    if option == "clipped batch" and level in _THEORY:
        return _JOINT
    if option == "heavy ball" and level in ("velocity", "search"):
        return _VELOCITY if level == "velocity" else _AT_REST
    if level == "fluctuations":
        refused = {"fast": _FAST, "repeated batch": _CROSSED}
        return (refused | dict.fromkeys(("momentum", "heavy ball"), _MEMORY)).get(option)
    if level == "search":
        if update == "orthogonal" and option in ("neurons", "sum"):
            return _PUSHED
        slow = {"order 1": _SLOW, "order 2": _SLOW, "neurons": _COUPLED, "schedule": _CLOCK}
        return (slow | {"normalise": _JUMPS}).get(option)
    return None


def need(option: str, update: str, level: str) -> tuple[str, Refusal] | None:
    """An option without which a level refuses another one, and that refusal."""
    if (option, update, level) == ("normaliser", "plain", "search"):
        return "decay", _GROWING
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

    def number(why: Refusal) -> int:
        return reasons.setdefault(why, len(reasons) + 1)

    found = {u: (refusal(option, u, level), need(option, u, level)) for u in UPDATES}
    for why, needed in dict.fromkeys(found.values()):
        updates = [update for update in UPDATES if found[update] == (why, needed)]
        where = "" if len(updates) == len(UPDATES) else f" {', '.join(updates)}"
        mark = "depends on the loss" if (option, level) in UNTRIED else "agrees"
        if why is not None:
            mark = f"refused ({number(why)})"
        elif needed is not None:
            other, reason = needed
            where += f" with {OPTIONS[other]}, else refused ({number(reason)})"
        yield mark + where
