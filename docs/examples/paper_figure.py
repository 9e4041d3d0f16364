"""A comparison as a figure of one column: font, width, PDF."""

# %%
import jax
import matplotlib as mpl

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser

problem = ld.Problem(MixedCumulant(covariance=9.0, cumulant=None), TiedDenoiser(sign=-1), 0.2)
start = ld.order_parameters(signal=[[0.2]], norms=[[1.0]])
run = {"dimension": 400, "times": ld.log_times(12.0, points=12), "start": start}
seen = ld.simulate(problem, **run, replicas=32, level="overlaps", key=jax.random.key(0))
result = ld.compare(seen, ld.integrate(problem, start=seen), name="one denoiser, one spike")

# %%
with mpl.rc_context({"font.family": "serif", "mathtext.fontset": "cm"}):
    figure = result.plot("paper_figure.pdf", width="column", legend=["overlap $m$", "norm $q$"])
    figure.savefig("paper_figure.png", dpi=300)  # to look at
