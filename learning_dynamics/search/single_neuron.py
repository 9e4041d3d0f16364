"""Losses that are sums over neurons or over pairs of neurons, and their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.model.learner import Learner, Sample
from learning_dynamics.model.problem import Problem
from learning_dynamics.pytrees import configuration, static
from learning_dynamics.validation import integers, reject

__all__ = ["alike", "one_neuron", "some_neurons", "sum_over_pairs"]

Array = NDArray[np.float64]
_TRIES = 8


@configuration
class Alone(Learner):
    """Some neurons of a learner, all others at fields zero, norm one and zero overlap with them."""

    learner: Any
    chosen: tuple[int, ...] = static(default=(0,))

    @property
    def normaliser(self) -> Any:  # type: ignore[override]
        """That of the learner."""
        return self.learner.normaliser

    @property
    def neurons(self) -> int:
        """How many are chosen."""
        return len(self.chosen)

    def parameters(self) -> Mapping[str, Any]:
        """All parameters."""
        return dict(self.learner.parameters())

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> jax.Array:
        """The loss with the fields of all other neurons at zero."""
        count, rows = self.learner.neurons, np.asarray(self.chosen)
        whole = jnp.zeros((count, fields.shape[1]), fields.dtype).at[rows].set(fields)
        square = jnp.eye(count, dtype=norms.dtype).at[rows[:, None], rows[None]].set(norms)
        loss: jax.Array = self.learner.loss(whole, square, parameters, sample)
        return loss


def some_neurons(problem: Problem, chosen: Sequence[int]) -> Problem:
    """The problem of some neurons, see `Alone`."""
    return replace(problem, learner=Alone(problem.learner, tuple(chosen)))


def one_neuron(problem: Problem, neuron: int = 0) -> Problem:
    """The problem of one neuron, if the loss is a sum over neurons.

    Raises:
        ValueError: if the gradient of that neuron depends on the fields or norms of others.
    """
    count = problem.learner.neurons
    if not 0 <= int(integers("neuron", neuron, least=0)) < count:
        raise reject("neuron", f"be below {count}", neuron)
    if count == 1:
        return problem
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        parameters = cast.initial_parameters(jnp.float64)
        alone = Alone(cast.learner, (neuron,))
        for fields, norms, sample in _trials(cast):

            def joint(f: Any, q: Any, sample: Any = sample) -> jax.Array:
                return cast.learner.loss(f, q, parameters, sample)

            def single(f: Any, q: Any, sample: Any = sample) -> jax.Array:
                return alone.loss(f, q, parameters, sample)

            whole = jax.grad(joint, (0, 1))(fields, norms)
            own = slice(neuron, neuron + 1)
            part = jax.grad(single, (0, 1))(fields[own], norms[own, own])
            other = whole[1].at[neuron, neuron].set(0)[neuron]
            same = jnp.allclose(whole[0][own], part[0], rtol=1e-9, atol=1e-12)
            same &= jnp.allclose(whole[1][own, own], part[1], rtol=1e-9, atol=1e-12)
            if not (same & jnp.allclose(other, 0.0, atol=1e-12)):
                demand = "be a sum over neurons (`recovery_times` measures the times of others)"
                raise reject("problem.learner", demand, "coupled neurons")
    return some_neurons(problem, (neuron,))


def sum_over_pairs(problem: Problem) -> bool:
    """Whether the loss of three or more neurons is a sum of functions of pairs of neurons.

    Then l = sum_(k<l) l_kl - (K - 2) sum_k l_k + const with the losses of `some_neurons`. Tried at
    random fields and norms.
    """
    count = problem.learner.neurons
    if count < 3:
        return False
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        parameters = cast.initial_parameters(jnp.float64)
        sets: list[tuple[int, ...]] = [()]
        for size in (1, 2):
            sets += combinations(range(count), size)
        present = np.array([[k in chosen for k in range(count)] for chosen in sets], np.float64)
        signs = {0: (count - 1) * (count - 2) / 2, 1: -(count - 2.0), 2: 1.0}
        weights = jnp.asarray(np.array([signs[len(chosen)] for chosen in sets]))

        @compiled
        def both(fields: jax.Array, norms: jax.Array, sample: Any) -> tuple[jax.Array, jax.Array]:
            def part(mask: jax.Array) -> jax.Array:
                square = norms * mask[:, None] * mask[None] + jnp.diag(1 - mask)
                value: jax.Array = cast.learner.loss(
                    fields * mask[:, None], square, parameters, sample
                )
                return value

            return part(jnp.ones(count)), jnp.sum(weights * jax.vmap(part)(jnp.asarray(present)))

        for fields, norms, sample in _trials(cast):
            whole, parts = both(fields, norms, sample)
            if not jnp.allclose(whole, parts, rtol=1e-9, atol=1e-9):
                return False
    return True


def alike(problem: Problem) -> bool:
    """Whether the loss stays the same when neurons are exchanged; tried at random fields."""
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        parameters = cast.initial_parameters(jnp.float64)
        loss = partial(_loss, cast, parameters)
        for fields, norms, sample in _trials(cast):
            value = loss(fields, norms, sample)
            for k in range(1, problem.learner.neurons):
                order = np.arange(problem.learner.neurons)
                order[[0, k]] = k, 0
                swapped = loss(fields[order], norms[order][:, order], sample)
                if not jnp.allclose(value, swapped, rtol=1e-9, atol=1e-12):
                    return False
    return True


@compiled
def _loss(
    problem: Problem, parameters: Any, fields: jax.Array, norms: jax.Array, sample: Any
) -> jax.Array:
    value: jax.Array = problem.learner.loss(fields, norms, parameters, sample)
    return value


def _trials(cast: Problem) -> list[tuple[Any, Any, Sample]]:
    """Random fields, norms and samples of a problem in float64."""
    rng, p, count = np.random.default_rng(0), cast.inputs.vectors, cast.learner.neurons
    trials = []
    for _ in range(_TRIES):
        latents = {
            name: jnp.asarray(latent.quantile(rng.uniform(0.05, 0.95, latent.shape)))
            if not latent.outcomes
            else jnp.asarray(rng.choice(latent.rule(latent.outcomes)[0], latent.shape))
            for name, latent in cast.all_latents().items()
        }
        _, label = cast.signal(latents)
        root = rng.normal(size=(count, count + 1))
        fields = jnp.asarray(rng.normal(size=(count, p)))
        trials.append((fields, jnp.asarray(root @ root.T), Sample(label, jnp.zeros((p, p)))))
    return trials
