"""Training on the compiled loop: exact recursions, replicas, averages, checkpoints."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from learning_dynamics.evidence.comparison import compare
from learning_dynamics.pytrees import configuration
from learning_dynamics.training import (
    Minibatches,
    comes_first,
    log_steps,
    order_of_steps,
    recovery_steps,
    train,
)

RATE = 0.1
SGD = optax.sgd(RATE)
ADAM = optax.adam(1e-2)


class Line(nnx.Module):
    def __init__(self, rngs):
        self.weights = nnx.Param(jax.random.normal(rngs.params(), (3,)))

    def __call__(self, x):
        return jnp.sum(x * self.weights[...][None], axis=-1)


class Noisy(nnx.Module):
    """Everything that has state: normalisation, and a random stream for dropout."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.last = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(self.drop(jnp.tanh(self.norm(self.first(x)))))[:, 0]


@configuration
class Always:
    """The same batch at every step."""

    batch: tuple

    def __call__(self, key):
        return self.batch


def squares(network, batch, key):
    x, y = batch
    return jnp.mean((network(x) - y) ** 2) / 2


def watch(network, tests, key):
    return {"loss": squares(network, tests, key), "weights": network.weights[...]}


def watch_loss(network, tests, key):
    return {"loss": squares(network, tests, key)}


def data(key, n=50):
    x = jax.random.normal(key, (n, 3))
    return x, x @ jnp.array([1.0, -2.0, 0.5]) + 0.1 * jax.random.normal(key, (n,))


@pytest.mark.slow
def test_gradient_descent_follows_its_recursion(key):
    x, y = data(key)
    run = train(
        Line, squares, Always((x, y)), optimiser=SGD, steps=[0, 1, 4, 9], observe=watch,
        tests=(x, y), key=key,
    )  # fmt: skip
    w, seen = run.values["weights"][0, 0].astype(np.float64), []
    for step in range(10):
        seen.append(w)
        w = w - RATE * np.asarray(x).T @ (np.asarray(x) @ w - np.asarray(y)) / len(y)
        if step == 0:
            np.testing.assert_allclose(
                run.values["loss"][0, 0], np.mean((x @ seen[0] - y) ** 2) / 2
            )
    np.testing.assert_allclose(run.values["weights"][0], np.array(seen)[[0, 1, 4, 9]], rtol=1e-5)


def test_the_average_follows_its_recursion(key):
    x, y = data(key)
    options = {"optimiser": SGD, "steps": range(8), "observe": watch, "tests": (x, y), "key": key}
    plain = train(Line, squares, Always((x, y)), **options).values["weights"][0]
    smooth = train(Line, squares, Always((x, y)), average=0.5, **options)
    mean, expected = plain[0], [plain[0]]
    for j in range(7):
        decay = min(0.5, (1 + j) / (10 + j))
        mean = decay * mean + (1 - decay) * plain[j + 1]
        expected.append(mean)
    np.testing.assert_allclose(smooth.values["weights"][0], np.array(expected), rtol=1e-5)
    np.testing.assert_allclose(smooth.network().weights[...], expected[-1], rtol=1e-5)


@pytest.mark.slow
def test_a_replica_does_not_depend_on_its_company(key):
    x, y = data(key)
    batches = Minibatches((x, y), 4)
    options = {"optimiser": SGD, "steps": [0, 5, 20], "observe": watch, "tests": (x, y), "key": key}
    many = train(Line, squares, batches, replicas=4, **options).values["weights"]
    pairs = train(Line, squares, batches, replicas=4, together=2, **options).values["weights"]
    alone = train(Line, squares, batches, replicas=2, together=1, **options).values["weights"]
    np.testing.assert_allclose(many, pairs, rtol=1e-5)
    np.testing.assert_allclose(many[:2], alone, rtol=1e-5)
    assert np.ptp(many[:, 0], axis=0).min() > 0.1  # different starts


def test_replicas_may_have_data_of_their_own(key):
    sets = [data(jax.random.key(i)) for i in range(2)]
    options = {"optimiser": SGD, "steps": [0, 5], "observe": watch, "key": key}
    both = train(
        Line, squares, [Always(s) for s in sets], tests=sets, replicas=2, together=1, **options
    )
    first = train(Line, squares, Always(sets[0]), tests=sets[0], **options)
    np.testing.assert_array_equal(both.values["loss"][0], first.values["loss"][0])
    assert both.values["loss"][1, 1] < both.values["loss"][1, 0]


class StoppedError(Exception):
    pass


