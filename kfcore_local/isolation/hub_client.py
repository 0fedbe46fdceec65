"""The kubelet's side of the hub: starts it, asks it for namespaces and sockets, has it launch containers, and starts it
again when it was killed. Pods and commands come in, descriptors and supervisors go out.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import marshal
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kfcore_local.launcher import Descriptors, StartFailed, Supervisor, written
from kfcore_local.troubles import CannotStart

log = structlog.get_logger(__name__)

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from kfcore_local.isolation.hub import main; main()"
_PACKAGES = str(Path(__file__).parents[2])
_READY_WITHIN = 60.0
_ANSWER_WITHIN = 60.0
_MESSAGE_BYTES = 65536


class NotIsolated(CannotStart):
    """This machine has no namespaces for us; the message says why."""


class PodNamespaces(msgspec.Struct, frozen=True):
    """What a pod's namespaces are made from. `memory` has the options of file systems in memory, by name;
    `one_pid_space`: its containers see each other's processes.
    """

    uid: str
    hostname: str
    address: str
    memory: Mapping[str, str] = msgspec.field(default_factory=dict)
    one_pid_space: bool = False


class Hub:
    """One for a kubelet. `base` is an empty directory of the kubelet's; the hub alone sees what it mounts there.
    `overlays`: use them over this machine's files, where the kernel has them for users.
    """

    def __init__(self, base: Path, *, overlays: bool = True) -> None:
        self.base = base
        self.writable = True
        """Whether pods can write to their private layer; False where the kernel has no overlays for them."""
        self.any_port = False
        """Whether pods' connections to other machines arrive at one port, whichever they ask for."""
        self.started: list[Callable[[], None]] = []
        """Called when it has been started, and each time that it has been started again."""
        self._overlays = overlays
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._sockets: socket.socket | None = None
        self._pods: dict[str, PodNamespaces] = {}
        self._made: set[str] = set()
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._numbers = itertools.count(1)
        self._supervisors: dict[str, _InPod] = {}
        self._ready: asyncio.Future[None] | None = None
        self._starting = asyncio.Lock()
        self._reaped: asyncio.Future[Any] | None = None

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Until it serves. Raises NotIsolated where it cannot."""
        async with self._starting:
            if self._control is None:
                await self._start()

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self.base.mkdir(parents=True, exist_ok=True)
        control, its_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sockets, its_sockets = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_control, its_sockets:
            numbers = (its_control.fileno(), its_sockets.fileno())
            arguments = (*map(str, numbers), str(self.base), "overlays" if self._overlays else "")
            try:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - a vfork, about a millisecond
                    [sys.executable, "-I", "-S", "-c", _START, _PACKAGES, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=numbers,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                control.close()
                sockets.close()
                raise NotIsolated(f"cannot start {sys.executable}: {error}") from error
        control.setblocking(False)
        control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._control, self._sockets = control, sockets
        self._made.clear()
        self._ready = loop.create_future()
        loop.add_reader(control, self._readable)
        try:
            async with asyncio.timeout(_READY_WITHIN):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self._lost("it took too long")
            raise NotIsolated("namespaces took too long to set up") from None
        for call in self.started:
            call()

    async def stop(self) -> None:
        """End it, and with it every process of every pod."""
        if self._control is not None:
            self._lost("the kubelet ends")
        if self._reaped is not None:
            await self._reaped

    def _lost(self, why: str) -> None:
        """It is gone, or is to be: whatever waits for it hears so."""
        control, sockets, process = self._control, self._sockets, self._process
        self._control = self._sockets = self._process = None
        if control is not None:
            asyncio.get_running_loop().remove_reader(control)
            control.close()
        if sockets is not None:
            sockets.close()
        if process is not None:
            self._reaped = asyncio.ensure_future(asyncio.to_thread(process.wait))
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(f"the processes that pods run in ended: {why}")
        self._answers.clear()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(NotIsolated(why))

    def _readable(self) -> None:
        assert self._control is not None
        try:
            data, ancillary, _, _ = self._control.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(12))
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            log.warning("isolation.hub_ended")
            self._lost("killed, or out of memory")
            return
        message = marshal.loads(data)
        if "ready" in message:
            self.writable, self.any_port = message["ready"], message["any_port"]
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
        elif "failed" in message:
            self._lost(_why(message["errno"], message["failed"]))
        elif "supervisor" in message:
            supervisor = self._supervisors.get(message["supervisor"])
            for level, kind, credentials in ancillary:
                if supervisor is not None and (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    supervisor.pid = struct.unpack("3i", credentials)[0]
        else:
            answer = self._answers.pop(message["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(message["error"])

    # ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, pod: PodNamespaces) -> None:
        """Make a pod's namespaces, unless they are there. Raises StartFailed."""
        self._pods[pod.uid] = pod
        if self._control is None:
            try:
                await self.start()
            except NotIsolated as error:
                raise StartFailed(f"the namespaces of pods cannot be made again: {error}") from error
        if pod.uid in self._made:
            return
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._request({"what": "pod", "id": number, **_plain(pod)})
        except OSError as error:
            raise StartFailed(f"the namespaces of pods are gone: {error}") from error
        if refusal := await answer:
            raise StartFailed(f"failed to create the pod's namespaces: {refusal}")
        self._made.add(pod.uid)

    def remove(self, uid: str) -> None:
        self._pods.pop(uid, None)
        if uid in self._made:
            self._made.discard(uid)
            try:
                self._request({"what": "remove", "uid": uid})
            except OSError as error:
                log.debug("isolation.hub_gone", error=str(error))

    def memory(self, uid: str, name: str) -> str:
        """Where the hub has a file system in memory that a pod was made with."""
        return f"{self.base}/memory/{uid}/{name}"

    def open_socket(self, uid: str = "", *, stream: bool = True) -> socket.socket:
        """A socket in the network of a pod, or in the one that they are all on. Raises OSError.

        The hub answers at once, so that this blocks for as long as a system call does.
        """
        number = next(self._numbers)
        if self._sockets is not None:
            self._sockets.send(marshal.dumps({"what": "socket", "id": number, "uid": uid, "stream": stream}))
        while (sockets := self._sockets) is not None:
            if not self._wait_for(sockets):
                raise OSError("the processes that pods run in do not answer")
            data, descriptors, _, _ = socket.recv_fds(sockets, _MESSAGE_BYTES, 1)
            if not data:
                break
            answer = marshal.loads(data)
            if answer["id"] != number:  # of one that was given up
                for descriptor in descriptors:
                    os.close(descriptor)
                continue
            if answer["error"]:
                raise OSError(answer["error"])
            opened = socket.socket(fileno=descriptors[0])
            opened.setblocking(False)
            return opened
        raise OSError("pods have no network now: it is being made again")

    def _wait_for(self, sockets: socket.socket) -> bool:
        """Whether an answer comes. What else the hub has to say is heard meanwhile, or it would wait for us."""
        deadline = time.monotonic() + _ANSWER_WITHIN
        while (control := self._control) is not None and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([sockets, control], [], [], left)
            if sockets in ready:
                return True
            if control in ready:
                self._readable()
        return self._control is None

    # ── containers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def launch(self, request: Mapping[str, Any], spec: Mapping[str, Any], ends: Descriptors) -> Supervisor:
        """Have a supervisor forked for the command of `spec`. Raises StartFailed."""
        supervisor = self._supervisors[request["mark"]] = _InPod(self, request["mark"])
        with written(spec) as file:
            fds = [ends.orders, ends.told, file, ends.stdin, ends.stdout, ends.stderr]
            try:
                self._request(request, fds)
            except OSError as error:
                self.forget(request["mark"])
                raise StartFailed(f"the namespaces of pods are gone: {error}") from error
        return supervisor

    def forget(self, mark: str) -> None:
        self._supervisors.pop(mark, None)

    def _request(self, request: Mapping[str, Any], descriptors: list[int] | None = None) -> None:
        data = marshal.dumps(dict(request))
        while (control := self._control) is not None:
            try:
                socket.send_fds(control, [data], descriptors or [])
            except BlockingIOError:
                # Hundreds of requests at once. The hub takes them in milliseconds, if its answers are heard meanwhile.
                answers, _, _ = select.select([control], [control], [], 1.0)
                if answers:
                    self._readable()
            else:
                return
        raise OSError("they are being made again")


