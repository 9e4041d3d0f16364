import dataclasses
import functools
import importlib.util
import os
import subprocess
import sys
import textwrap

import jax
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
    ],
)
def test_code_that_the_measure_reaches_counts(digest_of, old, new):
    assert digest_of(old, new) != digest_of()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + 1", "return x + 2"),
        ("def helper(x):", "# a remark\n\ndef helper(x):"),
        ('"What it does."', '"What it does, in other words."'),
        ("_cache = {}", "_cache = {7: 8}"),
    ],
)
def test_comments_caches_and_other_functions_do_not_count(digest_of, old, new):
    assert digest_of(old, new) == digest_of()


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


def test_identity_is_the_same_in_every_process(tmp_path):
    (tmp_path / "own.py").write_text(SOURCE)
    program = textwrap.dedent("""
        import own
        import learning_dynamics as ld
        from learning_dynamics.identity import code_of, describe
        before = code_of(own.measure).digest
        own.measure(3.0)
        assert code_of(own.measure).digest == before
        print(before, describe("x", {"a", "b", "c"}),
              describe("x", ld.Normal((3,))), code_of(ld.simulate).digest)
    """)
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_own_packages_are_followed_and_installed_ones_are_not():
    covered = code_of(ld.simulate)
    assert "learning_dynamics.kernel.run.advance" in covered.parts
    assert "source of learning_dynamics.kernel.run" in covered.parts
    assert not any(name.startswith(("jax.", "numpy.")) for name in covered.parts)
    assert covered.parts["version of jax"] == jax.__version__
