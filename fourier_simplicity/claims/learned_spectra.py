"""Networks that learn bundled images of shared power-law spectra."""

from dataclasses import dataclass
from typing import Any

import jax
import optax

from fourier_simplicity import networks
from fourier_simplicity.claims.learning import without_mean_warning
from learning_dynamics.images import load_bundled
from learning_dynamics.report.claims import Run
from learning_dynamics.training import log_steps, shift


@dataclass(frozen=True)
class Case:
    """A network on "digits", shifted around the torus at random, or on "textures".

    Attributes:
        exponents: beta of the amplitudes |k|^-beta that all classes share.
        seeds: number of networks for each beta.
        end: updates.
        batch: images per update.
        level: accuracy above chance that counts as learned.
    """

    network: str
    images: str
    build: Any
    exponents: tuple[float, ...]
    seeds: int
    end: int
    batch: int
    optimiser: optax.GradientTransformation
    level: float

    def learn(self, run: Run, number: int) -> networks.SharedSpectra:
        """Train and test all seeds; `number` chooses the random keys."""
        digits = self.images == "digits"
        patches: dict[str, Any] = {} if digits else {"size": 8, "stride": 2}
        sets = networks.sweep_sets(
            load_bundled(self.images), self.exponents, test_limit=6000 if run.quick else 18_000,
            key=jax.random.fold_in(run.key, number), **patches,
        )  # fmt: skip
        return without_mean_warning(
            networks.learn_spectra, sets, self.exponents, self.build, level=self.level,
            seeds=self.seeds, batch=self.batch, optimiser=self.optimiser,
            augment=shift if digits else None, steps=log_steps(self.end, points=14, first=16),
            key=jax.random.fold_in(run.key, 100 + number),
        )  # fmt: skip
