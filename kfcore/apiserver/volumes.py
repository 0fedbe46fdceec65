"""Persistent volumes, claims and storage classes: defaults, and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import amounts
from kfcore.apiserver.claim_rules import VOLUME_MODES, validate_access_modes, validate_claim_spec
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.quantities import amount
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported
from kfcore.apiserver.volume_defaults import default_sources
from kfcore.apiserver.workloads import part

_RECLAIM = ("Delete", "Recycle", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")
_NOT_SOURCES = frozenset({
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
})  # fmt: skip
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def default_claim(claim: Manifest) -> None:
    part(claim, "spec", "PersistentVolumeClaim").setdefault("volumeMode", "Filesystem")


def validate_claim(claim: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors = [*validate_claim_spec(claim["spec"], "spec")]
    return errors if previous is None else errors + _validate_claim_update(claim, previous)


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
    default_sources(spec)


def validate_volume(volume: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = volume["spec"]
    errors: list[FieldError] = []
    if not spec.get("accessModes"):
        errors.append(required("spec.accessModes"))
    errors += validate_access_modes(spec.get("accessModes") or [], "spec")
    if not (capacity := spec.get("capacity")):
        errors.append(required("spec.capacity"))
    else:
        if set(capacity) != {"storage"}:
            errors.append(unsupported("spec.capacity", capacity, ("storage",)))
        errors += [
            invalid_value(f"spec.capacity[{name}]", size, "must be greater than zero")
            for name, size in capacity.items()
            if not (amount(str(size)) or 0) > 0
        ]
    if (policy := spec.get("persistentVolumeReclaimPolicy")) not in _RECLAIM:
        errors.append(unsupported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    sources = [field for field in spec if field not in _NOT_SOURCES]
    if not sources:
        errors.append(required("spec", "must specify a volume type"))
    errors += [forbidden_field(f"spec.{field}", "may not specify more than 1 volume type") for field in sources[1:]]
    if (path := spec.get("hostPath")) is not None and not path.get("path"):
        errors.append(required("spec.hostPath.path"))
    if (name := spec.get("storageClassName")) and (why := dns_subdomain(name)):
        errors.append(invalid_value("spec.storageClassName", name, why))
    if (mode := spec.get("volumeMode")) not in VOLUME_MODES:
        errors.append(unsupported("spec.volumeMode", mode, VOLUME_MODES))
    return errors if previous is None else errors + _validate_volume_update(spec, previous["spec"])


def _validate_volume_update(spec: Manifest, before: Manifest) -> list[FieldError]:
    errors: list[FieldError] = []
    if any(spec.get(field) != before.get(field) for field in {*spec, *before} if field not in _NOT_SOURCES):
        why = "spec.persistentvolumesource is immutable after creation"
        errors.append(forbidden_field("spec.persistentvolumesource", why))
    if spec.get("volumeMode") != before.get("volumeMode"):
        errors.append(invalid_value("volumeMode", spec.get("volumeMode"), "field is immutable"))
    if before.get("nodeAffinity") is not None and spec.get("nodeAffinity") != before["nodeAffinity"]:
        why = "field is immutable, except for updating from beta label to GA"
        errors.append(invalid_value("spec.nodeAffinity", spec.get("nodeAffinity"), why))
    return errors


def admit_volume(volume: Manifest) -> None:
    volume["status"] = {"phase": "Pending", "lastPhaseTransitionTime": volume["metadata"]["creationTimestamp"]}


def default_driver(driver: Manifest) -> None:
    spec = part(driver, "spec", "CSIDriver")
    for field, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        spec.setdefault(field, value)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def default_storage_class(storage_class: Manifest) -> None:
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


def validate_storage_class(storage_class: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    if not storage_class.get("provisioner"):
        errors.append(required("provisioner"))
    if (policy := storage_class["reclaimPolicy"]) not in ("Delete", "Retain"):
        errors.append(unsupported("reclaimPolicy", policy, ("Delete", "Retain")))
    if (mode := storage_class["volumeBindingMode"]) not in _BINDING:
        errors.append(unsupported("volumeBindingMode", mode, _BINDING))
    if previous is None:
        return errors
    if storage_class.get("parameters") != previous.get("parameters"):
        errors.append(forbidden_field("parameters", "updates to parameters are forbidden."))
    if storage_class.get("provisioner") != previous.get("provisioner"):
        errors.append(forbidden_field("provisioner", "updates to provisioner are forbidden."))
    if policy != previous.get("reclaimPolicy"):
        errors.append(forbidden_field("reclaimPolicy", "updates to reclaimPolicy are forbidden."))
    if mode != previous.get("volumeBindingMode"):
        errors.append(invalid_value("volumeBindingMode", mode, "field is immutable"))
    return errors
