"""Ports of this machine that lead to a pod (`hostPort`): a pod comes in, listening sockets on the loopback lead to it.

On the loopback only, whatever `hostIP` says: what runs in pods is not for other machines to reach.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence

from kfcore.controller.events import EventRecorder
from kfcore_local.handlers import ContainerPort
from kfcore_local.isolation import proxy
from kfcore_local.pod_access import dial
from kfcore_local.pod_network import PodNetwork
from kfcore_local.pods import LocalPod

LOOPBACK = "127.0.0.1"


def of(pod: LocalPod) -> Iterator[ContainerPort]:
    """Those that a pod's manifest asks for, and the API server for one of the machine's network."""
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for port in container.ports:
            if port.host_port:
                yield port


async def serve(
    network: PodNetwork, recorder: EventRecorder, pod: LocalPod, address: str, ports: Sequence[ContainerPort]
) -> None:
    """Lead the ports to the pod at `address`, until cancelled. What cannot be had is told in events."""
    async with asyncio.TaskGroup() as group:
        for port in ports:
            if port.protocol != "TCP":
                recorder.warning(
                    pod, "HostPortNotOpened", f"hostPort {port.host_port}: {port.protocol} is not led to pods"
                )
                continue
            at = port.host_ip if port.host_ip.startswith("127.") else LOOPBACK
            try:
                listening = socket.create_server((at, port.host_port), backlog=128)
            except OSError as error:
                why = f"cannot listen at {at}:{port.host_port}: {error.strerror}; the pod runs without it"
                recorder.warning(pod, "HostPortNotOpened", why)
                continue
            listening.setblocking(False)
            group.create_task(
                proxy.serve(listening, _leading_to(network, pod.metadata.uid, address, port.container_port))
            )


def _leading_to(network: PodNetwork, uid: str, address: str, port: int) -> proxy.Connect:
    async def connect(accepted: socket.socket) -> socket.socket:
        return await dial(network, uid, address, port)

    return connect
