"""ResourceQuotas: what may be counted, of which objects. `quotas.py` does the counting."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver.quantities import amount
from kfcore.apiserver.resource_rules import NOT_NEGATIVE, quota_resource_name
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported

_SCOPES = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
)  # fmt: skip
_CONTRADICTIONS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def default_quota(quota: Manifest) -> None:
    quota.setdefault("spec", {})


def validate_quota(quota: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = quota["spec"]
    errors: list[FieldError] = []
    for name, quantity in (spec.get("hard") or {}).items():
        place = f"spec.hard[{name}]"
        errors += quota_resource_name(name, place)
        size = amount(str(quantity))
        if size is not None and size < 0:
            errors.append(invalid_value(place, quantity, NOT_NEGATIVE))
        elif size is not None and _is_count(name) and size != size.to_integral_value():
            errors.append(invalid_value(place, quantity, "must be an integer"))
    errors += _validate_scopes(spec.get("scopes") or [])
    place = "spec.scopeSelector.matchExpressions"
    for expression in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        name, operator = expression.get("scopeName") or "", expression.get("operator") or ""
        if name not in _SCOPES:
            errors.append(unsupported(f"{place}.scopeName", name, _SCOPES))
        if operator not in _OPERATORS:
            errors.append(invalid_value(f"{place}.operator", operator, "not a valid selector operator"))
        if operator in ("In", "NotIn") and not expression.get("values"):
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            errors.append(required(f"{place}.values", why))
    if previous is not None:
        errors += [
            invalid_value(f"spec.{field}", spec.get(field), "field is immutable")
            for field in ("scopes",)
            if sorted(spec.get(field) or ()) != sorted(previous["spec"].get(field) or ())
        ]
    return errors


def _validate_scopes(scopes: list[str]) -> list[FieldError]:
    errors = [unsupported("spec.scopes", scope, _SCOPES) for scope in scopes if scope not in _SCOPES]
    errors += [duplicate("spec.scopes", scope) for index, scope in enumerate(scopes) if scope in scopes[:index]]
    if any(both <= set(scopes) for both in _CONTRADICTIONS):
        errors.append(invalid_value("spec.scopes", scopes, "conflicting scopes"))
    return errors


def _is_count(name: str) -> bool:
    return "cpu" not in name and "memory" not in name and "storage" not in name and not name.startswith("hugepages-")
