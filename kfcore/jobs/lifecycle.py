"""The stages of a job's life, one function each: active, suspended, finished. `JobController.reconcile_job` chooses;
each ends in at most one status write, and says when to look again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kfcore.api.core import Pod, Service
from kfcore.api.jobs import Job, JobStatus
from kfcore.api.meta import Unstructured
from kfcore.controller.controller import Result
from kfcore.jobs import run_policy
from kfcore.jobs.naming import REPLICA_TYPE, job_labels
from kfcore.jobs.owned import OwnedObjects
from kfcore.jobs.replicas import Replicas, exit_code, is_final, terminating
from kfcore.jobs.status import FAILED, RUNNING, SUCCEEDED, SUSPENDED, Counts, StatusUpdate

if TYPE_CHECKING:
    from kfcore.jobs.controller import JobController

JobT = TypeVar("JobT", bound=Job[Any])


@dataclass(slots=True)
class Pass(Generic[JobT]):
    """One reconcile of one job: what was read, the copy with defaults, and what is being made of it."""

    read: JobT
    job: JobT
    pods: Sequence[Pod]
    services: Sequence[Service]
    status: StatusUpdate
    owned: OwnedObjects


async def active(controller: JobController[Any], work: Pass[JobT]) -> Result:
    """A job that is to run: create what is missing, restart what failed, and say how it stands."""
    job, status = work.job, work.status
    if status.is_true(SUSPENDED):
        message = f"{status.kind} {job.name} is resumed."
        status.set(SUSPENDED, message, status="False", reason=f"{status.kind}Resumed")
        status.announce("Normal", f"{status.kind}Resumed", message)
        status.start_time = status.now
    replicas = controller.observe(work)
    count(controller, work, replicas)
    status.start_time = status.start_time or status.now
    retry_at = settle(controller, work, replicas)
    if status.finished:
        await controller.write_status(work)
        return await finished(controller, work)
    await controller.reconcile_dependents(job, wanted=True)
    try:
        for group in replicas.values():
            await controller.reconcile_services(job, group, work.services, work.owned)
            await controller.reconcile_pods(job, group, work.owned)
    finally:
        await controller.write_status(work)
    await work.owned.delete(_to_recreate(work, replicas, controller.container_name))
    result = controller.due(retry_at, run_policy.deadline(job.spec.run_policy, status.start_time))
    return _sooner(result, work.owned.retry_after)


def count(controller: JobController[Any], work: Pass[JobT], replicas: Mapping[str, Replicas]) -> None:
    """Put the replicas' numbers into the status; tell of replicas that ended since the last one."""
    status = work.status
    for name, group in replicas.items():
        selector = _selector(controller, work.job, name) if controller.selector_in_status else ""
        status.counts[name] = Counts(group.active, group.succeeded, group.failed, selector)
        known = status.completed_indexes.get(name, [])
        if group.completed:
            status.completed_indexes[name] = sorted(group.completed)
        for index in sorted(group.completed.difference(known)):
            if (pod := group.pods.get(index)) is not None:
                _announce_exit(work, pod, controller.container_name)
    for name in status.counts.keys() - replicas.keys():
        del status.counts[name]


def settle(controller: JobController[Any], work: Pass[JobT], replicas: Mapping[str, Replicas]) -> datetime | None:
    """Decide what the job is now. Returns when pods that failed may be created again, if that is later."""
    job, status, policy = work.job, work.status, work.job.spec.run_policy
    controller.update_job_status(job, replicas, status)
    if status.finished:
        _finish_counts(status)
        return None
    end = run_policy.deadline(policy, status.start_time)
    if end is not None and status.now >= end:
        status.fail(run_policy.DEADLINE_PASSED.format(name=job.name))
        return None
    final = [
        (group, pod)
        for group in replicas.values()
        for pod in group.failed_pods
        if _final(controller, group, pod) and not controller.tolerates_failure(job, group.type)
    ]
    retried = [(group, _retried(controller, group)) for group in replicas.values()]
    new = {group.type: _uncounted(status, group, pods) for group, pods in retried}
    restarts = run_policy.restarts_counted(replicas.values(), status.restarts, sum(map(len, new.values())))
    if not final and run_policy.backoff_limit_reached(policy, restarts):
        for pods in new.values():
            for pod in pods:
                _announce_exit(work, pod, controller.container_name)
        status.fail(run_policy.BACKOFF_LIMIT_REACHED.format(name=job.name))
        return None
    if final:
        group, pod = final[0]
        _announce_exit(work, pod, controller.container_name)
        if group.spec.restart_policy == "ExitCode":
            message = f'job "{job.name}" is failing because "{group.type}" replica(s) failed.'
            status.fail(message, detail=_why(pod, controller.container_name), event="Warning")
        else:
            message = controller.failed_message(job, group.type, group.failed)
            status.fail(message, detail=_why(pod, controller.container_name))
        return None
    if controller.is_running(job, replicas):
        status.run(controller.running_message(job))
    retry_at = None
    for group, pods in retried:
        if pods:
            status.restart(controller.restarting_message(job, group.type, group.failed))
            retry_at = _count_restarts(controller, work, group, new[group.type], retry_at)
    return retry_at


