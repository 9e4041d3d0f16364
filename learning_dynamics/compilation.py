"""`jax.jit` for programs that run a few times: on a CPU XLA builds them in about half the time."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from learning_dynamics.pytrees import is_traced

__all__ = ["compiled"]

# Measured (docs/performance.md): the older code generator of XLA builds the programs of the kernel
# in half the time, and they run no slower. Read on a CPU only; other backends ignore it.
_OPTIONS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`jax.jit(function, **options)`, built faster where it is called outside transformations.

    Inside them it is part of the program around it, whose options count.

    Args:
        function: what to compile.
        **options: those of `jax.jit`.
    """
    inside = jax.jit(function, **options)
    alone = jax.jit(function, compiler_options=_OPTIONS, **options)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _is_inside(args, kwargs) or not _accepted():
            return inside(*args, **kwargs)
        return alone(*args, **kwargs)

    return call


def _is_inside(args: Any, kwargs: Any) -> bool:
    """Whether a transformation is at work: on an argument, or around the call."""
    return is_traced((args, kwargs)) or isinstance(jnp.zeros(()), jax.core.Tracer)


@cache
def _accepted() -> bool:
    """Whether this version of XLA knows the options."""
    try:
        jax.jit(jnp.negative, compiler_options=_OPTIONS)(1.0)
    except jax.errors.JaxRuntimeError:
        return False
    return True
