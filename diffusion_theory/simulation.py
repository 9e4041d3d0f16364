"""Training of all weights with any optax optimiser, on the kernel's samples and loss."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike

import learning_dynamics as ld
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from learning_dynamics.identity.session import sees_edits
from learning_dynamics.loop import observation_gaps, observed_chunks
from learning_dynamics.model.overlaps import State, overlaps_of
from learning_dynamics.model.problem import Problem, mixing_matrix
from learning_dynamics.process.checkpoint import provenance
from learning_dynamics.process.update import Draw, Layout, draw_samples, layout, random_start
from learning_dynamics.random import check_key
from learning_dynamics.training.optimisers import extra_arguments, lenient, update_parameters
from learning_dynamics.validation import positive_integer, reject

__all__ = ["train"]


@sees_edits("inputs", "learner", "optimiser")
def train(
    inputs: MixedCumulant,
    learner: TiedDenoiser,
    optimiser: optax.GradientTransformation,
    *,
    dimension: int,
    steps: ArrayLike,
    replicas: int,
    key: jax.Array,
    batch: int = 64,
    initial_norm: float = 1.0,
) -> ld.Trajectory:
    """Train W, and the skip if it is learned, on fresh minibatches; observe the order parameters.

    The gradient is that of the mean loss of a minibatch with respect to all weights. With
    `optax.sgd(eta / d)` and a fixed skip these are the runs of `learning_dynamics.simulate`,
    sample by sample; for norms on the sphere use that.

    Args:
        inputs: data, at one noise level.
        learner: denoiser, rows of W start as N(0, initial_norm^2 / d) vectors.
        optimiser: such as `optax.adam(1e-3)`.
        dimension: d.
        steps: numbers of updates at which to observe, increasing, shape (times,).
        replicas: independent runs.
        key: typed random key.
        batch: samples per update.
        initial_norm: see above.

    Returns:
        Trajectory with "signal", "norms" and "skip"; times are updates / d.

    Raises:
        ValueError: on values that make no sense, naming the argument.
    """
    if not isinstance(inputs, MixedCumulant):
        raise reject("inputs", "be a MixedCumulant", repr(inputs))
    if not isinstance(learner, TiedDenoiser):
        raise reject("learner", "be a TiedDenoiser", repr(learner))
    d, count = positive_integer("dimension", dimension), positive_integer("replicas", replicas)
    updates = np.cumsum(observation_gaps(steps)).astype(np.int64)
    check_key(key)
    problem = Problem(inputs, learner, 1.0, batch=batch, initial_norm=initial_norm)
    plan = layout(problem, d, "ambient")
    weights = jax.eval_shape(lambda: random_start(problem, plan, jax.random.key(0), jnp.float32))
    extras = extra_arguments(optimiser, weights)
    clock = time.perf_counter()
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count))
    go = _run(plan, optimiser, extras)
    first, seen = go(problem, keys, jnp.asarray(updates, jnp.int32))
    values = {name: np.asarray(a, np.float64) for name, a in seen.parameters.items()}
    signal = np.asarray(seen.signal, np.float64)
    noise = np.asarray(seen.blocks, np.float64).sum(axis=2)
    values["signal"] = signal
    values["norms"] = noise + signal @ np.swapaxes(signal, -1, -2)
    last = jax.tree.map(lambda a: np.asarray(a[:, -1], np.float64), seen)
    start = jax.tree.map(lambda a: np.asarray(a, np.float64), first)
    attributes = {
        **provenance(problem, key),
        "replicas": count,
        "precision": "float32",
        "wall_seconds": time.perf_counter() - clock,
    }
    return ld.Trajectory("ambient", d, updates / d, updates, values, start, last, None, attributes)


def _run(
    plan: Layout, optimiser: optax.GradientTransformation, extras: tuple[str, ...]
) -> Callable[..., Any]:
    """Compiled runs: (problem, keys, targets) -> order parameters at the start and when seen."""

    def one(problem: Problem, key: jax.Array, targets: jax.Array) -> Any:
        start_key, path = jax.random.split(key)
        state = random_start(problem, plan, start_key, jnp.float32)

        def draw(index: jax.Array) -> Draw:
            return draw_samples(problem, plan, jax.random.fold_in(path, index), jnp.float32)

        def step(carry: tuple[State, Any], sample: Draw) -> tuple[State, Any]:
            state, memory = carry

            def loss(state: State) -> jax.Array:
                return _loss(problem, state, sample)

            value, slope = jax.value_and_grad(loss)(state)
            return update_parameters(optimiser, extras, state, memory, value, slope, loss)

        def observe(carry: tuple[State, Any]) -> ld.Overlaps:
            return overlaps_of(carry[0])

        with lenient():
            carry = (state, optimiser.init(state))
        now = jnp.int32(0)
        _, seen = observed_chunks(draw, step, observe, carry, targets, now, plan.chunk)
        return overlaps_of(state), seen

    def all_of(problem: Problem, keys: jax.Array, targets: jax.Array) -> Any:
        cast = problem.cast(jnp.float32)
        return jax.lax.map(lambda key: one(cast, key, targets), keys)

    return jax.jit(all_of)


def _loss(problem: Problem, state: State, draw: Draw) -> jax.Array:
    """Mean loss of a minibatch as a function of all weights."""
    mixing = mixing_matrix(problem, state.signal.dtype)
    precise: Any = {"precision": jax.lax.Precision.HIGHEST}
    (weights,), (z,) = state.noise, draw.noise  # one block: (1, K, N - r), (1, batch q, N - r)
    batch = draw.signal.shape[0]
    vectors = z[0].reshape(batch, mixing.shape[1], -1)
    noise = jnp.einsum("kn,bqn->bkq", weights[0], vectors, **precise)
    fields = jnp.einsum("kr,bpr->bkp", state.signal, draw.signal, **precise)
    fields = fields + jnp.einsum("bkq,pq->bkp", noise, mixing, **precise)
    rows = jnp.concatenate([state.signal, weights[0]], axis=1)
    norms = jnp.matmul(rows, rows.T, **precise)
    inner = jnp.einsum("bqn,bsn->bqs", vectors, vectors, **precise)
    gram = jnp.einsum("bpr,bsr->bps", draw.signal, draw.signal, **precise)
    gram = gram + jnp.einsum("pq,bqs,ts->bpt", mixing, inner, mixing, **precise)
    samples = ld.Sample(draw.label, gram)

    def one(fields: jax.Array, sample: ld.Sample) -> jax.Array:
        loss: jax.Array = problem.learner.loss(fields, norms, state.parameters, sample)
        return loss

    return jnp.mean(jax.vmap(one)(fields, samples))
