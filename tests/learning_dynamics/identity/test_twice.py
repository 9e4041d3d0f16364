"""In a process of its own, a repeated call compiles nothing: no edit is seen where none is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.learning_dynamics.kernel.test_compilations import CALLS

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
import warnings
from tests.learning_dynamics.kernel.test_compilations import CALLS, COMPILED
warnings.simplefilter("ignore")  # searches with few draws
call = CALLS[sys.argv[1]]
call(0.3)
first = len(COMPILED)
call(0.3)
print(first, len(COMPILED) - first)
"""
FAST = ("integrate",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in CALLS]
)
def test_a_second_call_compiles_nothing(name):
    """Other tests of the same process would have met and forgotten the programs before."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, second = map(int, done.stdout.split())
    assert first > 0
    assert second == 0
