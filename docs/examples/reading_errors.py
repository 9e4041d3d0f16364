"""One simulation beside three theories: no bias, the stated bias, coarse time steps."""

# %% Least squares by steps on random inputs: squared error of the weights, N = 50
import numpy as np

import learning_dynamics as ld

RATE, N, REPLICAS = 0.5, 50, 20_000
times = np.linspace(0.5, 3.0, 6)
rng, error, draws = np.random.default_rng(0), np.ones(REPLICAS), []
for update in range(1, int(times[-1] * N) + 1):
    along, across = rng.normal(size=REPLICAS), rng.chisquare(N - 1, size=REPLICAS)
    error = error * (1 - RATE / N * along**2 * (2 - RATE / N * (along**2 + across)))
    if update in np.rint(times * N):
        draws.append(error)
measured = ld.Measurement.from_replicas(np.stack(draws, axis=1), {"time": times})

# %% The limit decays at the rate a; its shift of order 1/N is known; Euler steps are coarse
a = 2 * RATE - RATE**2
limit = ld.Prediction(np.exp(-a * times), label="limit, no bias allowed")
shift = (2 * RATE**2 - a**2 / 2) * times * limit.values / N
stated = limit.with_bias(1.5 * shift, "0.33 t/N").labelled("limit")
euler, finer = ((1 - a * step) ** (times / step) for step in (0.25, 0.125))
coarse = ld.Prediction(euler, 3 * abs(finer - euler), label="limit, Euler steps of 0.25")

# %% The point with the largest residual
result = ld.compare_each(measured, limit, stated, coarse, name="N = 50", quantity="error")
result.plot("reading_errors.png", width=11, logy=False)
names = ("residual", "critical", "standard_error", "numerical_error", "allowed_bias")
for item in result:
    worst = item.summary()
    print(f"{item.predicted.label}: {item.verdict}")
    print("  " + ", ".join(f"{name.replace('_', ' ')} {abs(worst[name]):.2g}" for name in names))
