"""How pods of plain processes find each other without a network of their own: pods and Services come in, addresses,
free ports and rewritten values go out. Nothing listens here. It is a `PodNetwork`, as the kubelet knows it.

Every pod has an address: a loopback address of its own on Linux, 127.0.0.1 elsewhere. There is no DNS, and programs
bind a port on all addresses at once, so two jobs with the same port would collide. Therefore, when a container starts:

- *Names.* In a variable's literal value and in the command line, `name`, `name.ns`, `name.ns.svc` and
  `name.ns.svc.cluster.local` of a Service become its address: that of the pod it selects, which is fixed when the
  Service is first seen, so that it is right before that pod has started.
- *Ports.* `name:port` of a peer becomes `address:free port`, and so does the literal `X_PORT` beside an `X_ADDR`,
  `X_ADDRESS`, `X_HOST` or `X` that names the peer (`MASTER_ADDR` and `MASTER_PORT`). The free port stays the same for
  the life of the Service, and the serving pod, which has the same variables, binds it.
- *Peers* are Services that select the pod itself or have the pod's owner. Other Services keep their port (or its
  numeric target port), because their pods were not told of another, unless a peer has had it mapped.
- *Before the Service.* Operators create pods before the Services that name them. In variables, a name that begins with
  the owner's name and ends in a number (`digits-master-0` of the job `digits`) is a peer already.

Values of references (`valueFrom`, `envFrom`) are data and stay as they are.
"""

from __future__ import annotations

import asyncio
import errno
import random
import re
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from kfcore.api.core import Service
from kfcore.api.meta import ServerObject, Struct, controller_of
from kfcore.api.resource import Resource
from kfcore.cache.informer import Change, Informer
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local import container_streams
from kfcore_local.environment import Variables
from kfcore_local.pod_network import Connection
from kfcore_local.pods import LocalPod

PORTS = range(20000, 32000)
"""Where free ports are taken from: below the range from which the kernel takes those of outgoing connections."""

