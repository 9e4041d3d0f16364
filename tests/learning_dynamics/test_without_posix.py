"""Systems without POSIX, such as Windows: simulated by taking away what they lack."""

import subprocess
import sys
import textwrap

import pytest

LACKING = """
    import os, subprocess, sys  # of the standard library, which knows how to do without

    for name in ("fcntl", "resource", "termios", "pwd", "grp", "syslog"):
        sys.modules[name] = None  # importing it raises an ImportError
    for name in ("fork", "kill", "sched_setaffinity", "sched_getaffinity", "getuid", "mkfifo",
                 "O_NONBLOCK"):
        if hasattr(os, name):
            delattr(os, name)
    if hasattr(os, "process_cpu_count"):  # which asks for the affinity where it was found to be
        os.process_cpu_count = os.cpu_count
    real_open = os.open

    def open_file(path, flags, *args, **options):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")  # no handle of a folder
        return real_open(path, flags, *args, **options)

    os.open = open_file
"""

SWEEP = """
    import warnings
    import numpy as np
    import learning_dynamics
    from learning_dynamics.identity.key import Fingerprint
    from learning_dynamics.process.checkpoint import checkpoint_file, restore, save

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = learning_dynamics.sweep(lambda x: 2.0 * x, {"x": [1.0, 2.0]}, store="s")
    assert found["value"].values.tolist() == [2.0, 4.0]
    assert any("two processes on this store may compute the same cell" in str(w.message)
               for w in told), told
    me = Fingerprint("me", {})
    save(checkpoint_file("c"), me, 1, np.zeros(2), [{"x": np.ones(3)}])
    assert restore("c", me, np.zeros(2), None)[0] == 1
"""

REPORT = """
    import importlib, pkgutil
    import learning_dynamics
    from learning_dynamics.report import claims
    from learning_dynamics.report.cli import main
    from tests.learning_dynamics.test_plugins import evidence

    claims.entry_points = lambda group: []
    claims.claim("toy/a", statement="s", source="here")(lambda run: evidence())
    assert main(["report", "--out", "report"]) == 0
    for module in pkgutil.walk_packages(learning_dynamics.__path__, "learning_dynamics."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def assert_runs(folder, text):
    script = folder / "script.py"
    script.write_text(textwrap.dedent(LACKING) + textwrap.dedent(text))
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_sweeps_and_checkpoints_work_and_say_that_nothing_is_locked(tmp_path):
    assert_runs(tmp_path, SWEEP)


@pytest.mark.slow
def test_a_report_is_written(tmp_path):
    assert_runs(tmp_path, REPORT)
    assert (tmp_path / "report" / "index.html").is_file()
