"""Phase retrieval: a plateau of a length that grows as log N, and the escape from it."""

# %%
import jax
import numpy as np

import learning_dynamics as ld


@ld.configuration
class Intensities(ld.InputModel):
    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], latents["x"][0] ** 2


@ld.configuration
class Neuron(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return (fields[0, 0] ** 2 - sample.label) ** 2 / 8


problem = ld.Problem(Intensities(), Neuron(), 0.25, update="spherical", label_noise=0.5)
law = ld.search_law(problem, key=jax.random.key(0), threshold=0.5, points=2**10, method="tensor")
for N in (100, 10_000):
    print(f"N = {N}: half of the runs escape before tau = {np.median(law.updates(N)) / N:.1f}")
start, times = ld.order_parameters([[0.2]], [[1.0]]), np.arange(1, 26)
run = {"dimension": 4000, "replicas": 16, "level": "overlaps", "start": start, "times": times}
seen = ld.simulate(problem, key=jax.random.key(1), **run)
limit = ld.integrate(problem, start=seen, points=2**10, method="tensor", finite_size=False)
result = ld.compare(seen, limit, quantities=["signal"])
result.plot("phase_retrieval.png", logx=False)
