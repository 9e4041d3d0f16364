"""Leading sample eigenvector of spiked Gaussian data in any dimension, by an exact reduction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from learning_dynamics.images.patches import generator
from learning_dynamics.validation import integers, positive_integer, positive_number, reject

__all__ = ["draw_spike_overlaps"]

Array = NDArray[np.float64]


def draw_spike_overlaps(
    dimension: int, spike: float, samples: int, *, replicas: int, key: Any
) -> Array:
    """Squared overlap of the leading sample eigenvector with a spike over a flat bulk.

    Rotations of the samples, and of all directions but the spike, leave the law of n centred
    Gaussian rows as it is, and take them to a bidiagonal matrix with independent entries (Dumitriu
    and Edelman 2002; Bloemendal and Virag 2013 with a spike),

        N Sigma_hat ~ B' B,   B_ii = chi_(n-i),   B_(i,i+1) = chi_(d-1-i),   i = 0, 1, ...,

    with B_00 multiplied by l^(1/2); the spike is the first coordinate. No matrix is stored: a
    draw costs a few milliseconds at d = 4096.

    Args:
        dimension: d.
        spike: l, the variance along the spike; one in all other directions.
        samples: N >= 2; the mean is estimated, n = N - 1.
        replicas: number of data sets.
        key: typed random key or integer seed.

    Returns:
        Shape (replicas,).

    Raises:
        ValueError: a dimension below 2, samples < 2, a spike that is not positive or no replica.

    Equation: :eq:`eq:linear-bidiagonal`.
    """
    d, strength = positive_integer("dimension", dimension), positive_number("spike", spike)
    if d < 2:
        raise reject("dimension", "be at least 2", d)
    n = int(integers("samples", samples, least=2)) - 1
    rng, i = generator(key), np.arange(min(n, d))
    overlaps = np.empty(positive_integer("replicas", replicas))
    for replica in range(overlaps.size):
        diagonal, above = np.zeros(d), np.zeros(d)
        diagonal[: i.size] = rng.chisquare(n - i)
        inside = i[i < d - 1]
        above[: inside.size] = rng.chisquare(d - 1 - inside)
        diagonal[0] *= strength
        squares = diagonal + np.concatenate([[0.0], above[:-1]])
        products = np.sqrt(diagonal * above)[:-1]
        _, vector = eigh_tridiagonal(squares, products, select="i", select_range=(d - 1, d - 1))
        overlaps[replica] = vector[0, 0] ** 2
    return overlaps
