"""Recovery of a tie by neurons beside the small-step diffusion, from the same or any starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

import learning_dynamics as ld
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.recovery import SamplesToShare, TieOverlap, check_level, samples_to_share
from learning_dynamics import short_text
from learning_dynamics.process.run import Level
from learning_dynamics.random import check_key
from learning_dynamics.search.recovery_times import over_dimensions, stop_at
from learning_dynamics.validation import (
    between,
    finite_array,
    increasing_integers,
    one_of,
    positive_integer,
    positive_number,
    reject,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["RecoveryAlong", "diffusion_recovery_times", "recover_along"]

Array = NDArray[np.float64]
MOST = 2**31  # updates of a run


class RecoveryAlong(NamedTuple):
    """Neurons along training, and paths of the diffusion from the same starts.

    Attributes:
        measured: samples after which a share of the neurons knows the tie.
        predicted: the same of the paths.
        known: share of the neurons that know the tie, shape (times,).
        expected: the same of the paths.
        lost: neurons that overflowed.
    """

    measured: SamplesToShare
    predicted: SamplesToShare
    known: Array
    expected: Array
    lost: int

    def __repr__(self) -> str:
        return short_text.represent(self)


def _block_norms(overlaps: ld.Overlaps) -> jax.Array:
    norms: jax.Array = overlaps.blocks[:, 0, 0]
    return norms


def recover_along(
    problem: ld.Problem,
    samples: ArrayLike,
    *,
    dimension: int,
    replicas: int,
    paths: int,
    quantile: float,
    share: float,
    watched: TieOverlap | None = None,
    level: Level = "overlaps",
    step: float = 0.03,
    key: jax.Array,
) -> RecoveryAlong:
    """Train single neurons, and see when a share of them knows the tie, beside the diffusion.

    Args:
        problem: of a single neuron, see `phase_problem`.
        samples: n at which neurons are observed, increasing, above zero.
        dimension: N.
        replicas: neurons.
        paths: of the diffusion, as many as replicas at least; the first start as the neurons do.
        quantile: share of the neurons, see `samples_to_share`.
        share: of the largest tie overlap from which on a neuron knows the tie.
        watched: the tie; by default that of the inputs. A broken tie has none.
        level: of the simulation.
        step: of the diffusion, see `neuron_diffusion`.
        key: typed random key.

    Raises:
        ValueError: before any work, if there are fewer paths than neurons, or as
            `neuron_diffusion`, `simulate` and `samples_to_share`.

    Source: derived here.
    """
    if not isinstance(problem, ld.Problem):
        raise reject("problem", "be a Problem", repr(problem))
    count, runs = positive_integer("paths", paths), positive_integer("replicas", replicas)
    if count < runs:
        raise reject("paths", f"be as many as replicas at least, {runs}", count)
    between("share", share, 0, 1)
    check_level("quantile", quantile)
    one_of("level", level, get_args(Level))
    check_key(key)
    n, size = finite_array("samples", samples, ndim=1), positive_integer("dimension", dimension)
    updates = np.rint(n)
    if not n.size or n[0] <= 0 or np.any(np.diff(updates) <= 0) or updates[-1] >= MOST:
        demand = f"be positive, increase by one at least, and stay below {MOST:.6g}"
        raise reject("samples", demand, n.tolist())
    tie = TieOverlap(problem.inputs) if watched is None else watched
    if not isinstance(tie, TieOverlap):
        raise reject("watched", "be a TieOverlap", repr(tie))
    times = n / size
    diffusion = neuron_diffusion(
        problem, dimension=dimension, times=times, paths=count, key=jax.random.fold_in(key, 1),
        step=step,
    )  # fmt: skip
    simulated = ld.simulate(
        problem, dimension=dimension, times=times, replicas=runs, level=level,
        key=jax.random.fold_in(key, 2), observe={"blocks": _block_norms},
        start=jax.tree.map(lambda a: a[:runs], diffusion.start),
    )  # fmt: skip
    known, expected = (tie.known(each, share) for each in (simulated, diffusion))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    measured, predicted = (
        samples_to_share(n, each, quantile, rng=rng) for each in (known, expected)
    )
    return RecoveryAlong(
        measured, predicted, known.mean(axis=0), expected.mean(axis=0), int(simulated.lost.sum())
    )


def diffusion_recovery_times(
    problem: Callable[[int], ld.Problem],
    *,
    dimensions: Sequence[int],
    paths: int,
    longest: Callable[[int], float],
    stop: Callable[[int], ld.Stop],
    key: jax.Array,
    step: float = 0.03,
    sweep: Callable[..., xr.Dataset] | None = None,
) -> ld.Recoveries:
    """Samples to recovery of the small-step diffusion: `ld.recovery_times` of its paths.

    Starts are random at every N, so that no scatter is shared between N.

    Args:
        problem: N -> problem of a single neuron, see `phase_problem`.
        dimensions: N, increasing.
        paths: at each N.
        longest: N -> number of samples after which a path is given up.
        stop: N -> what counts as recovery, `sustained` for one update.
        key: typed random key.
        step: relative size of the time steps, see `neuron_diffusion`.
        sweep: as of `ld.recovery_times`.

    Raises:
        ValueError: on dimensions that do not increase, or as `neuron_diffusion`.
        RuntimeError: if a cell of the sweep failed.

    Source: derived here.
    """
    sizes = increasing_integers("dimensions", dimensions)
    check_key(key)
    between("step", step, 0, 1)
    for name, function in (("problem", problem), ("longest", longest), ("stop", stop)):
        if not callable(function):
            raise reject(name, "be a function of N", repr(function))
    fixed: dict[str, Any] = {
        "problem": problem,
        "paths": positive_integer("paths", paths),
        "longest": longest,
        "stop": stop,
        "key": key,
        "step": step,
    }
    samples = over_dimensions(_path_times, sizes, fixed, sweep)["samples"]
    followed = np.array([float(longest(n)) for n in sizes.tolist()])
    return ld.Recoveries(sizes, samples.T, followed, np.zeros(sizes.size, np.int64))


def _path_times(
    dimension: int,
    problem: Callable[[int], ld.Problem],
    paths: int,
    longest: Callable[[int], float],
    stop: Callable[[int], ld.Stop],
    key: jax.Array,
    step: float,
) -> dict[str, Array]:
    """Cell of a sweep: n*, shape (paths,), NaN where a path did not recover."""
    samples, ends = positive_number("longest", longest(dimension)), stop_at(stop, dimension)
    diffusion = neuron_diffusion(
        problem(dimension), dimension=dimension, times=[samples / dimension], paths=paths,
        key=jax.random.fold_in(key, dimension), stop=ends, step=step,
    )  # fmt: skip
    stopped = np.asarray(diffusion.stopped, np.float64)
    return {"samples": np.where(stopped > 0, stopped, np.nan)}
