"""The rules of where a pod may run: node selectors, affinities, spread and tolerations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.label_rules import label_name, validate_requirement, validate_selector
from kfcore.apiserver.names import dns_label, dns_subdomain, label_value
from kfcore.apiserver.status import FieldError, duplicate, forbidden_field, invalid_value, required, unsupported

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
_NODE_POLICIES = ("Honor", "Ignore")
_POSITIVE = "must be greater than zero"


def validate_placement(spec: Manifest, place: str) -> Iterator[FieldError]:
    if affinity := spec.get("affinity"):
        yield from _validate_node_affinity(affinity.get("nodeAffinity") or {}, f"{place}.affinity.nodeAffinity")
        for kind in ("podAffinity", "podAntiAffinity"):
            yield from _validate_pod_affinity(affinity.get(kind) or {}, f"{place}.affinity.{kind}")
    constraints = spec.get("topologySpreadConstraints") or ()
    for index, constraint in enumerate(constraints):
        where = f"{place}.topologySpreadConstraints[{index}]"
        yield from _validate_spread(constraint, where, constraints[index + 1 :])


# ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _validate_node_affinity(affinity: Manifest, place: str) -> Iterator[FieldError]:
    if (wanted := affinity.get(REQUIRED)) is not None:
        yield from validate_node_selector(wanted, f"{place}.{REQUIRED}")
    for index, term in enumerate(affinity.get(_PREFERRED) or ()):
        where = f"{place}.{_PREFERRED}[{index}]"
        yield from _validate_weight(term, where)
        yield from _validate_node_term(term.get("preference") or {}, f"{where}.preference", preferred=True)


def validate_node_selector(selector: Manifest, place: str) -> Iterator[FieldError]:
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        yield required(f"{place}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms or ()):
        yield from _validate_node_term(term, f"{place}.nodeSelectorTerms[{index}]")


def _validate_node_term(term: Manifest, place: str, *, preferred: bool = False) -> Iterator[FieldError]:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        where = f"{place}.matchExpressions[{index}]"
        yield from validate_requirement(expression, where, ordered=True)
        if not preferred:
            for number, value in enumerate(expression.get("values") or ()):
                yield from (invalid_value(f"{where}.values[{number}]", value, why) for why in label_value(value))
    for index, expression in enumerate(term.get("matchFields") or ()):
        yield from _validate_node_field(expression, f"{place}.matchFields[{index}]")


def _validate_node_field(expression: Manifest, place: str) -> Iterator[FieldError]:
    operator, values, key = (expression.get(name) or "" for name in ("operator", "values", "key"))
    if operator not in ("In", "NotIn"):
        yield invalid_value(f"{place}.operator", operator, "not a valid selector operator")
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield required(f"{place}.values", why)
    if key != "metadata.name":
        yield invalid_value(f"{place}.key", key, "not a valid field selector key")
        return
    for index, value in enumerate(values):
        if malformed := dns_subdomain(value):
            yield invalid_value(f"{place}.values[{index}]", value, malformed)


def _validate_weight(term: Manifest, place: str) -> Iterator[FieldError]:
    if not 0 < (weight := term.get("weight") or 0) <= 100:
        yield invalid_value(f"{place}.weight", weight, "must be in the range 1-100")


# ── other pods ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _validate_pod_affinity(affinity: Manifest, place: str) -> Iterator[FieldError]:
    for index, term in enumerate(affinity.get(REQUIRED) or ()):
        yield from _validate_pod_term(term, f"{place}.{REQUIRED}[{index}]")
    for index, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        where = f"{place}.{_PREFERRED}[{index}]"
        yield from _validate_weight(weighted, where)
        yield from _validate_pod_term(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")


def _validate_pod_term(term: Manifest, place: str) -> Iterator[FieldError]:
    for name in ("labelSelector", "namespaceSelector"):
        yield from validate_selector(term.get(name), f"{place}.{name}")
    for namespace in term.get("namespaces") or ():
        if why := dns_label(namespace):
            yield invalid_value(f"{place}.namespace", namespace, why)
    for name in ("matchLabelKeys", "mismatchLabelKeys"):
        yield from _validate_label_keys(term, name, place)
    key = term.get("topologyKey") or ""
    if not key:
        yield required(f"{place}.topologyKey", "can not be empty")
    yield from label_name(key, f"{place}.topologyKey")


def _validate_label_keys(term: Manifest, name: str, place: str) -> Iterator[FieldError]:
    keys = term.get(name) or ()
    if keys and term.get("labelSelector") is None:
        yield forbidden_field(f"{place}.{name}", "must not be specified when labelSelector is not set")
        return
    for index, key in enumerate(keys):
        yield from label_name(key, f"{place}.{name}[{index}]")


def _validate_spread(constraint: Manifest, place: str, others: Any) -> Iterator[FieldError]:
    skew, key = constraint.get("maxSkew") or 0, constraint.get("topologyKey") or ""
    policy, domains = constraint.get("whenUnsatisfiable") or "", constraint.get("minDomains")
    if skew <= 0:
        yield invalid_value(f"{place}.maxSkew", skew, _POSITIVE)
    if not key:
        yield required(f"{place}.topologyKey", "can not be empty")
    if policy not in _UNSATISFIABLE:
        yield unsupported(f"{place}.whenUnsatisfiable", policy, _UNSATISFIABLE)
    if any((other.get("topologyKey"), other.get("whenUnsatisfiable")) == (key, policy) for other in others):
        yield duplicate(f"{place}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {policy}}}")
    if isinstance(domains, int):
        if domains <= 0:
            yield invalid_value(f"{place}.minDomains", domains, _POSITIVE)
        if policy != "DoNotSchedule":
            why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {policy}"
            yield invalid_value(f"{place}.minDomains", domains, why)
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if (wanted := constraint.get(name)) is not None and wanted not in _NODE_POLICIES:
            yield unsupported(f"{place}.{name}", wanted, _NODE_POLICIES)
    yield from _validate_label_keys(constraint, "matchLabelKeys", place)
    yield from validate_selector(constraint.get("labelSelector"), f"{place}.labelSelector")


# ── taints ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def validate_tolerations(tolerations: Any, place: str) -> Iterator[FieldError]:
    for index, toleration in enumerate(tolerations or ()):
        yield from _validate_toleration(toleration, f"{place}[{index}]")


def _validate_toleration(toleration: Manifest, place: str) -> Iterator[FieldError]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    effect, value = toleration.get("effect") or "", toleration.get("value") or ""
    if key:
        yield from label_name(key, f"{place}.key")
    elif operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid_value(f"{place}.operator", operator, why)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid_value(f"{place}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    match operator:
        case "" | "Equal":
            if problems := label_value(value):
                yield invalid_value(f"{place}.operator", value, ";".join(problems))
        case "Exists":
            if value:
                yield invalid_value(f"{place}.operator", value, "value must be empty when `operator` is 'Exists'")
        case _:
            yield unsupported(f"{place}.operator", operator, ("Equal", "Exists"))
    if effect and effect not in EFFECTS:
        yield unsupported(f"{place}.effect", effect, EFFECTS)
