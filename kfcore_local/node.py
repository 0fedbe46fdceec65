"""This machine as a Node: registered, Ready, with a lease renewed while the kubelet lives."""

from __future__ import annotations

import os
import platform
from typing import ClassVar

import structlog

from kfcore.api.core import Lease
from kfcore.api.meta import Manifest, ServerObject
from kfcore.api.resource import Resource
from kfcore.client.errors import AlreadyExists, ApiError, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.pod_status import timestamp

log = structlog.get_logger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
MAX_PODS = 110


class Node(ServerObject, frozen=True):
    resource: ClassVar[Resource] = Resource(
        "", "v1", "Node", "nodes", False, short_names=("no",), subresources=frozenset({"status"})
    )


async def keep_node(client: Client, clock: Clock, name: str, host_ip: str) -> None:
    """Register the node and renew its lease until cancelled; trouble with either is logged and tried again."""
    registered = False
    while True:
        try:
            if not registered:
                await _register(client, clock, name, host_ip)
                registered = True
            await _renew(client, clock, name)
        except (ApiError, ConnectionFailed) as error:
            log.warning("node.heartbeat_failed", node=name, error=str(error))
        await clock.sleep(RENEW_SECONDS)


async def _register(client: Client, clock: Clock, name: str, host_ip: str) -> None:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": platform.system().lower()}
    try:
        await client.create(Node, {"metadata": {"name": name, "labels": labels}, "spec": {}})
    except AlreadyExists:
        log.debug("node.known", node=name)
    await client.patch(Node, name, None, {"status": node_status(clock, name, host_ip)}, subresource="status")


def node_status(clock: Clock, name: str, host_ip: str) -> Manifest:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": str(MAX_PODS)}
    now = timestamp(clock.now())
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": host_ip}, {"type": "Hostname", "address": name}],
        "conditions": [ready],
        "nodeInfo": {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "bootID": "",
            "containerRuntimeVersion": "kfcore://processes",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": "kfcore",
            "machineID": "",
            "operatingSystem": platform.system().lower(),
            "osImage": platform.platform(),
            "systemUUID": "",
        },
    }


async def _renew(client: Client, clock: Clock, name: str) -> None:
    spec = {
        "holderIdentity": name,
        "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    try:
        await client.patch(Lease, name, LEASE_NAMESPACE, {"spec": spec})
    except NotFound:
        body = {"metadata": {"name": name, "namespace": LEASE_NAMESPACE}, "spec": spec}
        await client.create(Lease, body, LEASE_NAMESPACE)
