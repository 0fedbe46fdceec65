"""An object's metadata on its way into storage: what the server fills in, what may not change, what is malformed."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver.names import label_value, qualified_name
from kfcore.apiserver.status import (
    FieldError,
    Undecodable,
    forbidden_field,
    go_value,
    invalid_value,
    required,
)
from kfcore.apiserver.storage import Stored
from kfcore.apiserver.strategy import Names

ANNOTATIONS_LIMIT = 256 * 1024

_STRINGS = ("name", "generateName", "namespace", "uid", "resourceVersion")
_TEXT_MAPS = ("labels", "annotations")
KNOWN = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip
_STANDARD_FINALIZERS = ("foregroundDeletion", "kubernetes", "orphan")
_NO_OWNERS = frozenset({("v1", "Event")})
_REFERENCE = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")


def timestamp(time: datetime) -> str:
    """A time (UTC) as metadata holds it: whole seconds."""
    return f"{time.isoformat()[:19]}Z"


def clean(manifest: Manifest, what: Resource) -> Manifest:
    """The metadata of a request's body as the server decodes it: types checked, unknown and empty fields dropped.

    Raises BadRequest in the decoder's words; `what` is the kind of the body.
    """
    metadata = manifest.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise _mistyped(what, metadata, "ObjectMeta", "metadata", "v1.ObjectMeta")
    cleaned: Manifest = {}
    for field in KNOWN:
        value = metadata.get(field)
        if not value and value != 0:
            continue
        if field in _STRINGS:
            if not isinstance(value, str):
                raise _mistyped(what, value, "ObjectMeta", f"metadata.{field}", "string")
        elif field in _TEXT_MAPS:
            value = _text_map(value, what, field)
        elif field == "finalizers":
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise _mistyped(what, value, "ObjectMeta", "metadata.finalizers", "[]string")
        elif field == "ownerReferences":
            value = _references(value, what)
        elif field in ("generation", "deletionGracePeriodSeconds"):
            if not isinstance(value, int) or isinstance(value, bool):
                raise _mistyped(what, value, "ObjectMeta", f"metadata.{field}", "int64")
        elif field in ("creationTimestamp", "deletionTimestamp"):
            if not isinstance(value, str):
                raise _mistyped(what, value, "ObjectMeta", f"metadata.{field}", "v1.Time")
        elif field == "managedFields":
            _check_managed_fields(value, what)
        cleaned[field] = value
    if not cleaned.get("generation"):
        cleaned.pop("generation", None)
    return cleaned


def _text_map(value: Any, what: Resource, field: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _mistyped(what, value, "ObjectMeta", f"metadata.{field}", "map[string]string")
    for text in value.values():
        if text is not None and not isinstance(text, str):
            raise _mistyped(what, text, "ObjectMeta", f"metadata.{field}", "string")
    return {key: text or "" for key, text in value.items()}


def _references(value: Any, what: Resource) -> list[Manifest]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _mistyped(what, value, "ObjectMeta", "metadata.ownerReferences", "[]v1.OwnerReference")
    references = []
    for item in value:
        reference = {field: item[field] for field in _REFERENCE if item.get(field) is not None}
        for field, inner in reference.items():
            expected = bool if field in ("controller", "blockOwnerDeletion") else str
            if not isinstance(inner, expected):
                raise _mistyped(what, inner, "OwnerReference", f"metadata.ownerReferences.{field}", expected.__name__)
        for field in _REFERENCE[:4]:
            reference.setdefault(field, "")
        references.append({field: reference[field] for field in _REFERENCE if field in reference})
    return references


def _check_managed_fields(value: Any, what: Resource) -> None:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise _mistyped(what, value, "ObjectMeta", "metadata.managedFields", "[]v1.ManagedFieldsEntry")
    for entry in value:
        if not _is_field_set(entry.get("fieldsV1", {})):
            raise _mistyped(what, entry["fieldsV1"], "ManagedFieldsEntry", "metadata.managedFields", "v1.FieldsV1")


def _is_field_set(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_field_set(inner) for inner in value.values())


def _mistyped(what: Resource, value: Any, struct: str, path: str, type_: str) -> Exception:
    name = {dict: "object", list: "array", str: "string", bool: "bool", type(None): "null"}.get(type(value), "number")
    return Undecodable(what, f"json: cannot unmarshal {name} into Go struct field {struct}.{path} of type {type_}")


def validate(metadata: Manifest, names: Names, *, custom: bool = False) -> list[FieldError]:
    """The rules that every object's metadata obeys; those of custom kinds are a little wider."""
    errors: list[FieldError] = []
    name = metadata.get("name", "")
    if (prefix := metadata.get("generateName", "")) and (why := names(_without_dash(prefix))):
        errors.append(invalid_value("metadata.generateName", prefix, why))
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    elif why := names(name):
        errors.append(invalid_value("metadata.name", name, why))
    for key, value in metadata.get("labels", {}).items():
        errors += [invalid_value("metadata.labels", key, why) for why in qualified_name(key)]
        errors += [invalid_value("metadata.labels", value, why) for why in label_value(value)]
    size = 0
    for key, value in metadata.get("annotations", {}).items():
        errors += [invalid_value("metadata.annotations", key, why) for why in qualified_name(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        errors.append(
            FieldError("FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes")
        )
    errors += _validate_references(metadata.get("ownerReferences", []))
    finalizers = metadata.get("finalizers", [])
    if finalizers and {"orphan", "foregroundDeletion"} <= set(finalizers):
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(invalid_value("metadata.finalizers", finalizers, why))
    for index, finalizer in enumerate(finalizers):
        field = f"metadata.finalizers[{index}]"
        errors += [invalid_value(field, finalizer, why) for why in qualified_name(finalizer)]
        if not custom and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid_value(field, finalizer, why))
    return errors


def repeated(errors: list[FieldError], *, times: int) -> list[FieldError]:
    """What is wrong with the metadata of an update, as often as the real server finds it: in labels, annotations and
    owners with the object, with its change, and with the rules of its kind.
    """
    found: list[FieldError] = []
    for error in errors:
        thrice = error.field.startswith(("metadata.labels", "metadata.annotations", "metadata.ownerReferences"))
        found += [error] * (times if thrice else max(times - 2, 1))
    return found


def _without_dash(prefix: str) -> str:
    """A prefix may end as no name may: with the dash before what is generated."""
    return f"{prefix[:-1]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def _validate_references(references: list[Manifest]) -> list[FieldError]:
    errors: list[FieldError] = []
    controllers: list[str] = []
    for index, reference in enumerate(references):
        place = f"metadata.ownerReferences[{index}]"
        if not reference["apiVersion"]:
            errors.append(invalid_value(f"{place}.apiVersion", "", "version must not be empty"))
        empty = [field for field in ("kind", "name", "uid") if not reference[field]]
        errors += [invalid_value(f"{place}.{field}", "", "must not be empty") for field in empty]
        if (reference["apiVersion"], reference["kind"]) in _NO_OWNERS:
            errors.append(invalid_value(place, reference, "/v1, Kind=Event is disallowed from being an owner"))
        if reference.get("controller"):
            controllers.append(f"{reference['kind']}/{reference['name']}")
    if len(controllers) > 1:
        errors.append(
            FieldError(
                "FieldValueInvalid",
                "metadata.ownerReferences",
                f"Invalid value: {go_value(references)}: Only one reference can have Controller set to true. "
                f'Found "true" in references for {controllers[0]} and {controllers[1]}',
            )
        )
    return errors


def carry_over(metadata: Manifest, previous: Stored) -> list[FieldError]:
    """Set what an update may leave out but not change, and report what it tried to change."""
    before = previous.manifest["metadata"]
    errors: list[FieldError] = []
    metadata.pop("selfLink", None)
    if "deletionTimestamp" not in before:
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            if (given := metadata.get(field)) is not None:
                errors += [invalid_value(f"metadata.{field}", given, "field is immutable")] * 2
    for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if field in before:
            given = metadata.get(field)
            if field == "uid" and given not in (None, before[field]):
                errors.append(invalid_value("metadata.uid", given, "field is immutable"))
                errors.append(errors[-1])
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    if "generation" in before:
        metadata["generation"] = before["generation"]
    else:
        metadata.pop("generation", None)
    if "deletionTimestamp" in before:
        added = [item for item in metadata.get("finalizers", []) if item not in before.get("finalizers", [])]
        if added:
            listed = ", ".join(go_value(item) for item in added)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers []string"
            errors += [forbidden_field("metadata.finalizers", f"{why}{{{listed}}}")] * 2
    return errors


def ordered(metadata: Manifest) -> Manifest:
    """The metadata with its fields in the order in which the server writes them."""
    return {field: metadata[field] for field in KNOWN if field in metadata}
