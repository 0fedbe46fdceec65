"""ValidatingAdmissionPolicies and their bindings: their defaults and rules. `policies.py` follows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_cel import POLICY, WITH_PARAMS
from kfcore.apiserver.expression_rules import validate_conditions, validate_expression, validate_variables
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported
from kfcore.apiserver.webhook_rules import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    default_match,
    default_rules,
    validate_rule,
)

_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_NOT_FOUND = ("Allow", "Deny")


def default_policy(policy: Manifest) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _default_resources(spec.get("matchConstraints"))


def default_policy_binding(binding: Manifest) -> None:
    _default_resources(binding.setdefault("spec", {}).get("matchResources"))


def _default_resources(resources: Any) -> None:
    if isinstance(resources, dict):
        default_match(resources)
        for field in ("resourceRules", "excludeResourceRules"):
            default_rules(resources.get(field))


def validate_policy(policy: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec, errors = policy["spec"], []
    if spec["failurePolicy"] not in FAILURE_POLICIES:
        errors.append(unsupported("spec.failurePolicy", spec["failurePolicy"], FAILURE_POLICIES))
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(required("spec.matchConstraints"))
    else:
        errors += _validate_resources(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            errors.append(required("spec.matchConstraints.resourceRules"))
    if (kind := spec.get("paramKind")) is not None:
        errors += [
            required(f"spec.paramKind.{field}")
            for field in ("apiVersion", "kind")
            if not (kind.get(field) or "").strip()
        ]
    names = WITH_PARAMS if kind is not None else POLICY
    errors += validate_conditions(spec.get("matchConditions"), "spec.matchConditions", names)
    errors += validate_variables(spec.get("variables"), "spec.variables", names)
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        why = "validations or auditAnnotations must be non-empty if the other is empty"
        errors += [required("spec.validations", why), required("spec.auditAnnotations", why)]
    for index, validation in enumerate(spec.get("validations") or ()):
        errors += _validate_validation(validation, f"spec.validations[{index}]", names)
    for index, annotation in enumerate(spec.get("auditAnnotations") or ()):
        place = f"spec.auditAnnotations[{index}]"
        if not annotation.get("key"):
            errors.append(required(f"{place}.key"))
        errors += validate_expression(annotation.get("valueExpression"), f"{place}.valueExpression", names, "")
    return errors


def _validate_validation(validation: Manifest, place: str, names: frozenset[str]) -> Iterator[FieldError]:
    text, message = validation.get("expression") or "", validation.get("message") or ""
    yield from validate_expression(text, f"{place}.expression", names, "bool")
    if text := validation.get("messageExpression"):
        yield from validate_expression(text, f"{place}.messageExpression", names, "string")
    if message and not message.strip():
        yield invalid_value(f"{place}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        yield invalid_value(f"{place}.message", message, "message must not contain line breaks")
    elif "\n" in (validation.get("expression") or "").strip() and not message:
        yield required(f"{place}.message", "message must be specified if expression contains line breaks")
    if (reason := validation.get("reason")) is not None and reason not in _REASONS:
        yield unsupported(f"{place}.reason", reason, _REASONS)


def _validate_resources(resources: Manifest, place: str) -> Iterator[FieldError]:
    if (policy := resources.get("matchPolicy", "Equivalent")) not in MATCH_POLICIES:
        yield unsupported(f"{place}.matchPolicy", policy, MATCH_POLICIES)
    for field in ("namespaceSelector", "objectSelector"):
        yield from validate_selector(resources.get(field), f"{place}.{field}")
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(resources.get(field) or ()):
            yield from validate_rule(rule, f"{place}.{field}[{index}]")


def validate_policy_binding(binding: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = binding["spec"]
    errors: list[FieldError] = []
    if not spec.get("policyName"):
        errors.append(required("spec.policyName"))
    errors += _validate_reference(spec.get("paramRef"), "spec.paramRef")
    if (resources := spec.get("matchResources")) is not None:
        errors += _validate_resources(resources, "spec.matchResources")
    actions = spec.get("validationActions") or []
    if not actions:
        errors.append(required("spec.validationActions", "at least one validation action is required"))
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            errors.append(unsupported(f"spec.validationActions[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            errors.append(duplicate(f"spec.validationActions[{index}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(invalid_value("spec.validationActions", actions, why))
    return errors


def _validate_reference(reference: Any, place: str) -> Iterator[FieldError]:
    if reference is None:
        return
    name, selector = reference.get("name") or "", reference.get("selector")
    if name and selector is not None:
        why = "name and selector are mutually exclusive"
        yield FieldError("FieldValueForbidden", f"{place}.name", f"Forbidden: {why}")
    elif not name and selector is None:
        yield required(place, "one of name or selector must be specified")
    yield from validate_selector(selector, f"{place}.selector")
    action = reference.get("parameterNotFoundAction")
    if not action:
        yield required(f"{place}.parameterNotFoundAction")
    elif action not in _NOT_FOUND:
        yield unsupported(f"{place}.parameterNotFoundAction", action, _NOT_FOUND)
