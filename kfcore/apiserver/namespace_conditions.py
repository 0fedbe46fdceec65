"""What a namespace on its way out says of itself: what is still in it, and what keeps that there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource

_SOUND = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    ("NamespaceDeletionContentFailure", "ContentDeleted",
     "All content successfully deleted, may be waiting on finalization"),
)  # fmt: skip


def deletion_conditions(
    remaining: Iterable[tuple[Resource, Manifest]], before: Iterable[Manifest], now: str
) -> list[Manifest]:
    """The conditions of a namespace in which `remaining` are left. What is as in `before` keeps its time."""
    kinds: Counter[str] = Counter()
    finalizers: Counter[str] = Counter()
    for resource, manifest in remaining:
        kinds[f"{resource.plural}.{resource.group}"] += 1
        finalizers.update(manifest["metadata"].get("finalizers", ()))
    listed = {item.get("type"): item for item in before}
    made = []
    for condition in _conditions(kinds, finalizers):
        found = listed.get(condition["type"], {})
        same = found.get("status") == condition["status"]
        made.append({"type": condition.pop("type"), "status": condition.pop("status"),
                     "lastTransitionTime": found.get("lastTransitionTime", now) if same else now,
                     **condition})  # fmt: skip
    return made


def _conditions(kinds: Counter[str], finalizers: Counter[str]) -> Iterator[Manifest]:
    for kind, reason, message in _SOUND:
        yield {"type": kind, "status": "False", "reason": reason, "message": message}
    left = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(kinds.items()))
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    yield {
        "type": "NamespaceContentRemaining",
        "status": "True" if left else "False",
        "reason": "SomeResourcesRemain" if left else "ContentRemoved",
        "message": f"Some resources are remaining: {left}" if left else "All content successfully removed",
    }
    yield {
        "type": "NamespaceFinalizersRemaining",
        "status": "True" if held else "False",
        "reason": "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
        "message": f"Some content in the namespace has finalizers remaining: {held}"
        if held
        else "All content-preserving finalizers finished",
    }
