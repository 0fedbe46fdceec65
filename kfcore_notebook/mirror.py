"""A Notebook's status from its StatefulSet and its pod, beside conditions of our own where something is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, ServerObject, Struct, Unstructured, rfc3339
from kfcore.api.resource import Resource

SIDECARS = frozenset({"istio-proxy", "istio-init", "linkerd-proxy", "vault-agent", "oauth-proxy", "cloud-sql-proxy"})

OWN_CONDITIONS = (
    "NotebookValid",
    "AnnotationsValid",
    "ChildrenOwned",
    "ChildrenWritten",
    "PodCreated",
    "ServerReachable",
)
"""Written only while they are False: whoever reads a Notebook's conditions takes one with a reason for a warning."""


class NotebookPodStatus(Struct, frozen=True):
    phase: str = ""
    conditions: list[dict[str, Any]] = []
    container_statuses: list[dict[str, Any]] = []


class NotebookPod(ServerObject, frozen=True):
    """A pod with the parts of its status that a Notebook shows, as they are on the wire."""

    resource: ClassVar[Resource] = Pod.resource
    status: NotebookPodStatus = NotebookPodStatus()

    def condition(self, type_: str) -> Manifest:
        """A condition by its type; empty when there is none."""
        return next((condition for condition in self.status.conditions if condition.get("type") == type_), {})


class Trouble(msgspec.Struct, frozen=True):
    """A condition of our own that is False."""

    type: str
    reason: str
    message: str


def status(
    name: str,
    stateful_set: Unstructured | None,
    pod: NotebookPod | None,
    troubles: Iterable[Trouble],
    before: Manifest,
    now: datetime,
) -> Manifest:
    """The status to have, given the one `before`: what has not changed keeps its times."""
    raw: Manifest = (stateful_set.raw.get("status") if stateful_set is not None else None) or {}
    known = {condition.get("type"): condition for condition in before.get("conditions") or []}
    moment = rfc3339(now.astimezone(UTC).replace(microsecond=0))
    mirrored = [_mirrored(condition, known, moment) for condition in (pod.status.conditions if pod else ())]
    return {
        "conditions": mirrored + [_own(trouble, known, moment) for trouble in troubles],
        "readyReplicas": raw.get("readyReplicas") or 0,
        "containerState": _container_state(name, pod.status.container_statuses if pod else ()),
    }


def _container_state(name: str, statuses: Sequence[Manifest]) -> Manifest:
    """Of the container named like the Notebook, else of the first that is no known sidecar."""
    chosen = [entry for entry in statuses if entry.get("name") == name]
    chosen += [entry for entry in statuses if entry.get("name") not in SIDECARS]
    return (chosen[0].get("state") or {}) if chosen else {}


def _mirrored(condition: Manifest, known: dict[Any, Manifest], moment: str) -> Manifest:
    kept = {key: condition[key] for key in ("type", "status", "reason", "message") if condition.get(key)}
    before = known.get(kept.get("type"), {})
    same = before.get("status") == kept.get("status")
    for time in ("lastProbeTime", "lastTransitionTime"):
        kept[time] = condition.get(time) or (same and before.get(time)) or moment
    return kept


def _own(trouble: Trouble, known: dict[Any, Manifest], moment: str) -> Manifest:
    since = known.get(trouble.type, {}).get("lastTransitionTime") or moment
    return {
        "type": trouble.type,
        "status": "False",
        "reason": trouble.reason,
        "message": trouble.message,
        "lastProbeTime": since,
        "lastTransitionTime": since,
    }
