"""Versions and JAX settings that may change a result."""

import functools
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import jax

__all__ = ["flagged", "flags", "settings"]

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "learning-dynamics")
FLAGS: Mapping[str, Callable[[Any], Any]] = {
    "jax_enable_x64": jax.enable_x64,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_default_prng_impl": jax.default_prng_impl,
    "jax_threefry_partitionable": jax.threefry_partitionable,
    "jax_numpy_dtype_promotion": jax.numpy_dtype_promotion,
}


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        found[package] = importlib.metadata.version(package)
    return found


def flags() -> dict[str, Any]:
    """JAX settings of this thread that may change a result."""
    return {flag: getattr(jax.config, flag) for flag in FLAGS}


@contextmanager
def flagged(values: Mapping[str, Any]) -> Iterator[None]:
    """Apply `flags()` of another thread or process."""
    with ExitStack() as stack:
        for flag, value in values.items():
            if getattr(jax.config, flag) != value:
                stack.enter_context(FLAGS[flag](value))
        yield


def settings() -> dict[str, str]:
    """Versions and JAX settings that may change a result."""
    return _versions() | {flag: str(value) for flag, value in flags().items()}
