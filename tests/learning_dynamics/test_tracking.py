"""Progress bars: who is asked for them, where they appear, and that they change no result."""

import io
import sys
import threading
import time

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import learning_dynamics as ld
from fourier_simplicity.networks import learning
from learning_dynamics import tracking
from learning_dynamics.tracking import track, tracked
from learning_dynamics.training import train
from tests.learning_dynamics.kernel.models import Committee, Teacher
from tests.learning_dynamics.kernel.test_options import Even, Square

PROBLEM = ld.Problem(Teacher(np.array([1.0])), Committee(1), 0.5)
START = ld.order_parameters([[0.3]], [[1.0]])
SEARCH = ld.Problem(Square(), Even(1), 0.5, update="spherical")


class Recorder:
    """A tracker that keeps what it was called with."""

    def __init__(self):
        self.told = []

    def __call__(self, items, description):
        self.told.append((description, len(list(items))))
        return items


def build(rngs):
    return nnx.Linear(2, 1, rngs=rngs)


def loss(network, batch, key):
    return (network(batch) ** 2).mean()


def observe(network, tests, key):
    return {"loss": (network(tests) ** 2).mean()}


def square(x):
    return {"y": x**2}


def trained(tracker):
    return train(
        build, loss, Batches(), steps=[0, 2],
        optimiser=optax.sgd(0.1), observe=observe, tests=np.ones((4, 2), np.float32),
        key=jax.random.key(0), tracker=tracker,
    )  # fmt: skip


@ld.configuration
class Batches:
    def __call__(self, key):
        return jax.random.normal(key, (4, 2))


CALLS = {
    "simulate": lambda tracker: ld.simulate(
        PROBLEM, dimension=10, times=[1.0, 2.0], replicas=2, key=jax.random.key(0), tracker=tracker
    ),
    "integrate": lambda tracker: ld.integrate(
        PROBLEM, times=[1.0], start=START, tracker=tracker
    ),
    "fluctuations": lambda tracker: ld.fluctuations(
        PROBLEM, times=[0.1], start=START, points=64, tracker=tracker
    ),
    "information_exponent": lambda tracker: ld.information_exponent(
        SEARCH, highest=2, tracker=tracker
    ),
    "search_law": lambda tracker: ld.search_law(
        SEARCH, key=jax.random.key(0), draws=10, tracker=tracker
    ),
    "sweep": lambda tracker: ld.sweep(square, {"x": [1.0, 2.0]}, tracker=tracker),
    "train": trained,
}  # fmt: skip
FAST = ("simulate", "sweep")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CALLS]
)
def test_every_long_function_tells_its_tracker(name, capfd):
    recorder = Recorder()
    CALLS[name](recorder)
    assert recorder.told
    assert all(count > 0 and description for description, count in recorder.told)
    assert capfd.readouterr() == ("", "")


def test_cues_have_the_same_keyword():
    with pytest.raises(ValueError, match="`tracker` must be 'auto', None for quiet"):
        CALLS["sweep"]("bar")
    assert "tracker" in learning.learn_cues.__kwdefaults__


