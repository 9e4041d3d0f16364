"""A linear and a convolutional denoiser trained on finite data sets of several sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.evidence.measurement import Prediction
from learning_dynamics.random import check_key
from learning_dynamics.tracking import Tracker
from learning_dynamics.validation import (
    finite_array,
    increasing_integers,
    integers,
    positive_integer,
    positive_number,
    reject,
)
from linear_diffusion import theory
from linear_diffusion.data import DataLaw, draw
from linear_diffusion.data_sets import finite_size
from linear_diffusion.networks import (
    TrainingSet,
    affine_loss,
    learn_denoisers,
    minibatch_excess,
)
from linear_diffusion.simulation import draw_modes, losses_of_modes, population_gains

__all__ = ["FiniteDataCurves", "learn_over_sizes"]

Array = NDArray[np.float64]
TESTS = 504  # fresh rows of each data set


@dataclass(frozen=True, eq=False)
class FiniteDataCurves:
    """Losses and gains of both denoisers at the end of training, beside the theory of linear ones.

    Attributes:
        spectrum: of the covariance, shape (d,).
        samples: N, shape (sizes,).
        alpha_bar: noise level.
        modes: indices of the eigenvectors along which gains are measured, shape (modes,).
        steps: updates.
        batch: rows per update.
        linear_losses: training and test loss of the linear denoiser, shape (draws, 2, sizes).
        losses: of the convolutional denoiser, likewise.
        linear_gains: of the linear denoiser along the modes, shape (draws, sizes, modes).
        gains: of the convolutional denoiser, likewise: its mean Jacobian.
    """

    spectrum: Array
    samples: NDArray[np.int64]
    alpha_bar: float
    modes: NDArray[np.int64]
    steps: int
    batch: int
    linear_losses: Array
    losses: Array
    linear_gains: Array
    gains: Array

    __repr__ = short_text.represent

    @property
    def ratios(self) -> Array:
        """N/d, shape (sizes,)."""
        return self.samples / self.spectrum.size

    @property
    def best_loss(self) -> float:
        """Loss of the best linear denoiser."""
        return float(theory.bayes_loss(self.spectrum, self.alpha_bar).values)

    @property
    def gaps(self) -> Array:
        """Test loss minus training loss of the convolutional denoiser, shape (draws, sizes)."""
        return self.losses[:, 1] - self.losses[:, 0]

    def best_gains(self, signal: float = 1.0) -> Array:
        """Gains of the best linear denoiser, shape (modes,).

        Args:
            signal: share of the signal power that it takes for all of it.
        """
        level = signal * self.alpha_bar
        return (1 - level) / theory.mode_rates(self.spectrum[self.modes], level)

    def expected_losses(self, data: float = 1.0) -> theory.Losses:
        """Losses of the linear theory, shape (sizes,) each.

        Args:
            data: factor of N in the theory.
        """
        return theory.losses(self.spectrum, self._sizes(data), 0.0, self.alpha_bar)

    def expected_gains(self, data: float = 1.0) -> Prediction:
        """Gains of the linear theory over those of the best linear denoiser, shape (sizes, modes).

        Args:
            data: as in `expected_losses`.
        """
        late = [200 / (1 - self.alpha_bar)]  # every direction has learned all it will
        gains = theory.training_gains(self.spectrum, self._sizes(data), 0.0, self.alpha_bar, late)
        return gains[:, 0][:, self.modes].scaled(np.sqrt(1 - self.alpha_bar) / self.best_gains())

    def expected_gap(self, data: float = 1.0) -> Array:
        """Test loss minus training loss of the linear theory, shape (sizes,).

        Args:
            data: as in `expected_losses`.
        """
        losses = self.expected_losses(data)
        return losses.test.values - losses.train.values

    def onset(self, gap: ArrayLike, share: float = 0.5) -> float:
        """Logarithm of the N/d at which a gap is a share of the loss of the best linear denoiser.

        Interpolated linearly in the logarithms between the sizes; the first or last of them where
        the gap does not cross the share.

        Args:
            gap: test loss minus training loss, falling with N, shape (sizes,).
            share: of the best loss.

        Raises:
            ValueError: on another shape, or a share that is not positive.
        """
        share = positive_number("share", share)
        values = finite_array("gap", gap, ndim=1)
        if values.shape != self.samples.shape:
            raise reject("gap", f"have shape {self.samples.shape}", f"shape {values.shape}")
        falling = -np.log(np.maximum(values, 1e-9))
        return float(np.interp(-np.log(share * self.best_loss), falling, np.log(self.ratios)))

    def allow(self, law: Prediction) -> Prediction:
        """Allow a law of the linear denoiser for finite size and the noise of the last minibatches.

        The latter is 5/4 of `minibatch_excess`, relative.

        Args:
            law: shape (sizes, ...).
        """
        N = self.samples.reshape(-1, *(1,) * (law.values.ndim - 1))
        excess = minibatch_excess(
            self.spectrum, self.best_loss, self.alpha_bar, steps=self.steps, batch=self.batch
        )
        bias = finite_size(law, N, self.spectrum.size).bias + 1.25 * excess * np.abs(law.values)
        return law.with_bias(bias, r"$10 / \min(N, d)^2$ + 5/4 of the noise of minibatches")

    def _sizes(self, data: float) -> NDArray[np.int64]:
        return np.rint(positive_number("data", data) * self.samples).astype(np.int64)


def learn_over_sizes(
    law: DataLaw,
    samples: ArrayLike,
    alpha_bar: float,
    *,
    modes: ArrayLike,
    draws: int,
    steps: int,
    key: jax.Array,
    batch: int = 16,
    averaged: int = 0,
    tracker: Tracker | None = None,
) -> FiniteDataCurves:
    """Train both denoisers on data sets of every size, side by side.

    Losses of the linear denoiser are exact. Those of the convolutional one are measured on the same
    rows and noise, as differences. With `averaged`, the scatter of the linear denoiser over data
    sets is reduced by its exact optimum on the same ones, replaced by its mean over more of them:
    for laws whose first `draws` data sets are those of `draw_modes`, such as Gaussian data.

    Args:
        law: data law.
        samples: N, increasing, shape (sizes,).
        alpha_bar: noise level in (0, 1).
        modes: indices of the eigenvectors of the covariance along which gains are measured.
        draws: data sets of every size.
        steps: updates.
        key: typed random key.
        batch: rows per update.
        averaged: data sets of the exact optimum, a multiple of `draws`; zero for none.
        tracker: progress bar.

    Raises:
        ValueError: on modes that are none, `averaged` that is no multiple of `draws`, or as
            `learn_denoisers`.
    """
    sizes, count = increasing_integers("samples", samples), positive_integer("draws", draws)
    shown, most = integers("modes", modes, least=0), int(sizes[-1])
    if np.max(shown, initial=0) >= law.spectrum.size:
        raise reject("modes", f"be below {law.spectrum.size}", shown)
    if averaged < 0 or averaged % count:
        raise reject("averaged", f"be a multiple of {count} draws, or zero", averaged)
    check_key(key)
    data_key, train_key = (jax.random.fold_in(key, i) for i in range(2))
    sets = []
    with jax.enable_x64(True):
        for replica, N in product(range(count), sizes.tolist()):
            # rows of one key begin with those of `draw_modes`, whatever their number
            chosen = jax.random.fold_in(jax.random.fold_in(data_key, replica), N)
            rows = np.asarray(draw(law, most + TESTS, key=chosen, dtype=np.float64))
            sets.append(TrainingSet(rows[:N], rows[most:], alpha_bar))
    learned = learn_denoisers(
        sets, law.basis[:, shown], steps=steps, batch=batch, key=train_key, tracker=tracker
    )
    covariance = law.basis * law.spectrum @ law.basis.T
    exact = []
    for W, b, each in zip(learned.weights, learned.bias, sets, strict=True):
        rows = np.asarray(each.rows)
        sampled = rows.mean(axis=0), np.cov(rows, rowvar=False, bias=True)
        moments = (sampled, (law.mean, covariance))
        exact.append([affine_loss(W, b, alpha_bar, *each) for each in moments])

    def by_size(array: ArrayLike) -> Array:
        values = np.asarray(array)
        return values.reshape(count, sizes.size, *values.shape[1:])

    losses = by_size(exact).swapaxes(1, 2)
    measured = by_size(np.stack([learned.train, learned.test], axis=1)).swapaxes(1, 2)
    convolutional = losses + measured[..., 1] - measured[..., 0]
    along = np.einsum("ik,sij,jk->sk", law.basis, learned.weights, law.basis)
    gains = by_size(along)[..., shown]
    if averaged:
        optima = draw_modes(law, sizes, replicas=averaged, key=data_key)
        optimal = np.sqrt(1 - alpha_bar) * population_gains(optima, alpha_bar, [np.inf])
        losses = _averaged(losses, np.stack(losses_of_modes(optima, 0.0, alpha_bar), axis=1))
        gains = _averaged(gains, optimal[:, :, 0, shown])
    return FiniteDataCurves(
        law.spectrum, sizes, alpha_bar, shown, steps, batch,
        losses, convolutional, gains, by_size(learned.gain),
    )  # fmt: skip


def _averaged(trained: Array, optimal: Array) -> Array:
    """Control variate: the optimum on the same data set, replaced by its mean over many."""
    draws = len(trained)
    means = optimal.reshape(-1, draws, *optimal.shape[1:]).mean(axis=0)
    return np.asarray(trained - optimal[:draws] + means)
