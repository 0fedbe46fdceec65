"""How the lists and structs of built-in kinds merge, as their Go types say: by what key, as a set, or only as a whole.
Data only, by struct and field; `typed.py` reads it. What is not here is replaced as a whole if it is a list, and merged
field by field if it is not.
"""

from __future__ import annotations

_CONTAINER = "env:name ports:containerPort volumeDevices:devicePath volumeMounts:mountPath"
_CONDITIONS = "conditions:type"

PATCH_KEYS: dict[str, str] = {
    "Container": _CONTAINER,
    "EphemeralContainer": _CONTAINER,
    "CSINodeSpec": "drivers:name",
    "ComponentStatus": _CONDITIONS,
    "DaemonSetStatus": _CONDITIONS,
    "DeploymentSpec": "strategy:!",
    "DeploymentStatus": _CONDITIONS,
    "HorizontalPodAutoscalerStatus": _CONDITIONS,
    "JobStatus": _CONDITIONS,
    "MutatingWebhook": "matchConditions:name",
    "MutatingWebhookConfiguration": "webhooks:name",
    "NamespaceStatus": _CONDITIONS,
    "NodeSpec": "podCIDRs:",
    "NodeStatus": "addresses:type conditions:type",
    "ObjectMeta": "finalizers: ownerReferences:uid",
    "PersistentVolumeClaimStatus": _CONDITIONS,
    "PodDisruptionBudgetStatus": _CONDITIONS,
    "PodSpec": (
        "containers:name ephemeralContainers:name hostAliases:ip imagePullSecrets:name initContainers:name "
        "resourceClaims:name! schedulingGates:name topologySpreadConstraints:topologyKey volumes:name!"
    ),
    "PodStatus": "conditions:type hostIPs:ip podIPs:ip resourceClaimStatuses:name!",
    "ReplicaSetStatus": _CONDITIONS,
    "ReplicationControllerStatus": _CONDITIONS,
    "ServiceAccount": "secrets:name",
    "ServiceSpec": "ports:port",
    "ServiceStatus": _CONDITIONS,
    "StatefulSetStatus": _CONDITIONS,
    "ValidatingAdmissionPolicySpec": "matchConditions:name variables:name",
    "ValidatingWebhook": "matchConditions:name",
    "ValidatingWebhookConfiguration": "webhooks:name",
}
"""Strategic merge patch: `field:key`, without a key for a list of scalars that is added to, `!` for retainKeys."""

_APPLIED_CONTAINER = "env:name ports:containerPort,protocol volumeDevices:devicePath volumeMounts:mountPath"

LIST_KEYS: dict[str, str] = {
    "Container": _APPLIED_CONTAINER,
    "EphemeralContainer": _APPLIED_CONTAINER,
    "CSINodeSpec": "drivers:name",
    "CertificateSigningRequestStatus": _CONDITIONS,
    "CustomResourceDefinitionStatus": _CONDITIONS,
    "DaemonSetStatus": _CONDITIONS,
    "DeploymentStatus": _CONDITIONS,
    "HorizontalPodAutoscalerStatus": _CONDITIONS,
    "MutatingWebhook": "matchConditions:name",
    "MutatingWebhookConfiguration": "webhooks:name",
    "NamespaceStatus": _CONDITIONS,
    "NetworkPolicyStatus": _CONDITIONS,
    "NodeSpec": "podCIDRs:",
    "NodeStatus": "addresses:type conditions:type",
    "ObjectMeta": "finalizers: ownerReferences:uid",
    "PersistentVolumeClaimStatus": _CONDITIONS,
    "PodDisruptionBudgetStatus": _CONDITIONS,
    "PodSpec": (
        "containers:name ephemeralContainers:name hostAliases:ip imagePullSecrets:name initContainers:name "
        "resourceClaims:name schedulingGates:name topologySpreadConstraints:topologyKey,whenUnsatisfiable volumes:name"
    ),
    "PodStatus": "conditions:type podIPs:ip resourceClaimStatuses:name",
    "ReplicaSetStatus": _CONDITIONS,
    "ReplicationControllerStatus": _CONDITIONS,
    "ResourceRequirements": "claims:name",
    "ServiceAccount": "secrets:name",
    "ServiceSpec": "ports:port,protocol",
    "ServiceStatus": _CONDITIONS,
    "StatefulSetStatus": _CONDITIONS,
    "ValidatingAdmissionPolicySpec": "matchConditions:name variables:name",
    "ValidatingAdmissionPolicyStatus": _CONDITIONS,
    "ValidatingWebhook": "matchConditions:name",
    "ValidatingWebhookConfiguration": "webhooks:name",
}
"""Server-side apply: `field:key,key`, without keys for a set. Other lists are owned as a whole."""

ATOMIC_STRUCTS = frozenset({
    "ConfigMapKeySelector", "CrossVersionObjectReference", "FileKeySelector", "LabelSelector", "LocalObjectReference",
    "NodeSelector", "NodeSelectorTerm", "ObjectFieldSelector", "ObjectReference", "OwnerReference",
    "ResourceFieldSelector", "RoleRef", "ScopeSelector", "SecretKeySelector", "SecretReference", "Subject",
    "TopologySelectorTerm", "TypedLocalObjectReference",
})  # fmt: skip
"""Owned as a whole, with all of their fields."""

ATOMIC_MAPS = frozenset({
    "PodSpec.nodeSelector", "ReplicationControllerSpec.selector", "Scheduling.nodeSelector", "ServiceSpec.selector",
})  # fmt: skip

KEY_DEFAULTS: dict[str, dict[str, str]] = {
    "ContainerPort": {"protocol": "TCP"},
    "ServicePort": {"protocol": "TCP"},
}
"""What a list's key is where an item does not say it."""
