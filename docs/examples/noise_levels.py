"""The best noise level of a denoiser as a function of the training time."""

import jax
import numpy as np

import diffusion_theory as dt
import learning_dynamics as ld

# %% A denoiser on the sphere, data with one spike, and a table of noise levels
knots, path = np.linspace(0, 40, 6), "inputs.alpha_bar"
problem = ld.Problem(
    dt.MixedCumulant(covariance=2.0, cumulant=None), dt.TiedDenoiser(sign=-1), 0.1,
    update="spherical",
    protocol={path: ld.schedules.piecewise_linear(knots, np.full(6, 0.4))},
)  # fmt: skip


def error(overlaps):
    """One minus the squared overlap with the spike."""
    return 1 - overlaps.signal[0, 0] ** 2


# %% The levels that leave the least error at tau = 40, from an overlap of 0.2
best = ld.optimise(
    problem, over=f"protocol.{path}", bounds={f"protocol.{path}": (0.01, 0.95)},
    objective=error, start=ld.order_parameters([[0.2]], [[1.0]]), until=40.0,
    points=2**8, method="tensor", tolerance=1e-5, accuracy=1e-3,
)  # fmt: skip
print(best)

# %% Little noise first, more later: what simulations say of the schedule and of a constant
run = {"dimension": 500, "replicas": 256, "key": jax.random.key(0)}
schedule = best.compare(**run)
print(f"schedule: {np.ravel(schedule.measured.values)[0]:.4f}, {schedule.verdict}")
constant = best.simulate(**run, constant=True).measurement("objective")
print(f"constant: {np.ravel(constant.values)[0]:.4f}")