_TOKEN = re.compile(
    r"(?P<before>^|[\s,;=\"'\[({@|<>]|://)"
    r"(?P<name>[a-z](?:[a-z0-9-]*[a-z0-9])?)"
    r"(?:\.(?P<namespace>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?P<suffix>\.svc(?:\.cluster\.local\.?)?)?)?"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?=$|[\s,;\"'\])}/|<>&])"
)
_ALL_ADDRESSES = re.compile(r"(?<![0-9.])0\.0\.0\.0(?![0-9.])")
_PORT_VARIABLE = re.compile(r"(?P<prefix>.*?)_?PORT$")
_HOST_SUFFIXES = ("_ADDR", "_ADDRESS", "_HOST", "_HOSTNAME", "")


class LocalServicePort(Struct, frozen=True):
    port: int = 0
    target_port: int | str | None = None


class LocalServiceSpec(Struct, frozen=True):
    selector: dict[str, str] = {}
    ports: list[LocalServicePort] = []


class LocalService(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Service.resource
    spec: LocalServiceSpec = LocalServiceSpec()


class _Endpoint(msgspec.Struct):
    """What is reserved for one service name."""

    address: str
    taken_by: str = ""
    ports: dict[int, int] = msgspec.field(default_factory=dict)
    service: LocalService | None = None


class Network:
    """The addresses and ports of one machine's pods. `hosts` is kept as a hosts file of the service names."""

    host_ip = "127.0.0.1"

    def __init__(self, hosts: Path, *, own_addresses: bool = sys.platform == "linux") -> None:
        self.hosts = hosts
        self._own_addresses = own_addresses
        self._endpoints: dict[tuple[str, str], _Endpoint] = {}
        self._pods: dict[str, tuple[LocalPod, str]] = {}
        self._used_addresses: set[str] = set()
        self._used_ports: set[int] = set()
        self._written = ""
        self._synced = asyncio.Event()
        hosts.write_text("")

    async def run(self, client: Client, clock: Clock) -> None:
        """Follow the Services, until cancelled."""
        services = Informer(client, LocalService, clock=clock)

        def changed(change: Change[LocalService]) -> None:
            if change.new is None:
                self.service_deleted(change.object)
            else:
                self.service_changed(change.new)

        services.subscribe(changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(services.run())
            await services.wait_for_sync()
            self._synced.set()

    async def wait_for_sync(self) -> None:
        await self._synced.wait()

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────

    def service_changed(self, service: LocalService) -> None:
        endpoint = self._endpoint(service.namespace, service.name, service)
        endpoint.service = service
        self._write_hosts()

    def service_deleted(self, service: LocalService) -> None:
        endpoint = self._endpoints.pop((service.namespace, service.name), None)
        if endpoint is not None:
            self._used_ports.difference_update(endpoint.ports.values())
            if endpoint.taken_by not in self._pods:
                self._used_addresses.discard(endpoint.address)
            self._write_hosts()

    def add_pod(self, pod: LocalPod) -> str:
        """The pod's address: the one that was promised for the Service that selects it, or one of its own."""
        uid = pod.metadata.uid
        if uid not in self._pods:
            endpoint = next((e for e in self._endpoints_of(pod) if not e.taken_by), None)
            if endpoint is not None:
                endpoint.taken_by = uid
            self._pods[uid] = (pod, endpoint.address if endpoint else self._new_address())
        return self._pods[uid][1]

    def remove_pod(self, pod: LocalPod) -> None:
        uid = pod.metadata.uid
        _, address = self._pods.pop(uid, (pod, ""))
        for key, endpoint in list(self._endpoints.items()):
            if endpoint.taken_by == uid:
                endpoint.taken_by = ""  # the next pod that the Service selects has the same address
                address = ""
                if endpoint.service is None:
                    del self._endpoints[key]
                    self._used_ports.difference_update(endpoint.ports.values())
                    address = endpoint.address
        self._used_addresses.discard(address)
        self._write_hosts()

    # ── what a container is told ─────────────────────────────────────────────────────────────────────────────────────

    def expect_peers(self, pod: LocalPod, values: Iterable[str]) -> None:
        """Fix the addresses of the peers that a pod will ask for, so that an init container finds their names."""
        for value in values:
            for match in _TOKEN.finditer(value):
                self._find(pod, match, predict=True)
        self._write_hosts()

    def rewrite_variables(self, pod: LocalPod, variables: Variables) -> dict[str, str]:
        """The variables with the peers' addresses and ports in them."""
        rewritten = dict(variables.values)
        for name in variables.literal:
            value = variables.values[name]
            if not self._rewrite_port(pod, name, variables, rewritten):
                rewritten[name] = _TOKEN.sub(self._replace(pod, predict=True), value)
        self._write_hosts()
        return rewritten

    def rewrite_argument(self, pod: LocalPod, argument: str) -> str:
        """A part of the command line with the peers' addresses and ports in it. A pod's "all addresses" is its own: so
        two servers that listen at one port of 0.0.0.0 do not meet.
        """
        if self._own_addresses and pod.metadata.uid in self._pods:
            argument = _ALL_ADDRESSES.sub(self._pods[pod.metadata.uid][1], argument)
        return _TOKEN.sub(self._replace(pod, predict=False), argument)

    def pod_variables(self, pod: LocalPod) -> Mapping[str, str]:
        """For our `nslookup`."""
        return {"KFCORE_HOSTS": str(self.hosts), "KFCORE_NAMESPACE": pod.namespace}

    # ── connecting to pods ───────────────────────────────────────────────────────────────────────────────────────────

    def port_of(self, uid: str, port: int) -> int:
        mapped = (endpoint.ports.get(port) for endpoint in self._endpoints.values() if endpoint.taken_by == uid)
        return next((found for found in mapped if found is not None), port)

    def open_socket(self) -> socket.socket:
        """Pods are on this machine's own network."""
        opened = socket.socket()
        opened.setblocking(False)
        return opened

    async def reach(self, uid: str, address: str, port: int) -> Connection:
        return await container_streams.connect([address or self.host_ip, self.host_ip], port)

    def _rewrite_port(self, pod: LocalPod, name: str, variables: Variables, rewritten: dict[str, str]) -> bool:
        match = _PORT_VARIABLE.match(name)
        value = variables.values[name]
        if match is None or not (value.isascii() and value.isdigit()):
            return False
        for suffix in _HOST_SUFFIXES:
            sibling = match["prefix"] + suffix
            host = _TOKEN.fullmatch(variables.values.get(sibling, "")) if sibling in variables.literal else None
            if host is not None and not host["port"]:
                endpoint = self._find(pod, host, predict=True)
                if endpoint is not None:
                    rewritten[name] = str(self._port(pod, endpoint, int(value)))
                    return True
        return False

    def _replace(self, pod: LocalPod, *, predict: bool) -> Callable[[re.Match[str]], str]:
        def replace(match: re.Match[str]) -> str:
            is_path = match.string[match.end() : match.end() + 1] == "/" and match["before"] != "://"
            endpoint = self._find(pod, match, predict=predict)
            if endpoint is None or (is_path and not match["port"]) or _is_a_word_of_code(match):
                return match[0]
            port = f":{self._port(pod, endpoint, int(match['port']))}" if match["port"] else ""
            return f"{match['before']}{endpoint.address}{port}"

        return replace

    def _find(self, pod: LocalPod, match: re.Match[str], *, predict: bool) -> _Endpoint | None:
        name, namespace = match["name"], match["namespace"] or pod.namespace
        endpoint = self._endpoints.get((namespace, name))
        if endpoint is not None or not predict or namespace != pod.namespace:
            return endpoint
        owner = controller_of(pod)
        is_peer = owner is not None and re.fullmatch(rf"{re.escape(owner.name)}-(.*-)?[0-9]+", name)
        return self._endpoint(namespace, name) if is_peer else None

    def _port(self, pod: LocalPod, endpoint: _Endpoint, port: int) -> int:
        service = endpoint.service
        if port not in endpoint.ports:
            if service is not None and not _are_peers(pod, service):
                target = next((p.target_port for p in service.spec.ports if p.port == port), None)
                return target if isinstance(target, int) else port
            endpoint.ports[port] = self._free_port()
        return endpoint.ports[port]

    # ── reserving ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _endpoint(self, namespace: str, name: str, service: LocalService | None = None) -> _Endpoint:
        key = (namespace, name)
        if key not in self._endpoints:
            taken = {endpoint.taken_by for endpoint in self._endpoints.values()}
            for uid, (pod, address) in self._pods.items():
                if pod.namespace == namespace and uid not in taken and _serves(pod, name, service):
                    self._endpoints[key] = _Endpoint(address, taken_by=uid)
                    break
            else:
                self._endpoints[key] = _Endpoint(self._new_address())
        return self._endpoints[key]

    def _endpoints_of(self, pod: LocalPod) -> list[_Endpoint]:
        return [
            endpoint
            for (namespace, name), endpoint in self._endpoints.items()
            if namespace == pod.namespace and _serves(pod, name, endpoint.service)
        ]

    def _new_address(self) -> str:
        if not self._own_addresses:
            return "127.0.0.1"
        while True:
            # 127.0.0.* belongs to the machine itself (127.0.0.1, 127.0.0.53, 127.0.1.1).
            address = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
            if address not in self._used_addresses:
                self._used_addresses.add(address)
                return address

    def _free_port(self) -> int:
        start = random.randrange(len(PORTS))
        for offset in range(len(PORTS)):
            port = PORTS[(start + offset) % len(PORTS)]
            if port not in self._used_ports and _is_free(port):
                self._used_ports.add(port)
                return port
        raise OSError(f"no free port between {PORTS.start} and {PORTS.stop - 1}")

    def _write_hosts(self) -> None:
        lines = []
        for (namespace, name), endpoint in self._endpoints.items():
            service = f"{name}.{namespace}.svc"
            lines.append(f"{endpoint.address} {service}.cluster.local {service} {name}.{namespace}\n")
        text = "".join(lines)
        if text != self._written:
            self._written = text
            temporary = self.hosts.with_suffix(".new")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.hosts)


def _serves(pod: LocalPod, name: str, service: LocalService | None) -> bool:
    """Whether the pod is behind the name; while there is no Service yet, its own name is."""
    return _selects(service, pod.metadata.labels) if service is not None else name == pod.name


def _selects(service: LocalService | None, labels: Mapping[str, str]) -> bool:
    selector = service.spec.selector if service else {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _is_a_word_of_code(match: re.Match[str]) -> bool:
    """Whether a program of several lines may mean something else by it: `from aiohttp import web`."""
    is_bare = "-" not in match["name"] and not match["namespace"] and not match["port"]
    return is_bare and "\n" in match.string and match["before"] not in ("://", '"', "'", "@")


def _are_peers(pod: LocalPod, service: LocalService) -> bool:
    owner, service_owner = controller_of(pod), controller_of(service)
    same_owner = owner is not None and service_owner is not None and owner.uid == service_owner.uid
    return same_owner or _selects(service, pod.metadata.labels)


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno != errno.EADDRINUSE:
                continue  # a machine without IPv6
            return False
    return True
