"""One small result of each kind, with numbers that are easily lost."""

from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
from flax import nnx

import learning_dynamics as ld
from diffusion_theory.networks.learning import DenoiserLearning
from fourier_simplicity.networks.filters import FilterLearning
from fourier_simplicity.networks.learning import CueLearning
from fourier_simplicity.rungs import BetweenClasses
from learning_dynamics.limit.accuracy import Estimate
from learning_dynamics.search.forms import Form
from learning_dynamics.search.information_exponent import Direction
from learning_dynamics.search.leap_map import Leap
from learning_dynamics.search.recovery_times import Recoveries
from learning_dynamics.search.sample_complexity import ExponentFit
from learning_dynamics.training import Training
from learning_dynamics.training.network import State

RNG = np.random.default_rng(0)
PROVENANCE = {
    "configuration": "Problem(ä)", "key": [0, 1], "precision": "float32", "replicas": 4,
    "wall_seconds": 0.1, "reached_the_end": True, "nothing": None, "odd": "\udc80\0",
    "nested": {"a": (1, 2.5), "b": [None, float("nan")]}, "big": 2**70, "long": "x" * 70_000,
}  # fmt: skip
TIMES = np.array([0.5, 1.0, 2.0])


def trajectory():
    blocks = np.broadcast_to(np.eye(2), (4, 1, 2, 2))
    state = ld.Overlaps(RNG.normal(size=(4, 2, 1)), blocks, {"a": RNG.normal(size=4)})
    values = {
        "signal": RNG.normal(size=(4, 3, 2, 1)),
        "norms": RNG.normal(size=(4, 3, 2, 2)),
        "loss/test": np.array([np.nan, np.inf, -np.inf, -0.0] * 3).reshape(4, 3),
        "time": RNG.normal(size=(4, 3)).astype(np.float32),
        ".": RNG.normal(size=(4, 3, 2)).astype(ml_dtypes.bfloat16),
        "empty": np.zeros((4, 3, 0), np.float32),
    }
    stopped = np.array([3, -1, -2, 200])
    return ld.Trajectory(
        "overlaps", 100, TIMES, np.array([50, 100, 200]), values, state, state, stopped, PROVENANCE
    )


def measurement():
    draws = RNG.normal(size=(5, 3, 2))
    draws[0, 0, 0] = np.nan
    axes = {"time": TIMES, "quantity": np.array(["signal[0,0]", "ä"])}
    return ld.Measurement.from_replicas(draws, axes, label="simulation", attributes=PROVENANCE)


def prediction(label="theory"):
    return ld.Prediction(RNG.normal(size=(3, 2)), 1e-9, label=label).with_bias(0.25, "1/N")


def estimates():
    value = {"signal": RNG.normal(size=(1, 2)), "one": np.float64(2.5)}
    return Estimate(value, {"signal": np.zeros((1, 2)), "one": 0.0}, "sobol", 1024)


def limit():
    from learning_dynamics.limit.limit import Limit

    values = {"signal": RNG.normal(size=(3, 1, 2)), "norms": RNG.normal(size=(3, 1, 1))}
    small = {name: np.full(array.shape, 1e-9) for name, array in values.items()}
    paths = {name: array[None] for name, array in values.items()}
    attributes = {"dimension": 100, "nodes": 968, "steps": 6, "reached_the_end": True}
    bias = {name: np.full(array.shape, 0.01) for name, array in values.items()}
    return Limit(TIMES, values, small, small, paths, attributes, None, partial(dict, bias))


def fluctuations():
    one = {"signal": RNG.normal(size=(3, 1, 2))}
    return ld.Fluctuations(TIMES, RNG.normal(size=(3, 3, 3)), one, one, one, one, "fields")


def optimum():
    rates = {"learning_rate": RNG.normal(size=7), "parameter_rates.v": np.asarray(0.5)}
    return ld.Optimum(
        rates, 0.1, 1e-9, 0.2, {"learning_rate": 0.3}, 1e-5, 12, RNG.normal(size=12),
        trajectory().start, limit(), {"learning_rate": 2, "parameter_rates.v": 0},
    )  # fmt: skip


def form():
    return Form(2, np.array([[2, 0], [1, 1], [0, 2]]), RNG.normal(size=3), np.full(3, 1e-9))


def exponent():
    first = Direction("attractive", 2, np.array([1.0, 0.0]), -0.5, 1e-9)
    flat = Direction("flat", None, np.zeros(2), 0.0, 0.0)
    subspaces = (np.eye(2), np.zeros((0, 2)))
    return ld.InformationExponent(
        "attractive", 2, first.direction, -0.5, 1e-9, (first, flat), subspaces, (form(), form())
    )


