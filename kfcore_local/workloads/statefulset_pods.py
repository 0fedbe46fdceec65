"""A StatefulSet's pods and claims: their names, labels and bodies by ordinal."""

from __future__ import annotations

import re

from kfcore.api.meta import Manifest, owner_reference
from kfcore_local.workloads.kinds import ControllerRevision, Pod, StatefulSet
from kfcore_local.workloads.revisions import template_of
from kfcore_local.workloads.templates import pod_of

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


def ordinal_of(owner: StatefulSet, name: str) -> int | None:
    """The ordinal in a pod's name, None for a name that is none of the set's."""
    match = re.fullmatch(rf"{re.escape(owner.name)}-(0|[1-9][0-9]*)", name)
    return int(match[1]) if match else None


def ordinals(owner: StatefulSet) -> range:
    start = owner.spec.ordinals.start if owner.spec.ordinals else 0
    return range(start, start + owner.spec.replicas)


def pod_manifest(owner: StatefulSet, revision: ControllerRevision, ordinal: int) -> Manifest:
    name = f"{owner.name}-{ordinal}"
    labels = {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}
    pod = pod_of(template_of(revision), owner, name=name, prefix=f"{owner.name}-", labels=labels)
    spec = pod["spec"]
    spec["hostname"] = name
    if owner.spec.service_name:
        spec["subdomain"] = owner.spec.service_name
    if claims := claims_of(owner, ordinal):
        volumes = {
            template: {"name": template, "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
            for template, claim in claims.items()
        }
        spec["volumes"] = [
            *volumes.values(),
            *(volume for volume in spec.get("volumes") or [] if volume["name"] not in volumes),
        ]
    return pod


def claims_of(owner: StatefulSet, ordinal: int) -> dict[str, Manifest]:
    """The claims of one pod, by the name of their template."""
    claims = {}
    policy = owner.spec.persistent_volume_claim_retention_policy
    for template in owner.spec.volume_claim_templates:
        metadata = dict(template.get("metadata") or {})
        name = metadata["name"]
        metadata["name"] = f"{name}-{owner.name}-{ordinal}"
        metadata["namespace"] = owner.namespace
        metadata["labels"] = {**(metadata.get("labels") or {}), **(owner.spec.selector.get("matchLabels") or {})}
        if policy and policy.when_deleted == "Delete":
            metadata["ownerReferences"] = [owner_reference(owner)]
        body = {key: value for key, value in template.items() if key != "status"}
        claims[name] = {**body, "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
    return claims


def claim_owned_by_pod(pod: Pod) -> Manifest:
    """The owner reference that makes a claim go when its scaled-away pod goes."""
    reference = owner_reference(pod)
    return {**reference, "controller": False, "blockOwnerDeletion": False}
