"""The clusters of this user that run now, each with a name and a directory: `kfcore local up` enters itself, and
`status`, `logs` and `stop` find it. A lock that its process holds says whether it lives: no crash leaves a ghost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kfcore_local import kept_secrets

DEFAULT_NAME = "kfcore"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_LOCK, _FACTS, _LOG = "lock", "instance.json", "log"
_CLAIM = "KFCORE_LOCAL_CLAIM"


class InstanceError(Exception):
    """A name that cannot be used, or of which nothing runs. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A cluster that is up."""

    name: str
    pid: int
    url: str
    token: str
    kubeconfig: str
    data_dir: str = ""
    context: str = ""
    gateway: str = ""
    """The link to it, with its token."""
    note: str = ""
    """What a user must know about how pods are kept apart there."""


def runtime_directory() -> Path:
    """A place of this user's own for what lives as long as a cluster, also for a user without a home."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    home = Path(os.environ.get("HOME") or "/nonexistent")
    if runtime and os.access(runtime, os.W_OK):
        directory = Path(runtime) / "kfcore"
    elif home.is_dir() and os.access(home, os.W_OK):
        directory = home / ".kfcore"
    else:
        directory = Path(tempfile.gettempdir()) / f"kfcore-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
        # In a shared directory somebody else may have made it first, to read or to swap what we write.
        directory = Path(tempfile.mkdtemp(prefix="kfcore-"))
    return directory


def directory_of(name: str) -> Path:
    """Where the cluster of a name keeps what others look for. Raises InstanceError for what is no name."""
    if not _NAME.fullmatch(name):
        raise InstanceError(f"{name!r} is no name for a cluster: use up to 40 of a-z, 0-9 and -, as in my-cluster")
    return runtime_directory() / "clusters" / name


def log_of(name: str) -> Path:
    """The log of a cluster that was started with `--detach`; it stays when the cluster has ended."""
    return directory_of(name) / _LOG


def is_logged(directory: Path) -> bool:
    """Whether what this process prints goes to the log of the name with that directory: it is in the background."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(sys.stdout.fileno()), os.stat(directory / _LOG))
    return False


@contextlib.contextmanager
def claimed(name: str | None) -> Iterator[tuple[str, Path]]:
    """Hold a name while the block runs: the name, and its directory. None takes the first free of kfcore, kfcore-2, ….

    Raises InstanceError when another cluster has the name.
    """
    name, directory, descriptor = _inherited(name) or claim(name)
    try:
        (directory / _FACTS).unlink(missing_ok=True)  # of one that was killed
        yield name, directory
    finally:
        (directory / _FACTS).unlink(missing_ok=True)
        os.close(descriptor)


def claim(name: str | None) -> tuple[str, Path, int]:
    """As `claimed`, and a descriptor that holds the name until the last copy of it is closed."""
    for candidate in (name,) if name else (DEFAULT_NAME, *(f"{DEFAULT_NAME}-{number}" for number in range(2, 1000))):
        directory = directory_of(candidate)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _locked(descriptor):
            return candidate, directory, descriptor
        os.close(descriptor)
    raise InstanceError(
        f"a cluster named {name} runs already: end it with `kfcore local stop --name {name}`, or choose another --name"
    )


def handed_on(descriptor: int) -> dict[str, str]:
    """The environment of a process that is started with what `claim` gave, to have the name from then on."""
    return {**os.environ, _CLAIM: str(descriptor)}


def _inherited(name: str | None) -> tuple[str, Path, int] | None:
    """The claim that whoever started this process has made for it."""
    number = os.environ.pop(_CLAIM, "")
    if not name or not number.isdecimal():
        return None
    descriptor, directory = int(number), directory_of(name)
    try:
        if not os.path.samestat(os.fstat(descriptor), os.stat(directory / _LOCK)):
            return None
    except OSError:
        return None
    os.set_inheritable(descriptor, False)
    return name, directory, descriptor


def _locked(descriptor: int) -> bool:
    while not _held(descriptor, fcntl.LOCK_EX):
        if not _held(descriptor, fcntl.LOCK_SH):
            return False  # a cluster has it
        # Somebody just looks whether it is held, however long a busy machine takes for that.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(0.005)
    return True


def _held(descriptor: int, kind: int) -> bool:
    """Whether a lock can be had now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def enter(instance: Instance, directory: Path) -> None:
    """Tell where the cluster of a claimed name is, now that it is up."""
    temporary = directory / f".{_FACTS}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(instance), file)
    temporary.replace(directory / _FACTS)


def find(name: str) -> Instance | None:
    """The cluster of a name, when it is up."""
    return entered(name) if is_alive(name) else None


def entered(name: str) -> Instance | None:
    """What the cluster of a name told of itself; whether it still lives is not asked."""
    try:
        return Instance(**json.loads((directory_of(name) / _FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # it begins or ends just now


def is_alive(name: str) -> bool:
    """Whether a process holds the name."""
    try:
        descriptor = os.open(directory_of(name) / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def running() -> list[Instance]:
    """All clusters that are up, by name."""
    directory = runtime_directory() / "clusters"
    names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
    return [found for name in names if _NAME.fullmatch(name) and (found := find(name)) is not None]


def clear_data(directory: Path) -> None:
    """Remove what kfcore keeps in a data directory, and the directory when nothing else is in it.

    Raises InstanceError when it is in use, or is none of ours.
    """
    if not (directory / "state.db").is_file():
        raise InstanceError(f"{directory} is no data directory of kfcore; nothing was removed")
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InstanceError(f"{directory} is in use: end its cluster with `kfcore local stop` first") from error
        for kept in ("kubelet", "volumes"):
            shutil.rmtree(directory / kept, ignore_errors=True)
        for path in (*directory.glob("state.db*"), directory / kept_secrets.FILE, directory / "lock"):
            path.unlink(missing_ok=True)  # the lock last: whoever comes from then on finds nothing of the old
    with contextlib.suppress(OSError):
        directory.rmdir()
