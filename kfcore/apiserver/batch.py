"""Jobs and CronJobs: defaults, the selector and labels that a new Job is given, and the rules that users meet."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kfcore.api.meta import Manifest
from kfcore.apiserver import workloads
from kfcore.apiserver.pod_rules import validate_pod_spec
from kfcore.apiserver.status import FieldError, invalid_value, required, unsupported

_UID, _NAME = "controller-uid", "job-name"
_PREFIX = "batch.kubernetes.io/"
_FREE_WHILE_SUSPENDED = ("nodeSelector", "tolerations", "schedulingGates", "affinity")
_CONCURRENCY = ("Allow", "Forbid", "Replace")
_MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_CRON_FIELD = re.compile(r"(\*|\?|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/\d+)?(,(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/\d+)?)*")
_CRON_NAME_LIMIT = 52
_COUNTS = (
    ("parallelism", 0), ("completions", 0), ("backoffLimit", 0), ("ttlSecondsAfterFinished", 0),
    ("activeDeadlineSeconds", 0),
)  # fmt: skip


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
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
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
    selector = spec.setdefault("selector", {})
    if isinstance(selector, dict):
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), f"{_PREFIX}{_UID}": metadata["uid"]}


def validate_job(job: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = job["spec"]
    errors = _validate_job_spec(spec, "spec")
    if spec.get("manualSelector"):
        errors += _validate_selector(spec)
    if previous is None:
        return errors
    before = previous["spec"]
    fixed = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy"]
    if spec.get("completionMode") != "Indexed":
        fixed.append("completions")
    errors += [
        invalid_value(f"spec.{name}", spec.get(name), "field is immutable")
        for name in fixed
        if spec.get(name) != before.get(name)
    ]
    free = _FREE_WHILE_SUSPENDED if before.get("suspend") else ()
    if _fixed(spec["template"], free) != _fixed(before.get("template") or {}, free):
        errors.append(invalid_value("spec.template", spec["template"], "field is immutable"))
    return errors


def _validate_selector(spec: Manifest) -> list[FieldError]:
    """A Job that selects its pods by itself has to say how."""
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if not workloads.selects(selector, labels):
        why = "`selector` does not match template `labels`"
        return [invalid_value("spec.template.metadata.labels", labels, why)]
    return []


def _fixed(template: Manifest, free: tuple[str, ...]) -> Manifest:
    if not free:
        return template
    return {"spec": {key: value for key, value in (template.get("spec") or {}).items() if key not in free}}


def _validate_job_spec(spec: Manifest, place: str) -> list[FieldError]:
    errors = []
    for name, least in _COUNTS:
        value = spec.get(name)
        if isinstance(value, int) and value < least:
            errors.append(invalid_value(f"{place}.{name}", value, "must be greater than or equal to 0"))
    mode = spec.get("completionMode")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(unsupported(f"{place}.completionMode", mode, ("Indexed", "NonIndexed")))
    elif mode == "Indexed" and spec.get("completions") is None:
        errors.append(required(f"{place}.completions", "when completion mode is Indexed"))
    if mode != "Indexed":
        errors += [
            invalid_value(f"{place}.{name}", spec[name], "requires indexed completion mode")
            for name in ("backoffLimitPerIndex", "successPolicy")
            if spec.get(name) is not None
        ]
    template = spec.get("template")
    pod_spec = template.get("spec") if isinstance(template, dict) else None
    pod_spec = pod_spec if isinstance(pod_spec, dict) else {}
    errors += validate_pod_spec(pod_spec, f"{place}.template.spec")
    if pod_spec.get("restartPolicy") == "Always":
        errors.append(required(f"{place}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return errors


# ── cron jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def default_cron_job(cron_job: Manifest) -> None:
    spec = workloads.part(cron_job, "spec", "CronJob")
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    template = workloads.part(spec, "jobTemplate", "CronJob.spec")
    template.setdefault("metadata", {})
    if isinstance(template.get("spec"), dict):
        workloads.default_template({"kind": "CronJob", "spec": template["spec"]})


def validate_cron_job(cron_job: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = cron_job["spec"]
    errors = []
    name = cron_job["metadata"].get("name", "")
    if previous is None and len(name) > _CRON_NAME_LIMIT:
        errors.append(invalid_value("metadata.name", name, f"must be no more than {_CRON_NAME_LIMIT} characters"))
    schedule = spec.get("schedule") or ""
    if not schedule:
        errors.append(required("spec.schedule"))
    elif why := _schedule_problem(str(schedule)):
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
    job_spec = spec["jobTemplate"].get("spec") or {}
    if not isinstance(job_spec.get("template"), dict):
        return [*errors, required("spec.jobTemplate.spec.template")]
    return errors + _validate_job_spec({"completionMode": "NonIndexed", **job_spec}, "spec.jobTemplate.spec")


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


def _schedule_problem(schedule: str) -> str:
    if "TZ" in schedule:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    if schedule in _MACROS or schedule.startswith("@every "):
        return ""
    fields = schedule.split()
    if len(fields) != 5:
        listed = "[" + " ".join(fields) + "]"
        return f"expected exactly 5 fields, found {len(fields)}: {listed}"
    for text in fields:
        if _CRON_FIELD.fullmatch(text) is None:
            return f"failed to parse int from {text}: strconv.Atoi: parsing {text!r}: invalid syntax".replace("'", '"')
    return ""