async def suspended(controller: JobController[Any], work: Pass[JobT]) -> Result:
    """A job that is to hold still: no pods, no services; the status keeps what it had."""
    job, status = work.job, work.status
    message, reason = f"{status.kind} {job.name} is suspended.", f"{status.kind}Suspended"
    for counts in status.counts.values():
        counts.active = 0
    status.completed_indexes.clear()
    if status.is_true(RUNNING):
        status.set(RUNNING, message, status="False", reason=reason)
    if status.set(SUSPENDED, message):
        status.announce("Normal", reason, message)
    await controller.reconcile_dependents(job, wanted=False)
    await work.owned.delete(work.pods)
    await work.owned.delete(work.services)
    await controller.write_status(work)
    return Result()


async def finished(controller: JobController[Any], work: Pass[JobT]) -> Result:
    """A job that ended: clean up by its policy, and delete it when its time to live is over."""
    job, status, policy = work.job, work.status, work.job.spec.run_policy
    if status.is_true(SUCCEEDED):
        _finish_counts(status)
    await controller.write_status(work)
    await controller.reconcile_dependents(job, wanted=False)
    by_limit = run_policy.stopped_by_limit(job.name, status.condition(FAILED))
    doomed = run_policy.pods_to_clean(policy, work.pods, by_limit=by_limit)
    await work.owned.delete(doomed)
    if policy.clean_pod_policy in ("All", "Running") or by_limit:
        kept = {pod.name for pod in work.pods} - {pod.name for pod in doomed}
        await work.owned.delete([service for service in work.services if service.name not in kept])
    expiry = run_policy.expiry(policy, status.old, controller.options.ttl_seconds)
    if expiry is not None and status.now >= expiry and work.read.status.finished:
        await controller.delete_job(job)
        return Result()
    return controller.due(expiry)


async def refuse_unreadable(controller: JobController[Any], obj: Unstructured, error: str) -> None:
    """Fail a job that cannot be read as its kind, once: a condition and an event, no endless retry."""
    kind = obj.resource.kind
    try:
        old = JobStatus.model_validate(obj.raw.get("status") or {})
    except ValueError:
        old = JobStatus()
    status = StatusUpdate(kind, old, controller.clock.now())
    message, reason = f"{kind} failed validation because {error}", f"{kind}FailedValidation"
    status.fail(message, event="Warning", reason=reason)
    if patch := status.patch():
        # Read back as it is: it still cannot be read as its kind.
        await controller.client.patch(type(obj), obj.name, obj.namespace, {"status": patch}, subresource="status")
        controller.recorder.warning(obj, reason, message)


def _finish_counts(status: StatusUpdate) -> None:
    """Of a job that succeeded, replicas that still ran count as succeeded: nobody waits for them."""
    for counts in status.counts.values():
        counts.succeeded, counts.active = counts.succeeded + counts.active, 0


def _final(controller: JobController[Any], group: Replicas, pod: Pod) -> bool:
    return is_final(pod, group.spec, controller.container_name)


def _retried(controller: JobController[Any], group: Replicas) -> list[Pod]:
    return [pod for pod in group.failed_pods if not _final(controller, group, pod)]


def _uncounted(status: StatusUpdate, group: Replicas, pods: Sequence[Pod]) -> list[Pod]:
    record = status.restarts.get(group.type)
    counted = set(record.pods) if record is not None else set()
    return [pod for pod in pods if pod.metadata.uid not in counted]


def _count_restarts(
    controller: JobController[Any], work: Pass[JobT], group: Replicas, pods: Sequence[Pod], retry_at: datetime | None
) -> datetime | None:
    """Write down that these pods are recreated, before they are; or say when they may be."""
    status = work.status
    if not pods:
        return retry_at
    record = status.restarts.get(group.type)
    due = run_policy.next_restart(record, status.now)
    if due > status.now:
        return due if retry_at is None else min(due, retry_at)
    for pod in pods:
        _announce_exit(work, pod, controller.container_name)
    status.restarts[group.type] = run_policy.count_restart(record, pods, status.now)
    return retry_at


def _to_recreate(work: Pass[JobT], replicas: Mapping[str, Replicas], container: str) -> list[Pod]:
    """The failed pods whose restart is written down."""
    return [
        pod
        for group in replicas.values()
        if (record := work.status.restarts.get(group.type)) is not None
        for pod in group.failed_pods
        if pod.metadata.uid in record.pods and not terminating(pod)
    ]


def _announce_exit(work: Pass[JobT], pod: Pod, container: str) -> None:
    if (code := exit_code(pod, container)) is not None:
        work.status.announce("Normal", "ExitedWithCode", f"Pod: {pod.namespace}.{pod.name} exited with code {code}")


def _why(pod: Pod, container: str) -> str:
    """The end of a failed pod, for people: its exit code, or why it has none."""
    code = exit_code(pod, container)
    reason = f"exit code {code}" if code is not None else pod.status.reason or "no exit code"
    return f" Pod {pod.name}: {reason}."


def _selector(controller: JobController[Any], job: Job[Any], replica_type: str) -> str:
    labels = job_labels(job.name, controller.operator_name)
    return ",".join([*(f"{key}={value}" for key, value in labels.items()), f"{REPLICA_TYPE}={replica_type.lower()}"])


def _sooner(result: Result, seconds: float | None) -> Result:
    if seconds is None:
        return result
    return Result(requeue_after=seconds if result.requeue_after is None else min(seconds, result.requeue_after))
