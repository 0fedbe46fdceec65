"""The rules of PodDisruptionBudgets, RuntimeClasses and CertificateSigningRequests."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.rollout_rules import number_or_percent
from kfcore.apiserver.status import FieldError, invalid_value, required, unsupported

_EVICTIONS = ("AlwaysAllow", "IfHealthyBudget")
_REQUEST = b"-----BEGIN CERTIFICATE REQUEST-----"


def default_disruption_budget(budget: Manifest) -> None:
    budget.setdefault("spec", {})


def validate_disruption_budget(budget: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = budget["spec"]
    errors: list[FieldError] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        errors.append(invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if spec.get(field) is not None:
            errors += number_or_percent(spec[field], f"spec.{field}")
    errors += validate_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTIONS:
        errors.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, _EVICTIONS))
    return errors


def validate_runtime_class(runtime: Manifest, previous: Manifest | None) -> list[FieldError]:
    handler = runtime.get("handler") or ""
    errors: list[FieldError] = []
    if previous is not None and previous.get("handler") != handler:
        errors.append(invalid_value("handler", handler, "field is immutable"))
    if previous is None and (why := dns_label(handler)):
        errors.append(invalid_value("handler", handler, why))
    return errors


def validate_signing_request(request: Manifest, previous: Manifest | None) -> list[FieldError]:
    return [] if previous is not None else [*_new_request(request.get("spec") or {})]


def _has_request(text: str) -> bool:
    try:
        return _REQUEST in base64.b64decode(text)
    except ValueError:
        return False


def _new_request(spec: Manifest) -> Iterator[FieldError]:
    text = spec.get("request") or ""
    if not text:
        yield required("spec.request")
    elif not _has_request(text):
        yield invalid_value("spec.request", text, "PEM block type must be CERTIFICATE REQUEST")
    if not spec.get("usages"):
        yield required("spec.usages")
    name = spec.get("signerName") or ""
    if not name:
        yield required("spec.signerName")
    elif "/" not in name:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield invalid_value("spec.signerName", name, why)
