"""The network of pods with namespaces of their own: each has an address on one private network, finds Services by their
names, and reaches them by their cluster IPs. Services and EndpointSlices come in from the cluster, sockets in that
network from the hub; a name server, and a proxy for each cluster IP, go out.

None of it is on this machine's own network. From there `open_socket` and `reach` lead in; and out of it leads a
proxy: pods reach other machines, and this one as `HOST`, by TCP.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import structlog

from kfcore.cache.informer import Change, Informer
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.environment import Variables
from kfcore_local.isolation import proxy
from kfcore_local.isolation.addresses import BRIDGE, GATEWAY, HOST, OWN_NETWORKS, RESERVED, WAY_OUT_DEVICE, WAY_OUT_PORT
from kfcore_local.isolation.directory import DOMAIN, Directory, Door, RoutedService, RoutedSlice
from kfcore_local.isolation.hub_client import Hub
from kfcore_local.isolation.name_server import NameServer
from kfcore_local.pod_network import Connection, open_connection
from kfcore_local.pods import LocalPod

log = structlog.get_logger(__name__)

API_ADDRESS, API_PORT = "10.96.0.1", 443
"""The `kubernetes` Service of the namespace `default`."""
API_NAMES = (API_ADDRESS, *(f"kubernetes{rest}" for rest in ("", ".default", ".default.svc", f".default.svc.{DOMAIN}")))
_ORIGINAL_DESTINATION = 80  # SO_ORIGINAL_DST, which `socket` has not
OUTBOUND_PORTS = frozenset({22, 80, 443, 3128, 5000, 5432, 6379, 8000, 8080, 8081, 8443, 8888, 9000, 9418})
"""The ports that pods reach of other machines where the kernel cannot redirect connections."""


class IsolatedNetwork:
    """`api_port` is where this machine's loopback has the API server, for pods; 0: they do not reach it."""

    host_ip = GATEWAY

    def __init__(self, hub: Hub, *, api_port: int = 0) -> None:
        self._hub = hub
        self._api_port = api_port
        self._directory = Directory()
        self._synced = asyncio.Event()
        self._addresses: dict[str, str] = {}
        self._free = _pod_addresses()
        self._changed = asyncio.Event()
        self._rebuilt = False
        self._open: dict[tuple[str, int], tuple[Door, asyncio.Task[None]]] = {}

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, client: Client, clock: Clock) -> None:
        services = Informer(client, RoutedService, clock=clock)
        slices = Informer(client, RoutedSlice, clock=clock)
        services.subscribe(self._service_changed)
        slices.subscribe(self._slice_changed)
        self._hub.started.append(self._hub_started)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(services.run())
                group.create_task(slices.run())
                group.create_task(self._keep_doors())
                await services.wait_for_sync()
                await slices.wait_for_sync()
                self._synced.set()
        finally:
            self._hub.started.remove(self._hub_started)

    async def wait_for_sync(self) -> None:
        await self._synced.wait()

    def _service_changed(self, change: Change[RoutedService]) -> None:
        if change.new is None:
            self._directory.remove_service(change.object)
        else:
            self._directory.put_service(change.new)
        self._changed.set()

    def _slice_changed(self, change: Change[RoutedSlice]) -> None:
        if change.old is not None:
            self._directory.remove_slice(change.old)
        if change.new is not None:
            self._directory.put_slice(change.new)
        self._changed.set()

    def _hub_started(self) -> None:
        """Every socket that was in its network is of no use any more."""
        self._rebuilt = True
        self._changed.set()

    # ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def add_pod(self, pod: LocalPod) -> str:
        uid = pod.metadata.uid
        if uid not in self._addresses:
            taken = set(self._addresses.values())
            self._addresses[uid] = next(address for address in self._free if address not in taken)
        return self._addresses[uid]

    def remove_pod(self, pod: LocalPod) -> None:
        self._addresses.pop(pod.metadata.uid, None)
        self._hub.remove(pod.metadata.uid)

    def expect_peers(self, pod: LocalPod, values: Iterable[str]) -> None:
        """Names are asked for, so that there is nothing to prepare."""

    def rewrite_variables(self, pod: LocalPod, variables: Variables) -> dict[str, str]:
        return dict(variables.values)

    def rewrite_argument(self, pod: LocalPod, argument: str) -> str:
        return argument

    def pod_variables(self, pod: LocalPod) -> Mapping[str, str]:
        if not self._api_port:
            return {}
        return {"KUBERNETES_SERVICE_HOST": API_ADDRESS, "KUBERNETES_SERVICE_PORT": str(API_PORT)}

    def port_of(self, uid: str, port: int) -> int:
        return port

    def open_socket(self) -> socket.socket:
        return self._hub.open_socket()

    async def reach(self, uid: str, address: str, port: int) -> Connection:
        try:
            connected = await open_connection(self._hub.open_socket(uid), "127.0.0.1", port)
        except OSError:
            connected = await open_connection(self._hub.open_socket(uid), address, port)
        return await asyncio.open_connection(sock=connected)

    # ── what listens in it ───────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_doors(self) -> None:
        """A listening socket for each cluster IP with an endpoint, and those that are always there."""
        async with asyncio.TaskGroup() as group:
            constant: list[asyncio.Task[None]] = []
            self._rebuilt = True
            while True:
                if self._rebuilt:
                    self._rebuilt = False
                    for task in (*constant, *(task for _, task in self._open.values())):
                        task.cancel()
                    self._open.clear()
                    constant = [group.create_task(part) for part in self._constant_parts()]
                wanted = {(door.address, door.port): door for door in self._directory.doors()}
                for key in self._open.keys() - wanted.keys():
                    self._open.pop(key)[1].cancel()
                for key, door in wanted.items():
                    if key in self._open:
                        self._open[key] = (door, self._open[key][1])
                    elif (listening := self._listen(*key, BRIDGE)) is not None:
                        task = group.create_task(proxy.serve(listening, self._leading_to(key)))
                        self._open[key] = (door, task)
                await self._changed.wait()
                self._changed.clear()

    def _constant_parts(self) -> Iterator[Coroutine[Any, Any, None]]:
        with contextlib.suppress(OSError):
            yield NameServer(self._directory, API_ADDRESS).serve(
                proxy.listen(self._hub.open_socket(stream=False), GATEWAY, 53),
                proxy.listen(self._hub.open_socket(), GATEWAY, 53),
            )
        if self._api_port and (listening := self._listen(API_ADDRESS, API_PORT, BRIDGE)) is not None:
            yield proxy.serve(listening, self._to_api)
        any_port = self._hub.any_port
        for port in {WAY_OUT_PORT} if any_port else OUTBOUND_PORTS | set(_proxy_ports(os.environ)):
            if (listening := self._listen("0.0.0.0", port, WAY_OUT_DEVICE)) is not None:
                yield proxy.serve(listening, _to_redirected if any_port else _to_other_machine)

    def _listen(self, address: str, port: int, device: str) -> socket.socket | None:
        try:
            return proxy.listen(self._hub.open_socket(), address, port, device)
        except OSError as error:
            log.warning("network.not_listening", address=address, port=port, error=str(error))
            return None

    def _leading_to(self, key: tuple[str, int]) -> proxy.Connect:
        async def connect(accepted: socket.socket) -> socket.socket:
            entry = self._open.get(key)
            if entry is None:
                raise OSError("no endpoint is ready")
            return await self._to_endpoint(entry[0], accepted)

        return connect

    async def _to_endpoint(self, door: Door, accepted: socket.socket) -> socket.socket:
        """One that answers, of those that are ready; which first is left to chance, or to who asks."""
        chance = random.Random(accepted.getpeername()[0]) if door.sticky else random.Random()
        refusal = OSError("no endpoint is ready")
        for endpoint in chance.sample(door.endpoints, min(3, len(door.endpoints))):
            try:
                return await open_connection(self._hub.open_socket(), *endpoint)
            except OSError as error:
                refusal = error
        raise refusal

    async def _to_api(self, accepted: socket.socket) -> socket.socket:
        return await open_connection(_own_socket(), "127.0.0.1", self._api_port)


