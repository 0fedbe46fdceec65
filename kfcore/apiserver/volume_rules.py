"""The rules of a pod's volumes, and of where its containers mount them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.claim_rules import validate_claim_spec
from kfcore.apiserver.environment_rules import validate_field, validate_resource_field
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.paths import inside, own, without_steps_back
from kfcore.apiserver.status import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    required,
    unsupported,
)

_NEEDED = (
    ("secret", ("secretName",)), ("configMap", ("name",)), ("persistentVolumeClaim", ("claimName",)),
    ("nfs", ("server", "path")), ("csi", ("driver",)), ("iscsi", ("targetPortal", "iqn")), ("gitRepo", ("repository",)),
    ("rbd", ("monitors", "image")), ("cephfs", ("monitors",)), ("glusterfs", ("endpoints", "path")),
    ("awsElasticBlockStore", ("volumeID",)), ("gcePersistentDisk", ("pdName",)),
    ("azureFile", ("secretName", "shareName")), ("cinder", ("volumeID",)), ("vsphereVolume", ("volumePath",)),
    ("flexVolume", ("driver",)), ("image", ("reference",)),
)  # fmt: skip
"""What a volume of a sort cannot be without."""
_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_SHORTEST_TOKEN, _LONGEST_TOKEN = 600, 2**32


def validate_volumes(spec: Manifest, place: str) -> Iterator[FieldError]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        where = f"{place}[{index}]"
        yield from _validate_sources(volume, where)
        name = str(volume.get("name") or "")
        if not name:
            yield required(f"{where}.name")
        elif why := dns_label(name):
            yield invalid_value(f"{where}.name", name, why)
        if name and name in names:
            yield duplicate(f"{where}.name", name)
        names.add(name)


def _validate_sources(volume: Manifest, place: str) -> Iterator[FieldError]:
    sources = [source for source in volume if source != "name"]
    if sources and isinstance(inner := volume[sources[0]], dict):
        yield from _validate_source(sources[0], inner, f"{place}.{sources[0]}")
    for source in sources[1:]:
        yield forbidden_field(f"{place}.{source}", "may not specify more than 1 volume type")


def _validate_source(kind: str, source: Manifest, place: str) -> Iterator[FieldError]:
    for needed in dict(_NEEDED).get(kind, ()):
        if not source.get(needed):
            yield required(f"{place}.{needed}")
    if kind in _WITH_MODE:
        yield from _validate_mode(source, place, "defaultMode")
    match kind:
        case "secret" | "configMap":
            for index, item in enumerate(source.get("items") or ()):
                yield from _validate_item(item, f"{place}.items[{index}]")
        case "hostPath":
            yield from _validate_host_path(source, place)
        case "nfs":
            if not (path := source.get("path") or "").startswith("/"):
                yield invalid_value(f"{place}.path", path, "must be an absolute path")
        case "downwardAPI":
            for item in source.get("items") or ():
                yield from _validate_downward(item, place)
        case "projected":
            yield from _validate_projected(source, place)
        case "ephemeral":
            template = source.get("volumeClaimTemplate")
            if template is None:
                yield required(f"{place}.volumeClaimTemplate")
            else:
                yield from validate_claim_spec(template.get("spec") or {}, f"{place}.volumeClaimTemplate.spec")


def _validate_mode(source: Manifest, place: str, field: str) -> Iterator[FieldError]:
    if isinstance(mode := source.get(field), int) and not 0 <= mode <= 0o777:
        yield invalid_value(f"{place}.{field}", mode, _MODE)


def _validate_item(item: Manifest, place: str) -> Iterator[FieldError]:
    for field in ("key", "path"):
        if not item.get(field):
            yield required(f"{place}.{field}")
    yield from own(item.get("path") or "", f"{place}.path")
    yield from _validate_mode(item, place, "mode")


def _validate_host_path(source: Manifest, place: str) -> Iterator[FieldError]:
    path = source.get("path") or ""
    if not path:
        yield required(f"{place}.path")
        return
    yield from without_steps_back(path, f"{place}.path")
    if (kind := source.get("type") or "") not in _HOST_PATH_TYPES:
        yield unsupported(f"{place}.type", kind, _HOST_PATH_TYPES)


def _validate_downward(item: Manifest, place: str) -> Iterator[FieldError]:
    path = item.get("path") or ""
    if not path:
        yield required(f"{place}.path")
    yield from own(path, f"{place}.path")
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        yield from validate_field(field, f"{place}.fieldRef")
        if resource is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid_value(place, "resource", why)
    elif resource is not None:
        yield from validate_resource_field(resource, f"{place}.resourceFieldRef", in_file=True)
    else:
        yield required(place, "one of fieldRef and resourceFieldRef is required")
    yield from _validate_mode(item, place, "mode")


def _validate_projected(volume: Manifest, place: str) -> Iterator[FieldError]:
    paths: set[str] = set()
    for index, source in enumerate(volume.get("sources") or ()):
        where = f"{place}.sources[{index}]"
        for kind in ("secret", "configMap"):
            if (inner := source.get(kind)) is not None:
                if not inner.get("name"):
                    yield required(f"{where}.{kind}.name")
                for number, item in enumerate(inner.get("items") or ()):
                    yield from _validate_item(item, f"{where}.{kind}.items[{number}]")
                    yield from _unique(item, paths, place, inner.get("name") or "")
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            yield from _validate_downward(item, f"{where}.downwardAPI")
            yield from _unique(item, paths, place, item.get("path") or "")
        if (token := source.get("serviceAccountToken")) is not None:
            yield from _validate_token(token, f"{where}.serviceAccountToken", place)
        if len(source) > 1:
            yield forbidden_field(where, "may not specify more than 1 volume type per source")


def _unique(item: Manifest, paths: set[str], place: str, named: str) -> Iterator[FieldError]:
    if path := item.get("path"):
        if path in paths:
            yield invalid_value(place, named, "conflicting duplicate paths")
        paths.add(path)


def _validate_token(token: Manifest, place: str, volume: str) -> Iterator[FieldError]:
    seconds = token.get("expirationSeconds", _SHORTEST_TOKEN)
    if seconds < _SHORTEST_TOKEN:
        yield invalid_value(f"{place}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > _LONGEST_TOKEN:
        why = "may not specify a duration larger than 2^32 seconds"
        yield invalid_value(f"{place}.expirationSeconds", seconds, why)
    if not (path := token.get("path") or ""):
        yield required(f"{volume}.path")
    else:
        yield from own(path, f"{volume}.path")


# ── in containers ────────────────────────────────────────────────────────────────────────────────────────────────────


def validate_mounts(container: Manifest, place: str, volumes: dict[str, Manifest]) -> Iterator[FieldError]:
    """`volumes` are the pod's, by name."""
    mounts, devices = container.get("volumeMounts") or (), container.get("volumeDevices") or ()
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        where = f"{place}.volumeMounts[{index}]"
        name, path = str(mount.get("name") or ""), mount.get("mountPath") or ""
        if not name:
            yield required(f"{where}.name")
        if name not in volumes:
            yield not_found_field(f"{where}.name", name)
        if not path:
            yield required(f"{where}.mountPath")
        if path in paths:
            yield invalid_value(f"{where}.mountPath", path, "must be unique")
        paths.add(path)
        if any(device.get("name") == name for device in devices):
            yield invalid_value(f"{where}.name", name, "must not already exist in volumeDevices")
        if any(device.get("devicePath") == path for device in devices):
            yield invalid_value(f"{where}.mountPath", path, "must not already exist as a path in volumeDevices")
        yield from _validate_sub_paths(mount, place, where)
        if propagation := mount.get("mountPropagation"):
            yield from _validate_propagation(propagation, container, f"{place}.volumeMounts.mountPropagation")
    yield from _validate_devices(container, place, volumes)


