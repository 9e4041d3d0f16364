"""Time that is left of a report, from the recorded work of its claims and the speed of this run."""

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from learning_dynamics.report.claims import Claim

__all__ = ["Forecast"]

UNFINISHED = 0.25  # least share of its work that a running claim is taken to have left
KNOWN = 60.0  # recorded seconds that count as finished at pace one before any claim is


@dataclass(eq=False)
class Forecast:
    """Which claims of a report are done, running and waiting, and when all will be done.

    A claim is expected to take its recorded seconds times the pace, which is the time that the
    finished claims of this run took over the time recorded for them, `KNOWN` seconds at pace one
    included: the first claim is the shortest, and mostly waits for its process to start.

    Attributes:
        waiting: claims in the order in which they will start.
        workers: number of claims that run at a time.
        clock: seconds that only increase.
    """

    waiting: list[Claim]
    workers: int = 1
    clock: Callable[[], float] = field(default_factory=lambda: time.perf_counter)
    _started: dict[str, tuple[Claim, float]] = field(default_factory=dict)
    _recorded: float = 0.0
    _taken: float = 0.0
    finished: int = 0

    def start(self, claim: Claim) -> None:
        """Note that a claim starts now."""
        self.waiting.remove(claim)
        self._started[claim.id] = (claim, self.clock())

    def end(self, claim: Claim, *, counts: bool = True) -> None:
        """Note that a claim has ended; one kept from an earlier run tells nothing of the pace."""
        _, begun = self._started.pop(claim.id)
        self.finished += 1
        if counts:
            self._recorded += claim.seconds
            self._taken += self.clock() - begun

    @property
    def running(self) -> list[str]:
        """Ids of the claims that run now."""
        return list(self._started)

    @property
    def pending(self) -> list[str]:
        """Ids of the claims that are not finished, in the order of their ids."""
        return sorted([*self._started, *(claim.id for claim in self.waiting)])

    @property
    def pace(self) -> float:
        """Seconds per recorded second; running claims that take longer than recorded count too."""
        now = self.clock()
        late = [
            (claim.seconds, now - begun)
            for claim, begun in self._started.values()
            if now - begun > claim.seconds
        ]
        recorded = KNOWN + self._recorded + sum(seconds for seconds, _ in late)
        return (KNOWN + self._taken + sum(taken for _, taken in late)) / recorded

    def left(self) -> float:
        """Seconds until the last claim ends: the waiting ones start in turn where one has ended."""
        now, pace = self.clock(), self.pace
        ends = [
            max(pace * claim.seconds - (now - begun), UNFINISHED * pace * claim.seconds)
            for claim, begun in self._started.values()
        ]
        ends += [0.0] * (self.workers - len(ends))
        heapq.heapify(ends)
        for claim in self.waiting:
            heapq.heapreplace(ends, ends[0] + pace * claim.seconds)
        return max(ends)


def shortest_then_longest(claims: Sequence[Claim]) -> list[Claim]:
    """Order for several workers: the shortest, for an early verdict, then the longest first."""
    first, *others = sorted(claims, key=lambda claim: (claim.seconds, claim.id))
    return [first, *sorted(others, key=lambda claim: (-claim.seconds, claim.id))]
