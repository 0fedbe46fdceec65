"""The process that makes namespaces and forks containers into them. Requests come in from the kubelet by a socket, with
file descriptors; supervisors (`supervisor.py`) and sockets in pods' networks come out.

    python -I -S -c "…; hub.main()" CONTROL_FD SOCKETS_FD BASE OVERLAYS

It starts in the kubelet's namespaces, makes a user namespace in which the user is who they are, and goes on in there as
the first process of a PID namespace, so that no process of a pod outlives it. It ends with the kubelet's ends of its
sockets. Being small and with one thread, it forks in a millisecond; it never blocks for longer.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import gc
import marshal
import os
import select
import sys

from kfcore_local import supervisor
from kfcore_local.isolation import addresses, rootfs, syscalls
from kfcore_local.isolation.container import become_container, join_container
from kfcore_local.isolation.links import Links
from kfcore_local.isolation.messages import receive, send
from kfcore_local.isolation.pause import close_all_but, pause
from kfcore_local.isolation.redirect import redirect
from kfcore_local.isolation.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
)
from kfcore_local.isolation.user_namespace import make_namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SETTINGS = {
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
"""Of every pod's network, as container runtimes set them; its links have no IPv6, its loopback has."""


class Pod:
    """The namespaces that the containers of a pod share, kept by descriptors, and its volumes in memory. Where they
    share a PID namespace too, its first process is `pause`, which is made again when it was killed.
    """

    def __init__(self, namespaces: dict[int, int], volumes: str, *, one_pid_space: bool) -> None:
        self.namespaces = namespaces
        self.volumes = volumes
        self.one_pid_space = one_pid_space
        self.pause = 0

    def enter(self) -> None:
        for kind, descriptor in self.namespaces.items():
            syscalls.setns(descriptor, kind)

    def lose_pause(self) -> None:
        self.pause = 0
        os.close(self.namespaces.pop(CLONE_NEWPID))

    def close(self) -> None:
        if self.pause:
            os.kill(self.pause, _signal.SIGKILL)
        for descriptor in self.namespaces.values():
            os.close(descriptor)
        if os.path.isdir(self.volumes):
            for name in os.listdir(self.volumes):
                syscalls.unmount(f"{self.volumes}/{name}")
                os.rmdir(f"{self.volumes}/{name}")
            os.rmdir(self.volumes)


