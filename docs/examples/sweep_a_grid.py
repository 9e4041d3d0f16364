"""A measure over a grid, kept in a store: what is there is not computed again."""

# %%
import tempfile

import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

start = ld.order_parameters(signal=[[0.3, 0.1]], norms=[[1.0]])


def denoiser(rate):
    inputs = MixedCumulant(covariance=9.0, pair="sign")
    return ld.Problem(inputs, TiedDenoiser(sign=-1), rate)


def overlap(dimension: int, rate: float, seed: int) -> dict[str, jax.Array]:
    """Mean overlap of a denoiser with the spike after 2 N updates."""
    run = ld.simulate(
        denoiser(rate), dimension=dimension, times=[2.0], replicas=8, start=start,
        key=jax.random.key(seed), level="overlaps",
    )  # fmt: skip
    return {"overlap": run.values["signal"][:, -1, 0, 0].mean()}


grid = {"dimension": [50, 200], "rate": [0.05, 0.1, 0.2], "seed": range(8)}
with tempfile.TemporaryDirectory() as store:
    results = ld.sweep(overlap, grid, store=store, together=("rate", "seed"))
    wider = {**grid, "dimension": [50, 200, 800]}  # computes dimension 800 alone
    results = ld.sweep(overlap, wider, store=store, together=("rate", "seed"))

# %% The mean over seeds at each dimension beside the limit of large dimension
print(dict(results.sizes))
for rate in grid["rate"]:
    mean = results["overlap"].sel(rate=rate).mean("seed").values
    limit = ld.integrate(denoiser(rate), times=[2.0], start=start)
    print(f"rate {rate}:", mean.round(3), "->", limit.values["signal"].ravel()[0].round(3))
