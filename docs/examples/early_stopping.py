"""Fewer samples than dimensions: when to stop training, and what the ridge does instead."""

# %%
import jax
import numpy as np

import learning_dynamics as ld
from learning_dynamics.spectra import power_law
from linear_diffusion import LatentLaw, draw_modes, losses_of_modes, theory

d, N, alpha_bar = 80, 40, 0.95
spectrum = power_law(d, exponent=1.5)
best = theory.optimal_stopping(spectrum, N, 0.0, alpha_bar)
end = theory.losses(spectrum, N, 0.0, alpha_bar)
print(f"stop at tau = {best.time.values:.2f}: test loss {best.test_loss.values:.3f}")
print(f"trained to the end: {end.test.values:.3f}   best possible: {end.bayes.values:.3f}")

# %% The learning curve, simulated on 100 data sets
tau = np.geomspace(0.1, 100, 7)
modes = draw_modes(LatentLaw(spectrum), N, replicas=100, key=jax.random.key(1))
_, test = losses_of_modes(modes, 0.0, alpha_bar, tau)
measured = ld.Measurement.from_replicas(test[:, 0], {"tau": tau})
predicted = theory.training_losses(spectrum, N, 0.0, alpha_bar, tau).test
result = ld.compare(measured, predicted, name="learning curve", quantity="test loss")
print("learning curve:", result.verdict)
