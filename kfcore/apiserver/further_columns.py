"""What `kubectl get` shows of the kinds that administrators meet: quotas, classes, drivers, admission."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.cells import NAME, NONE, UNSET, BuiltinTable, age_of, columns, name_of, spec_of, status_of


def _quota(obj: Manifest, now: datetime) -> list[Any]:
    status = status_of(obj)
    used, hard = status.get("used") or {}, status.get("hard") or {}
    parts = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = ", ".join(part for name, part in parts.items() if name.startswith("limits."))
    requests = ", ".join(part for name, part in parts.items() if not name.startswith("limits."))
    return [name_of(obj), requests, limits, age_of(obj, now)]


def _revision(obj: Manifest, now: datetime) -> list[Any]:
    owners = obj["metadata"].get("ownerReferences") or []
    owner = next((reference for reference in owners if reference.get("controller")), None)
    shown = NONE
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        shown = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
    return [name_of(obj), shown, obj.get("revision", 0), age_of(obj, now)]


def _runtime_class(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("handler", ""), age_of(obj, now)]


def _driver(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    tokens = [request.get("audience", "") for request in spec.get("tokenRequests") or []]
    return [
        name_of(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        ",".join(tokens) if tokens else UNSET,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or []) or NONE,
        age_of(obj, now),
    ]


def _driver_node(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), len(spec_of(obj).get("drivers") or []), age_of(obj, now)]


def _attachment(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    volume = (spec.get("source") or {}).get("persistentVolumeName") or ""
    attached = bool(status_of(obj).get("attached"))
    return [name_of(obj), spec.get("attacher", ""), volume, spec.get("nodeName", ""), attached, age_of(obj, now)]


def _webhooks(obj: Manifest, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("webhooks") or []), age_of(obj, now)]


def _policy(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
    return [name_of(obj), len(spec.get("validations") or []), shown, age_of(obj, now)]


def _policy_binding(obj: Manifest, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    reference = spec.get("paramRef") or {}
    shown = "/".join(filter(None, (reference.get("namespace"), reference.get("name")))) or UNSET
    return [name_of(obj), spec.get("policyName", ""), shown, age_of(obj, now)]


def _table(names: str, cells: Callable[[Manifest, datetime], list[Any]]) -> BuiltinTable:
    return BuiltinTable(columns(names), cells)


_ADMISSION = "admissionregistration.k8s.io"

FURTHER_TABLES: dict[tuple[str, str], BuiltinTable] = {
    ("", "resourcequotas"): _table("Name,Request,Limit,Age", _quota),
    ("apps", "controllerrevisions"): _table("Name,Controller,Revision,Age", _revision),
    ("node.k8s.io", "runtimeclasses"): _table("Name,Handler,Age", _runtime_class),
    ("storage.k8s.io", "csidrivers"): _table(
        "Name,AttachRequired?,PodInfoOnMount?,StorageCapacity?,TokenRequests,RequiresRepublish?,Modes,Age", _driver
    ),
    ("storage.k8s.io", "csinodes"): _table("Name,Drivers#,Age", _driver_node),
    ("storage.k8s.io", "volumeattachments"): BuiltinTable(
        (NAME, msgspec.structs.replace(NAME, name="Attacher"), *columns("PV,Node,Attached?,Age")), _attachment
    ),
    (_ADMISSION, "mutatingwebhookconfigurations"): _table("Name,Webhooks#,Age", _webhooks),
    (_ADMISSION, "validatingwebhookconfigurations"): _table("Name,Webhooks#,Age", _webhooks),
    (_ADMISSION, "validatingadmissionpolicies"): _table("Name,Validations#,ParamKind,Age", _policy),
    (_ADMISSION, "validatingadmissionpolicybindings"): _table("Name,PolicyName,ParamRef,Age", _policy_binding),
}
"""By group and plural."""