def stop_after(count):
    def tracker(items, _):
        for number, item in enumerate(items):
            if number == count:
                raise StoppedError
            yield item

    return tracker


@pytest.mark.parametrize("together", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_cut_and_resumed_is_the_same_bit_by_bit(key, tmp_path, together):
    batches = Minibatches(data(key), 8)
    options = {
        "optimiser": ADAM, "steps": [0, 3, 7, 20], "observe": watch_loss, "tests": data(key),
        "key": key, "replicas": 2, "together": together, "average": 0.9,
    }  # fmt: skip
    whole = train(Noisy, squares, batches, **options)
    file = tmp_path / "run.npz"
    with pytest.raises(StoppedError):
        train(Noisy, squares, batches, checkpoint=file, tracker=stop_after(2), **options)
    assert file.exists()
    resumed = train(Noisy, squares, batches, checkpoint=file, **options)
    np.testing.assert_array_equal(whole.values["loss"], resumed.values["loss"])
    pairs = zip(jax.tree.leaves(whole.states), jax.tree.leaves(resumed.states), strict=True)
    for a, b in pairs:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)
    other = {**options, "key": jax.random.key(1)}
    with pytest.raises(ValueError, match="checkpoint"):
        train(Noisy, squares, batches, checkpoint=file, **other)


@pytest.mark.slow
def test_normalisation_learns_the_statistics_of_the_data(key):
    """Running means with memory 0.99: after 600 steps 0.2 % of the start is left."""
    x, y = data(key, n=400)
    run = train(
        Noisy, squares, Minibatches((x + 3, y), 64), optimiser=optax.sgd(0.0), steps=[600],
        observe=watch_loss, tests=(x + 3, y), key=key,
    )  # fmt: skip
    network = run.network()
    inner = network.first(x + 3)
    error = inner.std(axis=0) / np.sqrt(64 * 199)  # 1 / (1 - 0.99) x 2 - 1 batches in the memory
    away = np.abs(network.norm.mean[...] - inner.mean(axis=0))
    assert np.all(away < 5 * error + 0.003 * np.abs(inner.mean(axis=0)))


