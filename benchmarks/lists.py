"""A process of its own that lists all pods and keeps them: `python -m benchmarks.lists CLIENT KUBECONFIG` prints what
it took as JSON: seconds, processor seconds, and the MiB that stay.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


async def kfcore(kubeconfig: str) -> Callable[[], Awaitable[Any]]:
    from kfcore.api.core import Pod
    from kfcore.cache.store import Store
    from kfcore.client.cluster import ClusterClient

    client = await ClusterClient.connect(kubeconfig)
    await client.list(Pod, "kube-system")

    async def work() -> Any:
        store: Store[Pod] = Store()
        for pod in await client.list(Pod):
            store.set(pod)
        return store

    return work


async def kubernetes_asyncio(kubeconfig: str) -> Callable[[], Awaitable[Any]]:
    from kubernetes_asyncio.client import ApiClient, CoreV1Api
    from kubernetes_asyncio.config import load_kube_config

    await load_kube_config(kubeconfig)
    api = CoreV1Api(ApiClient())
    await api.list_namespaced_pod("kube-system")

    async def work() -> Any:
        store = {}
        token = None
        while True:
            page = await api.list_pod_for_all_namespaces(limit=500, **({"_continue": token} if token else {}))
            store.update({(pod.metadata.namespace, pod.metadata.name): pod for pod in page.items})
            token = page.metadata._continue
            if not token:
                return store

    return work


async def kr8s(kubeconfig: str) -> Callable[[], Awaitable[Any]]:
    import kr8s.asyncio

    api = await kr8s.asyncio.api(kubeconfig=kubeconfig)
    assert [pod async for pod in api.get("pods", namespace="kube-system")] == []

    async def work() -> Any:
        return {(pod.namespace, pod.name): pod async for pod in api.get("pods", namespace=kr8s.ALL)}

    return work


async def main(name: str, kubeconfig: str) -> None:
    work = await {"kfcore": kfcore, "kubernetes-asyncio": kubernetes_asyncio, "kr8s": kr8s}[name](kubeconfig)
    gc.collect()
    before, began, cpu = _resident_mib(), time.perf_counter(), time.process_time()
    kept = await work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    gc.collect()
    print(json.dumps({"count": len(kept), "s": seconds, "cpu": cpu, "mib": _resident_mib() - before}), flush=True)


def _resident_mib() -> float:
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
    sys.stdout.flush()
    import os

    os._exit(0)  # some of these clients complain of connections left open
