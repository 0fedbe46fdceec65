"""The rules of CustomResourceDefinitions besides their schemas' own (`structural.py`): versions, columns, subresources,
selectable fields, conversion, protected groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_label_1035
from kfcore.apiserver.status import FieldError, forbidden_field, invalid_value, required, unsupported

APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = (".k8s.io", ".kubernetes.io")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("binary", "bool", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_WARNING_LIMIT = 256
_SELECTABLE_TYPES = ("boolean", "integer", "string")
_SELECTABLE_LIMIT = 8
_STRATEGIES = ("None", "Webhook")


def validate_group(crd: Manifest) -> Iterator[FieldError]:
    """Groups of the Kubernetes project are for what it has approved."""
    group = crd["spec"].get("group") or ""
    if f".{group}".endswith(_PROTECTED) and not (crd["metadata"].get("annotations") or {}).get(APPROVAL):
        why = (
            f'protected groups must have approval annotation "{APPROVAL}", see '
            "https://github.com/kubernetes/enhancements/pull/1111"
        )
        yield required(f"metadata.annotations[{APPROVAL}]", why)


def validate_conversion(spec: Manifest) -> Iterator[FieldError]:
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid_value("spec.preserveUnknownFields", True, why)
    conversion = spec.get("conversion") or {}
    strategy = conversion.get("strategy") or ""
    if strategy not in _STRATEGIES:
        yield unsupported("spec.conversion.strategy", strategy, _STRATEGIES)
        return
    webhook = conversion.get("webhook") or {}
    client, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    place = "spec.conversion.webhookClientConfig"
    if strategy == "None":
        why = "should not be set when strategy is not set to Webhook"
        if client is not None:
            yield forbidden_field(place, why)
        if versions:
            yield forbidden_field("spec.conversion.conversionReviewVersions", why)
        return
    if client is None:
        yield required(place, "required when strategy is set to Webhook")
    elif (client.get("url") is None) == (client.get("service") is None):
        yield required(place, "exactly one of url or service is required")
    if not versions:
        yield required("spec.conversion.conversionReviewVersions")
    elif not {"v1", "v1beta1"} & set(map(str, versions)):
        why = "must include at least one of v1, v1beta1"
        yield invalid_value("spec.conversion.conversionReviewVersions", versions, why)


def validate_names(names: Manifest) -> Iterator[FieldError]:
    for field in ("plural", "singular", "kind", "listKind"):
        name = names.get(field)
        mixed = field in ("kind", "listKind")
        if not isinstance(name, str) or not name:
            yield required(f"spec.names.{field}")
        elif why := dns_label_1035(name.lower() if mixed else name):
            lead = "may have mixed case, but should otherwise match: " if mixed else ""
            yield invalid_value(f"spec.names.{field}", name, f"{lead}{why}")
    for field in ("shortNames", "categories"):
        for index, name in enumerate(names.get(field) or ()):
            if why := dns_label_1035(str(name)):
                yield invalid_value(f"spec.names.{field}[{index}]", name, why)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid_value("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")


def validate_versions(versions: list[Manifest]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, version in enumerate(versions):
        place = f"spec.versions[{index}]"
        name = version.get("name")
        if why := dns_label_1035(name if isinstance(name, str) else ""):
            errors.append(invalid_value(f"{place}.name", name or "", why))
        schema = version.get("schema") or {}
        if not isinstance(schema, dict) or not isinstance(schema.get("openAPIV3Schema"), dict):
            errors.append(required(f"{place}.schema.openAPIV3Schema", "schemas are required"))
        errors += _validate_deprecation(version, f"{place}.deprecationWarning")
    names = [version.get("name") for version in versions]
    if len(set(names)) != len(names):
        errors.append(_versions("must contain unique version names"))
    if sum(bool(version["storage"]) for version in versions) != 1:
        errors.append(_versions("must have exactly one version marked as storage version"))
    return errors


def validate_beside(versions: list[Manifest]) -> Iterator[FieldError]:
    """What versions say besides their schema. What they all say alike is named once, as the definition's own."""
    rules: tuple[tuple[str, Callable[[Any, Any, str], Iterator[FieldError]]], ...] = (
        ("subresources", lambda said, _, place: _validate_scale(said.get("scale"), f"{place}.scale")),
        ("additionalPrinterColumns", lambda said, _, place: _validate_columns(said, place)),
        ("selectableFields", _validate_selectable),
    )
    for name, problems in rules:
        alike = all(version.get(name) == versions[0].get(name) for version in versions)
        for index, version in enumerate(versions[:1] if alike else versions):
            if said := version.get(name):
                schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
                yield from problems(said, schema, f"spec.{name}" if alike else f"spec.versions[{index}].{name}")


