"""Two samples per dimension, used again and again: simulation, exact curve and online limit."""

# %%
import jax
import numpy as np
from linear_regression import problem

import learning_dynamics as ld
from learning_dynamics.protocols.passes import regression_on_fixed_samples

N, rate, times = 400, 0.8, np.array([0.5, 1.0, 2.0, 4.0, 8.0])
run = ld.simulate(
    problem(rate), dimension=N, samples=2 * N, times=times, replicas=64, key=jax.random.key(0),
    start=ld.order_parameters([[0.0]], [[0.0]]), observe={"loss": ld.loss},
)  # fmt: skip
curve = regression_on_fixed_samples(times, ratio=2, rate=rate, label_noise=0.5)
seen = ld.Measurement.from_replicas(run.values["loss"], {"tau": times}, label="ambient, N = 400")
again = ld.Prediction(curve.test, label="2 N samples").with_bias(np.full(times.size, 1 / N), "1/N")
online = ld.integrate(problem(rate), start=run, observe={"loss": ld.loss})
result = ld.compare(seen, again, name="several passes", quantity="test loss")
print("2 N samples:", result.verdict)
print("online limit:", ld.compare(run, online, quantities=["loss"]).verdict)
result.plot("several_passes.png", logx=True)
