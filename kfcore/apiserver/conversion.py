"""One stored object, several versions: what a kind serves from what its storage holds, and back.

Events are one storage under two APIs with different field names, autoscalers have an older form; the versions of a
custom kind differ in apiVersion only (conversion strategy None).
"""

from __future__ import annotations

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver import autoscaling
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.storage import Stored

_EVENTS, _AUTOSCALING = "events.k8s.io", "autoscaling/v1"
_EVENT_FIELDS = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_EVENT_FIELDS_BACK = {stored: served for served, stored in _EVENT_FIELDS.items()}


def storage_api_version(kind: ServedKind) -> str:
    resource = kind.resource
    if resource.group == _EVENTS:
        return "v1"
    version = kind.storage_version or resource.version
    return f"{resource.group}/{version}" if resource.group else version


def to_storage(kind: ServedKind, manifest: Manifest) -> Manifest:
    """The manifest as storage keeps it, fields in the server's order."""
    if kind.resource.group == _EVENTS:
        manifest = {_EVENT_FIELDS.get(key, key): value for key, value in manifest.items()}
    elif kind.resource.api_version == _AUTOSCALING:
        manifest = autoscaling.from_v1(manifest)
    rest = {key: value for key, value in manifest.items() if key not in ("kind", "apiVersion", "metadata")}
    return {
        "kind": kind.resource.kind,
        "apiVersion": storage_api_version(kind),
        "metadata": manifest["metadata"],
        **rest,
    }


def from_storage(kind: ServedKind, stored: Stored) -> Manifest:
    """A copy of the object, as `kind` serves it."""
    manifest: Manifest = decode_json(stored.data or encode_json(stored.manifest))
    return _serve(kind, manifest)


def served_bytes(kind: ServedKind, stored: Stored) -> bytes:
    """The object's JSON, as `kind` serves it."""
    if not stored.data:
        return encode_json(_serve(kind, stored.manifest))
    if stored.api_version == kind.resource.api_version:
        return stored.data
    return encode_json(_serve(kind, stored.manifest))


def served(kind: ServedKind, stored: Stored) -> Manifest:
    """The object as `kind` serves it, to read only."""
    return _serve(kind, stored.manifest)


def converted(kind: ServedKind, other: ServedKind, manifest: Manifest) -> Manifest:
    """An object of `kind` as `other`, another version of what is stored as one, has it."""
    return _serve(other, to_storage(kind, manifest))


def _serve(kind: ServedKind, manifest: Manifest) -> Manifest:
    api_version = kind.resource.api_version
    if manifest["apiVersion"] == api_version:
        return manifest
    if kind.resource.group == _EVENTS:
        manifest = {_EVENT_FIELDS_BACK.get(key, key): value for key, value in manifest.items()}
    elif api_version == _AUTOSCALING:
        manifest = autoscaling.to_v1(manifest)
    return {**manifest, "apiVersion": api_version}
