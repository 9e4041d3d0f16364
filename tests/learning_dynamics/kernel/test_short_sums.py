"""Short sums as additions: the same numbers, and no sum over few terms is left."""

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.process.reduced_noise import root
from learning_dynamics.process.short_sums import with_short_sums_added


def sums(x, tree):
    y = jnp.sum(x, axis=1) + jax.jit(lambda a: jnp.sum(a * a, axis=(0, 1)))(tree["a"])
    total = jnp.sum(tree["b"])  # 40 terms stay a sum
    slope = jax.grad(lambda z: jnp.sum(root(z)))(x + 1.0)
    count = jax.lax.fori_loop(0, 3, lambda i, n: n + jnp.sum(x[0]), jnp.float32(0))
    return {"y": y, "total": total, "slope": slope, "count": count, "whole": jnp.arange(4)}


def test_values_and_structure_stay():
    draws = np.random.default_rng(0)
    x = jnp.asarray(draws.uniform(size=(5, 3)), jnp.float32)
    tree = {"a": jnp.asarray(draws.normal(size=(2, 3, 5)), jnp.float32), "b": jnp.ones(40)}
    plain, added = sums(x, tree), jax.jit(with_short_sums_added(sums))(x, tree)
    assert jax.tree.structure(plain) == jax.tree.structure(added)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), plain, added)
    jax.tree.map(lambda a, b: a.dtype == b.dtype or 1 / 0, plain, added)
    text = str(jax.make_jaxpr(with_short_sums_added(sums))(x, tree))
    assert text.count("reduce_sum") == 2  # of 40 terms, and inside the loop
    assert str(jax.make_jaxpr(sums)(x, tree)).count("reduce_sum") > 3
