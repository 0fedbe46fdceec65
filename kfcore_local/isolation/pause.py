"""The first process of a PID namespace that the containers of a pod share: it outlives each, and reaps what they
leave. Built-in modules only.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os


def pause() -> None:
    """The rest of the life of the first process of a PID namespace: reap those that have nobody else to."""
    try:
        _signal.set_wakeup_fd(-1)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGCHLD})
        os.setsid()
        close_all_but(set())
        while True:
            _signal.sigwait({_signal.SIGCHLD})
            while _reaped_one():
                pass
    finally:
        os._exit(0)


def _reaped_one() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if (number := int(name)) not in kept:
            try:
                os.close(number)
            except OSError:
                continue  # the one that listed them
