"""Deployments, StatefulSets, ReplicaSets, DaemonSets, ReplicationControllers: defaults; rules: `workload_rules.py`."""

from __future__ import annotations

from kfcore.api.meta import Manifest
from kfcore.apiserver import pods
from kfcore.apiserver.status import bad_request

_DAEMON_COUNTS = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


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


def default_controller(controller: Manifest) -> None:
    """A ReplicationController that does not say which pods are its own takes those of its template."""
    default_replicated(controller)
    labels = (controller["spec"]["template"].get("metadata") or {}).get("labels")
    if labels:
        if not controller["spec"].get("selector"):
            controller["spec"]["selector"] = dict(labels)
        if not controller["metadata"].get("labels"):
            controller["metadata"]["labels"] = dict(labels)


def default_pod_template(pod_template: Manifest) -> None:
    default_template({"kind": "PodTemplate", "spec": pod_template})


def admit_daemon_set(daemon_set: Manifest) -> None:
    daemon_set["status"] = dict.fromkeys(_DAEMON_COUNTS, 0)
    _set_template_generation(daemon_set, 1)


def keep_template_generation(daemon_set: Manifest, previous: Manifest) -> None:
    """A DaemonSet counts the changes of its template by itself."""
    count = int((previous["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION) or 1)
    changed = daemon_set["spec"]["template"] != previous["spec"]["template"]
    _set_template_generation(daemon_set, count + 1 if changed else count)


def _set_template_generation(daemon_set: Manifest, count: int) -> None:
    metadata = daemon_set["metadata"]
    metadata["annotations"] = {**metadata.get("annotations", {}), TEMPLATE_GENERATION: str(count)}


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
    kept = part(spec, "persistentVolumeClaimRetentionPolicy", "StatefulSet.spec")
    for when in ("whenDeleted", "whenScaled"):
        kept.setdefault(when, "Retain")
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