async def _to_redirected(accepted: socket.socket) -> socket.socket:
    """Where the pod wanted to go, which the kernel remembers."""
    _, port, packed = struct.unpack(">HH4s8x", accepted.getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, 16))
    return await _to_outside(socket.inet_ntoa(packed), port)


async def _to_other_machine(accepted: socket.socket) -> socket.socket:
    address, port = accepted.getsockname()[:2]
    return await _to_outside(address, port)


async def _to_outside(address: str, port: int) -> socket.socket:
    """From this machine's network."""
    if address.startswith(OWN_NETWORKS):
        raise OSError(f"nothing listens at {address}:{port}")
    return await open_connection(_own_socket(), "127.0.0.1" if address == HOST else address, port)


def _own_socket() -> socket.socket:
    opened = socket.socket()
    opened.setblocking(False)
    return opened


def _proxy_ports(environment: Mapping[str, str]) -> Iterator[int]:
    """Where the proxies listen that this machine's programs are told to use."""
    for name, value in environment.items():
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            with contextlib.suppress(ValueError):
                if port := urlsplit(value).port:
                    yield port


def _pod_addresses() -> Iterator[str]:
    """All of the network, again and again: an address that was given back is not given at once to another."""
    while True:
        for third in range(256):
            for fourth in range(256):
                address = f"10.244.{third}.{fourth}"
                if address not in RESERVED:
                    yield address
