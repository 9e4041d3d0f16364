"""Normal latents that enter the signal linearly: Gaussian given the others, integrated exactly."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from learning_dynamics.model.latents import Normal
from learning_dynamics.model.problem import InputModel, NoiseBlocks, Problem, changed
from learning_dynamics.pytrees import configuration, is_traced, stand_in, static

__all__ = ["quadrature_problem", "without_linear_latents"]

Array = NDArray[np.float64]
_TRIES = 4


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


@jax.jit
def _slopes(inputs: InputModel, normals: Any, others: Any) -> Any:
    """Derivatives of C with respect to the normal latents."""
    return jax.jacfwd(lambda x: inputs.signal({**others, **x})[0])(normals)


@jax.jit
def _change(inputs: InputModel, first: Any, second: Any, others: Any) -> Any:
    """Change of C as each normal latent alone goes from one value to another."""
    before = inputs.signal({**others, **first})[0]
    return {
        name: inputs.signal({**others, **first, name: second[name]})[0] - before for name in first
    }


def _behind_label(inputs: InputModel, latents: Mapping[str, jax.Array]) -> set[str]:
    """Names of the latents that the label is computed from, jumps included."""
    names = sorted(latents)
    traced = jax.make_jaxpr(lambda x: jax.tree.leaves(inputs.signal(x)[1]))(dict(latents)).jaxpr
    sources: dict[int, set[str]] = {
        id(v): {name} for v, name in zip(traced.invars, names, strict=True)
    }

    def behind(variables: Iterable[Any]) -> set[str]:
        return {name for v in variables for name in sources.get(id(v), set())}

    for equation in traced.eqns:
        used = behind(equation.invars)
        for v in equation.outvars:
            sources[id(v)] = used
    return behind(traced.outvars)


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
        return without_linear_latents(problem)[0]


def without_linear_latents(problem: Problem) -> tuple[Problem, Array]:
    """The problem with such latents at zero, and the factor A of C = C_0 + A x, x ~ N(0, 1).

    Latents count if they are normal, C is linear in them (tried at random points), and the label
    is not computed from them (seen by tracing it).

    Returns:
        The problem, and A of shape (p, r, g), g the number of normal variables; g = 0 if none is
        linear.
    """
    p, r = problem.inputs.vectors, problem.inputs.directions
    latents = dict(problem.inputs.latents())
    names = [name for name, latent in latents.items() if isinstance(latent, Normal)]
    rng = np.random.default_rng(5)
    factors: dict[str, list[Array]] = {name: [] for name in names}
    linear = set(names)
    with jax.enable_x64(True):
        inputs = problem.cast(jnp.float64).inputs
        for _ in range(_TRIES if names else 0):
            point = {
                name: jnp.asarray(
                    rng.choice(latent.rule(latent.outcomes)[0], latent.shape)
                    if latent.outcomes
                    else latent.quantile(rng.uniform(0.02, 0.98, latent.shape))
                )
                for name, latent in latents.items()
            }
            some = {name: point.pop(name) for name in names}
            signal = _slopes(inputs, some, point)
            for name in names:
                factors[name].append(np.asarray(signal[name]).reshape(p, r, -1))
            shifted = {name: 3.0 - 2.0 * value for name, value in some.items()}
            moved = _change(inputs, some, shifted, point)
            for name in names:  # a jump has the slope zero almost everywhere
                step = (shifted[name] - some[name]).reshape(-1)
                error = np.max(np.abs(moved[name] - factors[name][-1] @ step), initial=0.0)
                if not error <= 1e-9:
                    linear.discard(name)
        if names:
            linear -= _behind_label(inputs, {**some, **point})
    for name, tries in factors.items():
        change = float(np.max([np.max(np.abs(t - tries[0]), initial=0.0) for t in tries]))
        if not change <= 1e-10 * (1 + float(np.max(np.abs(tries[0]), initial=0.0))):
            linear.discard(name)
    kept = [name for name in names if name in linear]
    if not kept:
        return problem, np.zeros((p, r, 0))
    dropped = tuple((name, tuple(latents[name].shape)) for name in kept)
    factor = np.concatenate([factors[name][0] for name in kept], axis=2)
    return replace(problem, inputs=Centred(problem.inputs, dropped)), factor
