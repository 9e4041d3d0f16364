"""How many samples Fourier phases cost under a white and under a power-law spectrum."""

# %%
import jax
import numpy as np

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    TieOverlap,
    effective_dimension,
    neuron_diffusion,
    phase_problem,
    power_law_spectrum,
    quartet,
    visible_order,
)

N, key = 64, jax.random.key(0)
for gamma in (0.0, 1.0):
    inputs = FourierInputs(N + 2, quartet(1, 4, 2), power_law_spectrum(N + 2, gamma))
    effective = effective_dimension(inputs)
    problem = phase_problem(inputs, "he4", learning_rate=0.3 / effective, normalised=True)
    watched = TieOverlap(inputs)
    stop = ld.Stop(watched, 0.4 * watched.largest)
    paths = neuron_diffusion(
        problem, dimension=N, times=[10 * effective**3 / N], paths=128, key=key, stop=stop, step=0.1
    )
    samples = np.where(paths.stopped < 0, np.inf, paths.stopped)
    order = visible_order(inputs, "he4").order
    print(f"gamma = {gamma:g}: order {order}, N_eff = {effective:.1f},", end=" ")
    print(f"half know the tie after {np.quantile(samples, 0.5, method='nearest'):.1e} samples")
