"""A learning rate that falls: in pieces at every level, or by optax for all weights."""

# %% Linear regression with label noise: the error that remains is proportional to the rate
import jax
import numpy as np
import optax
from linear_regression import problem

import learning_dynamics as ld

N, pieces = 300, [(1.0, 4.0), (0.2, 10.0)]  # a rate, and how long it is kept
start = ld.order_parameters([[0.0]], [[0.1]])
exact = limit = start
for i, (rate, duration) in enumerate(pieces):
    options = {"times": [duration], "observe": {"error": ld.loss(label_noise=False)}}
    key = jax.random.fold_in(jax.random.key(0), i)  # new samples in each piece
    run = ld.simulate(
        problem(rate), dimension=N, replicas=200, level="overlaps", key=key, start=exact, **options
    )
    line = ld.integrate(problem(rate), start=limit, **options)
    exact, limit = run.last, jax.tree.map(lambda leaf: leaf[:, -1], line.at([duration]))
    measured = run.measurement("error")
    print(f"after rate {rate}: {measured.values[0, 0]:.4f} +- {measured.standard_error[0, 0]:.4f}")
    print(f"         limit: {line.values['error'][-1]:.4f}")

# %% The same schedule, and Adam, on all N weights
change = optax.piecewise_constant_schedule(1.0, {int(4 * N): 0.2})
adam = optax.adam(lambda update: 0.02 * np.float32(0.999) ** update)
for name, optimiser, rate in (("schedule", optax.sgd(change), 1.0), ("Adam", adam, N)):
    run = ld.simulate(
        problem(rate), dimension=N, times=[14.0], replicas=50, key=jax.random.key(1), start=start,
        optimiser=optimiser, observe=options["observe"],
    )  # fmt: skip
    measured = run.measurement("error")
    print(f"{name}: {measured.values[0, 0]:.4f} +- {measured.standard_error[0, 0]:.4f}")
