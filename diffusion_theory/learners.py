"""Tied two-layer denoisers with a skip connection, as span losses of the kernel."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld
from diffusion_theory.activations import activation_function, check_activation
from diffusion_theory.inputs import MixedCumulant, UnmixedLevel
from learning_dynamics.noise_schedule import NoiseLevels
from learning_dynamics.pytrees import configuration, is_traced, static
from learning_dynamics.validation import finite_array, one_of, plain_array, positive_integer, reject

__all__ = ["Target", "TiedDenoiser", "denoiser_numbers"]

Target = Literal["eps", "x0"]


@configuration
class TiedDenoiser(ld.Learner):
    """f(x) = s x + W' (sign sigma(kappa W x)), trained by |target - f(x)|^2.

    The loss in terms of fields, g = sign sigma(kappa F_x), W t the fields of the target:

        |t - s x|^2 - 2 g . (W t - s F_x) + g' Q g,

    W t = F_z for target "eps" (the noise z) and (F_x - b F_z) / a for "x0" (the clean sample).

    Equations: :eq:`eq:mcm-denoiser`, :eq:`eq:mcm-span-loss`.

    Attributes:
        activation: "tanh", "erf" (of x / sqrt 2), "relu", "softplus", "linear", or a function.
        sign: 1 or -1; -1 with "eps" is the Bayes form for a Rademacher latent. Or one sign per
            neuron, shape (K,): with both signs the linear part of f can be any symmetric matrix,
            so that whitened directions can be denoised without spoiling the skip.
        target: "eps" or "x0".
        kappa: scale inside the activation, a / b^2 if None.
        skip: strength s; if None, the best of the linear part, b for "eps" and a for "x0", where
            a learned skip relaxes to fast. With `learn_skip`, the initial value (0 if None).
        learn_skip: make s a parameter "skip" with its rate in `Problem.parameter_rates`.
        neurons: K.

    Raises:
        ValueError: on values outside these, and activations without a derivative.
    """

    activation: Any = static(default="tanh")
    sign: Any = field(default=1, kw_only=True)
    target: Target = static(default="eps", kw_only=True)
    kappa: Any = None
    skip: Any = None
    learn_skip: bool = static(default=False, kw_only=True)
    neurons: int = static(default=1, kw_only=True)

    def __post_init__(self) -> None:
        check_activation(self.activation)
        one_of("target", self.target, ("eps", "x0"))
        positive_integer("neurons", self.neurons)
        if not is_traced(self.sign):
            signs = plain_array("sign", self.sign)
            if signs.shape not in ((), (self.neurons,)) or not np.all(np.isin(signs, (1, -1))):
                raise reject("sign", "be 1 or -1, or one of these per neuron", self.sign)
        if not isinstance(self.learn_skip, bool):
            raise reject("learn_skip", "be True or False", repr(self.learn_skip))
        for name, value in (("kappa", self.kappa), ("skip", self.skip)):
            if value is None or is_traced(value):
                continue
            number = finite_array(name, value, ndim=0)
            if name == "kappa" and not number > 0:
                raise reject(name, "be positive", value)

    def parameters(self) -> Mapping[str, Any]:
        """The skip strength, if it is learned."""
        if not self.learn_skip:
            return {}
        return {"skip": 0.0 if self.skip is None else self.skip}

    def loss(
        self,
        fields: jax.Array,
        norms: jax.Array,
        parameters: Mapping[str, jax.Array],
        sample: ld.Sample,
    ) -> jax.Array:
        """Squared error of one sample."""
        level: NoiseLevels = sample.label
        a, b = level.signal, level.noise
        first, noise = fields[:, 0], fields[:, 1]
        x, both, z = sample.gram[0, 0], sample.gram[0, 1], sample.gram[1, 1]
        noisy = first
        if isinstance(level, UnmixedLevel):  # the vectors are x0 and z
            noisy = a * first + b * noise
            x, both = a * a * x + 2 * a * b * both + b * b * z, a * both + b * z
        kappa = a / (b * b) if self.kappa is None else jnp.asarray(self.kappa, noisy.dtype)
        if self.learn_skip:
            s = parameters["skip"]
        elif self.skip is None:
            s = b if self.target == "eps" else a
        else:
            s = jnp.asarray(self.skip, noisy.dtype)
        if self.target == "eps":
            wanted, square, cross = noise, z, both
        else:
            wanted = (noisy - b * noise) / a
            square = (x - 2 * b * both + b * b * z) / (a * a)
            cross = (x - b * both) / a
        g = activation_function(self.activation)(kappa * noisy)
        g = g * jnp.broadcast_to(jnp.asarray(self.sign, noisy.dtype), g.shape)
        linear = square - 2 * s * cross + s * s * x
        answer = jnp.sum(g[:, None] * norms * g[None, :])
        return linear - 2 * jnp.sum(g * (wanted - s * noisy)) + answer


def denoiser_numbers(inputs: MixedCumulant, learner: TiedDenoiser) -> tuple[float, ...]:
    """Numbers a, b, kappa, s of a denoiser at its noise level, s at its fast value if learned."""
    a, b = float(inputs.noise_level.signal), float(inputs.noise_level.noise)
    kappa = a / b**2 if learner.kappa is None else float(learner.kappa)
    fast = b if learner.target == "eps" else a
    s = fast if learner.learn_skip or learner.skip is None else float(learner.skip)
    return a, b, kappa, s
