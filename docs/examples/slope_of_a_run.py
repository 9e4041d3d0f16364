"""A batch of learning rates, and the slope of the final overlap in the rate, in one program."""

# %%
import jax
import jax.numpy as jnp

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

start = ld.order_parameters(signal=[[0.3, 0.1]], norms=[[1.0]])


def overlap(rate: jax.Array, key: jax.Array) -> jax.Array:
    """Mean overlap of a denoiser with the covariance spike after 2 N updates."""
    problem = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), rate)
    run = ld.simulate(
        problem, dimension=200, times=[2.0], replicas=32, start=start, key=key, level="overlaps"
    )
    return jnp.mean(run.values["signal"][:, -1, 0, 0])


rates = jnp.asarray([0.05, 0.1, 0.2])
batch = jax.jit(jax.vmap(jax.value_and_grad(overlap), in_axes=(0, None)))
means, slopes = batch(rates, jax.random.key(0))
for rate, mean, slope in zip(rates, means, slopes, strict=True):
    print(f"rate {rate:g}: mean {mean:.3f}, slope {slope:.2f}")
