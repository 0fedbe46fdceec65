"""Roles and their bindings: defaults, and the rules that users meet. What they allow is `rbac.py`'s."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.status import FieldError, invalid_value, required, unsupported

_GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("Group", "ServiceAccount", "User")


def default_role(role: Manifest) -> None:
    role.setdefault("rules", None)


def default_binding(binding: Manifest) -> None:
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _GROUP)
    reference = binding.get("roleRef")
    if isinstance(reference, dict):
        reference.setdefault("apiGroup", _GROUP)


def validate_role(role: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(role.get("rules") or ()):
        errors += _validate_rule(rule, f"rules[{index}]", namespaced=role["kind"] == "Role")
    if (aggregation := role.get("aggregationRule")) is not None and not aggregation.get("clusterRoleSelectors"):
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        errors.append(required("aggregationRule.clusterRoleSelectors", why))
    return errors


def _validate_rule(rule: Manifest, place: str, *, namespaced: bool) -> Iterator[FieldError]:
    if not rule.get("verbs"):
        yield required(f"{place}.verbs", "verbs must contain at least one value")
    if paths := rule.get("nonResourceURLs"):
        if namespaced:
            yield invalid_value(f"{place}.nonResourceURLs", paths, "namespaced rules cannot apply to non-resource URLs")
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            yield invalid_value(f"{place}.nonResourceURLs", paths, why)
        return
    if not rule.get("apiGroups"):
        yield required(f"{place}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{place}.resources", "resource rules must supply at least one resource")


def validate_binding(binding: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    reference = binding.get("roleRef") or {}
    kinds = ("ClusterRole",) if binding["kind"] == "ClusterRoleBinding" else ("ClusterRole", "Role")
    if reference.get("apiGroup", _GROUP) != _GROUP:
        errors.append(unsupported("roleRef.apiGroup", reference["apiGroup"], (_GROUP,)))
    if reference.get("kind") not in kinds:
        errors.append(unsupported("roleRef.kind", reference.get("kind") or "", kinds))
    if not reference.get("name"):
        errors.append(required("roleRef.name"))
    for index, subject in enumerate(binding.get("subjects") or ()):
        errors += _validate_subject(subject, f"subjects[{index}]", namespaced=binding["kind"] == "RoleBinding")
    if previous is not None and previous.get("roleRef") != binding.get("roleRef"):
        errors.append(invalid_value("roleRef", reference, "cannot change roleRef"))
    return errors


def _validate_subject(subject: Manifest, place: str, *, namespaced: bool) -> Iterator[FieldError]:
    name, kind = subject.get("name") or "", subject.get("kind") or ""
    if not name:
        yield required(f"{place}.name")
    if kind == "ServiceAccount":
        if name and (why := dns_subdomain(name)):
            yield invalid_value(f"{place}.name", name, why)
        if subject.get("apiGroup"):
            yield unsupported(f"{place}.apiGroup", subject["apiGroup"], ("",))
        if not namespaced and not subject.get("namespace"):
            yield required(f"{place}.namespace")
    elif kind in ("User", "Group"):
        if subject.get("apiGroup") != _GROUP:
            yield unsupported(f"{place}.apiGroup", subject.get("apiGroup"), (_GROUP,))
    else:
        yield unsupported(f"{place}.kind", kind, _SUBJECTS)
