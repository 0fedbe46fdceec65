"""Pods that cannot end because their node is gone: nobody confirms their deletion, and their replica is not created
again. Where an operator is told to, it removes them itself once the node has been away for long enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from kfcore.api.core import Pod
from kfcore.api.meta import untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import NotFound
from kfcore.client.interface import Client
from kfcore.jobs.owned import OwnedObjects

Node = untyped(Resource("", "v1", "Node", "nodes", False))


async def remove_lost(
    client: Client, owned: OwnedObjects, pods: Iterable[Pod], now: datetime, patience: float
) -> datetime | None:
    """Remove the pods that should have ended `patience` seconds ago on a node that is not ready or not there.

    Returns when to look again; None when no pod is ending.
    """
    wait = timedelta(seconds=patience)
    ending = [(pod, pod.metadata.deletion_timestamp + wait) for pod in pods if pod.metadata.deletion_timestamp]
    late = [pod for pod, end in ending if end <= now and pod.spec.node_name]
    lost = {name for name in {pod.spec.node_name for pod in late} if await _is_lost(client, name)}
    await owned.force_delete([pod for pod in late if pod.spec.node_name in lost])
    if any(pod.spec.node_name not in lost for pod in late):
        return now + wait  # its node is well, so it may still end by itself
    return min((end for _, end in ending if end > now), default=None)


async def _is_lost(client: Client, name: str) -> bool:
    try:
        node = (await client.get(Node, name)).raw
    except NotFound:
        return True
    conditions = (node.get("status") or {}).get("conditions") or []
    return not any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
