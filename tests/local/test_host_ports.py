"""Ports of the machine that lead to pods, and what of the machine isolated pods do without and are told so."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from isolated import Pods, isolated_cluster, needs_namespaces
from one_machine import POD
from patience import eventually
from ports import reserved_port

from kfcore.api.core import Event

pytestmark = needs_namespaces

SERVE = """
import socket
server = socket.create_server(("", 8000))
while True:
    connection, _ = server.accept()
    connection.sendall(b"from the pod")
    connection.close()
"""


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    async with isolated_cluster() as pods:
        yield pods


async def start(pods: Pods, port: dict[str, Any], name: str = "server", **spec: Any) -> None:
    container = {"ports": [{"containerPort": 8000, **port}]}
    await pods.start(name, sys.executable, "-c", SERVE, container=container, **spec)


async def heard_at(port: int) -> bytes:
    """What the first says that takes a connection."""

    async def said() -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            heard = await reader.read()
            writer.close()
        except OSError:
            return b""
        return heard

    return await eventually(said)


async def told(pods: Pods, reason: str) -> str:
    async def message() -> str:
        events = await pods.client.list(Event, "default")
        return next((event.message for event in events if event.reason == reason), "")

    return await eventually(message)


async def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


async def test_a_host_port_leads_to_the_pod_until_it_ends(pods: Pods) -> None:
    with reserved_port() as port:
        await start(pods, {"hostPort": port})
        assert await heard_at(port) == b"from the pod"
        await pods.client.delete(POD, "server", "default")
        await eventually(lambda: is_free(port))


async def test_a_host_port_that_is_taken_is_told_and_the_pod_runs(pods: Pods) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await start(pods, {"hostPort": port})
        assert (await told(pods, "HostPortNotOpened")).startswith(f"cannot listen at 127.0.0.1:{port}: Address already")


async def test_a_pod_of_the_machines_network_has_its_ports_there_and_is_told_what_it_has_not(pods: Pods) -> None:
    with reserved_port() as port:
        script = SERVE.replace("8000", str(port))
        container = {"ports": [{"containerPort": port}]}
        await pods.start("server", sys.executable, "-c", script, container=container, hostNetwork=True, hostPID=True)
        assert await heard_at(port) == b"from the pod"
    said = await told(pods, "NotOffered")
    assert "host.kfcore.internal" in said
    assert "hostPID is not offered to isolated pods" in said


async def test_replicas_of_the_machines_network_run_side_by_side(pods: Pods) -> None:
    for name in ("one", "two"):
        await start(pods, {}, name, hostNetwork=True)
