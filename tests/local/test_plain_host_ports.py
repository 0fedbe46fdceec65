"""Ports of the machine for pods that are plain processes: they listen there themselves, and are told what is not so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from one_machine import Machine, a_container, a_pod, running

from kfcore.clock import SystemClock


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with running(tmp_path / "kubelet", SystemClock()) as machine:
        yield machine


@pytest.mark.parametrize(
    ("port", "told"),
    [({"containerPort": 80, "hostPort": 8080}, 1), ({"containerPort": 80, "hostPort": 80}, 0)],
    ids=str,
)
async def test_a_host_port_that_is_another_one_is_told(machine: Machine, port: dict[str, Any], told: int) -> None:
    await machine.create(a_pod("pod", a_container("true", ports=[port])))
    await machine.until_phase("pod", "Succeeded")
    said = await machine.events("NotOffered")
    assert len(said) == told
    assert all("listen on this machine themselves" in message for message in said)
