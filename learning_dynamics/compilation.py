"""`jax.jit` for programs that run a few times: on a CPU XLA builds them in about half the time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

__all__ = ["compiled"]

# Measured (docs/performance.md): the older code generator of XLA builds the programs of the kernel
# in half the time, and they run no slower. Read on a CPU only; other backends ignore it.
_OPTIONS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}

# What is traced where nothing is: in a new thread, as this module may be imported while JAX traces.
with ThreadPoolExecutor(1) as _thread:
    _NOTHING = _thread.submit(get_opaque_trace_state).result()

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Compiled(Protocol[P, R_co]):
    """A compiled function, and the shapes of its results, for which it is traced at most once."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def eval_shape(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


def compiled(function: Callable[P, R], **options: Any) -> Compiled[P, R]:
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
        if get_opaque_trace_state() == _NOTHING and _accepted():
            return alone(*args, **kwargs)
        return inside(*args, **kwargs)

    call.eval_shape = alone.eval_shape  # type: ignore[attr-defined]
    return cast(Compiled[P, R], call)


@cache
def _accepted() -> bool:
    """Whether this version of XLA knows the options."""
    try:
        jax.jit(jnp.negative, compiler_options=_OPTIONS)(1.0)
    except jax.errors.JaxRuntimeError:
        return False
    return True
