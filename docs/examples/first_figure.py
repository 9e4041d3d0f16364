"""The figure of the first page: losses and divergence of linear diffusion models against N/d."""

# %%
import jax
import numpy as np

from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.evidence.figures import draw_simulation, draw_theory, new_figure, save_figure
from learning_dynamics.spectra import power_law
from linear_diffusion import LatentLaw, draw_modes, kl_of_modes, losses_of_modes, theory

d, alpha_bar = 100, 0.99
law = LatentLaw(power_law(d, exponent=1.0))
N = np.unique(np.geomspace(12, 2000, 15).astype(int))
line = np.unique(np.geomspace(12, 2000, 300).astype(int))
modes = draw_modes(law, N, replicas=24, key=jax.random.key(0))
figure, axes = new_figure(1, 2, width=9.2, height=3.6)

# %% Left: loss at one noise level. Right: KL(data || generated) for three ridges.
curves = theory.losses(law.spectrum, line, 0.0, alpha_bar)
drawn = losses_of_modes(modes, 0.0, alpha_bar)
for i, (draws, curve) in enumerate(zip(drawn, (curves.train, curves.test), strict=True)):
    seen = Measurement.from_replicas(draws, {"N": N})
    draw_simulation(axes[0, 0], N / d, seen.values, seen.standard_error, index=i, label=curve.label)
    draw_theory(axes[0, 0], line / d, curve.values, index=i)
for i, ridge in enumerate((0.001, 0.01, 0.1)):
    draws = kl_of_modes(modes, modes.variance + ridge, direction="forward") / d
    seen, label = Measurement.from_replicas(draws, {"N": N}), f"ridge {ridge:g}"
    curve = theory.kl(law.spectrum, line, ridge, direction="forward").values / d
    draw_simulation(axes[0, 1], N / d, seen.values, seen.standard_error, index=i, label=label)
    draw_theory(axes[0, 1], line / d, curve, index=i)
for panel, name in zip(axes[0], ("loss per dimension", "KL per dimension (nats)"), strict=True):
    panel.set(xscale="log", yscale="log", xlabel="samples / dimension", ylabel=name)
    panel.legend()
save_figure(figure, "first_figure.png")
