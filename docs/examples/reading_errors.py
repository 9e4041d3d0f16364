"""Three ways to fail or pass: no allowance, the stated allowance, and a rough quadrature."""

# %%

import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

problem = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), 0.2)
start = ld.order_parameters(signal=[[0.2, 0.1]], norms=[[1.0]])
run = {"dimension": 40, "times": ld.log_times(12.0, points=12, start=0.5), "start": start}
seen = ld.simulate(problem, **run, replicas=2000, level="overlaps", key=jax.random.key(0))
limit = ld.integrate(problem, start=seen).prediction("signal")
rough = ld.integrate(problem, start=seen, points=40, finite_size=False).prediction("signal")
bare = ld.Prediction(limit.values, limit.numerical_error)

# %%
theories = (bare.labelled("no bias allowed"), limit, rough.labelled("40 nodes"))
result = ld.compare_each(seen.measurement("signal"), *theories, name="one simulation")
result.plot("reading_errors.png", width=10)
for item in result:
    worst = item.summary()
    print(f"{worst['name'] or item.predicted.label}: {worst['verdict']}")
