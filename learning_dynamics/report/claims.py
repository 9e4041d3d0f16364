"""Claims of the papers as runnable comparisons, each with controls that must fail."""

import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import jax
from matplotlib.figure import Figure

from learning_dynamics.evidence.comparison import Comparison, Verdict
from learning_dynamics.report.plugins import BrokenPlugin, check_free, check_id, import_plugins
from learning_dynamics.tracking import Tracker, tracking
from learning_dynamics.validation import one_of, positive_number, reject

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Claim",
    "Evidence",
    "Outcome",
    "Panel",
    "Run",
    "claim",
    "load_claims",
    "load_plugins",
    "run_claim",
]

Size = Literal["quick", "full"]
T = TypeVar("T")

_registry: dict[str, "Claim"] = {}


@dataclass(frozen=True)
class Run:
    """What a claim is given: its size, a random key, a progress bar and a place for its cells.

    Attributes:
        size: "quick" (a minute on two cores) or "full".
        key: typed random key of the claim.
        tracker: wraps an iterable in a progress bar.
        store: folder that keeps what its sweeps computed; None to keep nothing.
        earlier: seconds that went into cells found in the store, one entry per sweep.
    """

    size: Size
    key: jax.Array
    tracker: Callable[[Iterable, str], Iterable] = field(default=lambda items, _: items)
    store: Path | None = None
    earlier: list[float] = field(default_factory=list)

    @property
    def quick(self) -> bool:
        """Whether the quick size was asked for."""
        return self.size == "quick"

    def track(self, items: Iterable[T], description: str) -> Iterator[T]:
        """Iterate over `items` with a progress bar."""
        return iter(self.tracker(items, description))

    def sweep(
        self, measure: Callable[..., Any], over: Mapping[str, Any], **options: Any
    ) -> "xr.Dataset":
        """Call `learning_dynamics.sweep` with the store and the progress bar of this run.

        Args:
            measure: function at the top of a module.
            over: argument -> values.
            options: as for `learning_dynamics.sweep`, without `store` and `tracker`.

        Raises:
            RuntimeError: if a cell failed; NaN in its place would be read as a measurement.
        """
        from learning_dynamics.sweeps import MissingCells, sweep

        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("error", MissingCells)
            try:
                found = sweep(measure, over, store=self.store, tracker=self.tracker, **options)
            except MissingCells as lost:
                raise RuntimeError(str(lost)) from None
        spent = time.perf_counter() - start
        self.earlier.append(max(0.0, found.attrs["seconds"] - spent))
        return found


@dataclass(frozen=True, eq=False)
class Panel:
    """A figure with its caption."""

    figure: Figure
    caption: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """Comparisons, controls, panels and notes of a claim.

    Attributes:
        comparisons: all must pass.
        controls: wrong theories against the same simulations; all must fail.
        panels: file stem -> figure with caption.
        notes: sentences a reader should know (finite-size effects, choices, limits).
    """

    comparisons: Sequence[Comparison]
    controls: Sequence[Comparison]
    panels: Mapping[str, Panel]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("comparisons", "controls"):
            if not getattr(self, name):
                raise reject(name, "hold at least one comparison", "none")

    def __add__(self, other: "Evidence") -> "Evidence":
        """Evidence of a claim that is tested in parts.

        Raises:
            ValueError: if two panels have the same name.
        """
        if not isinstance(other, Evidence):
            return NotImplemented
        if twice := sorted(self.panels.keys() & other.panels.keys()):
            raise reject("panels", "have names of their own in each part", twice)
        return Evidence(
            [*self.comparisons, *other.comparisons],
            [*self.controls, *other.controls],
            {**self.panels, **other.panels},
            (*self.notes, *other.notes),
        )

    @classmethod
    def of(
        cls,
        tests: Sequence[Sequence[Comparison]],
        panels: Mapping[str, Panel],
        notes: Sequence[str] = (),
    ) -> "Evidence":
        """Collect tests, each a comparison that must pass and its controls.

        Args:
            tests: as `learning_dynamics.evidence.comparison.compare_with_controls` returns them.
            panels: as above.
            notes: as above.

        Raises:
            ValueError: on a test without a comparison, or one that is no sequence of comparisons.
        """
        for test in tests:
            if not isinstance(test, Sequence) or not test:
                demand = "hold sequences of a comparison and its controls"
                raise reject("tests", demand, repr(test))
        controls = [control for test in tests for control in test[1:]]
        return cls([test[0] for test in tests], controls, panels, notes)