def _validate_sub_paths(mount: Manifest, place: str, where: str) -> Iterator[FieldError]:
    sub, expression = mount.get("subPath"), mount.get("subPathExpr")
    if sub:
        yield from inside(sub, f"{place}.volumeMounts.subPath")
    if expression:
        if sub:
            why = "subPathExpr and subPath are mutually exclusive"
            yield invalid_value(f"{where}.subPathExpr", expression, why)
        yield from inside(expression, f"{place}.volumeMounts.subPathExpr")


def _validate_propagation(propagation: str, container: Manifest, place: str) -> Iterator[FieldError]:
    if propagation not in _PROPAGATIONS:
        yield unsupported(place, propagation, _PROPAGATIONS)
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        yield forbidden_field(place, "Bidirectional mount propagation is available only to privileged containers")


def _validate_devices(container: Manifest, place: str, volumes: dict[str, Manifest]) -> Iterator[FieldError]:
    seen: dict[str, set[Any]] = {"name": set(), "devicePath": set()}
    for index, device in enumerate(container.get("volumeDevices") or ()):
        where = f"{place}.volumeDevices[{index}]"
        name = device.get("name") or ""
        volume = volumes.get(name)
        if not name:
            yield required(f"{where}.name")
        if volume is None:
            yield not_found_field(f"{where}.name", name)
        elif not volume.get("persistentVolumeClaim") and not volume.get("ephemeral"):
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid_value(f"{where}.name", name, why)
        if not device.get("devicePath"):
            yield required(f"{where}.devicePath")
        for field, known in seen.items():
            if (value := device.get(field)) and value in known:
                yield invalid_value(f"{where}.{field}", value, "must be unique")
            known.add(value)
