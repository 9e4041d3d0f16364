"""Options of `Problem` at every level: the table that the tests check and the docs print.

A cell is "agrees" (the level follows the simulation with that option), or a `Refusal`: the
argument that the ValueError names, and why. Whether a search has a law depends on the loss as much
as on the option; cells where no loss was tried against a simulation say so (`UNTRIED`).

Options are tried in `COMBINATIONS`, each at every level at once: all cells occur in one that the
level does not refuse, with each of the updates, and so do all pairs of options that go together.
`tests/learning_dynamics/kernel/test_options.py` checks that they do and runs them,
`docs/_ext/results.py` prints the table.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

__all__ = [
    "COMBINATIONS",
    "LEVELS",
    "OPTIONS",
    "SEARCHES",
    "UNTRIED",
    "UPDATES",
    "Combination",
    "Refusal",
    "go_together",
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
    "clip": "`clip`",
    "normalise": "`normalise`",
    "clipped batch": "`clip` or `normalise` of a `batch`",
    "momentum": "`momentum`",
    "heavy ball": "`momentum=HeavyBall(...)`",
}


class Combination(NamedTuple):
    """Options that are tried together.

    Attributes:
        update: one of `UPDATES`.
        options: keys of `OPTIONS`; none for the row without options.
    """

    update: str
    options: frozenset[str]

    @classmethod
    def of(cls, update: str, *options: str) -> "Combination":
        """From the names of the options."""
        return cls(update, frozenset(options))

    def __str__(self) -> str:
        return " + ".join([self.update, *sorted(self.options)])


# every level but the search
COMBINATIONS = (
    Combination.of("plain"),
    Combination.of("spherical"),
    Combination.of("projected"),
    Combination.of("spherical", "schedule", "order 2", "vectors"),
    Combination.of("projected", "schedule", "order 1", "normaliser"),
    Combination.of("projected", "noise", "sum"),
    Combination.of("plain", "norm", "blocks", "sum"),
    Combination.of("spherical", "batch", "order 0", "sum"),
    Combination.of("spherical", "batch", "fast", "vectors", "neurons"),
    Combination.of("spherical", "batch", "noise", "normaliser", "neurons"),
    Combination.of("projected", "noise", "order 0", "blocks", "sum"),
    Combination.of("projected", "batch", "fast", "blocks", "vectors"),
    Combination.of("plain", "decay", "noise", "norm", "order 1", "sum"),
    Combination.of("plain", "schedule", "decay", "norm", "fast", "blocks", "vectors"),
    Combination.of("plain", "schedule", "decay", "norm", "order 2", "vectors", "neurons"),
    Combination.of("plain", "batch", "decay", "blocks", "vectors", "neurons"),
    Combination.of("spherical", "schedule", "batch", "noise", "order 1", "blocks", "sum"),
    Combination.of("projected", "batch", "order 2", "blocks", "vectors", "neurons"),
    Combination.of(
        "plain", "schedule", "batch", "decay", "norm", "order 0", "normaliser", "neurons"
    ),
    Combination.of(
        "plain", "batch", "decay", "noise", "norm", "order 1", "normaliser", "blocks", "neurons"
    ),
    Combination.of("orthogonal"),
    Combination.of("projected", "clipped batch"),
    Combination.of("spherical", "normalise"),
    Combination.of("plain", "repeated batch", "momentum"),
    Combination.of("projected", "normaliser", "normalise"),
    Combination.of("spherical", "order 1", "clipped batch"),
    Combination.of("orthogonal", "order 0", "normalise"),
    Combination.of("orthogonal", "repeats", "normalise", "momentum"),
    Combination.of("orthogonal", "normaliser", "repeats", "clip"),
    Combination.of("orthogonal", "order 2", "vectors", "repeated batch"),
    Combination.of("spherical", "sum", "repeats", "clip"),
    Combination.of("orthogonal", "order 0", "repeats", "clip"),
    Combination.of("projected", "sum", "repeated batch", "momentum"),
    Combination.of("spherical", "order 2", "vectors", "clipped batch"),
    Combination.of("orthogonal", "batch", "fast", "vectors", "momentum"),
    Combination.of("orthogonal", "batch", "order 2", "vectors", "neurons"),
    Combination.of("projected", "noise", "order 1", "sum", "clip", "momentum"),
    Combination.of("orthogonal", "fast", "vectors", "neurons", "repeated batch", "clipped batch"),
    Combination.of("orthogonal", "noise", "order 1", "blocks", "sum", "repeats", "normalise"),
    Combination.of("plain", "norm", "order 2", "vectors", "neurons", "repeats", "normalise"),
    Combination.of(
        "spherical", "noise", "order 1", "normaliser", "neurons", "repeated batch", "momentum"
    ),
    Combination.of("plain", "decay", "norm", "order 2", "vectors", "clip", "momentum"),
    Combination.of(
        "projected", "order 0", "blocks", "sum", "repeated batch", "clipped batch", "momentum"
    ),
    Combination.of(
        "plain", "decay", "noise", "norm", "normaliser", "repeated batch", "clipped batch"
    ),
    Combination.of("plain", "decay", "norm", "fast", "vectors", "repeats", "normalise"),
    Combination.of("projected", "order 2", "blocks", "vectors", "neurons", "repeats", "clip"),
    Combination.of("plain", "decay", "norm", "fast", "blocks", "vectors", "repeated batch"),
    Combination.of("plain", "decay", "noise", "norm", "order 1", "normaliser", "clip"),
    Combination.of("plain", "decay", "noise", "norm", "order 1", "repeats", "normalise"),
    Combination.of(
        "orthogonal", "fast", "blocks", "vectors", "neurons", "repeats", "clip", "momentum"
    ),
    Combination.of("orthogonal", "schedule", "repeats", "clip"),
    Combination.of("projected", "schedule", "normalise"),
    Combination.of("orthogonal", "schedule", "order 1", "repeated batch"),
    Combination.of("projected", "schedule", "order 2", "vectors", "clipped batch"),
    Combination.of("orthogonal", "schedule", "order 2", "vectors", "repeats", "clip"),
    Combination.of("orthogonal", "schedule", "order 2", "vectors", "repeats", "clip", "momentum"),
    Combination.of("plain", "heavy ball"),
    Combination.of("spherical", "noise", "order 1", "normaliser", "blocks", "heavy ball"),
    Combination.of("plain", "schedule", "decay", "norm", "order 1", "sum", "clip", "heavy ball"),
    Combination.of("projected", "batch", "order 2", "blocks", "vectors", "neurons", "heavy ball"),
    Combination.of("orthogonal", "schedule", "batch", "noise", "neurons", "heavy ball"),
    Combination.of("orthogonal", "order 2", "vectors", "normalise", "heavy ball"),
    Combination.of(
        "plain", "decay", "norm", "normaliser", "neurons", "normalise", "heavy ball", "blocks"
    ),
    Combination.of("spherical", "schedule", "order 2", "vectors", "clip", "heavy ball"),
    Combination.of("plain", "batch", "decay", "noise", "norm", "sum", "blocks", "heavy ball"),
    Combination.of("projected", "noise", "sum", "order 0", "clipped batch", "heavy ball"),
    Combination.of(
        "plain", "schedule", "batch", "decay", "norm", "order 0", "normaliser", "blocks",
        "neurons", "heavy ball",
    ),
    Combination.of(
        "plain", "decay", "norm", "order 2", "blocks", "vectors", "neurons", "clipped batch",
        "heavy ball",
    ),
    Combination.of("projected", "schedule", "noise", "normaliser", "normalise", "heavy ball"),
    Combination.of("spherical", "order 0", "blocks", "neurons", "clip", "heavy ball"),
    Combination.of("spherical", "order 1", "neurons", "normalise", "heavy ball"),
)  # fmt: skip

# those of losses with a search phase; plain updates of a loss that leaves the norm free have decay
SEARCHES = (
    Combination.of("plain"),
    Combination.of("spherical"),
    Combination.of("projected"),
    Combination.of("spherical", "noise", "normaliser"),
    Combination.of("projected", "batch", "normaliser"),
    Combination.of("plain", "decay", "norm", "sum"),
    Combination.of("projected", "noise", "blocks", "sum"),
    Combination.of("plain", "batch", "decay", "normaliser", "blocks"),
    Combination.of("plain", "batch", "noise", "norm", "blocks"),
    Combination.of("spherical", "batch", "noise", "blocks", "sum"),
    Combination.of("plain", "batch", "decay", "noise", "norm", "normaliser", "blocks"),
    Combination.of("orthogonal"),
    Combination.of("projected", "repeated batch"),
    Combination.of("projected", "clip"),
    Combination.of("spherical", "repeated batch", "momentum"),
    Combination.of("orthogonal", "batch", "momentum"),
    Combination.of("orthogonal", "normaliser", "repeated batch"),
    Combination.of("projected", "repeats", "momentum"),
    Combination.of("spherical", "normaliser", "repeats", "clip"),
    Combination.of("spherical", "sum", "repeats"),
    Combination.of("plain", "decay", "blocks", "repeated batch"),
    Combination.of("plain", "norm", "normaliser", "repeats"),
    Combination.of("plain", "decay", "sum", "repeats"),
    Combination.of("orthogonal", "noise", "blocks", "repeats", "clip", "momentum"),
    Combination.of("plain", "decay", "norm", "sum", "clip", "momentum"),
    Combination.of("plain", "noise", "norm", "blocks", "sum", "repeated batch"),
    Combination.of("projected", "normaliser", "blocks", "momentum"),
)

UNTRIED = {(option, "search") for option in ("vectors", "fast", "clip")}


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
_COUPLED = Refusal("problem.learner", "the law is that of one neuron")
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
    refusals = {update: refusal(option, update, level) for update in UPDATES}
    for why in dict.fromkeys(refusals.values()):
        updates = [update for update in UPDATES if refusals[update] == why]
        where = "" if len(updates) == len(UPDATES) else f" {', '.join(updates)}"
        agrees = "depends on the loss" if (option, level) in UNTRIED else "agrees"
        mark = agrees if why is None else f"refused ({reasons.setdefault(why, len(reasons) + 1)})"
        yield mark + where
