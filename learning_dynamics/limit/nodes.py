"""Nodes and weights of a quadrature rule, filled up so that rules share compiled programs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.pytrees import is_traced

__all__ = ["CHUNK", "Nodes", "device_nodes", "joined", "same_length", "standard_length"]

Array = NDArray[np.float64]
CHUNK = 2**11  # nodes that `moments` takes at a time
_LENGTHS = (2**15, 2**18, 2**21)  # nodes that longer rules are filled up to


class Nodes(NamedTuple):
    """Quadrature nodes; an expectation is the sum of weights times values.

    Attributes:
        latents: name -> values, shape (nodes, *latent.shape).
        zeta: Gaussian coordinates of the noise fields, shape (nodes, K, q).
        weights: shape (nodes,).
    """

    latents: dict[str, Array]
    zeta: Array
    weights: Array


def device_nodes(nodes: Nodes) -> Nodes:
    """The nodes as JAX arrays."""
    moved: Nodes = jax.tree.map(jnp.asarray, nodes)
    return moved


def joined(rules: Sequence[Nodes]) -> Nodes:
    """One rule of several sets with equal weight."""
    whole: Nodes = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rules)
    return whole._replace(weights=whole.weights / len(rules))


def same_length(rules: Sequence[Nodes]) -> list[Nodes]:
    """The same rules, filled up with nodes of weight zero, so that they share compiled code."""
    longest = max(rule.weights.size for rule in rules)
    return [_filled(rule, longest) for rule in rules]


def standard_length(rule: Nodes) -> Nodes:
    """The rule, filled up to one of few lengths: `moments` skips the chunks of weight zero."""
    size = rule.weights.size
    longer = [length for length in _LENGTHS if length >= size]
    return _filled(rule, longer[0]) if size >= CHUNK and longer else rule


def _filled(rule: Nodes, length: int) -> Nodes:
    """The rule with further nodes of weight zero."""
    missing = length - rule.weights.size
    xp: Any = jnp if is_traced(rule) else np
    weights = xp.concatenate([rule.weights, np.zeros(missing)])
    moved: Nodes = jax.tree.map(
        lambda leaf: xp.concatenate([leaf, xp.repeat(leaf[:1], missing, axis=0)]), rule
    )
    return moved._replace(weights=weights)
