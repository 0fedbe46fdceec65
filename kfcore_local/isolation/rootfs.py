"""What a container sees as `/`: this machine's files, over which writes go to a private layer in memory.

An overlay cannot be made of `/` as a whole, because in a user namespace what is mounted below it is locked in its
place. So each directory of `/` gets an overlay of its own; one with mounts inside is taken apart as far as it must, and
what cannot be overlaid is shown read-only. `/dev`, `/proc`, `/run` and `/sys` are made anew, as a container runtime
makes them. Built-in modules only.
"""

from __future__ import annotations

import os
import stat

from kfcore_local.isolation import syscalls
from kfcore_local.isolation.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY

Step = tuple[str, str, int]
"""What to do for a path: "overlay", "bind", "copy", "link", "directory" or "empty"; with its mode. "part" is an overlay
of its own inside of another."""

_OWN = frozenset({"dev", "proc", "run", "sys"})
_DEPTH = 3
_EMPTY = ("/tmp", "/var/tmp")
"""What can be written to where there are no overlays, and is private then."""
_MOST_STEPS = 200
_COPIED_BYTES = 64 * 1024
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "fuse", "kvm", "kfd")
_DEVICE_PREFIXES = ("nvidia", "dri", "infiniband", "accel", "dxg")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_HIDDEN_PROC = ("kcore", "keys", "timer_list", "acpi", "scsi")
_UNKNOWN = {65534}
"""As whom a user namespace shows those whom it does not know."""
_WITHOUT_SHARED = ("/boot", "/etc", "/usr", "/var/cache", "/var/lib", "/var/log")
_MOST_LOOKED_AT, _MOST_PARTS = 4000, 32
_KEPT_OF_RUN = ("current-system", "booted-system", "wrappers")
"""Where NixOS has its programs."""


def mount_points() -> list[str]:
    with open("/proc/self/mountinfo", "rb") as file:
        fields = [line.split(b" ", 5)[4] for line in file]
    return [os.fsdecode(field.decode("unicode_escape").encode("latin-1")) for field in fields]


def plan(hidden: str, *, overlays: bool) -> list[Step]:
    """How the root is put together. Nothing is mounted for what lies below `hidden`, the hub's own directory."""
    mounts = {path for path in mount_points() if path != hidden and not path.startswith(hidden + "/")}
    if overlays:
        steps = _entries("/", mounts, _DEPTH)
        overlaid = [path for kind, path, _ in steps if kind == "overlay"]
        return steps + [("part", path, 0) for path in _parts(overlaid)]
    steps = [("bind" if kind == "overlay" else kind, path, mode) for kind, path, mode in _entries("/", mounts, 1)]
    return [step for step in steps if step[1] not in _EMPTY] + [("empty", path, 0o1777) for path in _EMPTY]


def _entries(directory: str, mounts: set[str], depth: int) -> list[Step]:
    steps: list[Step] = []
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if directory == "/" and entry.name in _OWN:
            continue
        if entry.is_symlink():
            steps.append(("link", entry.path, 0))
        elif not entry.is_dir():
            if entry.is_file():
                size = entry.stat().st_size
                small = size <= _COPIED_BYTES and entry.path not in mounts and os.access(entry.path, os.R_OK)
                steps.append(("copy" if small else "bind", entry.path, entry.stat().st_mode & 0o7777))
        else:
            steps += _directory(entry.path, mounts, depth)
    return steps


def _directory(path: str, mounts: set[str], depth: int) -> list[Step]:
    mode = os.lstat(path).st_mode & 0o7777
    if not any(mounted.startswith(path + "/") for mounted in mounts):
        return [("overlay", path, mode)]
    if depth > 1 and os.access(path, os.R_OK | os.X_OK):
        inside = _entries(path, mounts, depth - 1)
        if len(inside) < _MOST_STEPS:
            return [("directory", path, mode), *inside]
    return [("bind", path, mode)]


def _parts(overlaid: list[str]) -> list[str]:
    """Where ordinary users meet others' directories on the way to what they may write to, near the top of overlays. An
    administrator's user namespace knows everybody, and has none."""
    with open("/proc/self/uid_map") as file:
        if file.read().split()[2:] != ["1"]:
            return []
    tops = [path for path in overlaid if not (path + "/").startswith(tuple(f"{top}/" for top in _WITHOUT_SHARED))]
    found = {foreign_directory(place, overlaid) for place in writable_directories(tops)}
    return sorted(found - {""})[:_MOST_PARTS]


