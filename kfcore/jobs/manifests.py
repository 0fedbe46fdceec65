"""From a job's spec to the manifests of its pods and services. Plain functions: what a framework adds comes from the
controller's `set_cluster_spec`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.jobs import Job, ReplicaSpec
from kfcore.api.meta import Manifest, owner_reference
from kfcore.api.pod_template import PodTemplate
from kfcore.jobs.annotations import restarts_together
from kfcore.jobs.naming import replica_name
from kfcore.jobs.replicas import pod_restart_policy


def add_default_port(template: PodTemplate, container_name: str, port_name: str, port: int) -> None:
    """Open the framework's port in its container (else in the first), unless a port of that name is there.

    In the host's network a number is opened once, for there it is the node's.
    """
    container = template.container(container_name) or next(iter(template.containers), None)
    if container is None:
        return
    ports = container.get("ports") or []
    host_network = (template.raw.get("spec") or {}).get("hostNetwork")
    opened = {(existing["containerPort"], existing.get("protocol") or "TCP") for existing in ports}
    if host_network and (port, "TCP") in opened:
        return
    if all(existing.get("name") != port_name for existing in ports):
        container["ports"] = [*ports, {"name": port_name, "containerPort": port}]


def pod_manifest(
    job: Job[Any], replica_type: str, index: int, spec: ReplicaSpec, template: PodTemplate, labels: dict[str, str]
) -> Manifest:
    """The pod of one replica. Of the template's metadata, labels, annotations and finalizers are taken."""
    written = template.raw.get("metadata") or {}
    metadata = {
        "name": replica_name(job.name, replica_type, index),
        "namespace": job.namespace,
        "labels": {**(written.get("labels") or {}), **labels},
        **{part: written[part] for part in ("annotations", "finalizers") if written.get(part)},
        "ownerReferences": [owner_reference(job)],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**template.spec, "restartPolicy": pod_restart_policy(spec, together=restarts_together(job))},
    }


def service_manifest(
    job: Job[Any], replica_type: str, index: int, ports: list[Manifest], labels: dict[str, str]
) -> Manifest:
    """The headless service that gives one replica its name, whether the replica is ready or not."""
    spec: Manifest = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels}
    if ports:
        spec["ports"] = ports
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": replica_name(job.name, replica_type, index),
            "namespace": job.namespace,
            "labels": dict(labels),
            "ownerReferences": [owner_reference(job)],
        },
        "spec": spec,
    }


def service_ports(spec: ReplicaSpec, container_name: str, port_name: str, port: int) -> list[Manifest]:
    """The ports of a replica's service: those of the framework's container, its default port included.

    A service takes each name and each number once, and no port without a name, where a container takes them all.
    """
    return list(_ports(spec, container_name, port_name, port))


def _ports(spec: ReplicaSpec, container_name: str, port_name: str, port: int) -> Iterator[Manifest]:
    declared = (spec.template.container(container_name) or {}).get("ports") or []
    names = {entry.get("name") for entry in declared}
    # Most manifests that open the default port do not name it.
    unnamed = {port: port_name} if port_name not in names else {}
    seen: set[object] = set()
    for entry in [*declared, {"name": port_name, "containerPort": port}]:
        number, protocol = entry["containerPort"], entry.get("protocol")
        name = entry.get("name") or unnamed.get(number, f"port-{number}")
        if name not in seen and (number, protocol or "TCP") not in seen:
            seen |= {name, (number, protocol or "TCP")}
            yield {"name": name, "port": number, **({"protocol": protocol} if protocol else {})}
