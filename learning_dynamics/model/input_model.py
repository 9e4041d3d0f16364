"""Input models: signal directions in Gaussian noise."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from learning_dynamics.model.latent import Latent

__all__ = ["InputModel", "NoiseBlocks"]


class NoiseBlocks(NamedTuple):
    """A group of equally sized blocks of the noise space.

    Attributes:
        size: dimension N_b of every block in the group.
        variances: noise variance lambda_b of each block, shape (blocks,).
    """

    size: int
    variances: Any


class InputModel(ABC):
    """Samples of p vectors x_a = sum_i C_ai e_i + sum_b B_ab z_b in R^N.

    Subclasses are `configuration` dataclasses. The e_i (r orthonormal signal directions) and the
    distribution of C are declared here once; sampler and quadrature follow. z_b is Gaussian noise
    in the complement of the signal space, standard unless `blocks` says otherwise; noise *inside*
    the signal space belongs to C.
    """

    @property
    @abstractmethod
    def directions(self) -> int:
        """Number r of signal directions."""

    @abstractmethod
    def latents(self) -> Mapping[str, Latent]:
        """Random variables behind C and the label, by name."""

    @abstractmethod
    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, Any]:
        """Signal coordinates C, shape (p, r), and the label (any pytree, None if there is none).

        Called with one draw of each latent; only `jax.numpy` operations.
        """

    @property
    def vectors(self) -> int:
        """Number p of vectors per sample."""
        return 1

    def mixing(self) -> Any:
        """Fixed matrix B, shape (p, q), from q noise vectors to the p vectors; identity here."""
        return np.eye(self.vectors)

    def noise_nodes(self) -> tuple[int | None, ...] | None:
        """Gauss-Hermite nodes that suffice for each of the q noise vectors' fields, if known.

        A loss of degree d in a noise vector's field needs n = d nodes, as slopes are squared in the
        limit; `fluctuations`, where four slopes are multiplied, takes 2 n - 1 by itself. The number
        is believed: no numerical error covers too few. Fewer nodes there
        leave more for the other variables. None (an entry, or all) lets the rule choose.
        """
        return None

    def blocks(self, dimension: int) -> tuple[NoiseBlocks, ...]:
        """Groups of noise blocks at N = `dimension`; sizes add up to N - r. One block here."""
        return (NoiseBlocks(dimension - self.directions, np.ones(1)),)

    def signal_variances(self) -> Any:
        """Input variance along each signal direction, shape (r,), for `normaliser = "inputs"`."""
        return np.ones(self.directions)