@dataclass(frozen=True)
class Claim:
    """A statement of a paper and the function that tests it.

    Attributes:
        id: "package-part/name", as typed on the command line.
        package: import package that holds it.
        statement: one sentence.
        source: where the statement is made.
        test: runs simulation and theory.
        seconds: recorded work at quick size, in seconds of one processor core; only the order of
            the claims and the time that is left are told by it.
    """

    id: str
    package: str
    statement: str
    source: str
    test: Callable[[Run], Evidence]
    seconds: float = 20.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """A claim that was run: its evidence, or the traceback of the error that stopped it.

    An outcome that an earlier run or another process came to has a record of its verdicts in place
    of evidence.
    """

    claim: Claim
    evidence: Evidence | None
    seconds: float
    size: Size
    seed: int
    error: str = ""
    record: Mapping[str, Any] | None = None

    @property
    def verdict(self) -> Verdict:
        """Verdict "pass" when every comparison passes."""
        if self.record is not None:
            return "pass" if self.record["verdict"] == "pass" else "fail"
        found = self.evidence
        passed = found is not None and all(c.verdict == "pass" for c in found.comparisons)
        return "pass" if passed else "fail"

    @property
    def control_verdict(self) -> Verdict:
        """Verdict "fail" when every control fails, as it must; otherwise "pass"."""
        if self.record is not None:
            return "fail" if self.record["control_verdict"] == "fail" else "pass"
        found = self.evidence
        failed = found is not None and all(c.verdict == "fail" for c in found.controls)
        return "fail" if failed else "pass"

    @property
    def holds(self) -> bool:
        """Whether the claim passes and its controls fail."""
        return self.verdict == "pass" and self.control_verdict == "fail"


def claim(
    id: str, *, statement: str, source: str, seconds: float = 20.0
) -> Callable[..., Callable[[Run], Evidence]]:
    """Register the decorated function `test(run) -> Evidence` as a claim.

    Raises:
        ValueError: if `seconds` is not positive, the identifier is not of the form "part/name" in
            lower-case letters, digits and hyphens, or is taken by another function.
    """
    check_id(id)
    work = positive_number("seconds", seconds)

    def register(test: Callable[[Run], Evidence]) -> Callable[[Run], Evidence]:
        check_free(id, test, _registry[id].test if id in _registry else None)
        package = test.__module__.split(".")[0]
        _registry[id] = Claim(id, package, statement, source, test, work)
        return test

    return register


def load_plugins() -> tuple[dict[str, Claim], list[BrokenPlugin]]:
    """Import every module of the entry-point group "learning_dynamics.claims".

    Returns:
        Claims by id, and the plug-ins that raised an error. Of these no claim is kept, since
        nothing tells which of them are whole.
    """
    broken = import_plugins(entry_points(group="learning_dynamics.claims"), _registry)
    return dict(sorted(_registry.items())), broken


def load_claims() -> dict[str, Claim]:
    """Claims of all plug-ins by id; a plug-in that raises an error is left out with a warning."""
    known, broken = load_plugins()
    for plugin in broken:
        warnings.warn(f"plug-in {plugin.name} is left out: {plugin.reason}", stacklevel=2)
    return known


def run_claim(
    claim: Claim | Callable[[Run], Evidence],
    *,
    size: Size = "quick",
    seed: int = 0,
    tracker: Tracker | None = None,
    store: Path | None = None,
) -> Outcome:
    """Run one claim; errors propagate.

    Args:
        claim: one of `load_claims()`, or a function decorated with `claim`.
        size: "quick" or "full".
        seed: seed of the claim's random key.
        tracker: progress bar, called as `tracker(iterable, description)`.
        store: folder for the cells of its sweeps, to go on after an interruption. The seconds of
            the outcome count cells that were found there with what they had taken.

    Raises:
        ValueError: on an unknown size, or what is no claim.
        TypeError: if the claim returns no evidence.
    """
    one_of("size", size, ("quick", "full"))
    if not isinstance(claim, Claim):
        named = [each for each in _registry.values() if each.test is claim]
        if not named:
            raise reject("claim", "be a claim or a function decorated with `claim`", repr(claim))
        claim = named[0]
    start = time.perf_counter()
    # Claims draw independently of each other, whichever of them are run.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(claim.id.encode()))
    run = Run(size, key, store=store) if tracker is None else Run(size, key, tracker, store)
    with tracking(run.tracker):
        evidence = claim.test(run)
    if not isinstance(evidence, Evidence):
        raise TypeError(f"Claim {claim.id!r} must return Evidence, but returned {evidence!r}.")
    seconds = time.perf_counter() - start + sum(run.earlier)
    return Outcome(claim, evidence, seconds, size, seed)
