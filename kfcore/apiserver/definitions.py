"""CustomResourceDefinitions themselves: their defaults, which names they are given, and their rules. The kinds that
they add are `crd.py`'s.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver import crd_rules
from kfcore.apiserver.crd import CLEANUP, CRD_GROUP
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.rule_costs import cost_problems
from kfcore.apiserver.rules import rule_problems
from kfcore.apiserver.schema_rules import root_problems, schema_problems
from kfcore.apiserver.status import FieldError, bad_request, invalid_value, required, unsupported
from kfcore.apiserver.strategy import Strategy
from kfcore.apiserver.structural import structural_problems

_SCOPES = ("Cluster", "Namespaced")


def default_crd(crd: Manifest) -> None:
    spec = crd.setdefault("spec", {})
    if not isinstance(spec, dict):
        raise bad_request("CustomResourceDefinition.spec: expected an object")
    names = spec.setdefault("names", {})
    versions = spec.setdefault("versions", [])
    if not isinstance(names, dict) or not isinstance(versions, list) or not all(isinstance(v, dict) for v in versions):
        raise bad_request(
            'CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition: json: cannot '
            "unmarshal spec"
        )
    kind = names.get("kind")
    if isinstance(kind, str) and kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})
    for version in versions:
        version.setdefault("served", False)
        version.setdefault("storage", False)


def admit_crd(objects: Objects, crd: Manifest) -> None:
    stored = [version.get("name") for version in crd["spec"]["versions"] if version["storage"]]
    crd["status"] = {**names_status(objects, crd), "storedVersions": stored}


def keep_up(objects: Objects, crd: Manifest, previous: Manifest) -> None:
    """A changed definition may have other names, and store in another version from now on."""
    status = crd.setdefault("status", {})
    stored = list(status.get("storedVersions") or ())
    stored += [version.get("name") for version in crd["spec"]["versions"] if version["storage"]]
    status["storedVersions"] = list(dict.fromkeys(stored))
    accepted = names_status(objects, crd)
    if status.get("acceptedNames") != accepted["acceptedNames"]:
        status |= accepted


def names_status(objects: Objects, crd: Manifest) -> Manifest:
    """Which of its names a definition has: none that another one of its group has already."""
    kind = objects.kinds.at(CRD_GROUP, "v1", "customresourcedefinitions")
    assert kind is not None
    spec, own = crd["spec"], crd["metadata"].get("name")
    others = [
        (stored.manifest.get("status") or {}).get("acceptedNames") or {}
        for stored in objects.collection(kind).select()
        if stored.manifest["spec"]["group"] == spec.get("group") and stored.key[1] != own
    ]
    plurals = {name for names in others for field in ("plural", "singular") if (name := names.get(field))}
    plurals |= {name for names in others for name in names.get("shortNames") or ()}
    kinds = {name for names in others for field in ("kind", "listKind") if (name := names.get(field))}
    accepted: Manifest = {}
    problem: tuple[str, str] | None = None
    for field, taken, reason in (
        ("plural", plurals, "PluralConflict"),
        ("singular", plurals, "SingularConflict"),
        ("shortNames", plurals, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("listKind", kinds, "ListKindConflict"),
    ):
        names = spec["names"].get(field)
        used = [name for name in (names if isinstance(names, list) else [names]) if name in taken]
        if used:
            problem = (reason, ", ".join(f'"{name}" is already in use' for name in used))
        elif names:
            accepted[field] = names
    accepted |= {field: value for field, value in spec["names"].items() if field == "categories"}
    now = objects.now()
    if problem is None:
        conditions = [
            _condition("NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
            _condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now),
        ]
        return {"conditions": conditions, "acceptedNames": dict(spec["names"])}
    return {
        "conditions": [
            _condition("NamesAccepted", "False", *problem, now),
            _condition("Established", "False", "NotAccepted", "not all names are accepted", now),
        ],
        "acceptedNames": accepted,
    }


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> Manifest:
    return {"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}


def validate_crd(crd: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = crd["spec"]
    names: dict[str, Any] = spec["names"]
    group, plural = spec.get("group"), names.get("plural")
    errors: list[FieldError] = []
    if crd["metadata"].get("name") != f"{plural}.{group}":
        errors.append(
            invalid_value("metadata.name", crd["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group')
        )
    if not isinstance(group, str) or not group:
        errors.append(required("spec.group"))
    elif why := dns_subdomain(group):
        errors.append(invalid_value("spec.group", group, why))
    elif "." not in group:
        errors.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    errors += crd_rules.validate_group(crd)
    if not spec.get("scope"):
        errors.append(required("spec.scope"))
    elif spec["scope"] not in _SCOPES:
        errors.append(unsupported("spec.scope", spec["scope"], _SCOPES))
    errors += crd_rules.validate_names(names)
    errors += crd_rules.validate_conversion(spec)
    malformed = [*crd_rules.validate_versions(spec["versions"]), *crd_rules.validate_beside(spec["versions"])]
    errors += malformed or _validate_schemas(spec["versions"])
    if previous is not None:
        errors += crd_rules.validate_stored(crd)
        for path in ("group", "scope", "names.kind", "names.plural"):
            *parents, last = path.split(".")
            before, after = previous["spec"], spec
            for parent in parents:
                before, after = before[parent], after[parent]
            if before.get(last) != after.get(last):
                errors.append(invalid_value(f"spec.{path}", after.get(last), "field is immutable"))
    return errors


def _validate_schemas(versions: list[Manifest]) -> list[FieldError]:
    """What is wrong with the schemas, and with their CEL rules. A schema that all versions share is named once."""
    schemas: list[Manifest] = [version["schema"]["openAPIV3Schema"] for version in versions]
    with_status = ["status" in (version.get("subresources") or {}) for version in versions]
    if all(schema == schemas[0] for schema in schemas):
        places = {"spec.validation.openAPIV3Schema": (schemas[0], any(with_status))}
    else:
        places = {
            f"spec.versions[{index}].schema.openAPIV3Schema": (schema, with_status[index])
            for index, schema in enumerate(schemas)
        }
    errors: list[FieldError] = []
    for place, (schema, status) in places.items():
        malformed = [*root_problems(schema, place, status=status), *structural_problems(schema, place)]
        malformed += schema_problems(schema, place)
        errors += malformed or [*rule_problems(schema, place), *cost_problems(schema, place)]
    return errors


def crd_strategy(objects: Objects) -> Strategy:
    return Strategy(
        default=default_crd,
        on_create=partial(admit_crd, objects),
        on_update=partial(keep_up, objects),
        validate=validate_crd,
        finalizer=CLEANUP,
    )
