"""A measure over a grid, kept in a store: what is there is not computed again."""

# %%
import tempfile

import jax
import jax.numpy as jnp

import learning_dynamics as ld


def overlap(dimension: int, rate: float, seed: int) -> dict[str, jax.Array]:
    """Overlap of a linear unit with its teacher after 4 N steps of online SGD."""
    key = jax.random.key(seed)

    def update(step: jax.Array, w: jax.Array) -> jax.Array:
        x = jax.random.normal(jax.random.fold_in(key, step), (dimension,))
        return w - rate / dimension * (jnp.sum(w * x) - x[0]) * x

    return {"overlap": jax.lax.fori_loop(0, 4 * dimension, update, jnp.zeros(dimension))[0]}


grid = {"dimension": [50, 100, 200], "rate": [0.1, 0.5, 1.0], "seed": range(16)}
with tempfile.TemporaryDirectory() as store:
    results = ld.sweep(overlap, grid, store=store, together=("rate", "seed"))
    wider = {**grid, "dimension": [50, 100, 200, 400]}  # computes dimension 400 alone
    results = ld.sweep(overlap, wider, store=store, together=("rate", "seed"))

# %% The mean over seeds beside 1 - exp(-4 rate), the limit of large dimension
print(dict(results.sizes))
for rate in results["rate"].values:
    mean = results["overlap"].sel(rate=rate).mean("seed").values
    print(f"rate {rate}:", mean.round(2), "->", round(float(1 - jnp.exp(-4.0 * rate)), 2))
