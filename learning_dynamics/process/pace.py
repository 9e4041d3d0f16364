"""How many replicas and updates a compiled run handles at once: free choices, of speed alone."""

from typing import NamedTuple

from learning_dynamics.process.layout import Layout

__all__ = ["Pace", "pace_of"]

_LANES = 32  # measured: 16 to 64 are alike, more needs more memory than the cache has
_WIDE = 64  # components of a weight vector in one block that fill the lanes by themselves
_DRAWN = 2**15  # random numbers drawn together on a CPU: 128 kB
_CHUNK = 256  # most updates whose inputs are drawn together on a CPU


class Pace(NamedTuple):
    """What a run handles at once. Its result depends on it in the last digits only (hashable).

    Attributes:
        group: replicas advanced together by one vectorised update.
        chunk: updates whose inputs are drawn together, even.
        unrolled: whether the updates of a chunk are compiled one after another, without a loop.
        tries: attempts at chi variables between two looks at whether they succeeded.
        added: whether short sums are written as additions.
    """

    group: int
    chunk: int
    unrolled: bool = False
    tries: int = 1
    added: bool = False


def pace_of(layout: Layout, platform: str, replicas: int) -> Pace:
    """The fastest pace known.

    On a CPU the replicas are the lanes of vector instructions where a weight vector of a block is
    too short to fill them. Runs are padded to whole groups, so that a replica is computed by the
    same instructions whatever the number of replicas and devices.
    """
    if platform != "cpu":
        return Pace(replicas, 16, True, 2, True)
    whole = [n for n, small in zip(layout.sizes, layout.reduced, strict=True) if not small]
    chunk = max(1, min(_CHUNK // 2, _DRAWN // 2 // max(layout.drawn, 1))) * 2
    return Pace(_LANES if max(whole, default=0) < _WIDE else 1, chunk)
