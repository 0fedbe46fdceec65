"""Pod templates: their hashes, and the pods made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kfcore.api.meta import Manifest, Object, owner_reference

TEMPLATE_HASH_LABEL = "pod-template-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels and no look-alikes: a name never spells a word


def short_hash(value: Any, salt: str = "") -> str:
    """A hash of JSON for use in names, as Kubernetes forms it: 32-bit FNV-1 over the sorted, compact document."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    digest = 2166136261
    for byte in (text + salt).encode():
        digest = (digest * 16777619 & 0xFFFFFFFF) ^ byte
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(digest))


def same_template(one: Manifest, other: Manifest) -> bool:
    """Whether two templates make the same pods, whatever their hash label says."""
    return _without_hash(one) == _without_hash(other)


def with_labels(template: Manifest, labels: Mapping[str, str]) -> Manifest:
    """The template with labels added."""
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    return {**template, "metadata": metadata}


def pod_of(
    template: Manifest, owner: Object, *, name: str = "", prefix: str = "", labels: Mapping[str, str] | None = None
) -> Manifest:
    """A pod of `owner` from a template; `name`, or a name that the server generates from `prefix`."""
    source = template.get("metadata") or {}
    metadata: Manifest = {"namespace": owner.namespace, "ownerReferences": [owner_reference(owner)]}
    if name:
        metadata["name"] = name
    if prefix:
        metadata["generateName"] = prefix
    if all_labels := {**(source.get("labels") or {}), **(labels or {})}:
        metadata["labels"] = all_labels
    if annotations := source.get("annotations"):
        metadata["annotations"] = dict(annotations)
    if finalizers := source.get("finalizers"):
        metadata["finalizers"] = list(finalizers)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(template.get("spec") or {})}


def _without_hash(template: Manifest) -> Manifest:
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    labels = {key: value for key, value in metadata.pop("labels", {}).items() if key != TEMPLATE_HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}
