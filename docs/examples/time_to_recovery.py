"""How many samples until a direction is found? Exponent, law of the search time, simulation."""

# %%
import jax
import numpy as np

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from learning_dynamics.evidence.figures import draw_simulation, draw_theory, new_figure, save_figure
from learning_dynamics.testing import assert_same_law

spiked = MixedCumulant(covariance=2.0, cumulant=None)
problem = ld.Problem(spiked, TiedDenoiser(sign=-1, kappa=0.5), 0.5, update="spherical")
found = ld.information_exponent(problem)
print(f"information exponent {found.order}, {found.verdict}")

# %% The law for N to infinity, and 400 runs of the exact process at each of two sizes
law = ld.search_law(problem, key=jax.random.key(0), threshold=0.4)
stop = ld.Stop(lambda overlaps: abs(overlaps.signal[0, 0]), 0.4)  # a new function would compile
figure, axes = new_figure(width=5.4, height=3.8)
share = np.linspace(0.02, 0.98, 25)
for i, N in enumerate((300, 3000)):
    recovery = law.updates(N)
    seen = ld.simulate(
        problem, dimension=N, times=[recovery.max() / N], replicas=400, level="overlaps", stop=stop,
        key=jax.random.key(1),
    )  # fmt: skip
    times = np.where(seen.stopped > 0, seen.stopped, np.inf)
    print(f"N = {N}: same law with p = {assert_same_law(times, recovery):.2f}")
    draw_simulation(
        axes[0, 0], np.quantile(times, share) / N, share, None, index=i, label=f"N = {N}"
    )
    draw_theory(axes[0, 0], np.quantile(recovery, share) / N, share, index=i)
axes[0, 0].set(xlabel="samples / dimension until overlap 0.4", ylabel="share of the runs")
axes[0, 0].legend()
save_figure(figure, "time_to_recovery.png")
