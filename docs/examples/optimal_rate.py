"""The best learning rate of linear regression as a function of time."""

import jax
import numpy as np
from linear_regression import problem

import learning_dynamics as ld

# %% A rate in straight pieces, and the values that leave the least error at tau = 6
knots = np.linspace(0, 6, 7)
rate = ld.schedules.piecewise_linear(knots, np.full(7, 0.5))
start = ld.order_parameters([[0.0]], [[0.5]])
best = ld.optimise(
    problem(rate), over="learning_rate", objective=ld.loss(label_noise=False),
    start=start, until=6.0, points=2**8, method="tensor",
)  # fmt: skip
print(best)

# %% Greedy is optimal here: eta = rho / (rho + sigma^2), with rho twice the error
limit = ld.integrate(
    best.problem, times=knots, start=start, observe={"error": ld.loss(label_noise=False)}
)
rho = 2 * limit.values["error"]
print("values:     ", np.round(best.numbers["learning_rate"], 3))
print("closed form:", np.round(rho / (rho + 0.5**2), 3))

# %% The simulation gains what the limit says
run = {"dimension": 500, "replicas": 256, "key": jax.random.key(0)}
schedule = best.compare(**run)
print(f"schedule: {np.ravel(schedule.measured.values)[0]:.5f}, {schedule.verdict}")
gain = best.gain(**run)
value, error = gain.measured.values[0], gain.measured.standard_error[0]
print(f"spared of the constant's error: {value:.4f} +- {error:.4f},", end=" ")
print(f"limit {gain.predicted.values[0]:.4f}, {gain.verdict}")
