"""The best constant learning rate of a soft committee, by gradient descent through its limit."""

# %%
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld

jax.config.update("jax_enable_x64", True)


@ld.configuration
class Teacher(ld.InputModel):
    """Labels y = erf(x_1 / sqrt 2) + erf(x_2 / sqrt 2)."""

    directions = 2

    def latents(self):
        return {"x": ld.Normal((2,))}

    def signal(self, latents):
        x = latents["x"]
        return x[None], jnp.sum(erf(x / 2**0.5))


@ld.configuration
class Committee(ld.Learner):
    """Three neurons and a second layer v."""

    neurons = 3

    def parameters(self):
        return {"v": np.ones(3)}

    def loss(self, fields, norms, parameters, sample):
        output = jnp.sum(parameters["v"] * erf(fields[:, 0] / 2**0.5))
        return (output - sample.label) ** 2 / 2


# %%
def problem(rate):
    return ld.Problem(Teacher(), Committee(), rate, parameter_rates={"v": rate})


start = ld.order_parameters([[0.3, 0.0], [0.0, 0.3], [0.1, 0.1]], 0.5 * np.eye(3))


@jax.jit
def error(log_rate):
    """Population loss after tau = 10."""
    rate = jnp.exp(log_rate)
    options = {"points": 2**12, "method": "sobol"}
    end = ld.integrate(problem(rate), times=[10.0], start=start, tolerance=1e-5, **options).values
    last = ld.order_parameters(end["signal"][-1], end["norms"][-1], {"v": end["v"][-1]})
    return ld.expected_loss(problem(rate), last, **options)[0]


def slope(x):
    return jax.jvp(error, (x,), (1.0,))


log_rate, step = np.log(1.0), 0.3
for _ in range(10):
    value, gradient = slope(log_rate)
    log_rate -= step * np.sign(gradient)
    step *= 0.75
best = float(np.exp(log_rate))
print(f"best rate {best:.2f}: loss {value:.4f} in the limit, slope {gradient:.1e}")

# %%
for rate in (best / 2, best, best * 2):
    run = ld.simulate(
        problem(rate), dimension=1000, times=[10.0], replicas=64, level="overlaps",
        start=start, key=jax.random.key(0),
    )  # fmt: skip
    losses, _ = ld.expected_loss(problem(rate), run.last, points=2**12, method="sobol")
    print(f"rate {rate:.2f}: {losses.mean():.4f} +- {losses.std() / 8:.4f} at N = 1000")
