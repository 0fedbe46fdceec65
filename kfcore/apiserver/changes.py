"""What of a wanted object an update may change: by the object itself, or by a subresource of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.strategy import Strategy


def arranged(kind: ServedKind, metadata: Manifest, manifest: Mapping[str, Any]) -> Manifest:
    """An object of `kind` with its metadata as cleaned, its fields in the server's order."""
    resource = kind.resource
    rest = {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion", "metadata")}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata, **rest}


def permitted(
    kind: ServedKind, strategy: Strategy, subresource: str, metadata: Manifest, wanted: Manifest, before: Manifest
) -> Manifest:
    """`wanted`, with what it may not change as it was. `metadata` is its own, cleaned."""
    if subresource == "status" and kind.custom:
        given = metadata.get("managedFields")
        manifest = {**before, "metadata": dict(before["metadata"])}
        if given is not None:
            manifest["metadata"]["managedFields"] = given
        return _with_status(manifest, wanted)
    if subresource == "status":
        kept = {key: value for key, value in before.items() if key not in ("metadata", "status")}
        metadata["ownerReferences"] = before["metadata"].get("ownerReferences", [])
        if not metadata["ownerReferences"]:
            del metadata["ownerReferences"]
        manifest = {"kind": "", "apiVersion": "", "metadata": metadata, **kept}
        return _with_status(manifest, wanted) if "status" in wanted else manifest
    manifest = arranged(kind, metadata, wanted)
    if subresource != "binding" and kind.status and not strategy.keeps_status:
        return _with_status(manifest, before)
    return manifest


def _with_status(manifest: Manifest, source: Manifest) -> Manifest:
    if "status" in source:
        manifest["status"] = source["status"]
    else:
        manifest.pop("status", None)
    return manifest


def counts(strategy: Strategy, subresource: str, manifest: Manifest, before: Manifest) -> bool:
    """Whether a change is one of the object's generation."""
    if _spec_of(manifest) != _spec_of(before):
        return True
    annotations = [one["metadata"].get("annotations") for one in (manifest, before)]
    return strategy.counts_annotations and not subresource and annotations[0] != annotations[1]


def _spec_of(manifest: Manifest) -> Manifest:
    """What counts for the generation: everything but metadata and status."""
    return {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion", "metadata", "status")}
