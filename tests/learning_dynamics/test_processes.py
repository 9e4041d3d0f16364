"""Workers that are forked from a process with the libraries loaded."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are spawned here")

IMPORTED = """
import os, sys
import learning_dynamics.preloaded
from jax._src import xla_bridge
assert not xla_bridge._backends, xla_bridge._backends
child = os.fork()  # warns of a JAX backend, and of threads
if child == 0:
    import jax.numpy
    os._exit(int(jax.numpy.ones(5).sum()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("fourier_simplicity.claims" in sys.modules)
"""


@linux
@pytest.mark.slow
def test_what_is_loaded_before_the_fork_makes_no_backend():
    """Nor leaves a thread, and a forked process can start JAX."""
    command = [sys.executable, "-W", "error:os.fork", "-W", "error:This process", "-c", IMPORTED]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert told.stdout.split() == ["5", "True"]
    assert told.stderr == ""


WORKERS = """
import json, os, signal, sys, time
from learning_dynamics.processes import preloaded_context

def work(pipe):
    from learning_dynamics.sweeps.worker import end_with_parent, keep_to
    end_with_parent()
    loaded = "diffrax" in sys.modules
    keep_to([max(os.sched_getaffinity(0))])
    import jax
    from threadpoolctl import threadpool_info
    value = float(jax.numpy.ones(5).sum())
    threads = [pool["num_threads"] for pool in threadpool_info()]
    pipe.send([loaded, value, sorted(os.sched_getaffinity(0)), threads, os.getpid(), os.getppid()])
    time.sleep(600)

if __name__ == "__main__":
    context = preloaded_context()
    here, there = context.Pipe()
    for _ in range(2):
        context.Process(target=work, args=(there,), daemon=True).start()
    print(json.dumps([here.recv(), here.recv()]), flush=True)
    time.sleep(600)
"""


@linux
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_forked_workers_have_cores_of_their_own_and_end_with_the_command(tmp_path, how):
    (tmp_path / "script.py").write_text(WORKERS)
    command = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "3", "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )  # fmt: skip
    try:
        workers = json.loads(command.stdout.readline())
        assert len(of_session(command.pid)) >= 4  # the command, the server, two workers
    finally:
        command.send_signal(how)
        command.communicate()
    core = max(os.sched_getaffinity(0))
    for loaded, value, cores, threads, *_ in workers:
        assert loaded
        assert value == 5.0
        assert cores == [core]
        assert set(threads) == {1}
    assert len({worker[4] for worker in workers}) == 2
    assert len({worker[5] for worker in workers}) == 1
    assert ends(command.pid, within=10)


@linux
@pytest.mark.slow
def test_the_server_gives_up_its_imports_when_the_command_ends(tmp_path):
    text = "from learning_dynamics.processes import preloaded_context; preloaded_context()"
    command = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, start_new_session=True)
    assert command.wait(timeout=60) == 0
    assert ends(command.pid, within=10)


def of_session(leader):
    """Processes of a session that run."""
    running = []
    for folder in Path("/proc").iterdir():
        try:
            state, _, _, session = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except (OSError, ValueError, IndexError):
            continue
        if folder.name.isdigit() and int(session) == leader and state != "Z":
            running.append(int(folder.name))
    return running


def ends(leader, within):
    """Whether no process of a session is left after some seconds."""
    deadline = time.monotonic() + within
    while of_session(leader) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not of_session(leader)
