"""One neuron of a learner whose neurons have losses of their own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.kernel.problem import Learner, Problem, Sample
from learning_dynamics.pytrees import configuration, static
from learning_dynamics.validation import integers, reject

__all__ = ["one_neuron"]

Array = NDArray[np.float64]


@configuration
class Alone(Learner):
    """One neuron of a learner whose neurons have losses of their own."""

    learner: Any
    neuron: int = static(default=0)

    @property
    def normaliser(self) -> Any:  # type: ignore[override]
        """That of the learner."""
        return self.learner.normaliser

    @property
    def neurons(self) -> int:
        """One."""
        return 1

    def parameters(self) -> Mapping[str, Any]:
        """All parameters."""
        return dict(self.learner.parameters())

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> jax.Array:
        """The loss with the fields of all other neurons at zero."""
        k = self.neuron
        whole = (
            jnp.zeros((self.learner.neurons, fields.shape[1]), fields.dtype).at[k].set(fields[0])
        )
        square = jnp.eye(self.learner.neurons, dtype=norms.dtype).at[k, k].set(norms[0, 0])
        loss: jax.Array = self.learner.loss(whole, square, parameters, sample)
        return loss


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
    rng, p = np.random.default_rng(0), problem.inputs.vectors
    with jax.enable_x64(True):
        cast = problem.cast(jnp.float64)
        parameters = cast.initial_parameters(jnp.float64)
        alone = Alone(cast.learner, neuron)
        for _ in range(8):
            latents = {
                name: jnp.asarray(latent.quantile(rng.uniform(0.05, 0.95, latent.shape)))
                if not latent.outcomes
                else jnp.asarray(rng.choice(latent.rule(latent.outcomes)[0], latent.shape))
                for name, latent in cast.all_latents().items()
            }
            _, label = cast.signal(latents)
            sample = Sample(label, jnp.zeros((p, p)))
            fields = jnp.asarray(rng.normal(size=(count, p)))
            root = rng.normal(size=(count, count + 1))
            norms = jnp.asarray(root @ root.T)

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
                raise reject("problem.learner", "be a sum over neurons", "coupled neurons")
    return replace(problem, learner=Alone(problem.learner, neuron))