def _validate_deprecation(version: Manifest, place: str) -> Iterator[FieldError]:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    if not version.get("deprecated"):
        yield invalid_value(place, warning, "can only be set for deprecated versions")
    elif not warning:
        yield invalid_value(place, warning, "must not be an empty string")
    elif len(str(warning)) > _WARNING_LIMIT:
        yield invalid_value(place, warning, "must be <= 256 characters long")


def _versions(why: str) -> FieldError:
    return FieldError("FieldValueInvalid", "spec.versions", f"Invalid value: {why}")


def _validate_columns(columns: Any, place: str) -> Iterator[FieldError]:
    for index, column in enumerate(columns):
        where = f"{place}[{index}]"
        if not isinstance(column, dict):
            yield required(f"{where}.name")
            continue
        if not column.get("name"):
            yield required(f"{where}.name")
        kind = column.get("type") or ""
        if not kind:
            yield required(f"{where}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
        elif kind not in _COLUMN_TYPES:
            yield invalid_value(f"{where}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}")
        if (form := column.get("format") or "") and form not in _COLUMN_FORMATS:
            yield invalid_value(f"{where}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
        path = column.get("jsonPath") or ""
        if not path:
            yield required(f"{where}.JSONPath")
        elif not path.startswith("."):
            yield invalid_value(f"{where}.JSONPath", path, "must be a simple json path starting with .")


def _validate_scale(scale: Any, place: str) -> Iterator[FieldError]:
    if scale is None:
        return
    for field, under, needed in (
        ("specReplicasPath", "spec", True),
        ("statusReplicasPath", "status", True),
        ("labelSelectorPath", "", False),
    ):
        path = scale.get(field) or ""
        if not path:
            if needed:
                yield required(f"{place}.{field}")
        elif not path.startswith("."):
            yield invalid_value(f"{place}.{field}", path, "must be a simple json path starting with .")
        elif under and not path.startswith(f".{under}."):
            yield invalid_value(f"{place}.{field}", path, f"should be a json path under .{under}")
        elif not path.startswith((".spec.", ".status.")):
            yield invalid_value(f"{place}.{field}", path, "should be a json path under either .spec or .status")


def _validate_selectable(fields: Any, schema: Manifest, place: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, path = f"{place}[{index}].jsonPath", field.get("jsonPath") or ""
        if not path:
            yield required(where)
        elif why := _unselectable(path, schema):
            yield invalid_value(where, path, why)
        elif path in seen:
            yield FieldError("FieldValueDuplicate", where, f'Duplicate value: "{path}"')
        seen.add(path)
    if len(seen) > _SELECTABLE_LIMIT:
        yield FieldError("FieldValueTooMany", place, f"Too many: {len(seen)}: must have at most 8 items")


def _unselectable(path: str, schema: Manifest) -> str:
    """Why objects cannot be selected by what is at `path`; empty when they can."""
    if path.startswith(".metadata"):
        return "must not point to fields in metadata"
    node: Any = schema
    for name in path.removeprefix(".").split("."):
        node = (node.get("properties") or {}).get(name) if isinstance(node, dict) else None
    if not path.startswith(".") or not isinstance(node, dict):
        return "is an invalid path: does not refer to a valid field"
    if node.get("type") not in _SELECTABLE_TYPES:
        return (
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are \
allowed."
        )
    return ""


def validate_stored(crd: Manifest) -> Iterator[FieldError]:
    """A version in which objects may be stored stays, until it is taken off the list of those."""
    versions = crd["spec"]["versions"]
    names = [version.get("name") for version in versions]
    stored = (crd.get("status") or {}).get("storedVersions") or []
    if not stored:
        yield invalid_value("status.storedVersions", None, "must have at least one stored version")
        return
    for version in versions:
        if version["storage"] and version.get("name") not in stored:
            why = f"must have the storage version {version.get('name')}"
            yield invalid_value("status.storedVersions", version, why)
    for index, name in enumerate(stored):
        if name not in names:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            yield invalid_value(f"status.storedVersions[{index}]", name, why)
