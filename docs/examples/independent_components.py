"""Independent component analysis by SGD with orthogonal updates, beside its limit."""

# %%
import jax
import jax.numpy as jnp

import learning_dynamics as ld


@ld.configuration
class Sources(ld.InputModel):
    """White data with two independent sources +-1, Gaussian in all other directions."""

    directions = 2

    def latents(self):
        return {"s": ld.Discrete((-1.0, 1.0), shape=(2,))}

    def signal(self, latents):
        return latents["s"][None], None


@ld.configuration
class Contrast(ld.Learner):
    """Minus log cosh(w.x) of two directions: lowest along sources of negative kurtosis."""

    neurons = 2

    def loss(self, fields, norms, parameters, sample):
        return -jnp.sum(jnp.logaddexp(fields, -fields))


problem = ld.Problem(Sources(), Contrast(), 0.04, update="orthogonal")
start = ld.order_parameters([[0.7, 0.2], [0.2, 0.6]], jnp.eye(2))
run = {"dimension": 400, "replicas": 40, "key": jax.random.key(0), "level": "overlaps"}
seen = ld.simulate(problem, times=ld.log_times(500.0, points=15), start=start, **run)
result = ld.compare(seen, ld.integrate(problem, start=seen, finite_size=False), quantities="signal")
print(f"{result.verdict}; M at the end:\n{seen.values['signal'][:, -1].mean(0).round(2)}")
result.plot("independent_components.png")
