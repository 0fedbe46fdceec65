"""The kubelet and its hub, which wait for each other at no time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from isolated import needs_namespaces

from kfcore_local.isolation.hub_client import Hub, PodNamespaces

pytestmark = needs_namespaces


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    hub = Hub(tmp_path / "hub")
    await hub.start()
    yield hub
    await hub.stop()


async def test_more_requests_at_once_than_the_sockets_hold_are_all_answered(hub: Hub) -> None:
    pod = PodNamespaces("a-uid", "a-host", "10.244.1.1")
    async with asyncio.timeout(240), asyncio.TaskGroup() as group:
        for _ in range(3000):
            group.create_task(hub.add(pod))
    hub.open_socket("a-uid").close()


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as busy:
        busy.setattr("kfcore_local.isolation.hub_client._ANSWER_WITHIN", 0.0)
        with pytest.raises(OSError, match="do not answer"):
            hub.open_socket()
    with pytest.raises(OSError, match="does not run"):
        hub.open_socket("nobody")
    hub.open_socket().close()
