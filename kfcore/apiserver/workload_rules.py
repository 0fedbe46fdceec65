"""The rules of Deployments, StatefulSets, ReplicaSets, DaemonSets, ReplicationControllers and templates of pods."""

from __future__ import annotations

from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.label_rules import validate_selector
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.pod_rules import validate_template
from kfcore.apiserver.resource_rules import NOT_NEGATIVE
from kfcore.apiserver.rollout_rules import validate_reported, validate_rollout
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)
from kfcore.client.selectors import LabelSelector, SelectorError

_STATEFUL_SET_FREE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_STATEFUL_SET_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_MISMATCH = "`selector` does not match template `labels`"


def validate_workload(workload: Manifest, previous: Manifest | None) -> list[FieldError]:
    """The selector is there, fixed, and matches the template; the template's pod could be created."""
    spec, kind = workload["spec"], workload["kind"]
    errors = [*_validate_replicas(spec), *_validate_selector(spec, kind)]
    errors += _validate_template(workload, spec["template"])
    errors += [*validate_rollout(workload), *validate_reported(workload, previous)]
    if kind == "StatefulSet":
        errors += _validate_stateful_set(spec)
    if previous is None:
        return errors
    before = previous["spec"]
    if kind == "StatefulSet":
        changed = {key for key in {*spec, *before} if spec.get(key) != before.get(key)}
        if not changed <= set(_STATEFUL_SET_FREE):
            errors.append(forbidden_field("spec", _STATEFUL_SET_FIXED))
    elif before.get("selector") != spec.get("selector"):
        errors.append(invalid_value("spec.selector", spec.get("selector"), "field is immutable"))
    return errors


def _validate_selector(spec: Manifest, kind: str) -> Iterator[FieldError]:
    selector, labels = spec.get("selector"), (spec["template"].get("metadata") or {}).get("labels") or {}
    if selector is None:
        if kind != "DaemonSet":
            yield required("spec.selector")
    else:
        problems = list(validate_selector(selector, "spec.selector"))
        yield from problems
        if problems:
            return
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            what = kind.lower().replace("replicaset", "deployment")
            yield invalid_value("spec.selector", selector, f"empty selector is invalid for {what}")
    if selector is None or not selects(selector, labels):
        yield invalid_value("spec.template.metadata.labels", labels or None, _MISMATCH)


def _validate_template(workload: Manifest, template: Manifest) -> list[FieldError]:
    pod_spec = template.get("spec")
    pod_spec = pod_spec if isinstance(pod_spec, dict) else {}
    errors = validate_template(template, "spec.template", _with_claims(pod_spec, workload["spec"]))
    if (policy := pod_spec.get("restartPolicy")) != "Always":
        errors.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if pod_spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {workload['kind']} is not Supported"
        errors.append(forbidden_field("spec.template.spec.activeDeadlineSeconds", why))
    return errors


def selects(selector: Manifest, labels: Manifest) -> bool:
    """Whether a workload's selector finds the pods of its template. Raises BadRequest for what is not a selector."""
    try:
        return LabelSelector.from_spec(selector).matches(labels)
    except (SelectorError, AttributeError, KeyError, TypeError) as error:
        raise bad_request(f"spec.selector: {error}") from error


def _with_claims(pod_spec: Manifest, spec: Manifest) -> Manifest:
    """A pod of a StatefulSet has volumes that its template has not: one for each claim template."""
    templates = spec.get("volumeClaimTemplates") or ()
    names = [(template.get("metadata") or {}).get("name") for template in templates if isinstance(template, dict)]
    volumes = pod_spec.get("volumes") or []
    if not names or not isinstance(volumes, list):
        return pod_spec
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names if name]
    return {**pod_spec, "volumes": [*claimed, *(volume for volume in volumes if volume.get("name") not in names)]}


def _validate_stateful_set(spec: Manifest) -> Iterator[FieldError]:
    if (name := spec.get("serviceName")) and (why := dns_label(name)):
        yield invalid_value("spec.serviceName", name, why)
    seen: set[str] = set()
    for index, template in enumerate(spec.get("volumeClaimTemplates") or ()):
        place = f"spec.volumeClaimTemplates[{index}]"
        claim = (template.get("metadata") or {}).get("name") or ""
        if not claim:
            yield required(f"{place}.metadata.name")
        elif claim in seen:
            yield duplicate(f"{place}.metadata.name", claim)
        seen.add(claim)


def _validate_replicas(spec: Manifest) -> Iterator[FieldError]:
    replicas = spec.get("replicas", 1)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request("spec.replicas: expected an integer")
    if replicas < 0:
        yield invalid_value("spec.replicas", replicas, NOT_NEGATIVE)


def validate_controller(controller: Manifest, previous: Manifest | None) -> list[FieldError]:
    """A ReplicationController selects by labels alone."""
    spec = controller["spec"]
    errors = [*_validate_replicas(spec)]
    if isinstance(seconds := spec.get("minReadySeconds"), int) and seconds < 0:
        errors.append(invalid_value("spec.minReadySeconds", seconds, NOT_NEGATIVE))
    selector = spec.get("selector") or {}
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not selector:
        errors.append(required("spec.selector"))
    elif any(labels.get(key) != value for key, value in selector.items()):
        errors.append(invalid_value("spec.template.metadata.labels", labels, _MISMATCH))
    return [*errors, *_validate_template(controller, spec["template"]), *validate_reported(controller, previous)]


def validate_pod_template(pod_template: Manifest, previous: Manifest | None) -> list[FieldError]:
    return validate_template(pod_template["template"], "template")
