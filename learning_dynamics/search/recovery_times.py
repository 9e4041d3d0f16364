"""Times to recovery, measured on the overlap chain over a grid of dimensions."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from scipy import special

from learning_dynamics import short_text
from learning_dynamics.model.overlaps import Overlaps
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.simulate import simulate
from learning_dynamics.process.stopping import Stop
from learning_dynamics.random import check_key
from learning_dynamics.validation import increasing_integers, positive_integer, reject

if TYPE_CHECKING:  # imported where it is used
    import xarray as xr

__all__ = ["Recoveries", "common_starts", "recovery_times"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Recoveries(NamedTuple):
    """Numbers of samples to recovery.

    Attributes:
        dimensions: N, shape (sizes,).
        samples: n*, NaN where a replica did not recover, shape (replicas, sizes).
        followed: samples after which runs were given up, shape (sizes,).
        lost: replicas that overflowed (they count as not recovered), shape (sizes,).
    """

    dimensions: Integers
    samples: Array
    followed: Array
    lost: Integers

    def __repr__(self) -> str:
        return short_text.represent(self)

    def _summary(self) -> tuple[str, short_text.Rows]:
        return f"{self.samples.shape[0]} replicas at each N", {
            "dimensions": short_text.span(self.dimensions),
            "recovered": short_text.array_text(self.fraction),
            "median samples": short_text.array_text(self._medians()),
            "followed": short_text.array_text(self.followed),
            "lost": short_text.array_text(self.lost),
        }

    def _medians(self) -> Array:
        """Median n*, infinite where fewer than half recovered."""
        times = np.where(np.isnan(self.samples), np.inf, self.samples)
        return np.asarray(np.quantile(times, 0.5, axis=0, method="inverted_cdf"))

    @property
    def fraction(self) -> Array:
        """Fraction of replicas that recovered, shape (sizes,)."""
        return np.asarray(np.isfinite(self.samples).mean(axis=0))


def recovery_times(
    problem: Callable[[int], Problem],
    *,
    dimensions: Sequence[int],
    replicas: int,
    longest: Callable[[int], float],
    stop: Callable[[int], Stop],
    key: jax.Array,
    sweep: "Callable[..., xr.Dataset] | None" = None,
) -> Recoveries:
    """Samples until a quantity stays above its threshold, on the overlap chain, over a grid of N.

    Replica i starts from the same scaled overlaps sqrt(N) m(0) at every N (`common_starts`): times
    are heavy-tailed in the start, and common starts keep that scatter out of the growth with N.

    Args:
        problem: N -> problem (the step may depend on N).
        dimensions: N, increasing.
        replicas: independent runs at each N.
        longest: N -> number of samples after which a run is given up.
        stop: N -> what counts as recovery, sustained for long enough not to be diffusion.
        key: typed random key.
        sweep: called in place of `learning_dynamics.sweep` with one cell per N, such as
            `functools.partial(ld.sweep, store="runs/times")`; `problem`, `longest` and `stop` must
            then be what a cell can depend on: functions of a module, partials of them, methods of
            frozen dataclasses. All N in turn, nothing kept, if None.

    Raises:
        ValueError: on dimensions that do not increase, or as `simulate` and `common_starts` do.
        RuntimeError: if a cell of the sweep failed.
    """
    sizes = increasing_integers("dimensions", dimensions)
    count = positive_integer("replicas", replicas)
    check_key(key)
    fixed: dict[str, Any] = {
        "problem": problem,
        "longest": longest,
        "stop": stop,
        "replicas": count,
        "key": key,
    }
    seen = over_dimensions(_recovery, sizes, fixed, sweep)
    return Recoveries(sizes, seen["samples"].T, seen["followed"], seen["lost"].astype(np.int64))


def over_dimensions(
    cell: Callable[..., dict[str, Array]],
    sizes: NDArray[np.int64],
    fixed: dict[str, Any],
    sweep: "Callable[..., xr.Dataset] | None",
) -> dict[str, Array]:
    """Arrays of a cell at every N, which is their first axis.

    Args:
        cell: called with `dimension` and what is fixed.
        sizes: N.
        fixed: name -> argument.
        sweep: as of `recovery_times`.

    Raises:
        RuntimeError: if a cell of the sweep failed.
    """
    if sweep is None:
        cells = [cell(dimension=n, **fixed) for n in sizes.tolist()]
        return {name: np.stack([each[name] for each in cells]) for name in cells[0]}
    table = sweep(cell, {"dimension": sizes.tolist()}, fixed=fixed)
    if table.attrs["missing"]:  # NaN would read as "did not recover"
        raise RuntimeError(f"cells of the sweep are missing: {table.attrs['missing']}")
    return {str(name): np.asarray(array) for name, array in table.data_vars.items()}


def stop_at(stop: Callable[[int], Stop], dimension: int) -> Stop:
    """The stop condition at N.

    Raises:
        ValueError: if the function gives none.
    """
    found = stop(dimension)
    if not isinstance(found, Stop):
        raise reject("stop", "give a Stop at each N", repr(found))
    return found


def _recovery(
    dimension: int,
    problem: Callable[[int], Problem],
    longest: Callable[[int], float],
    stop: Callable[[int], Stop],
    replicas: int,
    key: jax.Array,
) -> dict[str, Array]:
    """Cell of a sweep: n*, shape (replicas,), when runs were given up, how many overflowed."""
    made = problem(dimension)
    updates = max(1, int(np.ceil(float(longest(dimension)) / made.batch)))
    ends = stop_at(stop, dimension)
    seen = simulate(
        made,
        dimension=dimension,
        times=[updates / dimension],
        replicas=replicas,
        level="overlaps",
        key=jax.random.fold_in(key, dimension),
        start=common_starts(made, dimension=dimension, replicas=replicas, key=key),
        stop=ends,
    )
    stopped = np.zeros(0) if seen.stopped is None else seen.stopped
    return {
        "samples": np.where(stopped > 0, stopped * float(made.batch), np.nan),
        "followed": np.array(float(updates * made.batch)),
        "lost": np.array(float(np.sum(stopped == -2))),
    }


def common_starts(problem: Problem, *, dimension: int, replicas: int, key: jax.Array) -> Overlaps:
    """Order parameters of random weights, whose random numbers are the same at every N.

    Rows of W are N(0, s^2/N) vectors (of norm one, or orthonormal, unless updates are plain):
    sqrt(N) M, up to that, is the same normal draw at every N, and W W^T in the noise space a
    Bartlett factor whose chi variables are quantiles at the same levels. The law is that of
    `random_starts`, exactly.

    Args:
        problem: definition, as in `simulate`.
        dimension: N.
        replicas: number of starts.
        key: typed random key.

    Raises:
        ValueError: with several noise blocks, or fewer than K noise dimensions.
    """
    check_key(key)
    n, count = positive_integer("dimension", dimension), positive_integer("replicas", replicas)
    K, r = problem.learner.neurons, problem.inputs.directions
    groups = problem.inputs.blocks(n)
    if len(groups) != 1 or np.shape(groups[0].variances) != (1,):
        raise reject("problem.inputs", "have a single noise block for common starts", groups)
    if n - r < K:
        raise reject("dimension", f"be at least r + K = {r + K}", n)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel())
    signal = rng.standard_normal((count, K, r))
    factor = np.tril(rng.standard_normal((count, K, K)), -1)
    levels = rng.random((count, K))
    diagonal = np.sqrt(special.chdtri((n - r - np.arange(K)).astype(np.float64), levels))
    factor[:, np.arange(K), np.arange(K)] = diagonal
    size = float(1.0 if problem.initial_norm is None else problem.initial_norm) / np.sqrt(n)
    scale = np.full((count, K), size)
    if problem.update != "plain":
        scale = 1 / np.sqrt(np.sum(signal**2, axis=-1) + np.sum(factor**2, axis=-1))
    signal, factor = signal * scale[..., None], factor * scale[..., None]
    if problem.update == "orthogonal":  # row after row, by the inverse of Cholesky's factor of Q
        rows = np.concatenate([signal, factor], axis=-1)
        root = np.linalg.cholesky(rows @ np.swapaxes(rows, -1, -2))
        rows = np.linalg.solve(root, rows)
        signal, factor = rows[..., :r], rows[..., r:]
    return Overlaps(signal, (factor @ np.swapaxes(factor, -1, -2))[:, None], {})
