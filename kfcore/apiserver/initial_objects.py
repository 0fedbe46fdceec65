"""What a cluster has from its start: its namespaces, and the priority classes of its own parts."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.objects import Objects

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_DESCRIPTIONS = (
    "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    "Used for system critical pods that must not be moved from their current node.",
)


def create_missing(objects: Objects) -> None:
    for group, plural, manifest in _initial():
        kind = objects.kinds.at(group, "v1", plural)
        assert kind is not None
        if objects.collection(kind).get("", manifest["metadata"]["name"]) is None:
            objects.create(kind, "", manifest)


def _initial() -> Iterator[tuple[str, str, Manifest]]:
    for name in NAMESPACES:
        yield "", "namespaces", {"metadata": {"name": name}}
    for (name, value), description in zip(SYSTEM_CLASSES.items(), _DESCRIPTIONS, strict=True):
        manifest = {"metadata": {"name": name}, "value": value, "description": description}
        yield "scheduling.k8s.io", "priorityclasses", manifest
