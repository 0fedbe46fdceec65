"""The configurations of webhooks: their defaults and rules. What follows from them is `webhook_dispatch.py`'s."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_cel import CONDITION
from kfcore.apiserver.expression_rules import validate_conditions
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.names import dns_subdomain
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported

FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_REINVOCATION = ("IfNeeded", "Never")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_HTTPS_PORT, _SECONDS, _MOST_SECONDS = 443, 10, 30


def default_webhooks(configuration: Manifest) -> None:
    mutating = configuration["kind"] == "MutatingWebhookConfiguration"
    for webhook in configuration.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("timeoutSeconds", _SECONDS)
        if mutating:
            webhook.setdefault("reinvocationPolicy", "Never")
        default_match(webhook)
        default_rules(webhook.get("rules"))
        service = (webhook.get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            service.setdefault("port", _HTTPS_PORT)


def default_match(match: Manifest) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})


def default_rules(rules: Iterable[Manifest] | None) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


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
        yield from validate_rule(rule, f"{place}.rules[{index}]")
    if webhook["failurePolicy"] not in FAILURE_POLICIES:
        yield unsupported(f"{place}.failurePolicy", webhook["failurePolicy"], FAILURE_POLICIES)
    if webhook["matchPolicy"] not in MATCH_POLICIES:
        yield unsupported(f"{place}.matchPolicy", webhook["matchPolicy"], MATCH_POLICIES)
    for field in ("namespaceSelector", "objectSelector"):
        yield from validate_selector(webhook.get(field), f"{place}.{field}")
    yield from validate_conditions(webhook.get("matchConditions"), f"{place}.matchConditions", CONDITION)
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
        if not 0 < (port := service["port"]) < 65536:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            yield invalid_value(f"{place}.clientConfig.service.port", port, why)
    else:
        for why in _url_problems(str(client["url"])):
            yield invalid_value(f"{place}.clientConfig.url", client["url"], why)


def _url_problems(url: str) -> Iterator[str]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        _ = parts.port  # which is looked at when it is asked for
    except ValueError as error:
        yield f"url must be a valid URL: {error}{form}"
        return
    if parts.scheme != "https":
        yield f"'https' is the only allowed URL scheme{form}"
    if not parts.hostname:
        yield f"host must be specified{form}"
    if parts.username is not None:
        yield "user information is not permitted in the URL"
    if parts.fragment:
        yield "fragments are not permitted in the URL"
    if parts.query:
        yield "query parameters are not permitted in the URL"


def validate_rule(rule: Manifest, place: str) -> Iterator[FieldError]:
    for field in ("operations", "apiGroups", "apiVersions", "resources"):
        if not rule.get(field):
            yield required(f"{place}.{field}")
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            yield unsupported(f"{place}.operations[{index}]", operation, _OPERATIONS)
    if (scope := rule.get("scope", "*")) not in _SCOPES:
        yield unsupported(f"{place}.scope", scope, _SCOPES)
