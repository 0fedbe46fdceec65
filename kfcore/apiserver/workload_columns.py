"""What `kubectl get` shows of pods and of the workloads that make them: the columns, and one object's cells."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.cells import (
    NONE,
    BuiltinTable,
    age_of,
    columns,
    labels_text,
    name_of,
    selector_text,
    spec_of,
    status_of,
)
from kfcore.apiserver.duration import age, human_duration, parse_time
from kfcore.apiserver.pod_status import summarize


def _pod(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    summary = summarize(obj, now)
    ips = status.get("podIPs") or []
    true = {c.get("type") for c in status.get("conditions") or [] if c.get("status") == "True"}
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates") or []]
    return [
        name_of(obj),
        summary.ready,
        summary.status,
        summary.restarts,
        age_of(obj, now),
        (ips[0].get("ip") if ips else "") or status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{sum(gate in true for gate in gates)}/{len(gates)}" if gates else NONE,
    ]


def _containers(obj: Manifest) -> list[str]:
    template = (spec_of(obj).get("template") or {}).get("spec") or {}
    containers = template.get("containers") or []
    return [
        ",".join(str(container.get("name", "")) for container in containers),
        ",".join(str(container.get("image", "")) for container in containers),
    ]


def _deployment(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    return [
        name_of(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age_of(obj, now),
        *_containers(obj),
        selector_text(spec.get("selector")),
    ]


def _replica_set(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    selector = spec.get("selector")
    # A ReplicationController's selector is a plain map of labels.
    shown = labels_text(selector) if obj.get("kind") == "ReplicationController" else selector_text(selector)
    return [
        name_of(obj),
        spec.get("replicas", 1),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age_of(obj, now),
        *_containers(obj),
        shown,
    ]


def _stateful_set(obj: Manifest, now: datetime) -> list[Any]:
    ready = f"{status_of(obj).get('readyReplicas', 0)}/{spec_of(obj).get('replicas', 1)}"
    return [name_of(obj), ready, age_of(obj, now), *_containers(obj)]


def _daemon_set(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    template = (spec.get("template") or {}).get("spec") or {}
    return [
        name_of(obj),
        *(status.get(count, 0) for count in counts),
        status.get("numberAvailable", 0),
        labels_text(template.get("nodeSelector")),
        age_of(obj, now),
        *_containers(obj),
        selector_text(spec.get("selector")),
    ]


def _job(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    true = {c.get("type") for c in status.get("conditions") or [] if c.get("status") == "True"}
    ends = "Complete" in true or "Failed" in true
    word = next((kind for kind in _JOB_STATES if kind in true), "Running")
    if not ends and obj["metadata"].get("deletionTimestamp"):
        word = "Terminating"
    wanted = spec.get("completions")
    if wanted is None:
        parallelism = spec.get("parallelism") or 0
        wanted = f"1 of {parallelism}" if parallelism > 1 else "1"
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    return [
        name_of(obj),
        word,
        f"{status.get('succeeded', 0)}/{wanted}",
        human_duration(((end or now) - start).total_seconds()) if start else "",
        age_of(obj, now),
        *_containers(obj),
        selector_text(spec.get("selector")),
    ]


def _pod_template(obj: Manifest, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    return [name_of(obj), *_containers({"spec": {"template": template}}), labels_text(labels)]


def _cron_job(obj: Manifest, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    last = status.get("lastScheduleTime")
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    return [
        name_of(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or []),
        age(last, now) if last else NONE,
        age_of(obj, now),
        *_containers({"spec": job}),
        selector_text(job.get("selector")) if job.get("selector") else NONE,
    ]


_JOB_STATES = ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet")
_REPLICAS = BuiltinTable(columns("Name,Desired#,Current#,Ready#,Age", "Containers,Images,Selector"), _replica_set)

WORKLOAD_TABLES: dict[tuple[str, str], BuiltinTable] = {
    ("", "pods"): BuiltinTable(
        columns("Name,Ready,Status,Restarts,Age", "IP,Node,Nominated Node,Readiness Gates"), _pod
    ),
    ("", "replicationcontrollers"): _REPLICAS,
    ("apps", "deployments"): BuiltinTable(
        columns("Name,Ready,Up-to-date,Available,Age", "Containers,Images,Selector"), _deployment
    ),
    ("apps", "replicasets"): _REPLICAS,
    ("apps", "statefulsets"): BuiltinTable(columns("Name,Ready,Age", "Containers,Images"), _stateful_set),
    ("apps", "daemonsets"): BuiltinTable(
        columns(
            "Name,Desired#,Current#,Ready#,Up-to-date#,Available#,Node Selector,Age",
            "Containers,Images,Selector",
        ),
        _daemon_set,
    ),
    ("batch", "jobs"): BuiltinTable(
        columns("Name,Status,Completions,Duration,Age", "Containers,Images,Selector"), _job
    ),
    ("batch", "cronjobs"): BuiltinTable(
        columns("Name,Schedule,Timezone,Suspend?,Active#,Last Schedule,Age", "Containers,Images,Selector"), _cron_job
    ),
    ("", "podtemplates"): BuiltinTable(columns("Name,Containers,Images,Pod Labels"), _pod_template),
}
"""By group and plural."""
