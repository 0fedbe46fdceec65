"""Persistent volumes, claims and storage classes: defaults, and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import amounts
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported
from kfcore.apiserver.workloads import part

_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def default_claim(claim: Manifest) -> None:
    part(claim, "spec", "PersistentVolumeClaim").setdefault("volumeMode", "Filesystem")


def validate_claim(claim: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = claim["spec"]
    errors: list[FieldError] = []
    modes = spec.get("accessModes") or []
    if not modes:
        errors.append(required("spec.accessModes", "at least 1 access mode is required"))
    errors += [unsupported("spec.accessModes", mode, _MODES) for mode in modes if mode not in _MODES]
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        errors.append(required("spec.resources[storage]"))
    if previous is not None:
        errors += _validate_claim_update(claim, previous)
    return errors


def _validate_claim_update(claim: Manifest, previous: Manifest) -> list[FieldError]:
    """A claim takes a volume and a class once; once it has a volume, it may ask for more room."""
    spec, before = claim["spec"], previous["spec"]
    kept = dict(spec)
    for field in ("volumeName", "storageClassName"):
        if not before.get(field):
            kept.pop(field, None)
    bound = (previous.get("status") or {}).get("phase") == "Bound"
    free = ("resources", "volumeAttributesClassName") if bound else ()
    kept = {key: value for key, value in kept.items() if key not in free}
    if kept != {key: value for key, value in before.items() if key in kept or (key not in free and value)}:
        return [forbidden_field("spec", _IMMUTABLE)]
    held = amounts((previous.get("status") or {}).get("capacity")).get("storage")
    asked, wanted = (amounts((one.get("resources") or {}).get("requests")).get("storage") for one in (before, spec))
    if held is not None and asked is not None and wanted is not None and wanted < asked and wanted <= held:
        return [forbidden_field("spec.resources.requests.storage", "field can not be less than status.capacity")]
    return []


def default_volume(volume: Manifest) -> None:
    spec = part(volume, "spec", "PersistentVolume")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if isinstance(path := spec.get("hostPath"), dict):
        path.setdefault("type", "")


def validate_volume(volume: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = volume["spec"]
    errors: list[FieldError] = []
    if not spec.get("accessModes"):
        errors.append(required("spec.accessModes"))
    if not spec.get("capacity"):
        errors.append(required("spec.capacity"))
    elif set(spec["capacity"]) != {"storage"}:
        errors.append(unsupported("spec.capacity", spec["capacity"], ("storage",)))
    return errors


def default_storage_class(storage_class: Manifest) -> None:
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


def validate_storage_class(storage_class: Manifest, previous: Manifest | None) -> list[FieldError]:
    if not storage_class.get("provisioner"):
        return [required("provisioner")]
    if previous is None:
        return []
    return [
        invalid_value(name, storage_class.get(name), "field is immutable")
        for name in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
        if storage_class.get(name) != previous.get(name)
    ]
