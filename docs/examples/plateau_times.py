"""How does the plateau of a committee grow with N? Times to leave it, beside log(N) / (2 g)."""

import jax
import jax.numpy as jnp
import numpy as np
from plateau_rate import Students, Teachers, growth

import learning_dynamics as ld

task = ld.Problem(Teachers(), Students(), 1.0, initial_norm=0.5)


def specialised(overlaps):  # + with one teacher, - with the other
    (a, b), (c, d) = overlaps.signal
    return jnp.abs(a - b - c + d) / 4


stop = ld.Stop(specialised, 0.3)
sizes, replicas = (100, 1000), 128
seen = ld.recovery_times(
    lambda N: task, dimensions=sizes, replicas=replicas, key=jax.random.key(0),
    stop=lambda N: stop, longest=lambda N: 300 * N,
)  # fmt: skip
times = seen.samples / seen.dimensions
longer = times[:, 1] - times[:, 0]
error = longer.std() / replicas**0.5
print(f"medians at N = {sizes}: {np.median(times, axis=0).round(1)}, all left: {seen.fraction}")
print(f"ten times N: {longer.mean():.1f} +- {error:.1f} longer, log(10) / (2 g) = "
      f"{np.log(10) / (2 * float(growth)):.1f}")  # fmt: skip
