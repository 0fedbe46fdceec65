"""Into namespaces of one's own, without root: a user namespace in which everybody is who they are, the others in it.

What is done in there is `hub.py`'s.
"""

from __future__ import annotations

import os

from kfcore_local.isolation.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    unshare,
)

_ALL = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP


def _identity(name: str) -> str:
    """The ids that this process's user namespace has, each as itself; its own only, for a user without privileges."""
    with open(f"/proc/self/{name}_map") as file:
        extents = [line.split() for line in file]
    return "".join(f"{start} {start} {count}\n" for start, _, count in extents)


def _write_maps(child: int) -> None:
    """Who the users of the child's namespace are. A privileged user keeps them all, others themselves."""
    own = {"uid": os.geteuid(), "gid": os.getegid()}
    for name, number in own.items():
        path = f"/proc/{child}/{name}_map"
        try:
            with open(path, "w") as file:
                file.write(_identity(name))
        except OSError:
            if name == "gid":
                with open(f"/proc/{child}/setgroups", "w") as file:
                    file.write("deny")
            with open(path, "w") as file:
                file.write(f"{number} {number} 1\n")


def make_namespaces() -> None:
    """Into a user namespace with all others new, but for the PID namespace, which is that of children from here on.

    A child that stays outside says who the users inside are: only from there may a privileged user keep them all.
    """
    (asked, asking), (told, telling) = os.pipe(), os.pipe()
    this = os.getpid()
    writer = os.fork()
    if writer == 0:
        os.close(asking)
        os.close(told)
        try:
            if os.read(asked, 1):
                _write_maps(this)
                os.write(telling, b"m")
        finally:
            os._exit(0)
    os.close(asked)
    os.close(telling)
    try:
        unshare(_ALL)
        os.write(asking, b"u")
        if not os.read(told, 1):
            raise OSError("the users of a user namespace may not be set")
    finally:
        os.close(asking)
        os.close(told)
        os.waitpid(writer, 0)
