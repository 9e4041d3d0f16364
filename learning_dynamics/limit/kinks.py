"""Whether a loss or label has kinks or jumps: found by tracing it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from learning_dynamics.identity.session import fixed_by_structure
from learning_dynamics.model.learner import Sample
from learning_dynamics.model.problem import Problem
from learning_dynamics.process.steps import limits_gradient

__all__ = ["has_kinks"]

_ALWAYS = frozenset(
    {"abs", "sign", "max", "min", "clamp", "floor", "ceil", "round", "rem", "sort", "top_k"}
    | {"sqrt", "rsqrt", "cbrt"}  # of a square
)
_LARGEST = frozenset({"reduce_max", "reduce_min", "argmax", "argmin", "cummax", "cummin"})
_COMPARISONS = frozenset({"gt", "lt", "ge", "le"})
_LOOPS = frozenset({"scan", "while", "cond"})


@fixed_by_structure
def has_kinks(problem: Problem, *, fields_only: bool = False) -> bool:
    """Whether loss, label or step may have a kink or jump as functions of latents and fields.

    True if their trace holds `abs`, `sign`, `max`, a comparison or the like that depends on latents
    or fields. Where these only guard a smooth function (`softplus`, a safe division), or a root is
    taken away from zero, the answer is true as well.

    Args:
        problem: any.
        fields_only: whether the loss as a function of the fields alone is meant.
    """
    if limits_gradient(problem):  # what is averaged has one where the norm of the gradient does
        return True
    with jax.enable_x64(False):  # traced in single precision, whatever the caller's setting
        cast = problem.cast(jnp.float32)
        neurons, vectors = problem.learner.neurons, problem.inputs.vectors

        def loss(latents: Any, fields: jax.Array) -> Any:
            signal, label = cast.signal(latents)
            norms = jnp.zeros((neurons, neurons), jnp.float32)
            sample = Sample(label, jnp.zeros((vectors, vectors), jnp.float32))
            parameters = cast.initial_parameters(jnp.float32)
            return signal, cast.learner.loss(fields, norms, parameters, sample)

        latents = {
            name: jax.ShapeDtypeStruct(latent.shape, jnp.float32)
            for name, latent in cast.all_latents().items()
            if not latent.outcomes
        }
        discrete = {
            name: jnp.zeros(latent.shape, jnp.float32)
            for name, latent in cast.all_latents().items()
            if latent.outcomes
        }
        fields = jax.ShapeDtypeStruct((neurons, vectors), jnp.float32)
        jaxpr = jax.make_jaxpr(lambda x, f: loss({**x, **discrete}, f))(latents, fields).jaxpr
    moving = [not fields_only] * (len(jaxpr.invars) - 1) + [True]  # the fields come last
    return _search(jaxpr, moving)[0]


def _search(jaxpr: Any, moving: list[bool]) -> tuple[bool, list[bool]]:
    """Whether there is a kink in what depends on the moving inputs, and which outputs do."""
    depends = dict(zip(jaxpr.invars, moving, strict=True))
    kinks = False

    def of(variable: Any) -> bool:
        return not isinstance(variable, core.Literal) and depends.get(variable, False)

    for equation in jaxpr.eqns:
        inputs = [of(variable) for variable in equation.invars]
        outputs = [any(inputs)] * len(equation.outvars)
        bodies = list(core.jaxprs_in_params(equation.params)) if any(inputs) else []
        for body in bodies:
            call = len(bodies) == 1 and equation.primitive.name not in _LOOPS
            fits = call and len(body.invars) == len(inputs)
            inside, results = _search(body, inputs if fits else [True] * len(body.invars))
            kinks = kinks or inside
            outputs = results if fits and len(results) == len(outputs) else outputs
        depends.update(zip(equation.outvars, outputs, strict=True))
        if any(inputs) and not bodies:
            name = equation.primitive.name
            real = jnp.issubdtype(equation.invars[0].aval.dtype, jnp.floating)
            many = name in _LARGEST and equation.invars[0].aval.size > equation.outvars[0].aval.size
            cut = name == "convert_element_type" and not jnp.issubdtype(
                equation.outvars[0].aval.dtype, jnp.floating
            )
            kinks = kinks or (real and (name in _ALWAYS | _COMPARISONS or many or cut))
    return kinks, [of(variable) for variable in jaxpr.outvars]
