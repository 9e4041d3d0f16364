"""Worker processes of a command that are forked from one with all libraries loaded."""

import multiprocessing
import signal
import sys
from multiprocessing.context import BaseContext

__all__ = ["preloaded_context"]


def preloaded_context() -> BaseContext:
    """How a command starts its worker processes; the libraries load while it goes on.

    On Linux workers are forked from a server: a new process that imports the libraries and the
    claims once, starts no thread and makes no JAX backend. Each worker has them at once (importing
    takes seconds of processor time) and shares their memory. The server ends when the command and
    its workers have ended, however that happened. Elsewhere workers are spawned: the frameworks of
    macOS do not survive a fork, and Windows has none.

    Workers have all modules as they were when the server imported them. A program in which modules
    are edited and reloaded, such as a notebook, must spawn its workers.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["learning_dynamics.preloaded"])
    # Ctrl-C reaches the server, too, which cannot ignore it before its imports are done
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
