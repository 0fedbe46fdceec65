"""What a kubelet asks of the network that its pods are on. `network.py` has the one of plain processes, which share
this machine's; `isolation/network.py` the one of pods with namespaces of their own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Protocol

from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.environment import Variables
from kfcore_local.pods import LocalPod

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class PodNetwork(Protocol):
    @property
    def host_ip(self) -> str:
        """Where pods reach the node."""
        ...

    async def run(self, client: Client, clock: Clock) -> None:
        """Follow what there is in the cluster, until cancelled."""
        ...

    async def wait_for_sync(self) -> None:
        """Until `run` knows what is in the cluster now."""
        ...

    def add_pod(self, pod: LocalPod) -> str:
        """The pod's address, from now on until it is removed."""
        ...

    def remove_pod(self, pod: LocalPod) -> None: ...

    def expect_peers(self, pod: LocalPod, values: Iterable[str]) -> None:
        """Be ready for the names in the values of a pod's variables."""
        ...

    def rewrite_variables(self, pod: LocalPod, variables: Variables) -> dict[str, str]:
        """A container's variables, with what the network must change in them."""
        ...

    def rewrite_argument(self, pod: LocalPod, argument: str) -> str:
        """A part of a container's command line, with what the network must change in it."""
        ...

    def pod_variables(self, pod: LocalPod) -> Mapping[str, str]:
        """What the network tells each container of a pod."""
        ...

    def port_of(self, uid: str, port: int) -> int:
        """Where a pod listens that was told another port than its manifest says."""
        ...

    def open_socket(self) -> socket.socket:
        """A TCP socket that does not block, from which pods' addresses can be connected to."""
        ...

    async def reach(self, uid: str, address: str, port: int) -> Connection:
        """To a port of a pod, also where it listens on its loopback only. Raises OSError."""
        ...


async def open_connection(opened: socket.socket, address: str, port: int) -> socket.socket:
    """Connect a socket that does not block; it is closed when that fails. Raises OSError."""
    try:
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
