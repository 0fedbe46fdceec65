"""Nodes: what an update of one keeps, and the rules that users meet."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import label_value, qualified_name
from kfcore.apiserver.status import FieldError, duplicate, forbidden_field, invalid_value, required, unsupported

_FACTS = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def keep_status(node: Manifest, previous: Manifest) -> None:
    """A new node may bring its status along; from then on `/status` is the way to it."""
    if "status" in previous:
        node["status"] = previous["status"]
    else:
        node.pop("status", None)


def validate_node(node: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((node.get("spec") or {}).get("taints") or ()):
        place, key, effect = f"metadata.taints[{index}]", taint.get("key") or "", taint.get("effect") or ""
        errors += [invalid_value(f"{place}.key", key, why) for why in qualified_name(key)]
        if problems := label_value(value := taint.get("value") or ""):
            errors.append(invalid_value(f"{place}.value", value, ";".join(problems)))
        if not effect:
            errors.append(required(f"{place}.effect"))
        elif effect not in _EFFECTS:
            errors.append(unsupported(f"{place}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            why = "taints must be unique by key and effect pair"
            errors.append(FieldError("FieldValueDuplicate", place, f"{duplicate(place, taint).message}: {why}"))
        seen.add((key, effect))
    if previous is not None:
        errors += _validate_update(node, previous)
    return errors


def _validate_update(node: Manifest, previous: Manifest) -> Iterator[FieldError]:
    """What a node was given once it keeps."""
    spec, before = node.get("spec") or {}, previous.get("spec") or {}
    for field, name in (("podCIDRs", "podCIDR"), ("providerID", "providerID")):
        if before.get(field) and spec.get(field) != before[field]:
            yield forbidden_field(f"spec.{field}", f'node updates may not change {name} except from "" to valid')
    seen: list[Manifest] = []
    for index, address in enumerate((node.get("status") or {}).get("addresses") or ()):
        if address in seen:
            yield duplicate(f"status.addresses[{index}]", address)
        seen.append(address)


def default_node(node: Manifest) -> None:
    """What a node has that says nothing of itself: room for what it can hold, and empty facts."""
    node.setdefault("spec", {})
    status = node.setdefault("status", {})
    if not isinstance(status, dict):
        return
    if status.get("capacity") and "allocatable" not in status:
        status["allocatable"] = dict(status["capacity"])
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {"Port": 0})
    facts = status.setdefault("nodeInfo", {})
    for name in _FACTS:
        facts.setdefault(name, "")
