"""Public entries compile once: other rates, strengths, times, starts and keys share the program."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learning_dynamics as ld
from tests.learning_dynamics.kernel.models import Committee, Teacher
from tests.learning_dynamics.kernel.test_options import Even, Square

COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: (
        COMPILED.append(event) if event.endswith("backend_compile_duration") else None
    )
)
NUMBERS = (0.3, 0.4)  # every argument of a call is made from one of these
ADAM = optax.adam(0.1)
FIXED = {"points": 256, "method": "tensor"}


def learning(number, **options):
    return ld.Problem(Teacher(np.array([1.0, number])), Committee(2), number, **options)


def searching(number):
    return ld.Problem(Square(), Even(1), number, update="spherical")


def start(number):
    return ld.order_parameters([[number, 0.1], [0.1, number]], [[1.0, 0.1], [0.1, 1.0 + number]])


def first_overlap(overlaps):
    return overlaps.signal[0, 0]


def simulated(number, **options):
    options = {"replicas": 3, "dimension": 20, "times": [number, 2.0]} | options
    return ld.simulate(
        learning(number), start=start(number), key=jax.random.key(int(10 * number)), **options
    )


def _final(number):
    return jnp.mean(simulated_inside(number).values["signal"])


def simulated_inside(number):
    return ld.simulate(
        ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), number), dimension=20,
        times=[0.5], replicas=2, key=jax.random.key(0), level="overlaps",
    )  # fmt: skip


def swept(rate):
    return {"final": _final(rate)}


CALLS = {
    "simulate, overlaps": lambda x: simulated(x, level="overlaps"),
    "simulate, overlaps at any N": lambda x: simulated(
        x, level="overlaps", times=[1.0, 2.0], dimension=int(100 * x)
    ),
    "random_starts at any N": lambda x: ld.random_starts(
        learning(x), dimension=int(100 * x), replicas=3, key=jax.random.key(0)
    ),
    "simulate, ambient": simulated,
    "simulate, stop": lambda x: simulated(
        x, level="overlaps", stop=ld.Stop(first_overlap, 3 * x, sustained=int(10 * x))
    ),
    "simulate, optimiser": lambda x: simulated(x, optimiser=ADAM),
    "simulate, float64": lambda x: simulated(x, precision="float64", level="overlaps"),
    "random_starts": lambda x: ld.random_starts(
        learning(x), dimension=20, replicas=3, key=jax.random.key(int(10 * x))
    ),
    "integrate": lambda x: ld.integrate(learning(x), times=[x, 1.0], start=start(x), **FIXED),
    "integrate at any batch": lambda x: ld.integrate(
        learning(x, batch=int(10 * x)), times=[x, 1.0], start=start(x), **FIXED
    ),
    "expected_loss": lambda x: ld.expected_loss(learning(x), start(x), **FIXED),
    "right_hand_side": lambda x: ld.right_hand_side(learning(x), start(x), **FIXED),
    "fluctuations": lambda x: ld.fluctuations(
        learning(x), times=[x, 1.0], start=start(x), **FIXED
    ),
    "information_exponent": lambda x: ld.information_exponent(
        searching(x), highest=2, points=512
    ),
    "search_law": lambda x: ld.search_law(
        searching(x), key=jax.random.key(int(10 * x)), draws=8, points=2**12,
        allow_inaccurate=True,
    ),
    "sweep(together=)": lambda x: ld.sweep(swept, {"rate": [x, 2 * x]}, together="rate"),
}  # fmt: skip
FAST = ("simulate, overlaps",)
FIRST_TIME = {}  # programs that a second call of an entry may still compile, and why: none


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CALLS]
)
@pytest.mark.filterwarnings("ignore:search_law")
def test_other_numbers_compile_nothing(name):
    for _ in range(2):  # an edit by an earlier test drops the program of the first call's key
        CALLS[name](NUMBERS[0])
    assert COMPILED  # the counter counts
    before = len(COMPILED)
    CALLS[name](NUMBERS[1])
    assert len(COMPILED) - before == FIRST_TIME.get(name, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("as_users_compile")
def test_a_batch_of_rates_is_the_loop_is_traced_once_and_costs_no_more():
    with jax.enable_x64(True):
        traces = []

        def final(rate):
            traces.append(rate)
            problem = ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), rate)
            limit = ld.integrate(problem, times=[1.0], start=start(0.3), **FIXED)
            return limit.values["signal"]

        rates = jnp.asarray(np.linspace(0.2, 1.0, 32))
        batch, single = jax.jit(jax.vmap(final)), jax.jit(final)
        together = batch(rates)
        assert len(traces) == 1
        loop = np.stack([single(rate) for rate in rates])
        assert len(traces) == 2
        np.testing.assert_allclose(together, loop, rtol=1e-10, atol=1e-12)
        calls = {
            "batch": lambda: batch(rates).block_until_ready(),
            "loop": lambda: [single(rate).block_until_ready() for rate in rates],
        }
        seconds = {name: [] for name in calls}
        for name, call in [*calls.items()] * 7:
            before = time.process_time()
            call()
            seconds[name].append(time.process_time() - before)
        assert np.median(seconds["batch"]) < 1.1 * np.median(seconds["loop"])


DTYPES = {
    "simulate, overlaps": ("float32", lambda: _leaves_inside("overlaps", "float32")),
    "simulate, ambient": ("float32", lambda: _leaves_inside("ambient", "float32")),
    "integrate": ("float64", lambda: CALLS["integrate"](0.3).values),
    "expected_loss": ("float64", lambda: tuple(CALLS["expected_loss"](0.3))),
    "right_hand_side": ("float64", lambda: tuple(CALLS["right_hand_side"](0.3))),
    "fluctuations": ("float64", lambda: CALLS["fluctuations"](0.3).spread),
}


def _leaves_inside(level, precision):
    """Arrays of a run inside `jit`, which has not been copied to the host."""
    return jax.eval_shape(
        lambda rate: ld.simulate(
            ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), rate), dimension=20,
            times=[0.5], replicas=2, key=jax.random.key(0), level=level, precision=precision,
        ).values,
        jnp.float32(0.3),
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if "sim" in n else pytest.mark.slow) for n in DTYPES]
)
def test_single_precision_stays_single_and_theory_is_double(name):
    wanted, call = DTYPES[name]
    leaves = [leaf for leaf in jax.tree.leaves(call()) if hasattr(leaf, "dtype")]
    assert leaves
    assert {str(leaf.dtype) for leaf in leaves} == {wanted}