class _InPod:
    def __init__(self, hub: Hub, mark: str) -> None:
        self.pid = 0
        self._hub, self._mark = hub, mark

    async def gone(self) -> None:
        """The hub reaps it; that it has closed its ends is all there is to know."""
        self._hub.forget(self._mark)


def _why(number: int, text: str) -> str:
    """What keeps this machine from making namespaces, and the setting behind it."""
    settings = {
        errno.ENOSPC: "the sysctl user.max_user_namespaces allows no more user namespaces",
        errno.EPERM: "a container's seccomp profile, or the sysctl kernel.unprivileged_userns_clone or "
        "kernel.apparmor_restrict_unprivileged_userns, forbids user namespaces",
    }
    return settings.get(errno.EPERM if number == errno.EACCES else number, text)


def _plain(pod: PodNamespaces) -> dict[str, Any]:
    return {**msgspec.structs.asdict(pod), "memory": dict(pod.memory)}


class PodLauncher(msgspec.Struct, frozen=True):
    """A `Launcher` of a pod's containers. `container` is the mark of the one that commands are to join, if any;
    `target` is the name of the one whose processes a new one is to see.
    """

    hub: Hub
    namespaces: PodNamespaces
    place: Mapping[str, Any]
    container: str = ""
    target: str = ""

    def launch(self, spec: Mapping[str, Any], mark: str, descriptors: Descriptors) -> Supervisor:
        what = "exec" if self.container else "run"
        uid = self.namespaces.uid
        target = f"kfcore://{uid}/{self.target}/" if self.target else ""
        request = {"what": what, "uid": uid, "mark": mark, "container": self.container, "target": target}
        return self.hub.launch(request, {**self.place, **spec}, descriptors)

    def beside(self, mark: str) -> PodLauncher:
        return PodLauncher(self.hub, self.namespaces, {}, mark)