def leaps():
    last = Leap(None, np.zeros((0, 2)), np.zeros((1, 2)), exponent())
    return ld.LeapMap((Leap(2, np.array([[1.0, 0.0]]), np.zeros((1, 2)), exponent()), last))


def law():
    draws = RNG.normal(size=50)
    draws[3] = np.inf
    return ld.SearchLaw(
        3, draws, np.zeros(50), np.nan, np.ones(2), np.eye(2), 0.5, form(), 0.1, {"form": 1e-9}
    )


class Net(nnx.Module):
    """A network with random streams and running means."""

    def __init__(self, rngs):
        self.layer = nnx.Linear(3, 1, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)

    def __call__(self, x):
        return self.layer(self.drop(self.norm(x)))


def training():
    """What `train` returns, without training."""
    graph, parameters, others = nnx.split(nnx.eval_shape(lambda: Net(nnx.Rngs(0))), nnx.Param, ...)

    def filled(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(7), 2)
        return jnp.asarray(RNG.normal(size=(2, *leaf.shape)).astype(leaf.dtype))

    parameters, others = jax.tree.map(filled, parameters), jax.tree.map(filled, others)
    moments = jax.vmap(optax.adam(1e-3).init)(parameters)
    narrow = RNG.normal(size=(2, 3)).astype(ml_dtypes.bfloat16)
    values = {"loss": RNG.normal(size=(2, 3)).astype(np.float32), "narrow": narrow}
    states = State(parameters, others, moments, parameters)
    return Training(np.array([0, 2, 4]), values, states, graph, 1.5)


def denoiser():
    run = training()
    curves = {"real": RNG.normal(size=(2, 3))}
    levels = {"real": RNG.normal(size=(2, 3, 2))}
    return DenoiserLearning(run.steps, curves, levels, (0, 5), RNG.normal(size=(2, 3, 10)), run)


def comparisons():
    measured = measurement()
    return ld.compare_each(measured, prediction("one"), prediction("two"), name="both")


def filters():
    steps = np.array([0, 1, 5])
    return FilterLearning(steps, 3, 0.25, *(RNG.random((4, 3)) for _ in range(3)))


KINDS = {
    "Trajectory": trajectory,
    "Overlaps": lambda: trajectory().start,
    "Limit": limit,
    "Fluctuations": fluctuations,
    "Optimum": optimum,
    "Estimate": estimates,
    "InformationExponent": exponent,
    "LeapMap": leaps,
    "SearchLaw": law,
    "Recoveries": lambda: Recoveries(
        np.array([10, 20]), np.array([[1.0, np.nan]]), np.array([5.0, 9.0]), np.array([0, 1])
    ),
    "ExponentFit": lambda: ExponentFit(
        2.0, *(np.ones(2) * i for i in range(1, 9)), np.int64(4)
    ),
    "Measurement": measurement,
    "Prediction": prediction,
    "Comparison": lambda: ld.compare(measurement(), prediction(), name="one"),
    "Comparisons": comparisons,
    "Training": training,
    "CueLearning": lambda: CueLearning(
        np.array([0, 1, 5]),
        {"mean-only": RNG.random((4, 3)), "phase": RNG.random((4, 3))},
        0.5,
        {"mean": BetweenClasses(0.25, 0.01, 1e-9)},
        filters(),
    ),
    "FilterLearning": lambda: filters(),
    "BetweenClasses": lambda: BetweenClasses(0.25, 0.01, 1e-9),
    "DenoiserLearning": denoiser,
}  # fmt: skip


def leaves(value, where="result"):
    """Everything in a result with its place, for comparisons bit for bit."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        yield where, str(jax.random.key_impl(value))
        value = np.asarray(jax.random.key_data(value))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        kind = "jax" if isinstance(value, jax.Array) else type(value).__name__
        array = np.asarray(value)
        yield where, (kind, array.dtype.name, array.shape, array.tobytes())
    elif isinstance(value, dict):
        yield where, list(value)
        for name, entry in value.items():
            yield from leaves(entry, f"{where}.{name}")
    elif hasattr(value, "_asdict"):
        yield where, type(value).__name__
        yield from leaves(value._asdict(), where)
    elif isinstance(value, list | tuple):
        yield where, (type(value).__name__, len(value))
        for i, entry in enumerate(value):
            yield from leaves(entry, f"{where}.{i}")
    elif hasattr(value, "__dataclass_fields__"):
        yield where, type(value).__name__
        for name, field in value.__dataclass_fields__.items():
            if field.repr and name not in ("graph", "states", "theory"):
                yield from leaves(getattr(value, name), f"{where}.{name}")
        if isinstance(value, Training):
            for part in ("parameters", "others", "optimiser", "average"):
                yield from leaves(value.leaves(part), f"{where}.{part}")
        if type(value).__name__ == "Limit":
            yield from leaves(dict(value.bias), f"{where}.bias")
    else:
        yield where, repr(value)
