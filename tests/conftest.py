"""Strict settings for every test: two virtual CPU devices, strict dtypes and ranks.

Programs are compiled without LLVM's costly passes, which halves the time of the fast tests: most
run a short program once. `make test-slow` compiles as users do. Compiled programs are kept in the
virtual environment, for the other workers and for later runs. Workers share the cores: the linear
algebra of each has no more threads than its share, since threads without a core wait in busy loops.
"""

import gc
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # processes that tests start, too

import jax
import matplotlib
import pytest

from learning_dynamics.sweeps.worker import limit_threads, share_compiled

matplotlib.use("Agg")
if sys.prefix != sys.base_prefix:
    share_compiled(Path(sys.prefix) / "compiled")
limit_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))))
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

MOST_MEMORY = 1.2e9  # bytes that a process may hold before its compiled programs are dropped,
ROOM = 0.3e9  # and that it may grow by before they are dropped again


FILLED = pytest.StashKey[float]()


def pytest_make_parametrize_id(config, val):
    """Files by their size: bytes may hold times, which workers of one run do not share."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture
def key():
    return jax.random.key(20241)


@pytest.fixture
def as_users_compile():
    """Compile with all optimisations, for tests of the last bit."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()


@pytest.fixture(autouse=True, scope="module")
def forget_programs(request):
    """Drop compiled programs after a file where they fill the memory of the process.

    A process keeps most of the memory that was once its own, so that what counts is its growth.
    """
    yield
    if _resident() > request.config.stash.get(FILLED, MOST_MEMORY):
        jax.clear_caches()
        gc.collect()
        request.config.stash[FILLED] = max(MOST_MEMORY, _resident() + ROOM)


def pytest_collection_finish(session):
    """Leave what was imported out of all further collections of garbage."""
    gc.collect()
    gc.freeze()


def _resident():
    """Bytes of memory that the process holds; 0 where the system does not tell."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0
