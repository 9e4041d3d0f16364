import collections
import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from diffusion_theory import MixedCumulant
from learning_dynamics.identity import code_of, describe


@dataclasses.dataclass(frozen=True)
class Setting:
    rate: float
    name: str = "plain"


def named(x):
    return x


Pair = collections.namedtuple("Pair", "a b")
Other = collections.namedtuple("Pair", "a c")
KINDS_FILE = str(Path(__file__).with_name("kinds.py"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.1, np.nextafter(0.1, 1)),
        ("1", 1),
        (None, "None"),
        ((1, 2), [1, 2]),
        ((1, (2, 3)), ((1, 2), 3)),
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (jax.random.key(0), jax.random.key(1)),
        (jax.random.key(0), jax.random.key(0, impl="rbg")),
        (Setting(0.1), Setting(0.2)),
        (Setting(0.1), (0.1, "plain")),
        ({"a": 1}, {"a": 2}),
        (range(3), range(4)),
        (named, max),
        (MixedCumulant(covariance=9.0), MixedCumulant(covariance=8.0)),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (0.0, -0.0),
        (float("nan"), -float("nan")),
        ([1], [1.0]),
        (10**30, 1e30),
        ({1}, frozenset({1})),
        (collections.OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2), Other(1, 2)),
        (named, jax.grad(named)),
        (named, jax.jit(named)),
        (jax.grad(named), jax.grad(jax.grad(named))),
        (np.ones(2, np.float32), jnp.ones(2, jnp.float32)),
        (jnp.asarray(1.0), jnp.float32(1.0)),
        (np.ones((2, 2)), np.ones((2, 2), order="F")),
        (np.arange(6.0)[::2], np.array([0.0, 2.0, 4.0])),
        (np.zeros(2, ">f8"), np.zeros(2, "<f8")),
        (np.zeros(2, [("a", "f4"), ("b", "f4")]), np.zeros(2, [("a", "f4"), ("c", "f4")])),
        (np.zeros(2, "M8[s]"), np.zeros(2, "M8[ms]")),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), np.ma.array([1.0, 2.0], mask=[1, 0])),
        (np.ma.array([1.0, 2.0]), np.array([1.0, 2.0])),
        (jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float16)),
        (np.poly1d([1, 2]), np.poly1d([1, 3])),
    ],
)
def test_values_that_differ_are_described_differently(one, other):
    assert describe("x", one) != describe("x", other)
    assert describe("x", one) == describe("x", one)


def test_order_matters_in_a_mapping_but_not_in_a_set():
    assert describe("x", {"a": 1, "b": 2}) != describe("x", {"b": 2, "a": 1})
    assert describe("x", {"ab", "cd", "ef"}) == describe("x", {"ef", "cd", "ab"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: x, "named function|name at the top"),
        (object(), "be a number, text"),
        ([1, (2, iter([]))], r"`x\[1\]\[1\]` must be a number"),
        (np.zeros(200_000), "small enough for a key.*1,600,000 bytes"),
        (np.array([object()]), "hold no Python objects"),
        (functools.partial(lambda x: x, 1), "name at the top"),
        (Setting(rate=object()), r"`x.rate`"),
        (threading.local(), "value in another thread"),
    ],
)
def test_values_that_cannot_be_told_apart_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        describe("x", value)


