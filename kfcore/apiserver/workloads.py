"""Deployments, StatefulSets, ReplicaSets and DaemonSets: defaults, and the rules that users meet."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver import pods
from kfcore.apiserver.pod_rules import validate_pod_spec
from kfcore.apiserver.rollout_rules import validate_reported, validate_rollout
from kfcore.apiserver.status import FieldError, bad_request, forbidden_field, invalid_value, required, unsupported
from kfcore.client.selectors import LabelSelector, SelectorError

_STATEFUL_SET_FREE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_STATEFUL_SET_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


# ── defaults ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def part(manifest: Manifest, name: str, kind: str) -> Manifest:
    value = manifest.get(name)
    if value is None:
        value = manifest[name] = {}
    if not isinstance(value, dict):
        raise bad_request(f"{kind}.{name}: expected an object")
    return value


def default_template(workload: Manifest) -> None:
    kind = workload["kind"]
    template = part(part(workload, "spec", kind), "template", f"{kind}.spec")
    template.setdefault("metadata", {})
    pods.default_pod_spec(part(template, "spec", f"{kind}.spec.template"))


def default_replicated(workload: Manifest) -> None:
    default_template(workload)
    workload["spec"].setdefault("replicas", 1)


def default_deployment(deployment: Manifest) -> None:
    default_replicated(deployment)
    spec = deployment["spec"]
    strategy = part(spec, "strategy", "Deployment.spec")
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = part(strategy, "rollingUpdate", "Deployment.spec.strategy")
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def default_stateful_set(stateful_set: Manifest) -> None:
    default_replicated(stateful_set)
    spec = stateful_set["spec"]
    spec.setdefault("serviceName", "")
    spec.setdefault("podManagementPolicy", "OrderedReady")
    update = part(spec, "updateStrategy", "StatefulSet.spec")
    update.setdefault("type", "RollingUpdate")
    if update["type"] == "RollingUpdate":
        part(update, "rollingUpdate", "StatefulSet.spec.updateStrategy").setdefault("partition", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("metadata", {})
        part(claim, "spec", "StatefulSet.spec.volumeClaimTemplates").setdefault("volumeMode", "Filesystem")
        claim.setdefault("status", {"phase": "Pending"})


def default_daemon_set(daemon_set: Manifest) -> None:
    default_template(daemon_set)
    spec = daemon_set["spec"]
    update = part(spec, "updateStrategy", "DaemonSet.spec")
    update.setdefault("type", "RollingUpdate")
    if update["type"] == "RollingUpdate":
        rolling = part(update, "rollingUpdate", "DaemonSet.spec.updateStrategy")
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def validate_workload(workload: Manifest, previous: Manifest | None) -> list[FieldError]:
    """The selector is there, fixed, and matches the template; the template's pod could be created."""
    spec = workload["spec"]
    errors = [*_validate_replicas(spec)]
    selector, template = spec.get("selector"), spec["template"]
    if selector is None:
        errors.append(required("spec.selector"))
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        kind = workload["kind"].lower().replace("replicaset", "deployment")
        errors.append(invalid_value("spec.selector", selector, f"empty selector is invalid for {kind}"))
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is None or not selects(selector, labels):
        why = "`selector` does not match template `labels`"
        errors.append(invalid_value("spec.template.metadata.labels", labels, why))
    pod_spec = template.get("spec")
    pod_spec = pod_spec if isinstance(pod_spec, dict) else {}
    errors += validate_pod_spec(_with_claims(pod_spec, spec), "spec.template.spec")
    if (policy := pod_spec.get("restartPolicy")) in ("Never", "OnFailure"):
        errors.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if pod_spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {workload['kind']} is not Supported"
        errors.append(forbidden_field("spec.template.spec.activeDeadlineSeconds", why))
    errors += [*validate_rollout(workload), *validate_reported(workload, previous)]
    if previous is None:
        return errors
    before = previous["spec"]
    if workload["kind"] == "StatefulSet":
        changed = {key for key in {*spec, *before} if spec.get(key) != before.get(key)}
        if not changed <= set(_STATEFUL_SET_FREE):
            errors.append(forbidden_field("spec", _STATEFUL_SET_FIXED))
    elif before.get("selector") != spec.get("selector"):
        errors.append(invalid_value("spec.selector", spec.get("selector"), "field is immutable"))
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


def _validate_replicas(spec: Manifest) -> list[FieldError]:
    replicas = spec.get("replicas", 1)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request("spec.replicas: expected an integer")
    if replicas < 0:
        return [invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")]
    return []
