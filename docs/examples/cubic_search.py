"""A whitened spike costs of order d^3 samples: runs at two dimensions beside the law at each."""

# %%
import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, ThreePoint, TiedDenoiser, theory

inputs, learner, rate = MixedCumulant(pair=ThreePoint(0.03)), TiedDenoiser("tanh"), 3.0
exponent = theory.information_exponents(inputs, learner)["v"]
print(f"v is {exponent.verdict} at order {exponent.order}")

# %% 200 runs of the exact overlap process at each d, from the same scaled starts
found = ld.recovery_times(
    lambda d: ld.Problem(inputs, learner, rate / d, update="spherical"),
    dimensions=[16, 32],
    replicas=200,
    longest=lambda d: 0.3 * d**3,
    stop=lambda d: ld.Stop(lambda overlaps: abs(overlaps.signal[0, 0]), 0.6),
    key=jax.random.key(0),
)
fit = ld.fit_exponent(found.dimensions, found.samples)
low, high = fit.interval
print(f"n* grows as d to the power {fit.exponent:.1f}, 95 % interval {low:.1f} to {high:.1f}")

# %% No constant is free in the law
limit = theory.explosion_law(inputs, learner, rate, longest=1.0)
print(f"median of n* / d^3: {float(limit.quantile(0.5)):.2f} for large d")
seen = ld.recovered_quantiles([16, 32], found.samples, [0.5])
for i, d in enumerate((16, 32)):
    law = theory.recovery_law(inputs, learner, rate / d, d, 0.6, longest=0.3 * d**3)
    median, error = seen.values[0, i] / d**3, seen.standard_error[0, i] / d**3
    print(f"d = {d}: {median:.3f} +- {error:.3f} measured,", end=" ")
    print(f"{float(law.quantile(0.5)) / d**3:.3f} in law")
