"""How soon a pod runs once it is bound, with namespaces of its own and as a plain process: one pod after the other on a
cluster in this process.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import aclosing
from typing import Any

from benchmarks.figure import Figure
from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, untyped
from kfcore_local.cluster import LocalCluster
from kfcore_local.isolation.hub_client import NotIsolated
from kfcore_local.isolation.mode import Isolation

PODS = 40
RAW = untyped(Pod.resource)


async def measure() -> list[Figure]:
    figures = []
    for isolation, what, budget in ((Isolation.POD, "isolated", 100), (Isolation.NONE, "plain", 30)):
        name = f"pod from bound to running, {what}: median of {PODS}"
        try:
            seconds = await _starts(isolation)
        except NotIsolated as error:
            figures.append(Figure(name, None, budget, str(error)))
            continue
        figures.append(Figure(name, statistics.median(seconds) * 1000, budget, "ms"))
        figures.append(Figure("the slowest of them", max(seconds) * 1000, None, "ms"))
    return figures


async def _starts(isolation: Isolation) -> list[float]:
    async with LocalCluster(without=["operator"], isolation=isolation) as cluster:
        events: Any = cluster.client.watch(RAW, "default", resource_version="0")
        async with aclosing(events):
            starts = []
            for number in range(PODS):
                await cluster.client.create(RAW, _pod(f"pod-{number}"), "default")
                starts.append(await _start(events, f"pod-{number}"))
                await asyncio.sleep(0.05)  # until what the start has left to do is done
            return starts


async def _start(events: Any, name: str) -> float:
    """Seconds from the event that says where the pod runs to the one that says that it does."""
    bound = 0.0
    async for event in events:
        pod = event.object.raw
        if event.object.name != name:
            continue
        if not bound and pod["spec"].get("nodeName"):
            bound = time.perf_counter()
        if pod.get("status", {}).get("phase") == "Running":
            return time.perf_counter() - bound
    raise RuntimeError("the watch ended")


def _pod(name: str) -> Manifest:
    container = {"name": "main", "image": "any", "command": ["sleep", "600"]}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
