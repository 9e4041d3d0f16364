"""One definition, every level: the simulation, its exact overlap process and the limit."""

# %%
import jax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

problem = ld.Problem(MixedCumulant(covariance=9.0, pair="sign"), TiedDenoiser(sign=-1), 0.2)
start = ld.order_parameters(signal=[[0.2, 0.1]], norms=[[1.0]])
run = {"dimension": 400, "times": ld.log_times(12.0, points=12), "start": start}
seen = ld.simulate(problem, **run, replicas=32, key=jax.random.key(0))
exact = ld.simulate(problem, **run, replicas=1024, level="overlaps", key=jax.random.key(1))
limit = ld.integrate(problem, start=seen)
result = ld.compare_each(seen, exact, limit, name="a denoiser learns two spikes")
result.plot("ten_lines.png")
for item in result:
    print(f"{item.predicted.label}: {item.verdict}, residuals up to {abs(item.residual).max():.1f}")
