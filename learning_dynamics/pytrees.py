"""Frozen dataclass pytrees: structure is static, numbers are leaves."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.validation import finite_array, reject, traced

__all__ = [
    "checked_if_concrete",
    "configuration",
    "is_traced",
    "library_of",
    "number_path",
    "require_concrete",
    "require_configuration",
    "require_single",
    "stand_in",
    "static",
]

T = TypeVar("T")


def static(**options: Any) -> Any:
    """A dataclass field that is structure: hashable, compiled in, no pytree leaf."""
    return field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field, static))
def configuration(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and register it as a pytree.

    Fields declared by `static()` are structure, all others are leaves or pytrees of leaves.
    `__post_init__` validates what a user writes; it does not run when JAX rebuilds the object
    from traced leaves, so that `jax.vmap` over numbers works.
    """
    made = dataclass(frozen=True, eq=False)(cls)
    structure = tuple(f.name for f in fields(made) if f.metadata.get("static"))  # type: ignore[arg-type]
    numbers = tuple(f.name for f in fields(made) if not f.metadata.get("static"))  # type: ignore[arg-type]

    def flatten_with_keys(item: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(item, name)) for name in numbers]
        return leaves, tuple(getattr(item, name) for name in structure)

    def flatten(item: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(item, name) for name in numbers], tuple(
            getattr(item, name) for name in structure
        )

    def rebuild(meta: tuple[Any, ...], leaves: Any) -> Any:
        item = object.__new__(made)
        for name, value in zip(structure, meta, strict=True):
            object.__setattr__(item, name, value)
        for name, value in zip(numbers, leaves, strict=True):
            object.__setattr__(item, name, value)
        return item

    register: Callable[..., None] = jax.tree_util.register_pytree_with_keys
    register(made, flatten_with_keys, rebuild, flatten)
    return made


def require_configuration(argument: str, value: Any) -> None:
    """Refuse an object of a class that JAX does not know, since its decorator was forgotten.

    Raises:
        ValueError: naming the class and the decorator.
    """
    if any(leaf is value for leaf in jax.tree.leaves(value)):
        demand = "be of a class decorated with @ld.configuration, as each subclass must be as well"
        raise reject(argument, demand, f"an object of the bare class {type(value).__qualname__}")


def is_traced(value: Any) -> bool:
    """Whether a value is abstract (inside `jit` or `vmap`), so that it cannot be checked."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def library_of(array: Any) -> Any:
    """`jax.numpy` for arrays of JAX, traced ones too, else `numpy`: it needs no program."""
    return jnp if isinstance(array, jax.Array) else np


def number_path(path: Any) -> str:
    """Name of a leaf as a user writes it: names and keys on the way, with dots between.

    The numbers of a schedule follow its own name: "learning_rate.values".
    """
    words = re.findall(r"\w+", jax.tree_util.keystr(path))
    return ".".join(word for word in words if word != "numbers")


def checked_if_concrete(argument: str, value: Any, *, ndim: int | None = None) -> Any:
    """A finite float64 array on the host; under a transformation a JAX array of its own type.

    Raises:
        ValueError: on a concrete value as `finite_array`, on a traced one if its rank is not
            `ndim`.
    """
    if not is_traced(value):
        return finite_array(argument, value, ndim=ndim)
    array = jnp.asarray(value)
    if ndim is not None and array.ndim != ndim:
        raise reject(argument, f"have {ndim} dimension(s)", f"shape {array.shape}")
    return array


def require_concrete(**arguments: Any) -> None:
    """Refuse traced values where a program takes its structure from them.

    Raises:
        ValueError: naming the first traced argument.
    """
    for argument, value in arguments.items():
        if is_traced(value):
            raise traced(argument)


def require_single(argument: str, values: Any, batch: tuple[int, ...]) -> None:
    """Refuse a result that is being traced, or a batch of results.

    Args:
        argument: what it is called.
        values: its arrays.
        batch: its leading axes besides those of a single one.

    Raises:
        ValueError: saying what to do.
    """
    if is_traced(values):
        demand = "be taken out of jax.jit, jax.vmap or jax.grad first (use `values` inside)"
        raise reject(argument, demand, "one that is being traced")
    if batch:
        demand = "be a single one (`jax.tree.map(lambda a: a[0], batch)` takes the first)"
        raise reject(argument, demand, f"a batch of {batch}")


def stand_in(tree: Any) -> Any:
    """The tree with fixed generic numbers in (0.3, 0.7) in place of traced ones.

    What holds for them - a latent enters linearly, a parameter is fast - holds for almost all
    numbers: structure can be found while JAX traces a call. Use inside
    `jax.ensure_compile_time_eval()`.
    """
    rng = np.random.default_rng(11)

    def concrete(leaf: Any) -> Any:
        if not isinstance(leaf, jax.core.Tracer):
            return leaf
        return (0.3 + 0.4 * rng.random(leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(concrete, tree)
