"""A custom progress bar."""

# %%
import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser


def tracker(items, description):
    for done, item in enumerate(items, start=1):
        yield item
        print(f"{description}: {done} of {len(items)}")


problem = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), 0.2)
run = {"dimension": 100, "times": [1.0, 2.0, 3.0], "replicas": 32, "level": "overlaps"}
seen = ld.simulate(problem, **run, key=jax.random.key(0), tracker=tracker)
