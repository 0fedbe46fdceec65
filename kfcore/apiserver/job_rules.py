"""What a Job may be, and the Jobs that a CronJob makes: counts, indexes, what a failed pod and a finished one mean."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import qualified_name
from kfcore.apiserver.pod_rules import validate_template
from kfcore.apiserver.resource_rules import NOT_NEGATIVE
from kfcore.apiserver.status import FieldError, duplicate, invalid_value, required, unsupported

_COUNTS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_MOST_INDEXES = 100_000
_MODES = ("NonIndexed", "Indexed")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_MOST_RULES = 20
_INDEXED = "requires indexed completion mode"
_RANGES = re.compile("[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")


def validate_job_spec(spec: Manifest, place: str) -> list[FieldError]:
    template = spec.get("template")
    template = template if isinstance(template, dict) else {}
    return [
        *_validate_counts(spec, place),
        *_validate_mode(spec, place),
        *_validate_failure_policy(spec, template, f"{place}.podFailurePolicy"),
        *_validate_replacement(spec, f"{place}.podReplacementPolicy"),
        *validate_template(template, f"{place}.template"),
        *_validate_restarts(spec, template, f"{place}.template.spec.restartPolicy"),
        *_validate_success_policy(spec, f"{place}.successPolicy"),
    ]


def _validate_counts(spec: Manifest, place: str) -> Iterator[FieldError]:
    for name in _COUNTS:
        if isinstance(value := spec.get(name), int) and value < 0:
            yield invalid_value(f"{place}.{name}", value, NOT_NEGATIVE)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        yield required(f"{place}.backoffLimitPerIndex", "when maxFailedIndexes is specified")


def _validate_mode(spec: Manifest, place: str) -> Iterator[FieldError]:
    mode, completions, failed = (spec.get(name) for name in ("completionMode", "completions", "maxFailedIndexes"))
    if mode not in (None, *_MODES):
        yield unsupported(f"{place}.completionMode", mode, _MODES)
    elif mode == "Indexed":
        if completions is None:
            yield required(f"{place}.completions", "when completion mode is Indexed")
        if (spec.get("parallelism") or 0) > _MOST_INDEXES:
            why = f"must be less than or equal to {_MOST_INDEXES} when completion mode is Indexed"
            yield invalid_value(f"{place}.parallelism", spec["parallelism"], why)
        if completions is not None and failed is not None and failed > completions:
            yield invalid_value(f"{place}.maxFailedIndexes", failed, "must be less than or equal to completions")
    else:
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(name) is not None:
                yield invalid_value(f"{place}.{name}", spec[name], _INDEXED)


def _validate_restarts(spec: Manifest, template: Manifest, place: str) -> Iterator[FieldError]:
    policy = (template.get("spec") or {}).get("restartPolicy") or ""
    if policy in ("", "Always"):
        yield required(place, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        yield unsupported(place, policy, ("OnFailure", "Never"))
    elif policy != "Never" and spec.get("podFailurePolicy") is not None:
        yield invalid_value(place, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _validate_replacement(spec: Manifest, place: str) -> Iterator[FieldError]:
    policy = spec.get("podReplacementPolicy")
    allowed = _REPLACEMENTS if spec.get("podFailurePolicy") is None else ("Failed",)
    if policy is not None and policy not in allowed:
        yield unsupported(place, policy, allowed)


def _validate_failure_policy(spec: Manifest, template: Manifest, place: str) -> Iterator[FieldError]:
    policy, pod = spec.get("podFailurePolicy"), template.get("spec") or {}
    if policy is None:
        return
    rules = policy.get("rules") or ()
    if len(rules) > _MOST_RULES:
        why = f"Too many: {len(rules)}: must have at most {_MOST_RULES} items"
        yield FieldError("FieldValueTooMany", f"{place}.rules", why)
    names = {item.get("name") for field in ("containers", "initContainers") for item in pod.get(field) or ()}
    for index, rule in enumerate(rules):
        where, action = f"{place}.rules[{index}]", rule.get("action") or ""
        if not action:
            listed = " ".join(f'"{known}"' for known in _ACTIONS)
            yield required(f"{where}.action", f"valid values: [{listed}]")
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            yield invalid_value(f"{where}.action", action, "requires the backoffLimitPerIndex to be set")
        elif action not in _ACTIONS:
            yield unsupported(f"{where}.action", action, _ACTIONS)
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            yield from _validate_codes(codes, f"{where}.onExitCodes", names)
        for number, pattern in enumerate(conditions):
            yield from _validate_pattern(pattern, f"{where}.onPodConditions[{number}]")
        if (codes is not None) == bool(conditions):
            how = "specifying both OnExitCodes and OnPodConditions is not supported"
            if not conditions:
                how = "specifying one of OnExitCodes and OnPodConditions is required"
            yield FieldError("FieldValueInvalid", where, f"Invalid value: {how}")


def _validate_codes(codes: Manifest, place: str, names: set[str | None]) -> Iterator[FieldError]:
    operator, values, container = codes.get("operator") or "", codes.get("values") or [], codes.get("containerName")
    if not operator:
        yield required(f"{place}.operator", 'valid values: ["In" "NotIn"]')
    elif operator not in _OPERATORS:
        yield unsupported(f"{place}.operator", operator, _OPERATORS)
    if container is not None and container not in names:
        why = "must be one of the container or initContainer names in the pod template"
        yield invalid_value(f"{place}.containerName", container, why)
    if not values:
        yield invalid_value(f"{place}.values", values, "at least one value is required")
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid_value(f"{place}.values[{index}]", value, "must not be 0 for the In operator")
        if value in values[:index]:
            yield duplicate(f"{place}.values[{index}]", value)
    if values != sorted(values):
        yield invalid_value(f"{place}.values", values, "must be ordered")


def _validate_pattern(pattern: Manifest, place: str) -> Iterator[FieldError]:
    kind, status = pattern.get("type") or "", pattern.get("status") or ""
    yield from (invalid_value(f"{place}.type", kind, why) for why in qualified_name(kind))
    if status not in _STATUSES:
        yield unsupported(f"{place}.status", status, _STATUSES)


def _validate_success_policy(spec: Manifest, place: str) -> Iterator[FieldError]:
    policy = spec.get("successPolicy")
    if policy is None:
        return
    if spec.get("completionMode") != "Indexed":
        yield invalid_value(place, policy, _INDEXED)
        return
    rules, completions = policy.get("rules") or (), spec.get("completions") or 0
    if not rules:
        yield required(f"{place}.rules", "at least one rules must be specified when the successPolicy is specified")
    for index, rule in enumerate(rules):
        where, count, text = f"{place}.rules[{index}]", rule.get("succeededCount"), rule.get("succeededIndexes")
        if count is None and text is None:
            yield required(where, "at least one of succeededCount or succeededIndexes must be specified")
        total = completions
        if text is not None:
            if not _RANGES.fullmatch(text):
                why = "error parsing succeededIndexes"
                yield invalid_value(f"{where}.succeededIndexes", text, why)
                continue
            parts = [part.partition("-")[::2] for part in text.split(",")]
            total = sum(int(last or first) - int(first) + 1 for first, last in parts)
            if max(int(last or first) for first, last in parts) >= completions:
                yield invalid_value(f"{where}.succeededIndexes", text, "must be less than completions")
        if count is not None and count < 0:
            yield invalid_value(f"{where}.succeededCount", count, NOT_NEGATIVE)
        elif count is not None and count > total:
            yield invalid_value(f"{where}.succeededCount", count, f"must be less than or equal to {total}")