def writable_directories(tops: list[str]) -> list[str]:
    """Those that are one or two steps below, as far as there are not too many to look at."""
    found, level = [], tops
    left = _MOST_LOOKED_AT
    for _ in range(2):
        below: list[str] = []
        for top in level:
            try:
                entries = [entry.path for entry in os.scandir(top) if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue  # not ours to look into
            below += entries[:left]
            left -= len(entries[:left])
        found += [path for path in below if os.access(path, os.W_OK | os.X_OK)]
        level = below
    return found


def build(base: str, steps: list[Step], places: list[str]) -> str:
    """Put a root together below `base`, a directory of the hub's, in this mount namespace alone; where it is.

    `places` are directories that will be written to.
    """
    syscalls.mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    root = base + "/root"
    os.mkdir(root)
    syscalls.mount("tmpfs", root, "tmpfs", MS_NODEV, "mode=755")
    for number, (kind, path, mode) in enumerate(steps):
        target = root + path
        if kind == "link":
            os.symlink(os.readlink(path), target)
        elif kind == "copy":
            _copy(path, target, mode)
        elif kind == "part":
            _overlay_part(path, target, f"{base}/{number}")
        else:
            if kind != "empty" or not os.path.isdir(target):
                _make(target, directory=kind != "bind" or os.path.isdir(path), mode=mode)
            if kind == "overlay":
                overlay(path, target, f"{base}/{number}", mode)
            elif kind == "bind":
                _show(path, target)
            elif kind == "empty":
                syscalls.mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    overlaid = [path for kind, path, _ in steps if kind in ("overlay", "part")]
    for path in sorted({foreign_directory(place, overlaid) for place in places} - {""}):
        _overlay_part(path, root + path, f"{base}/{path.replace('/', '-')}")
    _make_own(root)
    return root


def foreign_directory(place: str, overlaid: list[str]) -> str:
    """The lowest directory on the way to a place that belongs to somebody who is unknown in this user namespace. To
    write below it the kernel would give a copy of it to its owner, and cannot: it must be an overlay of its own.
    """
    found, path = "", ""
    for part in os.path.realpath(place).split("/")[1:]:
        path = f"{path}/{part}"
        try:
            info = os.lstat(path)
        except OSError:
            break
        if path in overlaid:
            found = ""
        elif stat.S_ISDIR(info.st_mode) and _UNKNOWN & {info.st_uid, info.st_gid}:
            found = path
    return found if any(found.startswith(top + "/") for top in overlaid) else ""


def _overlay_part(lower: str, target: str, layer: str) -> None:
    mode = os.stat(lower).st_mode & 0o7777
    try:
        _mount_overlay(lower, target, layer, mode)
    except OSError:
        return  # with mounts inside: it stays as it is in the overlay above


def overlay(lower: str, target: str, layer: str, mode: int) -> None:
    """Writes to `target` go to `layer`. Read-only where the file system below cannot be overlaid."""
    try:
        _mount_overlay(lower, target, layer, mode)
    except OSError:
        _show(lower, target)


def _mount_overlay(lower: str, target: str, layer: str, mode: int) -> None:
    for part in (layer, layer + "/upper", layer + "/work"):
        os.mkdir(part, mode if part.endswith("upper") else 0o755)
    os.chmod(layer + "/upper", mode)
    where = ",".join(
        f"{name}={_escaped(path)}"
        for name, path in (("lowerdir", lower), ("upperdir", layer + "/upper"), ("workdir", layer + "/work"))
    )
    syscalls.mount("overlay", target, "overlay", 0, where + ",userxattr")


def can_overlay(base: str) -> bool:
    """Whether this kernel overlays in a user namespace; found by doing it, at a directory of the hub's."""
    for part in ("lower", "target"):
        os.mkdir(f"{base}/{part}")
    layer = base + "/layer"
    for part in (layer, layer + "/upper", layer + "/work"):
        os.mkdir(part)
    data = f"lowerdir={_escaped(base)}/lower,upperdir={_escaped(layer)}/upper,workdir={_escaped(layer)}/work,userxattr"
    try:
        syscalls.mount("overlay", base + "/target", "overlay", 0, data)
    except OSError:
        return False
    syscalls.unmount(base + "/target")
    return True


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _copy(path: str, target: str, mode: int) -> None:
    with open(path, "rb") as source, open(target, "wb") as sink:
        sink.write(source.read())
    os.chmod(target, mode)


def _show(path: str, target: str) -> None:
    try:
        syscalls.bind(path, target, read_only=True)
    except OSError:
        return  # not ours to see, such as another user's FUSE mount: it is empty then


def _make(path: str, *, directory: bool, mode: int = 0o755) -> None:
    if directory:
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def place(root: str, source: str, target: str, *, read_only: bool) -> None:
    """Mount a file or directory at `target` in the root, which is made where it is not. Raises OSError."""
    at = inside(root, target)
    is_directory = stat.S_ISDIR(os.stat(source).st_mode)
    if not os.path.lexists(at) or os.path.isdir(at) != is_directory:
        _make(at, directory=is_directory)
    syscalls.bind(source, at, read_only=read_only)


def inside(root: str, target: str) -> str:
    """Where `target` is below `root`, with its symbolic links followed as if `root` were `/`."""
    done, pending, followed = "", [part for part in target.split("/") if part not in ("", ".")], 0
    while pending:
        part = pending.pop(0)
        if part == "..":
            done = os.path.dirname(done) if done != "/" else ""
            continue
        path = f"{done}/{part}"
        if os.path.islink(root + path) and followed < 40:
            followed += 1
            link = os.readlink(root + path)
            done = "" if link.startswith("/") else done
            pending = [piece for piece in link.split("/") if piece not in ("", ".")] + pending
        else:
            done = path
    return root + (done or "/")


def _make_own(root: str) -> None:
    for name in _OWN:
        os.mkdir(f"{root}/{name}", 0o755)
    syscalls.mount("tmpfs", root + "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.mkdir(root + "/run/lock", 0o1777)
    os.chmod(root + "/run/lock", 0o1777)
    for name in _KEPT_OF_RUN:
        if os.path.islink(f"/run/{name}"):
            os.symlink(os.readlink(f"/run/{name}"), f"{root}/run/{name}")
        elif os.path.isdir(f"/run/{name}"):
            os.mkdir(f"{root}/run/{name}")
            _show(f"/run/{name}", f"{root}/run/{name}")
    _make_dev(root + "/dev")
    _make_proc(root + "/proc")
    _make_sys(root + "/sys")


def _make_dev(dev: str) -> None:
    syscalls.mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
    for name in os.listdir("/dev"):
        if name in _DEVICES or name.startswith(_DEVICE_PREFIXES):
            _make(f"{dev}/{name}", directory=os.path.isdir(f"/dev/{name}"))
            try:
                syscalls.bind(f"/dev/{name}", f"{dev}/{name}")
            except OSError:
                continue
    for name, link in _DEVICE_LINKS.items():
        os.symlink(link, f"{dev}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{dev}/{name}")
    syscalls.bind("/dev/pts", dev + "/pts")
    try:
        syscalls.mount("mqueue", dev + "/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        os.rmdir(dev + "/mqueue")  # a kernel without


def _make_proc(proc: str) -> None:
    """Of the PID namespace of this process. What is the whole machine's is shown read-only, or not at all."""
    syscalls.mount("proc", proc, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name in _READ_ONLY_PROC:
        if os.path.exists(f"{proc}/{name}"):
            syscalls.bind(f"{proc}/{name}", f"{proc}/{name}", read_only=True)
    for name in _HIDDEN_PROC:
        path = f"{proc}/{name}"
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", MS_RDONLY)
        elif os.path.exists(path):
            syscalls.bind("/dev/null", path)


def _make_sys(sys: str) -> None:
    try:
        syscalls.mount("sysfs", sys, "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        _show("/sys", sys)
        return
    if os.path.isdir("/sys/fs/cgroup"):
        _show("/sys/fs/cgroup", sys + "/fs/cgroup")
