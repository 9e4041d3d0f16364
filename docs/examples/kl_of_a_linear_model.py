"""How far is the law that a linear diffusion model generates from the law of its data?"""

# %% Data of a power-law covariance, and 64 data sets of each of four sizes
import jax

import learning_dynamics as ld
from learning_dynamics.spectra import power_law
from linear_diffusion import LatentLaw, draw_modes, kl_of_modes, theory

law = LatentLaw(power_law(60, exponent=1.0))
samples = [20, 60, 180, 540]
modes = draw_modes(law, samples, replicas=64, key=jax.random.key(0))

# %% Simulation: the exact KL of each trained model. Theory: its expectation. Ridge 0.05.
draws = kl_of_modes(modes, modes.variance + 0.05, direction="forward")
measured = ld.Measurement.from_replicas(draws, {"samples": samples})
predicted = theory.kl(law.spectrum, samples, 0.05, direction="forward")

# %% Side by side
result = ld.compare(measured, predicted, name="generated law", quantity="KL (nats)")
print("simulation", measured.values.round(2))
print("its error ", measured.standard_error.round(2))
print("theory    ", predicted.values.round(2))
print("verdict   ", result.verdict)