class Hub:
    def __init__(self, control: int, sockets: int, base: str, overlays: bool) -> None:
        self._control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, control)
        self._sockets = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, sockets)
        self._base = base
        self._overlays = overlays
        self._pods: dict[str, Pod] = {}
        self._containers: dict[str, int] = {}
        self._mounts: list[str] = []
        self._steps: list[rootfs.Step] = []
        self._link_count = 0
        self._own: dict[int, int] = {}

    # ── what there is once ───────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, error: OSError) -> None:
        """Tell that there will be no pods here, and why."""
        send(self._control, {"failed": error.strerror or str(error), "errno": error.errno or 0})

    def set_up(self) -> None:
        """Its own mounts and network. Raises OSError."""
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
        syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
        syscalls.mount("tmpfs", self._base, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=700")
        for name in ("probe", "layer", "memory"):
            os.mkdir(f"{self._base}/{name}")
        self._overlays = self._overlays and rootfs.can_overlay(self._base + "/probe")
        names = {CLONE_NEWNET: "net", CLONE_NEWUTS: "uts", CLONE_NEWIPC: "ipc", CLONE_NEWPID: "pid"}
        self._own = {kind: _namespace("self", name) for kind, name in names.items()}
        _set_up_network()
        _write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1")  # two of its devices are on one network
        self._links = Links()
        self._links.set_up("lo")
        self._links.add_bridge(addresses.BRIDGE, addresses.hardware(addresses.GATEWAY))
        _write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0")  # it would ask the rules before it forwards
        way_out = addresses.hardware(addresses.WAY_OUT)
        self._links.add_pair(addresses.WAY_OUT_DEVICE, "out1", self._own[CLONE_NEWNET], way_out)
        self._links.set_up("out1", bridge=addresses.BRIDGE)
        for device, address in ((addresses.BRIDGE, addresses.GATEWAY), (addresses.WAY_OUT_DEVICE, addresses.WAY_OUT)):
            self._links.add_address(device, address, addresses.PREFIX)
            self._links.set_up(device)
        self._links.accept_others()
        try:
            redirect(addresses.WAY_OUT_DEVICE, addresses.WAY_OUT_PORT)
            any_port = True
        except OSError:
            any_port = False  # a kernel without nf_tables
        self._plan()
        send(self._control, {"ready": self._overlays, "any_port": any_port})

    def _plan(self) -> list[rootfs.Step]:
        """How a root is put together, while mounts are as they were."""
        mounts = rootfs.mount_points()
        if mounts != self._mounts:
            self._mounts, self._steps = mounts, rootfs.plan(self._base, overlays=self._overlays)
        return self._steps

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def serve(self) -> None:
        """Until the kubelet's ends are closed."""
        wakeup, wake = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(wake, False)
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        gc.collect()
        gc.freeze()
        poll = select.poll()
        for descriptor in (self._control.fileno(), self._sockets.fileno(), wakeup):
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == wakeup:
                    os.read(wakeup, 4096)
                    self._reap()
                    continue
                channel = self._control if descriptor == self._control.fileno() else self._sockets
                request, descriptors = receive(channel)
                if request is None:
                    return
                try:
                    self._answer(channel, request, descriptors)
                finally:
                    for received in descriptors:
                        os.close(received)

    def _answer(self, channel: _socket.socket, request: dict[str, Any], descriptors: list[int]) -> None:
        what = request["what"]
        try:
            if what == "pod":
                self._add_pod(request)
                send(channel, {"id": request["id"], "error": ""})
            elif what == "remove":
                if (pod := self._pods.pop(request["uid"], None)) is not None:
                    pod.close()
            elif what == "socket":
                self._open_socket(channel, request)
            else:
                self._fork(request, descriptors)
        except OSError as error:
            if what in ("pod", "socket"):
                send(channel, {"id": request["id"], "error": str(error)})
            elif what in ("run", "exec"):
                supervisor.tell(f"failed {error}", descriptors[1])

    def _add_pod(self, request: dict[str, Any]) -> None:
        """Namespaces for a pod, with a link to the bridge, and file systems in memory by name and options."""
        uid = request["uid"]
        if uid in self._pods:
            return
        self._link_count += 1
        outside = f"pod{self._link_count}"
        syscalls.unshare(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)
        try:
            _socket.sethostname(request["hostname"])
            _set_up_network()
            inside = Links()
            inside.set_up("lo")
            hardware = addresses.hardware(request["address"])
            inside.add_pair("eth0", outside, self._own[CLONE_NEWNET], hardware)
            inside.add_address("eth0", request["address"], addresses.PREFIX)
            inside.set_up("eth0")
            inside.add_route(addresses.WAY_OUT)
            inside.add_route(addresses.GATEWAY, addresses.SERVICES, addresses.SERVICES_PREFIX)
            inside.close()
            names = {CLONE_NEWNET: "net", CLONE_NEWUTS: "uts", CLONE_NEWIPC: "ipc"}
            namespaces = {kind: _namespace("self", name) for kind, name in names.items()}
        finally:
            self._return(CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWIPC)
        pod = Pod(namespaces, f"{self._base}/memory/{uid}", one_pid_space=request["one_pid_space"])
        self._pods[uid] = pod
        try:
            self._links.set_up(outside, bridge=addresses.BRIDGE)
            os.mkdir(pod.volumes)
            for name, options in request["memory"].items():
                os.mkdir(f"{pod.volumes}/{name}")
                flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
                syscalls.mount("tmpfs", f"{pod.volumes}/{name}", "tmpfs", flags, options)
        except OSError:
            self._pods.pop(uid).close()
            raise

    def _open_socket(self, channel: _socket.socket, request: dict[str, Any]) -> None:
        """A socket in a pod's network; without a pod, in the network that all pods are on."""
        uid = request["uid"]
        if uid and uid not in self._pods:
            raise OSError("the pod has no network: it does not run")
        kind = _socket.SOCK_STREAM if request["stream"] else _socket.SOCK_DGRAM
        if uid:
            syscalls.setns(self._pods[uid].namespaces[CLONE_NEWNET], CLONE_NEWNET)
        try:
            opened = _socket.socket(_socket.AF_INET, kind | _socket.SOCK_CLOEXEC)
        finally:
            if uid:
                self._return(CLONE_NEWNET)
        send(channel, {"id": request["id"], "error": ""}, [opened.fileno()])
        opened.close()

    def _return(self, *kinds: int) -> None:
        for kind in kinds:
            syscalls.setns(self._own[kind], kind)

    # ── containers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> None:
        """A supervisor in a pod's namespaces: of a new container (`run`), or beside one that runs (`exec`)."""
        pod, mark = self._pods.get(request["uid"]), request["mark"]
        if pod is None:
            raise OSError("the pod's namespaces are gone")
        joined, steps = -1, self._plan()
        if request["what"] == "run":
            if request["target"]:
                self._join_processes(self._container(request["target"]))
            else:
                self._choose_pid_space(pod)
        else:
            container = self._container(request["container"])
            joined = _namespace(str(container), "mnt")
            try:
                self._join_processes(container)
            except OSError:
                os.close(joined)
                raise
        try:
            pid = os.fork()
        except OSError:
            self._return(CLONE_NEWPID)
            raise
        if pid:
            self._return(CLONE_NEWPID)
            if joined >= 0:
                os.close(joined)
            else:
                self._containers[mark] = pid
            return
        try:
            self._supervise(pod, mark, descriptors, joined, steps)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must not go on as the hub
            supervisor.tell(f"failed {error}")
        finally:
            os._exit(0)

    def _container(self, mark: str) -> int:
        """The supervisor of a container that runs, by its mark or how that begins."""
        found = next((pid for own, pid in self._containers.items() if own.startswith(mark)), None)
        if found is None:
            raise OSError("the container does not run")
        return found

    def _join_processes(self, container: int) -> None:
        """For children from here on: the PID namespace of a container."""
        namespace = _namespace(str(container), "pid")
        try:
            syscalls.setns(namespace, CLONE_NEWPID)
        finally:
            os.close(namespace)

    def _choose_pid_space(self, pod: Pod) -> None:
        """For children from here on: a new one, or that of the pod."""
        if pod.one_pid_space and pod.pause:
            syscalls.setns(pod.namespaces[CLONE_NEWPID], CLONE_NEWPID)
            return
        syscalls.unshare(CLONE_NEWPID)
        if not pod.one_pid_space:
            return
        try:
            pid = os.fork()
            if pid == 0:
                pause()
            pod.namespaces[CLONE_NEWPID] = _namespace(str(pid), "pid")
        except OSError:  # it may have been killed already
            self._return(CLONE_NEWPID)
            raise
        pod.pause = pid

    def _supervise(self, pod: Pod, mark: str, descriptors: list[int], joined: int, steps: list[rootfs.Step]) -> None:
        """In the child: what the rest of its life is."""
        orders, told, spec_file, *streams = descriptors
        send(self._control, {"supervisor": mark})  # with this process's own identity, as the kubelet sees it
        _signal.set_wakeup_fd(-1)
        os.setsid()
        os.dup2(orders, 0)
        os.dup2(told, 1)
        pod.enter()
        close_all_but({0, 1, 2, spec_file, *streams, joined})
        with os.fdopen(spec_file, "rb") as file:
            spec = marshal.load(file)
        if joined >= 0:
            before = join_container(joined)
        else:
            syscalls.unshare(CLONE_NEWNS | CLONE_NEWCGROUP)
            before = become_container(spec, self._base + "/layer", steps)
        supervisor.supervise_command(spec, (streams[0], streams[1], streams[2]), before)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for mark in [mark for mark, container in self._containers.items() if container == pid]:
                del self._containers[mark]
            for pod in self._pods.values():
                if pod.pause == pid:
                    pod.lose_pause()


def _set_up_network() -> None:
    """Of the network namespace that this process is in."""
    for path, value in _SETTINGS.items():
        _write("/proc/sys/" + path, value)


def _write(setting: str, value: str) -> None:
    try:
        with open(setting, "w") as file:
            file.write(value)
    except OSError:
        return  # a kernel without it, such as one without IPv6


def _namespace(process: str, name: str) -> int:
    return os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


def _wait_for_children() -> None:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main() -> None:
    control, sockets, base, overlays = sys.argv[1:5]
    hub = Hub(int(control), int(sockets), base, overlays == "overlays")
    try:
        make_namespaces()
        inside = os.fork() == 0
    except OSError as error:
        hub.refuse(error)
        return
    if not inside:  # the parent, for the kubelet to wait for; the hub dies with it
        os.close(int(control))
        os.close(int(sockets))
        _wait_for_children()
        os._exit(0)
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, _signal.SIGKILL)
        hub.set_up()
        hub.serve()
    except OSError as error:
        hub.refuse(error)
    finally:
        os._exit(0)
