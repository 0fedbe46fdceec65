"""What a supervisor does to be in its container, between its fork and its command: a root, volumes, files; fewer
rights. Runs in the hub's child. Built-in modules only.
"""

from __future__ import annotations

import os

from kfcore_local.isolation import rootfs, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LAST_CAPABILITY = 63
_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31})
"""What container runtimes leave a root user: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, AUDIT_WRITE and SETFCAP."""


def become_container(spec: dict[str, Any], base: str, steps: list[rootfs.Step]) -> Callable[[], None]:
    """Put together what the container of `spec` sees, and go there. What is returned takes a command's rights away.

    `spec` has `hidden` (directories and files that are empty for it), `mounts` (source, path inside the source, target,
    whether read-only), `files` (texts by path) and `places` (directories that it will write to, if it may). Raises
    OSError with what could not be done.
    """
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    root = rootfs.build(base, steps, spec["places"])
    for hidden in spec["hidden"]:
        at = rootfs.inside(root, hidden)
        if os.path.isfile(at):
            syscalls.bind("/dev/null", at)
        elif os.path.isdir(at):
            syscalls.mount("tmpfs", at, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755")
    for path, text in spec["files"].items():
        _write(root, path, text, base)
    for source, inner, target, read_only in sorted(spec["mounts"], key=lambda mount: mount[2].count("/")):
        try:
            rootfs.place(root, _source(source, inner), target, read_only=read_only)
        except OSError as error:
            raise OSError(f"cannot mount at {target}: {error.strerror or error}") from error
    syscalls.pivot_root(root)
    return _drop_rights


def join_container(mounts: int) -> Callable[[], None]:
    """Go where a container is, by the descriptor of its mount namespace."""
    syscalls.setns(mounts, syscalls.CLONE_NEWNS)
    os.close(mounts)
    return _drop_rights


def _source(volume: str, inner: str) -> str:
    """A path inside a volume, made where it is not; one that a link leads out of the volume is refused."""
    if not inner:
        return volume
    path = os.path.realpath(f"{volume}/{inner}")
    if not (path + "/").startswith(os.path.realpath(volume) + "/"):
        raise OSError(f"subPath {inner!r} leads out of the volume")
    if not os.path.exists(path):
        os.makedirs(path, 0o755)
    return path


def _write(root: str, path: str, text: str, layer: str) -> None:
    """In the private layer, in the place of whatever is there: a link too. Where the directory cannot be written to,
    over the file that is there, or that a link there leads to.
    """
    at = rootfs.inside(root, os.path.dirname(path)) + "/" + os.path.basename(path)
    try:
        with open(at + ".kfcore", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(at + ".kfcore", at)
    except OSError:
        if not os.path.lexists(at):
            return
        source = f"{layer}/{os.path.basename(path)}"
        with open(source, "w", encoding="utf-8") as file:
            file.write(text)
        rootfs.place(root, source, path, read_only=False)


def _drop_rights() -> None:
    for number in range(_LAST_CAPABILITY + 1):
        if number not in _CAPABILITIES:
            try:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
            except OSError:
                return  # past the last that this kernel has
