"""ResourceQuotas at work: what a namespace uses, and what may not come in any more. The use is written to the quota's
status with every change of what it counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import Amounts, add, amounts, listed, of_containers, text
from kfcore.apiserver.pods import qos_class
from kfcore.apiserver.status import forbidden

if TYPE_CHECKING:
    from kfcore.apiserver.kinds import ServedKind
    from kfcore.apiserver.objects import Objects
    from kfcore.apiserver.storage import Stored

_ONE = Decimal(1)
_COUNTED = frozenset({
    "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services",
})  # fmt: skip
"""Kinds that are counted under their own name; every kind is under `count/`."""
_PER_CONTAINER = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


class Quotas:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        kind = objects.kinds.at("", "v1", "resourcequotas")
        assert kind is not None
        self._kind = kind
        self._collection = objects.collection(kind)
        objects.on_change.append(self._changed)

    def check(self, kind: ServedKind, manifest: Manifest) -> None:
        """Raises Forbidden for a new object that a quota of its namespace has no room for."""
        if not len(self._collection):
            return
        namespace = manifest["metadata"].get("namespace", "")
        if not namespace:
            return
        needs = usage_of(kind.storage, manifest)
        for quota in self._collection.select(namespace):
            if not _in_scope(quota.manifest, kind.storage, manifest):
                continue
            hard = amounts((quota.manifest.get("spec") or {}).get("hard"))
            wanted = {name: amount for name, amount in needs.items() if name in hard}
            self._demand_amounts(kind, manifest, quota, hard)
            if not wanted:
                continue
            used = self._used(quota, hard)
            over = [name for name, amount in wanted.items() if used.get(name, Decimal(0)) + amount > hard[name]]
            if over:
                why = (
                    f"exceeded quota: {quota.key[1]}, requested: {listed(wanted, over)}, used: {listed(used, over)}, "
                    f"limited: {listed(hard, over)}"
                )
                raise forbidden(kind.resource, manifest["metadata"].get("name", ""), why)

    def _demand_amounts(self, kind: ServedKind, manifest: Manifest, quota: Stored, hard: Amounts) -> None:
        """A pod has to say what it needs of what is limited: every one of its containers."""
        if kind.storage != "pods":
            return
        missing: dict[str, list[str]] = {}
        spec = manifest.get("spec") or {}
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            for name in _PER_CONTAINER:
                group, _, resource = name.rpartition(".")
                if name in hard and resource not in (resources.get(group or "requests") or {}):
                    missing.setdefault(name, []).append(container.get("name", ""))
        if missing:
            said = "; ".join(f"{name} for: {','.join(sorted(names))}" for name, names in sorted(missing.items()))
            raise forbidden(
                kind.resource,
                manifest["metadata"].get("name", ""),
                f"failed quota: {quota.key[1]}: must specify {said}",
            )

    # ── use ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _used(self, quota: Stored, hard: Amounts) -> Amounts:
        total: Amounts = dict.fromkeys(hard, Decimal(0))
        namespace = quota.key[0]
        for storage in _storages(hard):
            collection = self._objects.storage.collections.get(storage)
            for stored in collection.select(namespace) if collection is not None else ():
                if _in_scope(quota.manifest, storage, stored.manifest):
                    used = usage_of(storage, stored.manifest)
                    add(total, {name: amount for name, amount in used.items() if name in hard})
        return total

    def _changed(self, kind: ServedKind, previous: Stored | None, current: Stored | None) -> None:
        if not len(self._collection):
            return
        changed = current or previous
        assert changed is not None
        for quota in list(self._collection.select(changed.key[0])) if changed.key[0] else ():
            spec = quota.manifest.get("spec") or {}
            hard = amounts(spec.get("hard"))
            if kind.storage not in _storages(hard) and quota.uid != changed.uid:
                continue
            if "deletionTimestamp" in quota.manifest["metadata"]:
                continue
            used = {name: text(name, amount) for name, amount in self._used(quota, hard).items()}
            status = {"hard": dict(spec.get("hard") or {}), "used": used}
            if quota.manifest.get("status") != status:
                self._objects.update(self._kind, *quota.key, _with_status(status), subresource="status")


def _with_status(status: Manifest) -> Any:
    return lambda manifest: {**manifest, "status": status}


def _storages(hard: Amounts) -> set[str]:
    """Where that is kept which a quota counts."""
    found = set()
    for name in hard:
        if name.startswith("count/"):
            found.add(name.removeprefix("count/"))
        elif name in _COUNTED:
            found.add(name)
        elif name.startswith("services."):
            found.add("services")
        elif "storageclass.storage.k8s.io" in name or name == "requests.storage":
            found.add("persistentvolumeclaims")
        else:
            found.add("pods")
    return found


def usage_of(storage: str, manifest: Manifest) -> Amounts:
    """What one object uses, under every name that a quota may have for it."""
    found: Amounts = {f"count/{storage}": _ONE}
    spec: Any = manifest.get("spec") or {}
    if storage in _COUNTED:
        found[storage] = _ONE
    match storage:
        case "pods":
            if (manifest.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                return {"count/pods": _ONE}
            requests, limits = of_containers(spec, "requests"), of_containers(spec, "limits")
            found |= {f"requests.{name}": amount for name, amount in requests.items()}
            found |= {f"limits.{name}": amount for name, amount in limits.items()}
            found |= {name: requests[name] for name in ("cpu", "memory", "ephemeral-storage") if name in requests}
        case "services":
            ports = len(spec.get("ports") or ())
            if (
                spec.get("type") in ("NodePort", "LoadBalancer")
                and spec.get("allocateLoadBalancerNodePorts") is not False
            ):
                found["services.nodeports"] = Decimal(ports)
            if spec.get("type") == "LoadBalancer":
                found["services.loadbalancers"] = _ONE
        case "persistentvolumeclaims":
            requested = amounts((spec.get("resources") or {}).get("requests")).get("storage", Decimal(0))
            found["requests.storage"] = requested
            if storage_class := spec.get("storageClassName"):
                prefix = f"{storage_class}.storageclass.storage.k8s.io"
                found |= {f"{prefix}/requests.storage": requested, f"{prefix}/persistentvolumeclaims": _ONE}
    return found


# ── scopes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_scope(quota: Manifest, storage: str, manifest: Manifest) -> bool:
    """Whether a quota is about an object: all of its scopes are met. Scopes are of pods alone."""
    spec = quota.get("spec") or {}
    wanted = [*_terms(spec)]
    if not wanted:
        return True
    if storage != "pods":
        return False
    pod = manifest.get("spec") or {}
    return all(_meets(pod, term) for term in wanted)


def _terms(spec: Manifest) -> Iterator[Manifest]:
    for scope in spec.get("scopes") or ():
        yield {"scopeName": scope, "operator": "Exists"}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def _meets(pod: Manifest, term: Manifest) -> bool:
    match term.get("scopeName"):
        case "Terminating":
            return pod.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return pod.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(pod) == "BestEffort"
        case "NotBestEffort":
            return qos_class(pod) != "BestEffort"
        case "PriorityClass":
            name, values = pod.get("priorityClassName") or "", term.get("values") or ()
            match term.get("operator"):
                case "In":
                    return name in values
                case "NotIn":
                    return name not in values
                case "Exists":
                    return bool(name)
                case _:
                    return not name
    return False