def test_measurement_has_errors_over_replicas(key):
    run = train(
        Line, squares, Minibatches(data(key), 4), optimiser=SGD, steps=[0, 2], observe=watch,
        tests=data(key), key=key, replicas=3,
    )  # fmt: skip
    seen = run.measurement()
    assert list(seen.coordinates) == ["set", "step"]
    assert seen.values.shape == (1, 2)
    expected = run.values["loss"].std(axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(seen.standard_error[0], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="scalars"):
        run.measurement(["weights"])


def test_overflow_is_counted_as_lost(key):
    run = train(
        Line, squares, Always(data(key)), optimiser=optax.sgd(1e4), steps=[0, 60], observe=watch,
        tests=data(key), key=key, replicas=2,
    )  # fmt: skip
    assert run.measurement(["loss"]).lost.tolist() == [[0, 2]]


def test_log_steps():
    steps = log_steps(1000, points=4, first=10)
    assert steps.tolist() == [0, 10, 100, 1000]
    assert np.all(np.diff(log_steps(20, points=19)) > 0)
    for wrong in ({"end": 0}, {"end": 5, "first": 5}, {"end": 5, "points": 2}):
        with pytest.raises(ValueError, match="must"):
            log_steps(**wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [3, 2]}, "increase"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": 3, "together": 2}, "divide"),
        ({"average": 1.0}, "average"),
        ({"batches": [1, 2], "replicas": 3}, "batches"),
        ({"batches": [1, 2], "tests": [1, 2], "replicas": 2}, "together"),
    ],
)
def test_wrong_arguments_are_refused(key, change, message):
    options = {
        "batches": Always(data(key)), "optimiser": SGD, "steps": [1], "observe": watch,
        "tests": data(key), "key": key,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        train(Line, squares, **{**options, **change})


def test_recovery_is_the_last_crossing_in_the_logarithm():
    steps = [0, 1, 3, 7]  # log(1 + step) = 0, 1, 2, 3 in units of log 2
    rows = [
        [0.5, 0.9, 0.5, 0.7], [0.7, 0.7, 0.7, 0.7], [0.5, 0.7, 0.7, 0.5], [0.5, np.nan, 0.7, 0.7]
    ]  # fmt: skip
    expected = [2**2.5 - 1, 0, np.inf, 1]
    np.testing.assert_allclose(recovery_steps(steps, rows, 0.6), expected)
    for wrong in (([1, 1], [[0, 0]]), ([0, 1], [[0, 0, 0]])):
        with pytest.raises(ValueError, match="must"):
            recovery_steps(*wrong, 0.5)


def test_the_order_of_two_steps():
    """A step that never comes counts as the end, one before training as its first update."""
    order = order_of_steps([0.0, 10.0, 100.0], [1000.0, np.inf, 10.0], 1000, "late")
    np.testing.assert_allclose(order.values, [(3 + 2 - 1) / 3])
    twice = comes_first(1000, "twice", 2.0)
    assert compare(order, twice).verdict == "pass"
    low, high = np.log10(2), 3.0
    np.testing.assert_allclose(
        [twice.values - twice.bias, twice.values + twice.bias], [[low], [high]]
    )
    with pytest.raises(ValueError, match="`second`"):
        order_of_steps([1.0, 2.0], [1.0], 10, "late")
    with pytest.raises(ValueError, match="`factor`"):
        comes_first(10, "late", 10.0)


def test_a_second_call_makes_no_network_anew():
    """Building a network takes longer than a short run; code that is edited is built again."""
    made = []

    class Own(Line):
        def __call__(self, x):
            return super().__call__(x)

    def build(rngs):
        made.append(type(rngs))
        return Own(rngs)

    batches = Always((jnp.ones((4, 3)), jnp.ones(4)))
    options = {"optimiser": SGD, "steps": [1], "observe": watch_loss, "key": jax.random.key(3)}
    options["tests"] = batches.batch
    first = train(build, squares, batches, **options)
    count = len(made)
    assert count > 0
    again = train(build, squares, batches, **options)
    assert len(made) == count
    np.testing.assert_array_equal(first.values["loss"], again.values["loss"])

    Own.__call__ = lambda self, x: 2 * Line.__call__(self, x)
    twice = train(build, squares, batches, **options)
    assert len(made) > count
    assert np.all(twice.values["loss"] != first.values["loss"])


@pytest.mark.parametrize("name", ["batches", "tests"])
def test_data_that_are_no_arrays_are_refused(name):
    """A function would be an argument of the compiled program, which takes numbers alone."""
    data = {"batches": Always((jnp.ones((4, 3)), jnp.ones(4))), "tests": None}
    data[name] = lambda key: jnp.ones((4, 3))
    with pytest.raises(ValueError, match=f"`{name}` must be a pytree of arrays.* a function"):
        train(
            Line, squares, data["batches"], optimiser=SGD, steps=[1], observe=watch_loss,
            tests=data["tests"], key=jax.random.key(0),
        )  # fmt: skip


class Unhashable:
    __hash__ = None

    def __call__(self, *given):
        return Line(*given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"build": Unhashable()}, "`build` must be hashable"),
        ({"loss": Unhashable()}, "`loss` must be hashable"),
        ({"observe": None}, "`observe` must be a function, but got None"),
        ({"build": lambda rngs: None}, "`build` must return a network.* a NoneType"),
    ],
)
def test_functions_that_cannot_be_compiled_are_refused(changes, message):
    given = {"build": Line, "loss": squares, "observe": watch_loss} | changes
    batches = Always((jnp.ones((4, 3)), jnp.ones(4)))
    options = {"optimiser": SGD, "steps": [1], "tests": batches.batch, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match=message):
        train(batches=batches, **given, **options)


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A factory that equals others of the same name."""

    name: str
    scale: float = dataclasses.field(compare=False)

    def __call__(self, rngs):
        network = Line(rngs)
        network.weights[...] = self.scale * network.weights[...]
        return network


def test_an_equal_factory_that_holds_something_else_is_another_one():
    """JAX finds programs by equality."""
    batches = Always((jnp.ones((4, 3)), jnp.ones(4)))
    options = {"optimiser": SGD, "steps": [0], "tests": batches.batch, "key": jax.random.key(0)}
    one, three = (
        train(Scaled("a", scale), squares, batches, observe=watch, **options).values["weights"]
        for scale in (1.0, 3.0)
    )
    np.testing.assert_allclose(three, 3 * one, rtol=1e-6)


@pytest.mark.parametrize("end", [0, 1, -5, np.nan, np.inf])
def test_an_order_needs_a_last_step(end):
    with pytest.raises(ValueError, match="`end`"):
        order_of_steps([1, 2], [3, 4], end, "both")
    with pytest.raises(ValueError, match="`end`"):
        comes_first(end, "law")