@pytest.mark.slow
def test_a_comparison_tells_the_tracker_around_it():
    """What is worked out later goes to whoever asks then."""
    seen = CALLS["simulate"](None)
    limit = ld.integrate(PROBLEM, start=seen, finite_size=False, points=64, tracker=None)
    recorder = Recorder()
    with tracking.tracking(recorder):
        ld.integrate(PROBLEM, start=seen, finite_size=False, points=64)
        told = len(recorder.told)
        assert told
        ld.integrate(PROBLEM, start=seen, finite_size=False, points=64, tracker=None)
    assert len(recorder.told) == told
    assert limit.values


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
@pytest.mark.parametrize("name", ["simulate", "integrate", "fluctuations"])
def test_trackers_are_refused_under_transformations(transform, name):
    def run(rate):
        problem = ld.Problem(Teacher(np.array([1.0])), Committee(1), rate)
        if name == "simulate":
            ld.simulate(
                problem, dimension=9, times=[1.0], replicas=1, key=jax.random.key(0),
                tracker=Recorder(),
            )  # fmt: skip
        else:
            getattr(ld, name)(problem, times=[1.0], start=START, tracker=Recorder())
        return rate

    argument = np.array([0.5]) if transform is jax.vmap else 0.5
    with pytest.raises(ValueError, match="`tracker` must be left out under"):
        transform(run)(argument)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal_for(monkeypatch):
    """A terminal in place of standard error, put there within the test: pytest changes it too."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(tracking, "_EVERY", 0.0)
    return sys.stderr


def test_a_bar_appears_after_a_while_and_ends(monkeypatch):
    terminal = terminal_for(monkeypatch)
    assert list(track(range(3), "short work")) == [0, 1, 2]
    assert terminal.getvalue() == ""
    monkeypatch.setattr(tracking, "PATIENCE", 0.05)
    for outer in track([1, 2], "outer work", lambda: "soon done"):
        for inner in track(iter("abc"), "inner work"):
            time.sleep(0.12)
            if outer == 2 and inner == "b":
                break
        time.sleep(0.12)
    shown = terminal.getvalue()
    for text in ("outer work", "inner work", "soon done"):
        assert text in shown
    assert tracking._open == {}


def test_a_bar_ends_when_the_work_raises(monkeypatch):
    terminal_for(monkeypatch)

    def work():
        for _ in track([1], "broken"):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        work()
    assert tracking._open == {}


def test_a_bar_appears_while_the_first_item_takes_long(monkeypatch):
    terminal = terminal_for(monkeypatch)
    monkeypatch.setattr(tracking, "PATIENCE", 0.05)
    for _ in track([1], "one long item"):
        time.sleep(0.4)
    assert "one long item" in terminal.getvalue()


def test_quiet_where_it_is_asked_for_and_in_threads(monkeypatch):
    terminal = terminal_for(monkeypatch)
    monkeypatch.setattr(tracking, "PATIENCE", 0.0)

    @tracked
    def work(*, tracker="auto"):
        for _ in track(range(3), "work"):
            time.sleep(0.02)

    work(tracker=None)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert terminal.getvalue() == ""
    work()
    assert "work" in terminal.getvalue()


def test_a_choice_of_tracker_is_no_edit_of_code(monkeypatch):
    """Compiled programs stay, whoever watches."""
    from learning_dynamics.identity import session

    CALLS["simulate"](None)
    cleared = []
    monkeypatch.setattr(session, "_forget", [lambda: cleared.append(1)])
    for tracker in (Recorder(), "auto", None):
        CALLS["simulate"](tracker)
    assert not cleared


@pytest.mark.slow
def test_a_notebook_shows_a_bar_and_empties_it(tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    started = manager.KernelManager()
    started.start_kernel(cwd=str(tmp_path))
    client = started.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        messages = []
        client.execute_interactive(
            "import time\nfrom learning_dynamics import tracking\n"
            "tracking.PATIENCE, tracking._EVERY = 0.05, 0.0\n"
            "for i in tracking.track(range(4), 'long work'):\n    time.sleep(0.05)",
            timeout=300, output_hook=messages.append,
        )  # fmt: skip
    finally:
        client.stop_channels()
        started.shutdown_kernel(now=True)
    kinds = [m["msg_type"] for m in messages if "display" in m["msg_type"]]
    assert kinds[0] == "display_data"
    assert set(kinds[1:]) == {"update_display_data"}
    shown = [m["content"]["data"] for m in messages if "display" in m["msg_type"]]
    assert "long work: " in shown[0]["text/plain"]
    assert "<progress" in shown[0]["text/html"]
    assert shown[-1] == {"text/plain": "", "text/html": ""}
    assert not [m for m in messages if m["msg_type"] in ("error", "stream")]
