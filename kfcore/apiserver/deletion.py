"""What a delete request asks for, and the state that it puts an object into before the object goes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from kfcore.api.codec import decode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.metadata import timestamp
from kfcore.apiserver.options import DELETE_OPTIONS
from kfcore.apiserver.status import bad_request, conflict, invalid, invalid_value, unsupported
from kfcore.apiserver.storage import Stored
from kfcore.apiserver.strategy import Strategy

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_POLICIES = ("Background", "Foreground", "Orphan")


class DeleteOptions(msgspec.Struct, frozen=True):
    """`grace_period_seconds` None: the object's own. `propagation` empty: the kind's default."""

    grace_period_seconds: int | None = None
    propagation: str = ""
    uid: str = ""
    resource_version: str = ""

    @property
    def manifest(self) -> Manifest:
        """As the API writes them."""
        options: Manifest = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.grace_period_seconds is not None:
            options["gracePeriodSeconds"] = self.grace_period_seconds
        demanded = {"uid": self.uid, "resourceVersion": self.resource_version}
        if preconditions := {field: value for field, value in demanded.items() if value}:
            options["preconditions"] = preconditions
        if self.propagation:
            options["propagationPolicy"] = self.propagation
        return options


def parse_options(body: Manifest, query: dict[str, str]) -> DeleteOptions:
    """Options from a DeleteOptions body and, where that is silent, the query."""
    grace: Any = body.get("gracePeriodSeconds")
    if grace is None and "gracePeriodSeconds" in query:
        try:
            grace = int(query["gracePeriodSeconds"])
        except ValueError as error:
            why = f'strconv.ParseInt: parsing "{query["gracePeriodSeconds"]}": invalid syntax'
            raise bad_request(why) from error
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise bad_request("gracePeriodSeconds must be an integer")
    policy: Any = body.get("propagationPolicy") or query.get("propagationPolicy", "")
    orphans: Any = body.get("orphanDependents", {"true": True, "false": False}.get(query.get("orphanDependents", "")))
    if policy and orphans is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        raise invalid(DELETE_OPTIONS, "", [invalid_value("propagationPolicy", policy, why)])
    if not policy and orphans is not None:
        policy = "Orphan" if orphans else "Background"
    if policy and policy not in _POLICIES:
        raise invalid(DELETE_OPTIONS, "", [unsupported("propagationPolicy", policy, _POLICIES)])
    preconditions = body.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise bad_request("preconditions must be an object")
    return DeleteOptions(
        None if grace is None else max(grace, 0) if grace >= 0 else 1,
        policy,
        str(preconditions.get("uid") or ""),
        str(preconditions.get("resourceVersion") or ""),
    )


def check_preconditions(resource: Resource, stored: Stored, options: DeleteOptions) -> None:
    """Raises Conflict when the object is not the one that the client means."""
    metadata = stored.manifest["metadata"]
    name = metadata["name"]
    if options.uid and options.uid != stored.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({stored.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource, name, why, by_kind=True)
    if options.resource_version and options.resource_version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified"
        )
        raise conflict(resource, name, why, by_kind=True)


def begin_deletion(strategy: Strategy, stored: Stored, options: DeleteOptions, now: datetime) -> Manifest | None:
    """The object as deleting (a changed copy of its manifest), or None when nothing changes."""
    before = stored.manifest["metadata"]
    grace = _grace(strategy, stored.manifest, options)
    manifest: Manifest = decode_json(stored.data)
    metadata = manifest["metadata"]
    metadata["finalizers"] = _finalizers(before.get("finalizers", []), options.propagation)
    if strategy.finalizer and "deletionTimestamp" not in before:
        metadata["finalizers"].append(strategy.finalizer)
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    if "deletionTimestamp" not in before:
        metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if metadata.get("generation"):
            metadata["generation"] += 1
    elif strategy.graceful and grace < (before.get("deletionGracePeriodSeconds") or 0):
        metadata["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
    if manifest["kind"] == "Namespace":
        metadata.pop("deletionGracePeriodSeconds", None)
        manifest["status"] = {**manifest.get("status", {}), "phase": "Terminating"}
    return None if manifest == stored.manifest else manifest


def _grace(strategy: Strategy, manifest: Manifest, options: DeleteOptions) -> int:
    """Only what runs on a node gets time to stop."""
    if not strategy.graceful:
        return 0
    spec = manifest.get("spec", {})
    if not spec.get("nodeName") or manifest.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace_period_seconds is not None:
        return options.grace_period_seconds
    return int(spec.get("terminationGracePeriodSeconds", 30))


def _finalizers(present: list[str], propagation: str) -> list[str]:
    if not propagation:
        return list(present)
    kept = [item for item in present if item not in (FOREGROUND, ORPHAN)]
    if propagation == "Foreground":
        kept.append(FOREGROUND)
    elif propagation == "Orphan":
        kept.append(ORPHAN)
    return kept
