"""The parent of one container: a tiny program, started by `container.py`, that sees to it that nothing outlives kfcore.

    python -I -S supervisor.py SPEC_FD STDIN_FD STDOUT_FD STDERR_FD

or, for a pod with namespaces of its own, forked by `isolation/hub.py`. It starts the command of the spec, tells on
its stdout what became of it, takes one-byte orders on its stdin, and kills every descendant when the command ends, when
its stdin ends (kfcore is gone, however it went) or when a signal ends it. On Linux it is its descendants' subreaper, so
that a daemon that left its session is found too, and its own violent death kills the command; elsewhere the command's
process group is what it kills.

It imports nothing but built-in modules: `signal` and `ctypes` would double the time to start.
"""

import _signal  # type: ignore[import-not-found]
import errno
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False  # `typing` would double the time to start, too
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TERMINATE = b"T"
KILL = b"K"

LINUX = sys.platform == "linux"
GIVE_UP_AFTER = 30.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
ENDING_SIGNALS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


def prctl(option: int, value: int) -> None:
    import _ctypes

    function = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
    _ctypes.call_function(function, (option, value, 0, 0, 0))


def tell(message: str, descriptor: int = 1) -> None:
    try:
        os.write(descriptor, message.encode(errors="replace") + b"\n")
    except OSError:
        return  # nobody listens any more


def own_terminal(terminal: int) -> None:
    """Make a terminal that of this session, so that Ctrl-C in it reaches the command."""
    import fcntl

    fcntl.ioctl(terminal, 0x540E if LINUX else 0x20007461)  # TIOCSCTTY


def become(user: int, group: int, groups: "list[int]") -> None:
    """Give up being root."""
    import warnings  # noqa: F401 - `execvpe` wants it, and the user may have no right to read it

    os.setgroups(groups)
    os.setgid(group)
    os.setuid(user)
    if LINUX:
        prctl(PR_SET_PDEATHSIG, _signal.SIGKILL)  # which the change has undone


def found(program: str, env: "dict[str, str]") -> bool:
    """Whether it is there at all; directories of the path that are not ours to look into have nothing."""
    if "/" in program:
        return True
    return any(os.path.exists(f"{directory}/{program}") for directory in env.get("PATH", os.defpath).split(":"))


def run_command(
    spec: "dict[str, Any]", report: int, streams: tuple[int, int, int], before: "Callable[[], None] | None"
) -> None:
    """In the child: become the command, or report why not."""
    argv, env, cwd, tty = spec["argv"], spec["env"], spec["cwd"], spec["tty"]
    supervisor = os.getppid()
    os.setsid()
    if LINUX:
        prctl(PR_SET_PDEATHSIG, _signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(137)
    for number in (*ENDING_SIGNALS, _signal.SIGCHLD, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in set(streams):
        os.close(stream)
    if tty:
        own_terminal(0)
    if before is not None:
        before()
    try:
        os.chdir(cwd)
    except OSError as error:
        os.write(report, f'chdir to working directory "{cwd}": {error.strerror}'.encode(errors="replace"))
        os._exit(128)
    try:
        if spec["user"]:
            become(*spec["user"])
    except OSError as error:
        os.write(report, f"cannot run as user {spec['user'][0]}: {error.strerror}".encode(errors="replace"))
        os._exit(128)
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        why = error.strerror
        if error.errno == errno.ENOENT or not found(argv[0], env):
            why = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
        os.write(report, f'exec: "{argv[0]}": {why}'.encode(errors="replace"))
    except ValueError as error:
        os.write(report, f'exec: "{argv[0]}": {error}'.encode(errors="replace"))
    os._exit(128)


def descendants() -> list[int]:
    """The processes below this one, from /proc (its `children` files are a kernel option that some leave out)."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stat:
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue  # it ended while we looked
            children.setdefault(parent, []).append(int(entry))
    found = []
    pending = [os.getpid()]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        return  # it ended, or changed its user


def reap(main: int, status: int | None) -> tuple[bool, int | None]:
    """Collect the children that ended: whether any is left, and the command's wait status once it has one."""
    while True:
        try:
            pid, pid_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, status
        if pid == 0:
            return True, status
        if pid == main:
            status = pid_status


def sweep(main: int, status: int | None) -> int | None:
    """Kill and reap whatever is left. The first process of a PID namespace kills all that is in it."""
    deadline = time.monotonic() + GIVE_UP_AFTER
    is_init = os.getpid() == 1
    if is_init or not LINUX:
        send(-1 if is_init else -main, _signal.SIGKILL)  # else its process group
    while True:
        left, status = reap(main, status)
        if not left or time.monotonic() > deadline:
            return status
        for pid in [-1] if is_init else descendants() if LINUX else [main]:
            send(pid, _signal.SIGKILL)
        time.sleep(0.001)


def supervise(main: int, wakeup: int) -> int | None:
    """Wait until the command ends or must end; its wait status."""
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(wakeup, select.POLLIN)
    status: int | None = None
    while status is None:
        for fd, _ in poll.poll():
            orders = os.read(fd, 64)
            if fd == wakeup:
                if any(number in orders for number in ENDING_SIGNALS):
                    return sweep(main, status)
                _, status = reap(main, status)
            elif not orders or KILL in orders:  # the end of the stream is the end of kfcore
                return sweep(main, status)
            elif TERMINATE in orders:
                send(main, _signal.SIGTERM)
    return sweep(main, status)


def supervise_command(
    spec: "dict[str, Any]", streams: tuple[int, int, int], before: "Callable[[], None] | None" = None
) -> None:
    """Start the command of `spec` on `streams`, and see to its end. `before` is called by what becomes the command."""
    wakeup, wake = os.pipe()
    os.set_blocking(wake, False)
    _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (*ENDING_SIGNALS, _signal.SIGCHLD):
        _signal.signal(number, lambda *_: None)
    if LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    reading, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        run_command(spec, report, streams, before)
    os.close(report)
    for stream in set(streams):
        os.close(stream)
    failure = os.read(reading, 65536).decode(errors="replace")
    os.close(reading)
    if failure:
        sweep(pid, None)
        tell(f"failed {failure}")
        return
    tell(f"started {pid}")
    status = supervise(pid, wakeup)
    if status is None:
        tell(f"signaled {int(_signal.SIGKILL)}")
    elif os.WIFSIGNALED(status):
        tell(f"signaled {os.WTERMSIG(status)}")
    else:
        tell(f"exited {os.WEXITSTATUS(status)}")


def main() -> None:
    spec_fd, *numbers = (int(argument) for argument in sys.argv[1:5])
    with os.fdopen(spec_fd, "rb") as file:
        spec = marshal.load(file)
    supervise_command(spec, (numbers[0], numbers[1], numbers[2]))


if __name__ == "__main__":
    main()
