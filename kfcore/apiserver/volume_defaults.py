"""What a pod's volumes are by default, of a pod and of a template alike. `pods.py` has the rest of a pod's defaults."""

from __future__ import annotations

from kfcore.api.meta import Manifest

_MODE = 0o644
_TOKEN_SECONDS = 3600
_WITH_MODE = ("configMap", "secret", "projected", "downwardAPI")
_RBD: Manifest = {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}
_DEFAULTS: dict[str, Manifest] = {
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": _RBD,
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
    **{source: {"defaultMode": _MODE} for source in _WITH_MODE},
}


def default_volume(volume: Manifest) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    default_sources(volume)
    for item in _items(volume, "downwardAPI", "items"):
        default_references(item)
    for source in _items(volume, "projected", "sources"):
        if isinstance(token := source.get("serviceAccountToken"), dict):
            token.setdefault("expirationSeconds", _TOKEN_SECONDS)
        for item in _items(source, "downwardAPI", "items"):
            default_references(item)
    template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if isinstance(template, dict):
        template.setdefault("metadata", {})
        template.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    if isinstance(image := volume.get("image"), dict):
        image.setdefault("pullPolicy", pull_policy(image.get("reference") or ""))


def default_sources(volume: Manifest) -> None:
    """What pods' volumes and persistent ones have in common."""
    for source, defaults in _DEFAULTS.items():
        if isinstance(inner := volume.get(source), dict):
            for name, value in defaults.items():
                inner.setdefault(name, value)


def default_references(holder: Manifest) -> None:
    """A reference to a field or to a resource of the pod, in an environment variable or in a file."""
    if isinstance(reference := holder.get("fieldRef"), dict):
        reference.setdefault("apiVersion", "v1")
    if isinstance(reference := holder.get("resourceFieldRef"), dict):
        reference.setdefault("divisor", "0")


def pull_policy(image: str) -> str:
    """Always for an image that may be another one tomorrow: with no tag, or with `latest`, and with no digest."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if "@" not in image and tag in ("", "latest") else "IfNotPresent"


def _items(parent: Manifest, source: str, name: str) -> list[Manifest]:
    return (parent.get(source) or {}).get(name) or []
