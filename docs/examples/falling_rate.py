"""A learning rate that falls, at every level, and a schedule of optax that counts updates."""

# %% Linear regression with label noise: the error that remains is proportional to the rate
import jax
import optax
from linear_regression import problem

import learning_dynamics as ld

N, start = 300, ld.order_parameters([[0.0]], [[0.1]])
options = {"times": [4.0, 14.0], "observe": {"error": ld.loss(label_noise=False)}}
pieces = ld.schedules.piecewise_constant([4.0], [1.0, 0.2])
drop = optax.piecewise_constant_schedule(1.0, {4 * N: 0.2})
counted = ld.schedules.per_update(drop, dimension=N)
smooth = ld.schedules.warm_up(ld.schedules.power(1.0, exponent=1.0, scale=2.0), time=0.5)
for rate in (pieces, counted, smooth, lambda tau: 1 / (1 + tau)):
    task = problem(rate)
    run = ld.simulate(
        task, dimension=N, replicas=200, level="overlaps", key=jax.random.key(0), start=start,
        **options,
    )  # fmt: skip
    limit = ld.integrate(task, start=run, finite_size=False, **options)
    print(task.learning_rate, ld.compare(run, limit, quantities=["error"]).verdict)
    print("  error in the limit:", limit.values["error"])
