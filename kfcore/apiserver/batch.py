"""Jobs and CronJobs: defaults, the selector and labels that a new Job is given, and the rules that users meet."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kfcore.api.meta import Manifest
from kfcore.apiserver import workloads
from kfcore.apiserver.job_rules import validate_job_spec
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.schedules import schedule_problem
from kfcore.apiserver.status import FieldError, invalid_value, required, unsupported
from kfcore.apiserver.workload_rules import selects

_UID, _NAME = "controller-uid", "job-name"
_PREFIX = "batch.kubernetes.io/"
_FREE_WHILE_SUSPENDED = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_CRON_NAME_LIMIT = 52
_NO_LIMIT = 2**31 - 1


def default_job(job: Manifest) -> None:
    workloads.default_template(job)
    _default_spec(job["spec"])
    labels = (job["spec"].get("template") or {}).get("metadata", {}).get("labels")
    if labels and not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)


def _default_spec(spec: Manifest) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")


def admit_job(job: Manifest) -> None:
    """A new Job selects its own pods: by its uid, which it puts on their template."""
    job["status"] = {}
    spec, metadata = job["spec"], job["metadata"]
    template = spec.get("template")
    if spec.get("manualSelector") or not isinstance(template, dict):
        return
    labels = template.setdefault("metadata", {}).get("labels") or {}
    name = metadata.get("name", "")
    for prefix in (_PREFIX, ""):
        labels[f"{prefix}{_UID}"] = metadata["uid"]
        labels[f"{prefix}{_NAME}"] = name
    template["metadata"]["labels"] = labels
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)
    selector = spec.setdefault("selector", {})
    if isinstance(selector, dict):
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), f"{_PREFIX}{_UID}": metadata["uid"]}


def validate_job(job: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = job["spec"]
    errors = [*_validate_generated(job), *validate_job_spec(spec, "spec"), *_validate_selector(spec)]
    completions = spec.get("completions")
    if spec.get("completionMode") == "Indexed" and completions:
        host = f"{job['metadata'].get('name', '')}-{completions - 1}"
        if dns_label(host):
            why = f"will not able to create pod with invalid DNS label: {host}"
            errors.append(invalid_value("metadata.name", job["metadata"].get("name", ""), why))
    return errors if previous is None else [*errors, *_validate_update(spec, previous["spec"])]


def _validate_update(spec: Manifest, before: Manifest) -> Iterator[FieldError]:
    for name in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"):
        if spec.get(name) != before.get(name):
            yield invalid_value(f"spec.{name}", spec.get(name), "field is immutable")
    if spec.get("successPolicy") != before.get("successPolicy"):
        yield invalid_value("spec.successPolicy", spec.get("successPolicy"), "field is immutable")
    completions = spec.get("completions")
    if completions != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            yield invalid_value("spec.completions", completions, "field is immutable")
        elif completions is not None and completions != spec.get("parallelism"):
            why = "can only be modified in tandem with spec.parallelism"
            yield invalid_value("spec.completions", completions, why)
    free = _FREE_WHILE_SUSPENDED if before.get("suspend") else ()
    if _fixed(spec["template"], free) != _fixed(before.get("template") or {}, free):
        yield invalid_value("spec.template", spec["template"], "field is immutable")


def _validate_generated(job: Manifest) -> Iterator[FieldError]:
    """A selector that a user gave finds the pods only if it is the one that the Job would have made."""
    selector = job["spec"].get("selector")
    if job["spec"].get("manualSelector") or not isinstance(selector, dict):
        return
    name, uid = job["metadata"].get("name", ""), job["metadata"]["uid"]
    labels = {f"{prefix}{key}": value for prefix in (_PREFIX, "") for key, value in ((_UID, uid), (_NAME, name))}
    if not selects(selector, labels):
        yield invalid_value("spec.selector", selector, "`selector` not auto-generated")


def _validate_selector(spec: Manifest) -> Iterator[FieldError]:
    selector, labels = spec.get("selector"), (spec["template"].get("metadata") or {}).get("labels") or {}
    if selector is None:
        yield required("spec.selector")
    if selector is None or not selects(selector, labels):
        why = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", labels or None, why)


def _fixed(template: Manifest, free: tuple[str, ...]) -> Manifest:
    if not free:
        return template
    return {"spec": {key: value for key, value in (template.get("spec") or {}).items() if key not in free}}


# ── cron jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def default_cron_job(cron_job: Manifest) -> None:
    spec = workloads.part(cron_job, "spec", "CronJob")
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = workloads.part(spec, "jobTemplate", "CronJob.spec")
    template.setdefault("metadata", {})
    job_spec = workloads.part(template, "spec", "CronJob.spec.jobTemplate")
    workloads.default_template({"kind": "CronJob", "spec": job_spec})


def validate_cron_job(cron_job: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = cron_job["spec"]
    errors = []
    name = cron_job["metadata"].get("name", "")
    if previous is None and len(name) > _CRON_NAME_LIMIT:
        errors.append(invalid_value("metadata.name", name, f"must be no more than {_CRON_NAME_LIMIT} characters"))
    schedule = spec.get("schedule") or ""
    if not schedule:
        errors.append(required("spec.schedule"))
    elif why := schedule_problem(str(schedule)):
        errors.append(invalid_value("spec.schedule", schedule, why))
    if (zone := spec.get("timeZone")) is not None and (why := _zone_problem(zone)):
        errors.append(invalid_value("spec.timeZone", zone, why))
    if spec["concurrencyPolicy"] not in _CONCURRENCY:
        errors.append(unsupported("spec.concurrencyPolicy", spec["concurrencyPolicy"], _CONCURRENCY))
    errors += [
        invalid_value(f"spec.{limit}", value, "must be greater than or equal to 0")
        for limit in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
        if isinstance(value := spec.get(limit), int) and value < 0
    ]
    job_spec, place = spec["jobTemplate"]["spec"], "spec.jobTemplate.spec"
    errors += validate_job_spec(job_spec, place)
    if job_spec.get("selector") is not None:
        errors.append(invalid_value(f"{place}.selector", job_spec["selector"], "`selector` will be auto-generated"))
    if job_spec.get("manualSelector"):
        errors.append(unsupported(f"{place}.manualSelector", True, ("nil", "false")))
    return errors


def _zone_problem(name: str) -> str:
    if not name:
        return "timeZone must be nil or non-empty string"
    if name.lower() == "local":
        return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"unknown time zone {name}"
    return ""
