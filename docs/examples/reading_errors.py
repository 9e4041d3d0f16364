"""One simulation beside three theories: no bias, the stated bias, a coarse quadrature."""

# %%
import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

problem = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), 0.2)
start = ld.order_parameters(signal=[[0.2, 0.1]], norms=[[1.0]])
run = {"dimension": 40, "times": ld.log_times(12.0, points=12, start=0.5), "start": start}
seen = ld.simulate(problem, **run, replicas=2000, level="overlaps", key=jax.random.key(0))
limit = ld.integrate(problem, start=seen).prediction("signal")
bare = ld.Prediction(limit.values, limit.numerical_error, label="limit, no bias allowed")
coarse = ld.integrate(problem, start=seen, points=64, finite_size=False).prediction("signal")
theories = (bare, limit, coarse.labelled("limit, 64 nodes"))
result = ld.compare_each(seen.measurement("signal"), *theories, name="N = 40")
result.plot("reading_errors.png", width=11)

# %% The point with the largest residual
names = ("residual", "critical", "standard_error", "numerical_error", "allowed_bias")
for item in result:
    worst = item.summary()
    print(f"{item.predicted.label}: {item.verdict}")
    print("  " + ", ".join(f"{name.replace('_', ' ')} {abs(worst[name]):.2g}" for name in names))
