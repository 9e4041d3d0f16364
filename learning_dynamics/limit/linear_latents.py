"""Normal latents that enter the signal linearly: Gaussian given the others, integrated exactly."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.compilation import compiled
from learning_dynamics.identity.session import fixed_by_structure
from learning_dynamics.limit.degrees import degrees_of, single_precision
from learning_dynamics.model.input_model import InputModel, NoiseBlocks
from learning_dynamics.model.latents import Normal
from learning_dynamics.model.problem import Problem, changed
from learning_dynamics.pytrees import configuration, is_traced, stand_in, static

__all__ = ["quadrature_problem", "without_linear_latents"]

Array = NDArray[np.float64]


@configuration
class Centred(InputModel):
    """An input model with some latents at zero."""

    inputs: Any
    dropped: tuple[tuple[str, tuple[int, ...]], ...] = static()

    @property
    def directions(self) -> int:
        """Those of the model."""
        return int(self.inputs.directions)

    @property
    def vectors(self) -> int:
        """Those of the model."""
        return int(self.inputs.vectors)

    def latents(self) -> dict[str, Any]:
        """All others."""
        return {k: v for k, v in self.inputs.latents().items() if k not in dict(self.dropped)}

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, Any]:
        """C and the label."""
        kinds = [leaf.dtype for leaf in jax.tree.leaves((dict(latents), self.inputs))
                 if isinstance(leaf, jax.Array)]  # fmt: skip
        dtype = kinds[0] if kinds else jnp.result_type(float)
        zeros = {name: jnp.zeros(shape, dtype) for name, shape in dict(self.dropped).items()}
        signal: tuple[jax.Array, Any] = self.inputs.signal({**latents, **zeros})
        return signal

    def mixing(self) -> Any:
        """That of the model."""
        return self.inputs.mixing()

    def noise_nodes(self) -> tuple[int | None, ...] | None:
        """Those of the model."""
        nodes: tuple[int | None, ...] | None = self.inputs.noise_nodes()
        return nodes

    def blocks(self, dimension: int) -> tuple[NoiseBlocks, ...]:
        """Those of the model."""
        blocks: tuple[NoiseBlocks, ...] = self.inputs.blocks(dimension)
        return blocks

    def signal_variances(self) -> Any:
        """Those of the model."""
        return self.inputs.signal_variances()


@compiled
def _slopes(inputs: InputModel, normals: Any, others: Any) -> Any:
    """Derivatives of C with respect to the normal latents."""
    return jax.jacfwd(lambda x: inputs.signal({**others, **x})[0])(normals)


@fixed_by_structure
def _linear(problem: Problem) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes of the normal latents that C is linear in and the label does not hold.

    Seen by tracing the model: C = C_0 + A x with a matrix A that does not depend on latents.
    """
    latents = dict(problem.inputs.latents())
    normal = {name: v for name, v in latents.items() if isinstance(v, Normal)}
    if not normal:
        return ()
    with jax.enable_x64(False):  # traced in single precision, whatever the caller's setting
        shapes = {name: jax.ShapeDtypeStruct(v.shape, jnp.float32) for name, v in latents.items()}
        inputs = single_precision(problem.inputs)
        signal, *label = degrees_of(lambda x, model: model.signal(x), shapes, inputs)
    return tuple(
        (name, tuple(v.shape))
        for name, v in normal.items()
        if signal.linear(name) and not any(name in part.of for part in label)
    )


def quadrature_problem(problem: Problem) -> Problem:
    """The problem whose latents a quadrature of the moments has to sum over.

    Latents that `samples` integrates exactly are left out; all stay where B is not square, or
    singular. For traced numbers this is decided at stand-ins for them.
    """
    if is_traced(problem):
        inputs = quadrature_problem(stand_in(problem)).inputs
        if not isinstance(inputs, Centred):
            return problem
        return changed(problem, inputs=Centred(problem.inputs, inputs.dropped))
    with jax.ensure_compile_time_eval():  # the structure is wanted now, also inside a trace
        mixing = np.asarray(problem.inputs.mixing(), np.float64)
        if mixing.shape[0] != mixing.shape[1] or np.linalg.matrix_rank(mixing) < mixing.shape[0]:
            return problem
        dropped = _linear(problem)
    return changed(problem, inputs=Centred(problem.inputs, dropped)) if dropped else problem


def without_linear_latents(problem: Problem) -> tuple[Problem, Array]:
    """The problem with such latents at zero, and the factor A of C = C_0 + A x, x ~ N(0, 1).

    Latents count if they are normal, C is linear in them, and the label is not computed from them
    (both seen by tracing the model).

    Returns:
        The problem, and A of shape (p, r, g), g the number of normal variables; g = 0 if none is
        linear.
    """
    p, r = problem.inputs.vectors, problem.inputs.directions
    dropped = _linear(problem)
    if not dropped:
        return problem, np.zeros((p, r, 0))
    with jax.enable_x64(True):
        zeros = {
            name: jnp.zeros(v.shape, jnp.float64) for name, v in problem.inputs.latents().items()
        }
        normals = {name: zeros.pop(name) for name, _ in dropped}
        slopes = _slopes(problem.cast(jnp.float64).inputs, normals, zeros)
    factor = np.concatenate([np.asarray(slopes[name]).reshape(p, r, -1) for name, _ in dropped], 2)
    return changed(problem, inputs=Centred(problem.inputs, dropped)), factor
