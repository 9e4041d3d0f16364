"""The best constant learning rate of a soft committee, by descent through its limit."""

# %%
import jax
import jax.numpy as jnp
import numpy as np
from soft_committee import START, problem

import learning_dynamics as ld

jax.config.update("jax_enable_x64", True)
RULE = {"points": 2**12, "method": "sobol"}


@jax.jit
def slope(log_rate):
    def loss(x):
        task = problem(jnp.exp(x))
        limit = ld.integrate(task, times=[10.0], start=START, tolerance=1e-5, **RULE)
        signal, norms, v = (limit.values[name][-1] for name in ("signal", "norms", "v"))
        last = ld.order_parameters(signal, norms, {"v": v})
        return ld.expected_loss(task, last, **RULE)[0]

    return jax.jvp(loss, (log_rate,), (1.0,))


log_rate = 0.0
for step in 0.3 * 0.75 ** np.arange(10):
    loss, gradient = slope(log_rate)
    log_rate -= float(step * np.sign(gradient))
best = np.exp(log_rate)
print(f"best rate {best:.1f}: loss {loss:.4f} in the limit, slope {gradient:.4f}")

# %%
run = {"dimension": 1000, "times": [10.0], "replicas": 64, "level": "overlaps"}
for rate in (best / 2, best, best * 2):
    seen = ld.simulate(problem(rate), **run, start=START, key=jax.random.key(0))
    losses, _ = ld.expected_loss(problem(rate), seen.last, **RULE)
    print(f"rate {rate:.1f}: {losses.mean():.4f} +- {losses.std() / 8:.4f} at N = 1000")
