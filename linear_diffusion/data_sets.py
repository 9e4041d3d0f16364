"""Linear models trained on data sets of several laws and sizes: measurements beside their theory.

sets = DataSets.of({"flat": LatentLaw(np.ones(50))}, [25, 100], replicas=24, key=key)
law = sets.expected(lambda s, N: theory.losses(s, N, 0.0, 0.9).test)
ld.compare(sets.losses(0.9).test, law)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Measurement, Prediction, spread_over
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.random import check_key
from learning_dynamics.tracking import track
from learning_dynamics.validation import (
    fractions,
    integers,
    non_negative,
    one_of,
    positive_integer,
    positive_number,
    reject,
)
from linear_diffusion.data import DataLaw
from linear_diffusion.simulation import (
    SampleModes,
    draw_modes,
    kl_of_modes,
    losses_of_modes,
    root_overlap,
    trained_variance,
    training_times,
)
from linear_diffusion.theory import Direction
from linear_diffusion.theory.divergence import DIRECTIONS

if TYPE_CHECKING:  # imported where it is used
    import xarray as xr

__all__ = ["AlongTraining", "DataSets", "MeasuredLosses", "Source", "finite_size"]

Array = NDArray[np.float64]


def finite_size(prediction: Prediction, samples: ArrayLike, dimension: int) -> Prediction:
    """Allow for what the theory leaves out after its first finite-size correction.

    The deterministic equivalents carry their first correction for Gaussian data; a relative error
    of 10 / min(N, d)^2 is left for the next one, 0.07 % at N >= d = 120 and 7 % at N = 12.

    Args:
        prediction: of any shape.
        samples: N, broadcasts against the values.
        dimension: d.

    Raises:
        ValueError: unless N and d are positive whole numbers, or if N does not fit the values.
    """
    N = spread_over("samples", integers("samples", samples, least=1), prediction.values.shape)
    least = np.minimum(N, positive_integer("dimension", dimension)).astype(np.float64)
    return prediction.with_bias(
        10 / least**2 * np.abs(prediction.values), r"$10 / \min(N, d)^2$, relative"
    )


class MeasuredLosses(NamedTuple):
    """Training and test loss per dimension."""

    train: Measurement
    test: Measurement

    def __repr__(self) -> str:
        return short_text.represent(self)


class AlongTraining(NamedTuple):
    """What models generate at several training times."""

    overlap: Measurement  #: squared, of the leading generated direction with that of the data
    divergence: Measurement  #: KL in nats

    def __repr__(self) -> str:
        return short_text.represent(self)


@dataclass(frozen=True, eq=False)
class Source:
    """A law with the key from which its data sets are drawn."""

    law: DataLaw
    key: jax.Array

    def modes(self, samples: int, replicas: int) -> SampleModes:
        """Data sets of one size."""
        return draw_modes(self.law, [samples], replicas=replicas, key=self.key)


@dataclass(frozen=True, eq=False)
class DataSets:
    """Replicas of data sets of several sizes N, drawn from several laws of one dimension d.

    Measurements have the coordinates "law" and "N_over_d", then those that their methods name.

    Attributes:
        sources: name -> law and key; make them with `of`.
        samples: N, shape (sizes,).
        replicas: data sets of every law and size.
        sweep: called in place of a loop over laws and sizes; see `of`.
    """

    sources: Mapping[Any, Source]
    samples: NDArray[np.int64]
    replicas: int
    sweep: Callable[..., xr.Dataset] | None = None

    __repr__ = short_text.represent

    @classmethod
    def of(
        cls,
        laws: Mapping[Any, DataLaw],
        samples: ArrayLike,
        *,
        replicas: int,
        key: jax.Array,
        first: int = 0,
        sweep: Callable[..., xr.Dataset] | None = None,
    ) -> DataSets:
        """Data sets of law number i from the key `fold_in(key, first + i)`.

        Args:
            laws: name, or number such as an exponent, -> law; all of one dimension.
            samples: N >= 2, shape (sizes,).
            replicas: data sets of every law and size.
            key: typed random key.
            first: number of the first law.
            sweep: called in place of a loop over laws and sizes, such as
                `functools.partial(ld.sweep, store="runs/data")`; laws must then be small enough
                for the key of a cell, as those of Gaussian data are.

        Raises:
            ValueError: without a law or size, on laws of several dimensions or with names that read
                the same, N < 2, fewer than two replicas, or a negative first number.
        """
        check_key(key)
        sizes = np.atleast_1d(integers("samples", samples, least=2))
        if sizes.ndim != 1 or not sizes.size:
            raise reject("samples", "have shape (sizes,), one at least", f"shape {sizes.shape}")
        if not isinstance(laws, Mapping) or not all(hasattr(x, "spectrum") for x in laws.values()):
            raise reject("laws", "map names to data laws", repr(laws))
        if len({str(name) for name in laws}) < len(laws):
            raise reject("laws", "have names that read differently", list(laws))
        count = positive_integer("replicas", replicas)
        if count < 2:
            raise reject("replicas", "be at least 2, to tell an error", count)
        start = int(integers("first", first, least=0))
        numbers = range(start, start + len(laws))
        dimensions = sorted({law.spectrum.size for law in laws.values()})
        if len(dimensions) != 1:
            raise reject("laws", "be some of one dimension", dimensions)
        sources = {
            name: Source(law, jax.random.fold_in(key, number))
            for number, (name, law) in zip(numbers, laws.items(), strict=True)
        }
        return cls(sources, sizes, count, sweep)

    @property
    def spectra(self) -> list[Array]:
        """Eigenvalues of the covariance of each law, shape (d,)."""
        return [source.law.spectrum for source in self.sources.values()]

    @property
    def dimension(self) -> int:
        """The d of all laws."""
        return int(self.spectra[0].size)

    @property
    def ratios(self) -> Array:
        """N/d, shape (sizes,)."""
        return self.samples / self.dimension

    def expected(
        self,
        law: Callable[[Array, NDArray[np.int64]], Prediction],
        *,
        samples: ArrayLike | None = None,
        data: float = 1,
    ) -> Prediction:
        """A theory for every law of the data, with the allowance of `finite_size`.

        Args:
            law: spectrum, shape (d,), and N, shape (sizes,), -> prediction, shape (sizes, ...).
            samples: N, shape (sizes,); those of the data sets by default.
            data: factor of N in the law alone, such as 2 for a control with twice the data.

        Returns:
            Shape (laws, sizes, ...).

        Raises:
            ValueError: if a prediction has another shape, or a factor is not positive.
        """
        N = self.samples if samples is None else integers("samples", samples, least=2)
        data = positive_number("data", data)
        predictions = [law(s, np.rint(data * N).astype(np.int64)) for s in self.spectra]
        shape = predictions[0].values.shape
        if shape[:1] != N.shape:
            raise reject("law", f"give a value for each of {N.size} sizes first", f"shape {shape}")
        each = N.reshape(N.shape + (1,) * (len(shape) - 1))
        return stack(finite_size(prediction, each, self.dimension) for prediction in predictions)

    def losses(self, alpha_bar: ArrayLike, *, ridge: float = 0.0) -> MeasuredLosses:
        """Training and test loss per dimension, beside `theory.losses`.

        Args:
            alpha_bar: noise level in (0, 1), or several, shape (levels,), which add the coordinate
                "noise_level", sqrt(1 - alpha_bar).
            ridge: c >= 0.

        Raises:
            ValueError: on a level outside (0, 1), levels of another rank, or a negative ridge.
        """
        levels = fractions("alpha_bar", alpha_bar)
        if levels.ndim > 1 or not levels.size:
            raise reject("alpha_bar", "be a number or a list of some", f"shape {levels.shape}")
        ridge = float(non_negative("ridge", ridge, ndim=0))
        table = self._measured(_losses, ridge=ridge, levels=tuple(np.atleast_1d(levels).tolist()))
        axes = {"noise_level": np.sqrt(1 - levels)} if levels.ndim else {}
        cells = (table[kind][:, :, slice(None) if axes else 0] for kind in ("train", "test"))
        return MeasuredLosses(*(self._average(each, axes) for each in cells))

    def divergences(self) -> dict[Direction, Measurement]:
        """KL in nats, by direction, of models without ridge after endless training.

        It is finite for more samples than dimensions, and its mean for a few more for "forward".
        Data sets of fewer samples count as lost.
        """
        table = self._measured(_divergences)
        return {direction: self._average(table[direction]) for direction in DIRECTIONS}

    def similarity(self, *, ridge: float) -> Measurement:
        """Overlap of two models trained on disjoint samples, beside `theory.similarity`.

        Args:
            ridge: c >= 0.
        """
        return self._average(self._measured(_overlaps, ridge=ridge)["overlap"])

    def along_training(
        self,
        schedule: NoiseSchedule,
        times: ArrayLike,
        *,
        ridge: float = 0.0,
        direction: Direction = "forward",
    ) -> AlongTraining:
        """What DDPM generates along training, beside `spike_recovery` and `training_kl`.

        Args:
            schedule: noise schedule; all its levels are trained for the same time.
            times: gradient-flow times tau, shape (times,): the third coordinate, "tau".
            ridge: c >= 0.
            direction: of the KL, "forward" or "reverse".

        Raises:
            ValueError: on another direction, a negative time or a negative ridge.
        """
        one_of("direction", direction, DIRECTIONS)
        tau = np.atleast_1d(training_times(times))
        ridge = float(non_negative("ridge", ridge, ndim=0))
        table = self._measured(
            _along_training, schedule=schedule, times=tuple(tau.tolist()), ridge=ridge,
            direction=direction,
        )  # fmt: skip
        cells = (table[name] for name in AlongTraining._fields)
        return AlongTraining(*(self._average(each, {"tau": tau}) for each in cells))

    def _measured(self, measure: Callable[..., dict[str, Array]], **fixed: Any) -> dict[str, Array]:
        """A measure of every law and size, shape (laws, sizes, ..., replicas) each."""
        fixed = {"replicas": self.replicas, **fixed}
        if self.sweep is not None:
            named = {str(name): source for name, source in self.sources.items()}
            over = {"source": named, "samples": self.samples.tolist()}
            table = self.sweep(measure, over, fixed=fixed)
            if table.attrs["missing"]:  # NaN would read as a measurement
                raise RuntimeError(f"cells of the sweep are missing: {table.attrs['missing']}")
            return {str(name): np.asarray(array) for name, array in table.items()}
        grid = list(product(self.sources.values(), self.samples.tolist()))
        cells = [measure(*each, **fixed) for each in track(grid, "data sets")]
        shape = len(self.sources), self.samples.size
        stacked = {name: np.stack([cell[name] for cell in cells]) for name in cells[0]}
        return {name: a.reshape(*shape, *a.shape[1:]) for name, a in stacked.items()}

    def _average(self, cells: Array, axes: Mapping[str, Array] | None = None) -> Measurement:
        """Mean over the replicas, the last axis."""
        first = {"law": np.array(list(self.sources)), "N_over_d": self.ratios}
        return Measurement.from_replicas(cells, {**first, **(axes or {})}, axis=-1)


def _losses(
    source: Source, samples: int, replicas: int, ridge: float, levels: tuple[float, ...]
) -> dict[str, Array]:
    """Shape (levels, replicas) each."""
    train, test = losses_of_modes(source.modes(samples, replicas), ridge, np.array(levels))
    return {"train": train[:, 0].T, "test": test[:, 0].T}


def _overlaps(source: Source, samples: int, replicas: int, ridge: float) -> dict[str, Array]:
    """Shape (replicas,)."""
    first, second = (
        Source(source.law, jax.random.fold_in(source.key, half)).modes(samples, replicas)
        for half in (0, 1)
    )
    return {"overlap": root_overlap(first, second, ridge=ridge)[:, 0]}


def _divergences(source: Source, samples: int, replicas: int) -> dict[str, Array]:
    """Shape (replicas,) each."""
    modes = source.modes(samples, replicas)
    return {
        direction: kl_of_modes(modes, modes.variance, direction=direction)[:, 0]
        for direction in DIRECTIONS
    }


def _along_training(
    source: Source, samples: int, replicas: int, schedule: NoiseSchedule,
    times: Sequence[float], ridge: float, direction: Direction,
) -> dict[str, Array]:  # fmt: skip
    """Shape (times, replicas) each."""
    modes = source.modes(samples, replicas)
    variance, share = trained_variance(modes, schedule, times, ridge=ridge)
    leading = variance[:, 0].argmax(axis=-1)
    overlap = np.take_along_axis(modes.overlap[:, 0, :, 0], leading, axis=1) ** 2
    kl = kl_of_modes(modes, variance, direction=direction, mean_share=share)[:, 0]
    return {"overlap": overlap.T, "divergence": kl.T}
