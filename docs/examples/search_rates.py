"""Learning rates of a search: the growth rate has a maximum, and beyond a rate nothing grows."""

# %%
import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

spiked, learner = MixedCumulant(covariance=2.0, cumulant=None), TiedDenoiser(sign=-1, kappa=0.5)


def law(rate):
    problem = ld.Problem(spiked, learner, rate, update="spherical")
    return ld.search_law(problem, key=jax.random.key(0), threshold=0.4)


# %% One law gives the best rate and the largest one: g = a delta - V delta^2 / 2
first = law(0.5)
V = first.gradient_norm
a = first.growth / first.rate + V * first.rate / 2
print(f"best rate {a / V:.2f}, none above {2 * a / V:.2f}")
for rate in (a / V / 4, a / V, 1.5 * a / V, 2.1 * a / V):
    try:
        found = law(rate)
    except ValueError as error:
        print(f"rate {rate:.2f}: {error}")
    else:
        times = found.updates(1000) / 1000
        print(f"rate {rate:.2f}: g = {found.growth:.3f}, median n*/N = {sorted(times)[2048]:.0f}")
