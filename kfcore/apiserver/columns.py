"""What `kubectl get` shows of each built-in kind: the column names, and one object's cells."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.cells import (
    NAME,
    NONE,
    UNSET,
    BuiltinTable,
    age_of,
    columns,
    first_of,
    joined,
    name_of,
    spec_of,
    status_of,
)
from kfcore.apiserver.duration import UNKNOWN, age, human_duration
from kfcore.apiserver.further_columns import FURTHER_TABLES
from kfcore.apiserver.network_columns import NETWORK_TABLES
from kfcore.apiserver.workload_columns import WORKLOAD_TABLES

_ROLE_PREFIX, _ROLE = "node-role.kubernetes.io/", "kubernetes.io/role"
"""The two ways in which labels say what a node is for."""


def _event(obj: Manifest, now: datetime) -> list[Any]:
    # Events are stored once and served in two groups, which name their fields differently.
    regarding = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host") or ""
    return [
        age(last or first, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(regarding.get('kind', '')).lower()}/{regarding.get('name', '')}",
        regarding.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        str(obj.get("message") or obj.get("note") or "").strip(),
        age(first, now),
        series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1,
        name_of(obj),
    ]


def _node(obj: Manifest, now: datetime) -> list[Any]:
    metadata, status = obj["metadata"], status_of(obj)
    ready = next((c.get("status") for c in status.get("conditions") or [] if c.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if spec_of(obj).get("unschedulable"):
        words.append("SchedulingDisabled")
    labels: Manifest = metadata.get("labels") or {}
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    if role := labels.get(_ROLE):
        roles.add(role)
    info = status.get("nodeInfo") or {}

    def address(kind: str) -> str:
        return next((a.get("address") for a in status.get("addresses") or [] if a.get("type") == kind), NONE)

    return [
        name_of(obj),
        ",".join(words),
        joined(sorted(roles)),
        age_of(obj, now),
        info.get("kubeletVersion", ""),
        address("InternalIP"),
        address("ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


_DEFAULT_CLASS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_ACCESS_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(modes: Iterable[str] | None) -> str:
    return ",".join(_ACCESS_MODES.get(mode, mode) for mode in modes or ())


def _claim(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    bound = bool(spec.get("volumeName"))
    return [
        name_of(obj),
        "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        _modes(status.get("accessModes")) if bound else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        age_of(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _volume(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    claim = spec.get("claimRef") or {}
    return [
        name_of(obj),
        (spec.get("capacity") or {}).get("storage", ""),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName", ""),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason", ""),
        age_of(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _autoscaler(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    target = spec.get("scaleTargetRef") or {}
    current = status.get("currentMetrics") or []
    metrics = spec.get("metrics") or []
    shown = [_metric(metric, current[index] if index < len(current) else {}) for index, metric in enumerate(metrics)]
    return [
        name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        first_of(shown, 2, ", ") or NONE,
        str(spec.get("minReplicas", UNSET)),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age_of(obj, now),
    ]


def _signing_request(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    kinds = [condition.get("type", "") for condition in status.get("conditions") or ()]
    state = [kind for kind in ("Approved", "Denied", "Failed") if kind in kinds] or ["Pending"]
    if status.get("certificate"):
        state.append("Issued")
    seconds = spec.get("expirationSeconds")
    duration = NONE if seconds is None else human_duration(seconds)
    return [
        name_of(obj), age_of(obj, now), spec.get("signerName", NONE), spec.get("username", ""), duration,
        ",".join(state),
    ]  # fmt: skip


def _scale(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("replicas", 0), status_of(obj).get("replicas", 0), age_of(obj, now)]


def _metric(metric: Manifest, current: Manifest) -> str:
    """`cpu: 30%/50%`: what is, and what should be."""
    kind = metric.get("type") or ""
    field = kind[:1].lower() + kind[1:]
    source, found = metric.get(field) or {}, (current.get(field) or {}).get("current") or {}
    target = source.get("target") or {}
    name = f"{source.get('name', '')}: " if kind in ("Resource", "ContainerResource") else ""
    if (average := target.get("averageValue")) is not None:
        suffix = " (avg)" if kind in ("Object", "External") else ""
        return f"{name}{found.get('averageValue', UNKNOWN)}/{average}{suffix}"
    if name:
        used = f"{found['averageUtilization']}%" if "averageUtilization" in found else UNKNOWN
        percent = target.get("averageUtilization")
        return f"{name}{used}/{'<auto>' if percent is None else f'{percent}%'}"
    return f"{found.get('value', UNKNOWN)}/{target.get('value', UNKNOWN)}"


def _disruption_budget(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    return [
        name_of(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        status_of(obj).get("disruptionsAllowed", 0),
        age_of(obj, now),
    ]


def _namespace(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), status_of(obj).get("phase", ""), age_of(obj, now)]


def _config_map(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age_of(obj, now)]


def _secret(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type", ""), len(obj.get("data") or {}), age_of(obj, now)]


def _service_account(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("secrets") or []), age_of(obj, now)]


def _lease(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("holderIdentity", ""), age_of(obj, now)]


def _created(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), obj["metadata"].get("creationTimestamp", "")]


def _binding(obj: Manifest, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        name, namespace = subject.get("name", ""), subject.get("namespace")
        subjects.setdefault(subject.get("kind", ""), []).append(f"{namespace}/{name}" if namespace else name)
    listed = (", ".join(subjects[kind]) for kind in ("User", "Group", "ServiceAccount"))
    return [name_of(obj), f"{role.get('kind', '')}/{role.get('name', '')}", age_of(obj, now), *listed]


def _priority_class(obj: Manifest, now: datetime) -> list[Any]:
    policy = obj.get("preemptionPolicy", "PreemptLowerPriority")
    return [name_of(obj), obj.get("value", 0), bool(obj.get("globalDefault")), age_of(obj, now), policy]


def _storage_class(obj: Manifest, now: datetime) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    return [
        f"{name_of(obj)} (default)" if default else name_of(obj),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        bool(obj.get("allowVolumeExpansion")),
        age_of(obj, now),
    ]


_EVENT = BuiltinTable(
    (
        *columns("Last Seen,Type,Reason,Object"),
        *columns("", "Subobject,Source"),
        *columns("Message"),
        *columns("", "First Seen,Count,Name"),
    ),
    _event,
)
CREATED = BuiltinTable(columns("Name,Created At@"), _created)
"""What kinds show that have nothing of their own to show."""
_BINDING = BuiltinTable(columns("Name,Role,Age", "Users,Groups,ServiceAccounts"), _binding)

BUILTIN_TABLES: dict[tuple[str, str], BuiltinTable] = (
    WORKLOAD_TABLES
    | NETWORK_TABLES
    | FURTHER_TABLES
    | {
        ("", "events"): _EVENT,
        ("events.k8s.io", "events"): _EVENT,
        ("", "namespaces"): BuiltinTable(columns("Name,Status,Age"), _namespace),
        ("", "nodes"): BuiltinTable(
            columns(
                "Name,Status,Roles,Age,Version",
                "Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime",
            ),
            _node,
        ),
        ("", "configmaps"): BuiltinTable(columns("Name,Data,Age"), _config_map),
        ("", "secrets"): BuiltinTable(columns("Name,Type,Data,Age"), _secret),
        ("", "serviceaccounts"): BuiltinTable(columns("Name,Secrets,Age"), _service_account),
        ("", "persistentvolumeclaims"): BuiltinTable(
            columns(
                "Name,Status,Volume,Capacity,Access Modes,StorageClass,VolumeAttributesClass,Age",
                "VolumeMode",
            ),
            _claim,
        ),
        ("", "persistentvolumes"): BuiltinTable(
            columns(
                "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,VolumeAttributesClass,Reason,Age",
                "VolumeMode",
            ),
            _volume,
        ),
        ("certificates.k8s.io", "certificatesigningrequests"): BuiltinTable(
            columns("Name,Age,SignerName,Requestor,RequestedDuration,Condition"), _signing_request
        ),
        ("autoscaling", "scales"): BuiltinTable(
            (msgspec.structs.replace(NAME, format=""), *columns("Desired#,Available#,Age")), _scale
        ),
        ("autoscaling", "horizontalpodautoscalers"): BuiltinTable(
            columns("Name,Reference,Targets,MinPods,MaxPods,Replicas,Age"), _autoscaler
        ),
        ("coordination.k8s.io", "leases"): BuiltinTable(columns("Name,Holder,Age"), _lease),
        ("policy", "poddisruptionbudgets"): BuiltinTable(
            columns("Name,Min Available,Max Unavailable,Allowed Disruptions#,Age"), _disruption_budget
        ),
        ("rbac.authorization.k8s.io", "rolebindings"): _BINDING,
        ("rbac.authorization.k8s.io", "clusterrolebindings"): _BINDING,
        ("scheduling.k8s.io", "priorityclasses"): BuiltinTable(
            columns("Name,Value#,Global-Default?,Age,PreemptionPolicy"), _priority_class
        ),
        ("storage.k8s.io", "storageclasses"): BuiltinTable(
            columns("Name,Provisioner,ReclaimPolicy,VolumeBindingMode,AllowVolumeExpansion,Age"), _storage_class
        ),
    }
)
"""By group and plural. A kind that is not here shows when it was made."""
