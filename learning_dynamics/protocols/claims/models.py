"""Teachers and students of the claims about protocols."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import erf

import learning_dynamics as ld

FUNCTIONS = {
    "line": lambda x: x,
    "square": lambda x: x**2,
    "erf": lambda x: erf(x / 2**0.5),
    "He3": lambda x: (x**3 - 3 * x) / 6**0.5,
}


def mixture(functions: tuple[str, ...], share: Any, field: jax.Array) -> jax.Array:
    """g: the first function, or (1 - share) times it and `share` times the second."""
    values = [FUNCTIONS[name](field) for name in functions]
    mixed: jax.Array = values[0]
    return mixed if len(values) == 1 else (1 - share) * values[0] + share * values[1]


@ld.configuration
class Teachers(ld.InputModel):
    """Gaussian inputs with the label sum_m g(e_m.x), see `mixture`."""

    functions: tuple[str, ...] = ld.static()
    teachers: int = ld.static(default=1)
    share: Any = 0.0

    @property
    def directions(self) -> int:
        """Number of teachers."""
        return self.teachers

    def latents(self) -> Mapping[str, ld.Normal]:
        """X along the teachers."""
        return {"x": ld.Normal((self.teachers,))}

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """C and the label."""
        x = latents["x"]
        return x[None], jnp.sum(mixture(self.functions, self.share, x))


@ld.configuration
class Students(ld.Learner):
    """Squared loss (sum_k g(w_k.x) - y)^2 / (2 scale)."""

    functions: tuple[str, ...] = ld.static()
    students: int = ld.static(default=1)
    share: Any = 0.0
    scale: Any = 1.0

    @property
    def neurons(self) -> int:
        """Number of students."""
        return self.students

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: ld.Sample) -> jax.Array:
        """Loss of one sample."""
        output = jnp.sum(mixture(self.functions, self.share, fields[:, 0]))
        value: jax.Array = (output - sample.label) ** 2 / (2 * self.scale)
        return value


@ld.configuration
class SineStudent(ld.Learner):
    """Correlation loss y sin(2^(1/2) w.x) of one student, whose gradient is bounded in w.x."""

    neurons = 1

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: ld.Sample) -> jax.Array:
        """Minus the correlation of label and output."""
        value: jax.Array = sample.label * jnp.sin(2**0.5 * fields[0, 0])
        return value
