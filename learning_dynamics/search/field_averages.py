"""Averages of the loss of several neurons over their fields at zero overlap, per label."""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import factorial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.limit.nodes import Nodes
from learning_dynamics.limit.population import Population
from learning_dynamics.model.input_model import InputModel
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.problem import Problem
from learning_dynamics.pytrees import configuration
from learning_dynamics.search.polynomials import powers_of

__all__ = ["MOST_LABELS", "FieldAverages", "field_averages", "multi_indices"]

Array = NDArray[np.float64]
MOST_LABELS = 32  # labels beyond which fields and latents are better averaged together
_BLOCK = 1024  # nodes at a time


@configuration
class FieldsAlone(InputModel):
    """The noise of an input model without its signal, for one label."""

    inputs: Any
    label: Any

    @property
    def directions(self) -> int:
        """None."""
        return 0

    @property
    def vectors(self) -> int:
        """Those of the model."""
        return int(self.inputs.vectors)

    def latents(self) -> dict[str, Any]:
        """None."""
        return {}

    def signal(self, latents: Any) -> tuple[jax.Array, Any]:
        """No coordinates, and the label."""
        return jnp.zeros((self.vectors, 0), jnp.result_type(float)), self.label

    def mixing(self) -> Any:
        """That of the model."""
        return self.inputs.mixing()

    def noise_nodes(self) -> tuple[int | None, ...] | None:
        """Those of the model."""
        nodes: tuple[int | None, ...] | None = self.inputs.noise_nodes()
        return nodes


@dataclass(frozen=True, eq=False)
class FieldAverages:
    """E_g[ d^j l(B g, Q; y) / dQ^j prod_i He_(a_i)(g_i) ] at Q = 1, for every label y.

    Attributes:
        labels: pytree, leading axis labels.
        orders: for j = 0, 1, ..: averages of shape (labels, pairs^j, multi-indices), with
            the multi-indices of order up to `highest` - 2 j and the pairs (k, l), k < l, of
            neurons whose norms Q_kl = Q_lk are moved.
    """

    labels: Any
    orders: tuple[Estimate, ...]


@lru_cache(maxsize=64)
def multi_indices(width: int, highest: int) -> tuple[tuple[int, ...], ...]:
    """All multi-indices of a width up to an order, lower orders first."""
    rows = [powers_of(width, k) for k in range(highest + 1)]
    return tuple(tuple(int(i) for i in row) for table in rows for row in table)


def field_averages(
    population: Population, mixing: Array, labels: Any, parameters: dict[str, Any], highest: int
) -> FieldAverages:
    """The averages, to the population's accuracy for Hermite functions of norm one."""
    problem, cast = population.problem, population.cast
    neurons, p = problem.learner.neurons, problem.inputs.vectors
    width, norms = neurons * p, problem.depends_on()["norms"]
    derivatives = range(highest // 2 + 1 if norms else 1)
    counts = [len(multi_indices(width, highest - 2 * j)) for j in derivatives]
    indices = np.array(multi_indices(width, highest))
    scale = np.array([np.prod([float(factorial(i)) for i in a]) for a in indices]) ** 0.5
    leaves = jax.tree.leaves(labels)
    first = jax.tree.map(lambda leaf: leaf[0], labels) if leaves else labels
    with jax.enable_x64(True):
        given: Any = jax.tree.map(jnp.asarray, parameters)
        bare = replace(problem, inputs=FieldsAlone(problem.inputs, first), label_noise=None)
        average = partial(
            _averages, mixing=jnp.asarray(mixing), rows=multi_indices(width, highest),
            counts=tuple(counts),
        )  # fmt: skip

        def values(rule: Nodes) -> dict[str, Array]:
            blocks = -(-rule.weights.size // _BLOCK)
            spare = blocks * _BLOCK - rule.weights.size
            zeta = np.concatenate([rule.zeta, np.zeros((spare, *rule.zeta.shape[1:]))])
            weights = np.concatenate([rule.weights, np.zeros(spare)])
            results = average(
                cast, given, labels if leaves else None,
                jnp.asarray(zeta.reshape(blocks, _BLOCK, width)),
                jnp.asarray(weights.reshape(blocks, _BLOCK)),
            )  # fmt: skip
            return {
                f"derivative {j}": np.asarray(table) / scale[: table.shape[-1]]
                for j, table in enumerate(results)
            }

        target = population.target
        finer = population.aiming_at(target.finer(0.3 * target.aim))
        mean = finer.average(values, caller="information_exponent", of=bare)
    names = [f"derivative {j}" for j in derivatives]
    orders = [
        Estimate(*(part[name] * scale[:count] for part in (mean.value, mean.error)))
        for name, count in zip(names, counts, strict=True)
    ]
    return FieldAverages(labels, tuple(orders))


@partial(compiled, static_argnames=("rows", "counts"))
def _averages(
    problem: Problem,
    parameters: Any,
    labels: Any,
    zeta: jax.Array,
    weights: jax.Array,
    *,
    mixing: jax.Array,
    rows: tuple[tuple[int, ...], ...],
    counts: tuple[int, ...],
) -> tuple[jax.Array, ...]:
    neurons, p, indices = problem.learner.neurons, mixing.shape[0], np.array(rows)
    first, second = np.triu_indices(neurons, 1)
    highest = int(indices.sum(axis=1).max())
    exact = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

    def loss(moved: jax.Array, field: jax.Array, label: Any) -> jax.Array:
        norms = jnp.eye(neurons).at[first, second].add(moved).at[second, first].add(moved)
        value: jax.Array = problem.learner.loss(
            field, norms, parameters, Sample(label, jnp.zeros((p, p)))
        )
        return value

    functions: list[Any] = [loss]
    for _ in counts[1:]:
        functions.append(jax.jacfwd(functions[-1]))

    def block(item: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
        z, mass = item  # (nodes, K p)
        table = [jnp.ones_like(z), z]
        for k in range(1, highest):
            table.append(z * table[-1] - k * table[-2])
        hermites = jnp.stack(table[: highest + 1], axis=-1)
        product = jnp.ones((z.shape[0], len(indices)))
        for i in range(z.shape[1]):
            product = product * hermites[:, i, indices[:, i]]
        fields = exact("nkq,pq->nkp", z.reshape(-1, neurons, p), mixing)
        still = jnp.zeros(len(first))
        parts = []
        for function, count in zip(functions, counts, strict=True):

            def of(label: Any, function: Any = function) -> jax.Array:
                return jax.vmap(lambda field: function(still, field, label).reshape(-1))(fields)

            values = of(None)[None] if labels is None else jax.vmap(of)(labels)
            parts.append(exact("n,lnd,na->lda", mass, values, product[:, :count]))
        return parts

    return tuple(jnp.sum(part, axis=0) for part in jax.lax.map(block, (zeta, weights)))
