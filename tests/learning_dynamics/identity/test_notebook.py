"""Edits in a real Jupyter kernel: cells run again, `%autoreload 2`, `importlib.reload`."""

import json
import os
import time
from pathlib import Path

import pytest

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A function that runs a cell and returns the JSON that it prints."""
    folder = tmp_path_factory.mktemp("notebook")
    path = os.pathsep.join([str(ROOT), str(folder)])
    started = manager.KernelManager()  # of the Python that runs this
    started.start_kernel(
        cwd=str(folder),
        env={**os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(folder / "ipython")},
    )
    client = started.client()
    client.start_channels()
    client.wait_for_ready(timeout=120)

    def run(cell):
        printed, failed = [], []

        def output(message):
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
            elif message["msg_type"] == "error":
                failed.append("\n".join(content["traceback"]))

        client.execute_interactive(cell, timeout=300, output_hook=output)
        assert not failed, failed[0]
        return json.loads("".join(printed)) if printed else None

    run.folder = folder
    yield run
    client.stop_channels()
    started.shutdown_kernel(now=True)


def write(folder, name, text):
    """Write a module; a later time stamp makes every reload see it."""
    file = folder / name
    file.write_text(text)
    later = time.time() + write.count
    write.count += 10
    os.utime(file, (later, later))


write.count = 0
BOTH = (
    "print(json.dumps([ld.sweep(measure, {'n': [1.0, 2.0]}, store='s')['value'].values.tolist(), "
    "run(measure)]))"
)


@pytest.mark.slow
def test_a_notebook_never_shows_old_results(kernel):
    write(kernel.folder, "own_edited.py", "def helper(x):\n    return x\n")
    kernel(
        "%load_ext autoreload\n%autoreload 2\n"
        "import importlib, json, jax, jax.numpy as jnp, learning_dynamics as ld, own_edited\n"
        "from learning_dynamics.identity.session import sees_edits\n"
        "from functools import partial"
    )
    kernel("SCALE = 1.0\nclass Model:\n    def rate(self): return 1.0\ndef other(x): return x")
    kernel(
        "def measure(n): return SCALE * Model().rate() * other(own_edited.helper(n))\n"
        "@partial(jax.jit, static_argnames='f')\ndef compiled(f, x): return f(x)\n"
        "@sees_edits('f')\ndef run(f): return float(compiled(f, 2.0))"
    )
    assert kernel(BOTH) == [[1, 2], 2]
    kernel("SCALE = 3.0")
    assert kernel(BOTH) == [[3, 6], 6]
    kernel("class Model:\n    def rate(self): return 5.0")
    assert kernel(BOTH) == [[15, 30], 30]
    kernel("def other(x): return 2 * x")
    assert kernel(BOTH) == [[30, 60], 60]
    write(kernel.folder, "own_edited.py", "def helper(x):\n    return 7 * x\n")
    assert kernel(BOTH) == [[210, 420], 420]  # autoreload looks before each cell
    kernel("%autoreload 0")
    write(kernel.folder, "own_edited.py", "def helper(x):\n    return 11 * x\n")
    assert kernel(BOTH) == [[210, 420], 420]
    kernel("importlib.reload(own_edited)")
    assert kernel(BOTH) == [[330, 660], 660]
    kernel("Model.rate = lambda self: 1.0\nSCALE = 1.0")
    assert kernel(BOTH) == [[22, 44], 44]


@pytest.mark.slow
def test_cells_that_run_again_unchanged_compute_nothing(kernel):
    cell = "COUNT = []\ndef slow(n):\n    COUNT.append(n)\n    return n\n"
    show = "ld.sweep(slow, {'n': [1.0, 2.0]}, store='t')\nprint(json.dumps(len(COUNT)))"
    kernel("import json, learning_dynamics as ld\n" + cell)
    assert kernel(show) == 2
    kernel(cell)
    assert kernel(show) == 0
    kernel("# a remark\n" + cell.replace("    COUNT", "    'What it does.'\n    COUNT"))
    assert kernel(show) == 0
