"""This machine as a Node: registered, Ready, with a lease renewed while the kubelet lives."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import ClassVar

import structlog

from kfcore.api.core import Lease
from kfcore.api.meta import Manifest, ServerObject
from kfcore.api.resource import Resource
from kfcore.client.errors import AlreadyExists, ApiError, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local.gpus import GPU, Gpus
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
    status: Manifest = {}


async def keep_node(client: Client, clock: Clock, name: str, host_ip: str, gpus: Gpus, directory: Path) -> None:
    """Register the node and renew its lease until cancelled; trouble with either is logged and tried again.

    `gpus` are looked for first, and offered. `directory` is where pods write, for the room that there is.
    """
    await gpus.find()
    registered = False
    while True:
        try:
            if not registered:
                await _register(client, clock, name, host_ip, machine_capacity(gpus, directory))
                registered = True
            await _renew(client, clock, name)
        except (ApiError, ConnectionFailed) as error:
            log.warning("node.heartbeat_failed", node=name, error=str(error))
        await clock.sleep(RENEW_SECONDS)


async def _register(client: Client, clock: Clock, name: str, host_ip: str, capacity: dict[str, str]) -> None:
    metadata: Manifest = {"name": name, "labels": node_labels(name)}
    try:
        await client.create(Node, {"metadata": metadata, "spec": {}})
    except AlreadyExists:
        log.debug("node.known", node=name)
        await client.patch(Node, name, None, {"metadata": {"labels": metadata["labels"]}})
    # Resources that an earlier start offered and this one has not are taken away.
    known = (await client.get(Node, name)).status
    gone = {
        part: {resource: None for resource in known.get(part) or {} if resource not in capacity}
        for part in ("capacity", "allocatable")
    }
    status = node_status(clock, name, host_ip, capacity)
    for part, resources in gone.items():
        status[part] = {**status[part], **resources}
    await client.patch(Node, name, None, {"status": status}, subresource="status")


def node_labels(name: str) -> dict[str, str]:
    """kubelet's, and those that a cloud provider adds: one machine is one zone."""
    architecture, system = _architecture(), platform.system().lower()
    return {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": system,
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": system,
        "topology.kubernetes.io/region": name,
        "topology.kubernetes.io/zone": name,
    }


def machine_capacity(gpus: Gpus, directory: Path) -> dict[str, str]:
    """What this machine has for pods, as quantities. All of it: what else runs here is not known beforehand."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    capacity = {
        "cpu": str(cpus),
        "memory": f"{_memory() // 1024}Ki",
        "ephemeral-storage": f"{shutil.disk_usage(directory).total // 1024}Ki",
        "pods": str(MAX_PODS),
    }
    return {**capacity, GPU: str(len(gpus.devices))} if gpus.devices else capacity


def _memory() -> int:
    """Of this machine, or what the cgroup of this process may have of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return physical
    return min(physical, int(limit)) if limit.isdigit() else physical


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def node_status(clock: Clock, name: str, host_ip: str, capacity: dict[str, str]) -> Manifest:
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
            "architecture": _architecture(),
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
