"""A problem: inputs, learner and rates, the one definition behind every level."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.model.heavy_ball import HeavyBall
from learning_dynamics.model.input_model import InputModel, NoiseBlocks
from learning_dynamics.model.latent import Latent
from learning_dynamics.model.latents import Normal
from learning_dynamics.model.learner import Learner, Sample
from learning_dynamics.model.protocol import as_protocol, check_fixed
from learning_dynamics.pytrees import configuration, is_traced, require_configuration, static
from learning_dynamics.schedules import as_schedule, check_shape
from learning_dynamics.validation import (
    finite_array,
    integers,
    non_negative,
    one_of,
    positive_integer,
    real_array,
    reject,
)

__all__ = ["Problem", "Update"]

Update = Literal["plain", "spherical", "projected", "orthogonal"]

_POSITIVE = ("learning_rate", "initial_norm", "clip")


@configuration
class Problem:
    """Online SGD of a learner on an input model; the one definition behind every level.

    W' = W - (learning_rate / N) (dl/dW + weight_decay W), averaged over `batch` fresh samples,
    theta' = theta - (rate / N^order) dl/dtheta. Time is tau = updates / N, or batches / N where the
    same batch is used repeatedly.

    Attributes:
        inputs: input model.
        learner: learner with its loss.
        learning_rate: eta, a number or a function of tau (`learning_dynamics.schedules`): update j,
            counted from zero, uses eta(j / N), the limit eta(tau). So do the rates of parameters
            and the weight decay.
        update: "plain"; "projected" (plain step, then every row is scaled to norm one);
            "spherical" (component of the gradient orthogonal to each row, step, rows scaled to
            norm one); "orthogonal" (plain step, then W <- (W W^T)^(-1/2) W: orthonormal rows).
        batch: samples per update.
        parameter_rates: name -> learning rate of a parameter; parameters left out stay fixed.
        parameter_orders: name -> power of 1/N of that rate, 0, 1 or 2; 1 unless given.
        weight_decay: only for plain updates.
        label_noise: standard deviation of Gaussian noise added to a real label, None for none.
        initial_norm: rows of W start as N(0, initial_norm^2 / N) vectors; plain updates only.
        repeats: updates with the same batch, one after another; tau counts batches.
        clip: c, bound on the norm of the gradient of each neuron in units of N^(1/2): row k of
            G = dl/dW, averaged over the batch and without weight decay, becomes
            G_k min(1, c N^(1/2) / |G_k|).
        normalise: whether it becomes G_k N^(1/2) / |G_k|, of norm N^(1/2) whatever the loss.
        gradient_norm: norm that `clip` and `normalise` take: |G_k| of each "neuron", or |G| of the
            "whole" dl/dW, one factor for all rows (`optax.clip_by_global_norm`). Gradients of
            parameters are neither counted nor changed.
        momentum: beta in V' = beta V - (eta/N) (G + weight_decay W), W' = W + V', V = 0 at time
            zero; parameters likewise. `HeavyBall(gamma)` has a memory of order N updates.
        protocol: path of a number -> its schedule, for numbers of the inputs or of the learner,
            "label_noise" and "clip" that change in time: {"inputs.strength": schedule}. Update j
            uses the values at j / N, as with the learning rate; the number in the model itself is
            replaced. What a run finds once must not depend on it: laws of latents, noise blocks,
            parameters at time zero.

    Raises:
        ValueError: on values outside their range and options that would be ignored.
    """

    inputs: Any
    learner: Any
    learning_rate: Any
    update: Update = static(default="plain", kw_only=True)
    batch: int = static(default=1, kw_only=True)
    parameter_rates: Any = None
    parameter_orders: Any = static(default=(), kw_only=True)
    weight_decay: Any = None
    label_noise: Any = None
    initial_norm: Any = None
    repeats: int = static(default=1, kw_only=True)
    clip: Any = None
    normalise: bool = static(default=False, kw_only=True)
    gradient_norm: Literal["neuron", "whole"] = static(default="neuron", kw_only=True)
    momentum: Any = None
    protocol: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, InputModel):
            raise reject("inputs", "be an InputModel", repr(self.inputs))
        if not isinstance(self.learner, Learner):
            raise reject("learner", "be a Learner", repr(self.learner))
        for part in ("inputs", "learner"):
            require_configuration(part, getattr(self, part))
        object.__setattr__(self, "protocol", as_protocol(self, self.protocol))
        one_of("update", self.update, ("plain", "spherical", "projected", "orthogonal"))
        positive_integer("batch", self.batch)
        positive_integer("repeats", self.repeats)
        rates, names = dict(self.parameter_rates or {}), set(self.learner.parameters())
        orders = dict(self.parameter_orders)
        for argument, given in (("parameter_rates", rates), ("parameter_orders", orders)):
            if not set(given) <= (names if argument == "parameter_rates" else set(rates)):
                known = sorted(names if argument == "parameter_rates" else rates)
                raise reject(argument, f"name some of {known}", sorted(given))
        for order in orders.values():
            if integers("parameter_orders", order, least=0) > 2:  # a gram is of order N at most
                raise reject("parameter_orders", "be 0, 1 or 2: beyond, nothing moves", orders)
        rates = {n: as_schedule(f"parameter_rates[{n!r}]", rate) for n, rate in rates.items()}
        object.__setattr__(self, "parameter_rates", rates)
        for name in ("learning_rate", "weight_decay"):
            object.__setattr__(self, name, as_schedule(name, getattr(self, name)))
        object.__setattr__(self, "parameter_orders", tuple(sorted(orders.items())))
        for name in ("weight_decay", "initial_norm"):
            if getattr(self, name) is not None and self.update != "plain":
                raise reject(name, "be left out, rows have norm one", f"update={self.update!r}")
        if not isinstance(self.normalise, bool | np.bool_):
            raise reject("normalise", "be True or False", repr(self.normalise))
        if self.normalise and self.clip is not None:
            raise reject("clip", "be left out for normalised gradients", self.clip)
        one_of("gradient_norm", self.gradient_norm, ("neuron", "whole"))
        if self.gradient_norm == "whole" and not self.normalise and self.clip is None:
            raise reject("gradient_norm", "be left out without `clip` or `normalise`", "'whole'")
        if isinstance(self.momentum, HeavyBall) and self.repeats > 1:
            demand = "be 1 with a heavy ball: its steps are too short to move the fields of a batch"
            raise reject("repeats", demand, self.repeats)
        self._check_numbers()
        self._check_shapes()
        check_fixed(self)

    def _check_numbers(self) -> None:
        numbers = {
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "label_noise": self.label_noise,
            "initial_norm": self.initial_norm,
            "clip": self.clip,
            "momentum": None if isinstance(self.momentum, HeavyBall) else self.momentum,
            **{f"parameter_rates[{name!r}]": rate for name, rate in self.parameter_rates.items()},
        }
        for name, value in numbers.items():
            if callable(value):
                check_shape(name, value)
            if value is None or callable(value) or is_traced(value):
                continue
            number = finite_array(name, value, ndim=0)
            if name == "momentum" and not 0 <= number < 1:
                raise reject(name, "lie in [0, 1)", value)
            if number < 0 or (number == 0 and name in _POSITIVE):
                raise reject(name, "be positive", value)
        for part in ("inputs", "learner"):
            for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(self, part)):
                if not is_traced(leaf) and not isinstance(leaf, bool):
                    real_array(f"{part}{jax.tree_util.keystr(path)}", leaf)

    def _check_shapes(self) -> None:
        """Trace the model once, abstractly: C, B, label and loss must have the right shapes."""
        r, p = self.inputs.directions, self.inputs.vectors
        integers("inputs.directions", r, least=0)
        positive_integer("inputs.vectors", p)
        positive_integer("learner.neurons", self.learner.neurons)
        mixing = np.shape(self.inputs.mixing())
        if len(mixing) != 2 or mixing[0] != p:
            raise reject("inputs.mixing()", f"have shape ({p}, q)", f"shape {mixing}")
        if self.learner.normaliser == "inputs" and p != 1:
            raise reject("learner.normaliser", "be 'weights' when p > 1", "'inputs'")
        signal, _ = jax.eval_shape(self._abstract_signal)
        if signal.shape != (p, r):
            raise reject("inputs.signal", f"return C of shape ({p}, {r})", f"shape {signal.shape}")
        loss = jax.eval_shape(self._abstract_loss, *self._abstract_arguments())
        if getattr(loss, "shape", None) != ():
            raise reject("learner.loss", "return a scalar", loss)

    def all_latents(self) -> dict[str, Latent]:
        """Latents of the input model and of the label noise."""
        known = dict(self.inputs.latents())
        if "label noise" in known:
            raise reject("inputs.latents", "not use the name 'label noise'", sorted(known))
        if self.label_noise is not None:
            known["label noise"] = Normal()
        return known

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, Any]:
        """C and the (noisy) label for one draw of `all_latents()`."""
        rest = {name: value for name, value in latents.items() if name != "label noise"}
        signal, label = self.inputs.signal(rest)
        if self.label_noise is not None:
            noise = jnp.asarray(self.label_noise, signal.dtype) * latents["label noise"]
            label = label + noise
        return signal, label

    def cast(self, dtype: Any) -> Problem:
        """The same problem with all its numbers as arrays of one floating-point type."""
        cast: Problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self)
        return cast

    def initial_parameters(self, dtype: Any) -> dict[str, jax.Array]:
        """Values of theta at time zero."""
        start = self.learner.parameters()
        return {name: jnp.asarray(value, dtype) for name, value in start.items()}

    def order(self, name: str) -> int:
        """Power of 1/N in the learning rate of a parameter."""
        return int(dict(self.parameter_orders).get(name, 1))

    def _abstract_signal(self) -> tuple[jax.Array, Any]:
        cast = self.cast(jnp.float32)
        zeros = {k: jnp.zeros(v.shape, jnp.float32) for k, v in cast.all_latents().items()}
        return cast.signal(zeros)

    def _abstract_arguments(self) -> tuple[Any, ...]:
        K, p = self.learner.neurons, self.inputs.vectors
        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((K, p), (K, K), (p, p))]
        _, label = jax.eval_shape(self._abstract_signal)
        parameters = jax.eval_shape(lambda: self.initial_parameters(jnp.float32))
        gram: Any = shapes[2]
        return shapes[0], shapes[1], parameters, Sample(label, gram)

    def _abstract_loss(self, *arguments: Any) -> jax.Array:
        loss: jax.Array = self.cast(jnp.float32).learner.loss(*arguments)
        return loss

    def depends_on(self) -> dict[str, bool]:
        """Whether the loss reads its norms and its gram at all (found by tracing it)."""
        arguments = self._abstract_arguments()
        jaxpr = jax.make_jaxpr(self._abstract_loss)(*arguments).jaxpr
        used: set[int] = set()
        for equation in jaxpr.eqns:
            used |= {id(v) for v in equation.invars}
        used |= {id(v) for v in jaxpr.outvars}
        slots = jax.tree.unflatten(jax.tree.structure(arguments), jaxpr.invars)
        return {
            "norms": id(slots[1]) in used,
            "gram": id(slots[3].gram) in used,
        }


def changed(problem: Problem, **fields: Any) -> Problem:
    """A copy with other fields, not checked again: for traced numbers, and inside float64."""
    other = copy.copy(problem)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


def mixing_matrix(problem: Problem, dtype: Any) -> jax.Array:
    """B as an array, shape (p, q)."""
    return jnp.asarray(problem.inputs.mixing(), dtype)


def free_block(inputs: InputModel) -> NoiseBlocks | None:
    """The noise of a model that has a single block at every N; None if not, or if N is fixed."""
    try:
        groups = inputs.blocks(1000 + inputs.directions)
    except ValueError:  # a model of one N
        return None
    single = len(groups) == 1 and np.shape(groups[0].variances) == (1,)
    return groups[0] if single else None


def noise_blocks(problem: Problem, dimension: int) -> tuple[NoiseBlocks, ...]:
    """Blocks of the input model at N = `dimension`, checked.

    Raises:
        ValueError: if N < r, or the block sizes do not add up to N - r.
    """
    r = problem.inputs.directions
    if dimension < r:
        raise reject("dimension", f"be at least the {r} signal directions", dimension)
    groups = problem.inputs.blocks(dimension) if dimension > r else ()
    total = 0
    for group in groups:
        integers("inputs.blocks: size", group.size, least=1)
        if np.ndim(group.variances) != 1:
            raise reject("inputs.blocks: variances", "have shape (blocks,)", group.variances)
        total += group.size * np.shape(group.variances)[0]
        if not is_traced(group.variances):
            non_negative("inputs.blocks: variances", group.variances)
    if total != dimension - r:
        raise reject("inputs.blocks", f"fill N - r = {dimension - r} dimensions", total)
    return tuple(groups)