SOURCE = """
import dataclasses
import functools
from typing import NamedTuple, TypeVar
import jax
import numpy as np

RATE = 0.5
TABLE = {"a": 1}
_cache = {}
T = TypeVar("T")

class Pair(NamedTuple):
    first: float
    second: float = 7.0

def empty():
    return [8.0]

@dataclasses.dataclass(frozen=True)
class Made:
    start: float
    rest: list = dataclasses.field(default_factory=empty)

    @classmethod
    def of(cls, x):
        return cls(x + 11.0)

    @staticmethod
    def shifted(x):
        return 12.0 + x

    @functools.cached_property
    def third(self):
        return self.start / 13.0

    @property
    def fourth(self):
        return self.start / 14.0

def unused(x):
    return x + 1

class Rule:
    def apply(self, x):
        return 2 * x

def helper(x):
    return x * RATE

@jax.jit
def compiled(x):
    return x - TABLE["a"]

def outer(scale):
    def inner(x):
        return scale * x
    return inner

TWICE = outer(2.0)
THRICE = outer(3.0)

def both(x):
    return TWICE(x) + THRICE(x)

def measure(x, power=2):
    "What it does."
    _cache[x] = 1
    if x in {"left", "right", "up", "down"}:
        return 0.0
    def typed(x: T) -> T:
        return T and x
    made = Pair(Made.of(x).third, Made.shifted(x))
    return typed(Rule().apply(helper(x)) ** power + compiled(x) + made.second)
"""


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Digest of `measure` in a module with some lines replaced."""

    def digest(old="", new="", name="measure"):
        assert old in SOURCE
        file = tmp_path / str(len(list(tmp_path.iterdir()))) / "own_module.py"
        file.parent.mkdir()
        file.write_text(SOURCE.replace(old, new) if old else SOURCE)
        spec = importlib.util.spec_from_file_location("own_module", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "own_module", module)
        spec.loader.exec_module(module)
        return code_of(eval(name, vars(module))).digest

    return digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 0.5", "RATE = 0.6"),
        ('{"a": 1}', '{"a": 2}'),
        ("return x * RATE", "return x * RATE * RATE"),
        ("return 2 * x", "return 3 * x"),
        ('x - TABLE["a"]', 'x - 2 * TABLE["a"]'),
        ('"up", "down"', '"up", "under"'),
        ("** power +", "** power -"),
        ("second: float = 7.0", "second: float = 7.5"),
        ("return [8.0]", "return [8.5]"),
        ("x + 11.0", "x + 11.5"),
        ("12.0 + x", "12.5 + x"),
        ("self.start / 13.0", "self.start / 13.5"),
        ("self.start / 14.0", "self.start / 14.5"),
        ("return x + 1", "return x + 2"),  # found by a name made up while running, perhaps
    ],
)
def test_code_that_the_measure_reaches_counts(digest_of, old, new):
    assert digest_of(old, new) != digest_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def helper(x):", "# a remark\n\ndef helper(x):"),
        ('"What it does."', '"What it does, in other words."'),
        ("def apply(self, x):", "def apply(self, x):\n        'New words.'"),
        ("class Rule:", "class Rule:\n    'New words.'\n"),
        ("return scale * x", "return (scale\n                * x)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(digest_of, old, new):
    assert digest_of(old, new) == digest_of()


def test_a_cache_that_the_code_fills_does_not_count_and_is_named(digest_of):
    before = digest_of()
    measure = sys.modules["own_module"].measure
    measure(3.0)
    assert code_of(measure).digest == before
    assert code_of(measure).kept == ("own_module._cache",)


def test_nothing_that_python_itself_adds_is_reported_as_left_out(digest_of):
    digest_of()
    code = code_of(sys.modules["own_module"].measure)
    assert code.uncovered == ()
    assert {"own_module.Pair", "own_module.Made.of", "own_module.empty"} <= set(code.parts)


def test_closures_and_partial_arguments_count(digest_of):
    assert digest_of(name="outer(1.0)") == digest_of(name="outer(1.0)")
    assert digest_of(name="outer(1.0)") != digest_of(name="outer(2.0)")
    for change in ("outer(2.0)", "outer(3.0)"):
        assert digest_of(change, "outer(4.0)", name="both") != digest_of(name="both")
    one, other = (digest_of(name=f"functools.partial(measure, power={p})") for p in (2, 3))
    assert one != other


def test_keys_do_not_depend_on_the_order_of_sets_or_on_addresses():
    """Two processes with other seeds for hashes come to the same keys."""
    started = [
        subprocess.Popen(
            [sys.executable, KINDS_FILE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    printed = [process.communicate()[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    one, other = map(json.loads, printed)
    assert len(one) > 40
    assert {kind for kind in one if one[kind] != other[kind]} == set()


LATE = """
import sys
from learning_dynamics.identity.key import code_of
def measure(x):
    import xarray
    return xarray.DataArray(x)
before = code_of(measure)
assert "xarray" not in sys.modules
measure(1.0)
assert "version of xarray" in before.parts and code_of(measure).digest == before.digest
"""


@pytest.mark.slow
def test_packages_that_are_imported_later_count_from_the_start(tmp_path):
    """A cell stored before a package was first imported is found after."""
    script = tmp_path / "late.py"
    script.write_text(LATE)
    subprocess.run([sys.executable, script], check=True)


def test_own_packages_are_followed_and_installed_ones_are_not():
    covered = code_of(ld.simulate)
    assert "learning_dynamics.process.replicas.advance" in covered.parts
    assert "source of learning_dynamics.process.replicas" in covered.parts
    assert not any(name.startswith(("jax.", "numpy.")) for name in covered.parts)
    assert covered.parts["version of jax"] == jax.__version__
