"""Configurations of admission: webhooks and policies. They are kept with their defaults; nobody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported

_FAILURE = ("Fail", "Ignore")
_MATCH = ("Equivalent", "Exact")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_REINVOCATION = ("IfNeeded", "Never")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_ACTIONS = ("Audit", "Deny", "Warn")
_HTTPS_PORT, _SECONDS, _MOST_SECONDS = 443, 10, 30


def default_webhooks(configuration: Manifest) -> None:
    mutating = configuration["kind"] == "MutatingWebhookConfiguration"
    for webhook in configuration.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("timeoutSeconds", _SECONDS)
        if mutating:
            webhook.setdefault("reinvocationPolicy", "Never")
        _default_match(webhook)
        _default_rules(webhook.get("rules"))
        service = (webhook.get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            service.setdefault("port", _HTTPS_PORT)


def _default_match(match: Manifest) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})


def _default_rules(rules: Iterable[Manifest] | None) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


def default_policy(policy: Manifest) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _default_resources(spec.get("matchConstraints"))


def default_policy_binding(binding: Manifest) -> None:
    _default_resources(binding.setdefault("spec", {}).get("matchResources"))


def _default_resources(resources: Any) -> None:
    if isinstance(resources, dict):
        _default_match(resources)
        for field in ("resourceRules", "excludeResourceRules"):
            _default_rules(resources.get(field))


def validate_webhooks(configuration: Manifest, previous: Manifest | None) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        place, name = f"webhooks[{index}]", webhook.get("name") or ""
        errors += _validate_name(name, f"{place}.name")
        if name and name in names:
            errors.append(duplicate(f"{place}.name", name))
        names.add(name)
        errors += _validate_webhook(webhook, place)
    return errors


def _validate_name(name: str, place: str) -> Iterator[FieldError]:
    if not name:
        yield required(place)
    elif why := dns_subdomain(name):
        yield invalid_value(place, name, why)
    elif name.count(".") < 2:
        yield invalid_value(place, name, "should be a domain with at least three segments separated by dots")


def _validate_webhook(webhook: Manifest, place: str) -> Iterator[FieldError]:
    versions = webhook.get("admissionReviewVersions") or []
    if not versions:
        yield required(f"{place}.admissionReviewVersions", "must specify one of v1, v1beta1")
    elif not {"v1", "v1beta1"} & set(versions):
        why = "must include at least one of v1, v1beta1"
        yield invalid_value(f"{place}.admissionReviewVersions", versions, why)
    for index, rule in enumerate(webhook.get("rules") or ()):
        yield from _validate_rule(rule, f"{place}.rules[{index}]")
    if webhook["failurePolicy"] not in _FAILURE:
        yield unsupported(f"{place}.failurePolicy", webhook["failurePolicy"], _FAILURE)
    if webhook["matchPolicy"] not in _MATCH:
        yield unsupported(f"{place}.matchPolicy", webhook["matchPolicy"], _MATCH)
    effects = webhook.get("sideEffects")
    if effects is None:
        yield required(f"{place}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}")
    elif effects not in _SIDE_EFFECTS:
        yield unsupported(f"{place}.sideEffects", effects, _SIDE_EFFECTS)
    seconds = webhook["timeoutSeconds"]
    if not 1 <= seconds <= _MOST_SECONDS:
        why = f"the timeout value must be between 1 and {_MOST_SECONDS} seconds"
        yield invalid_value(f"{place}.timeoutSeconds", seconds, why)
    if webhook.get("reinvocationPolicy", "Never") not in _REINVOCATION:
        yield unsupported(f"{place}.reinvocationPolicy", webhook["reinvocationPolicy"], _REINVOCATION)
    client = webhook.get("clientConfig") or {}
    if (client.get("url") is None) == (client.get("service") is None):
        yield required(f"{place}.clientConfig", "exactly one of url or service is required")
    elif (service := client.get("service")) is not None:
        for field in ("name", "namespace"):
            if not service.get(field):
                yield required(f"{place}.clientConfig.service.{field}", f"service {field} is required")
    elif not str(client["url"]).startswith("https://"):
        why = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        yield invalid_value(f"{place}.clientConfig.url", client["url"], why)


def _validate_rule(rule: Manifest, place: str) -> Iterator[FieldError]:
    for field in ("operations", "apiGroups", "apiVersions", "resources"):
        if not rule.get(field):
            yield required(f"{place}.{field}")
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            yield unsupported(f"{place}.operations[{index}]", operation, _OPERATIONS)
    if (scope := rule.get("scope", "*")) not in _SCOPES:
        yield unsupported(f"{place}.scope", scope, _SCOPES)


def validate_policy(policy: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec, errors = policy["spec"], []
    if spec["failurePolicy"] not in _FAILURE:
        errors.append(unsupported("spec.failurePolicy", spec["failurePolicy"], _FAILURE))
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(required("spec.matchConstraints"))
    elif not constraints.get("resourceRules"):
        errors.append(required("spec.matchConstraints.resourceRules"))
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        why = "validations or auditAnnotations must be non-empty if the other is empty"
        errors += [required("spec.validations", why), required("spec.auditAnnotations", why)]
    errors += [
        required(f"spec.validations[{index}].expression", "expression is not specified")
        for index, validation in enumerate(spec.get("validations") or ())
        if not (validation.get("expression") or "").strip()
    ]
    return errors


def validate_policy_binding(binding: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = binding["spec"]
    errors: list[FieldError] = []
    if not spec.get("policyName"):
        errors.append(required("spec.policyName"))
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
