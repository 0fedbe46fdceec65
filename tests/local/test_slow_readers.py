"""Who runs a command in a container gets all of its output, however long he takes to read it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from one_machine import POD, a_container, a_pod
from patience import PATIENCE, eventually
from up_cluster import KUBECTL

from kfcore_local.cluster import LocalCluster
from kfcore_local.isolation.mode import Isolation

SIZES = (200_000, 3_000_000, 8_000_000)
"""Bytes that are held at different places of the way while nobody reads them."""
PAUSE = 12
"""Seconds, in which kubectl asks whether the connection is there still: to one that is closed, that ends all."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not KUBECTL, reason="no kubectl on PATH: install one to run these tests"),
]


@pytest.fixture
async def cluster() -> AsyncIterator[LocalCluster]:
    async with LocalCluster(isolation=Isolation.NONE, without=["operator"]) as cluster:
        await cluster.client.create(POD, a_pod("pod", a_container("sleep", "1000"), terminationGracePeriodSeconds=0))

        async def runs() -> bool:
            return (await cluster.client.get(POD, "pod", "default")).raw["status"]["phase"] == "Running"

        await eventually(runs)
        yield cluster


async def test_clients_that_read_late_get_all_of_the_output(cluster: LocalCluster, tmp_path: Path) -> None:
    async def read(size: int, websockets: str) -> tuple[str, int, str]:
        script = f"{KUBECTL} exec pod -- head -c {size} /dev/zero | (sleep {PAUSE}; wc -c)"
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "KUBECONFIG": str(cluster.kubeconfig),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets,
        }
        reader = await asyncio.create_subprocess_exec(
            "sh", "-c", script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        said, problems = await asyncio.wait_for(reader.communicate(), PATIENCE)
        return websockets, int(said), problems.decode()

    wanted = [(size, websockets) for size in SIZES for websockets in ("true", "false")]
    found = await asyncio.gather(*(read(*each) for each in wanted))
    assert found == [(websockets, size, "") for size, websockets in wanted]
