"""Options of `Problem` that are tried together against the simulation, see `options`."""

from typing import NamedTuple

__all__ = ["COMBINATIONS", "SEARCHES", "Combination"]


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

# those of losses with a search phase, with what they need (`options.need`)
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
    Combination.of("plain", "decay", "norm", "normaliser", "repeats"),
    Combination.of("plain", "decay", "sum", "repeats"),
    Combination.of("orthogonal", "noise", "blocks", "repeats", "clip", "momentum"),
    Combination.of("plain", "decay", "norm", "sum", "clip", "momentum"),
    Combination.of("plain", "noise", "norm", "blocks", "sum", "repeated batch"),
    Combination.of("projected", "normaliser", "blocks", "momentum"),
)
