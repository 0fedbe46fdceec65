"""The stages of a job's life, one function each: active, suspended, finished. `JobController.reconcile_job` chooses;
each ends in at most one status write, and says when to look again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from kfcore.api.core import Pod, Service
from kfcore.api.jobs import Job
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Preconditions
from kfcore.controller.controller import Result
from kfcore.jobs import run_policy
from kfcore.jobs.lost_nodes import remove_lost
from kfcore.jobs.naming import REPLICA_TYPE, job_labels
from kfcore.jobs.owned import OwnedObjects
from kfcore.jobs.replicas import Replicas, ended_at, exit_code
from kfcore.jobs.restarting import Failures, count_restarts, failures_of, restarts_so_far, to_recreate
from kfcore.jobs.status import (
    CREATED,
    FAILED,
    RESTARTING,
    RUNNING,
    SUCCEEDED,
    SUSPENDED,
    Counts,
    StatusUpdate,
)

if TYPE_CHECKING:
    from kfcore.jobs.controller import JobController

JobT = TypeVar("JobT", bound=Job[Any])

CHANGED_SECONDS = 1.0
"""Until another look at a job that was not deleted because it has changed, in case the cache is late to show that."""


class Pass(msgspec.Struct, Generic[JobT]):
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
    begun = status.start_time
    status.start_time = begun or status.now
    failures = failures_of(job, replicas, status, controller.container_name)
    retry_at = settle(controller, work, replicas, failures)
    if status.finished:
        # What was scaled away is no part of the job that ends, and no clean-up policy keeps it.
        await work.owned.delete([pod for group in replicas.values() for pod in group.surplus])
        await controller.statuses.write(work)
        return await finished(controller, work)
    if (wait := await _waits_for_gang(controller, work, begun)) is not None:
        return _sooner(_due(controller, run_policy.deadline(job.spec.run_policy, begun)), wait)
    await controller.reconcile_dependents(job, wanted=True)
    try:
        for group in replicas.values():
            await controller.reconcile_services(job, group, work.services, work.owned)
            await controller.reconcile_pods(job, group, work.owned)
    except BaseException:
        await controller.statuses.write(work)
        raise
    held: float | None = None
    if not (_says_no_more_than_created(status) and work.owned.is_seen_soon):
        held = await controller.statuses.write(work, patient=work.owned.expectations is not None)
    await work.owned.delete(to_recreate(replicas, status, failures))
    lost_at = await _remove_lost(controller, work)
    result = _due(controller, retry_at, lost_at, run_policy.deadline(job.spec.run_policy, status.start_time))
    return _sooner(_sooner(result, work.owned.retry_after), held)


def _says_no_more_than_created(status: StatusUpdate) -> bool:
    """Whether a status can wait for the next look at the job, which may have more to tell."""
    conditions = [condition.type for condition in status.conditions]
    return not status.old.conditions and conditions == [CREATED] and not status.announcements


def count(controller: JobController[Any], work: Pass[JobT], replicas: Mapping[str, Replicas]) -> None:
    """Put the replicas' numbers into the status; tell of replicas that ended since the last one."""
    status = work.status
    ended: list[Pod] = []
    for name, group in replicas.items():
        selector = _selector(controller, work.job, name) if controller.kind.scale_paths else ""
        status.counts[name] = Counts(group.active, group.succeeded, group.failed, selector)
        known = status.completed_indexes.pop(name, [])
        if group.completed:
            status.completed_indexes[name] = sorted(group.completed)
        new = sorted(group.completed.difference(known))
        ended += [group.pods[index] for index in new if index in group.pods]
    _announce_exits(work, ended, controller.container_name)
    for name in status.counts.keys() - replicas.keys():
        del status.counts[name]


def settle(
    controller: JobController[Any], work: Pass[JobT], replicas: Mapping[str, Replicas], failures: Failures
) -> datetime | None:
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
    failed, restarts = failures.newly_failed, restarts_so_far(job, replicas, status, failures)
    if run_policy.backoff_limit_reached(policy, restarts, len(failed)):
        _announce_exits(work, failed, controller.container_name)
        why = _why(failed[0], controller.container_name) if failed else ""
        status.fail(run_policy.BACKOFF_LIMIT_REACHED.format(name=job.name), detail=why)
        return None
    final = [(group, pod) for group, pod in failures.final if not controller.tolerates_failure(job, group.type)]
    if final:
        _fail(controller, work, *final[0])
        return None
    _announce_tolerated(work, failures, controller.container_name)
    restarting = [name for name in replicas if failures.retried.get(name) or failures.disrupted.get(name)]
    # While failed pods wait for their time, Restarting stands; it would be a new one if Running came in between.
    stands = restarting and status.is_true(RESTARTING) and status.conditions[-1].type == RESTARTING
    running = controller.is_running(job, replicas)
    if running and not stands:
        status.run(controller.running_message(job))
    for name in restarting:
        status.restart(controller.restarting_message(job, name, replicas[name].failed, running=running))
    counted, retry_at = count_restarts(job, replicas, status, failures)
    _announce_exits(work, counted, controller.container_name)
    return retry_at


def _fail(controller: JobController[Any], work: Pass[JobT], group: Replicas, pod: Pod) -> None:
    """A replica failed for good, and the job with it."""
    job, status = work.job, work.status
    _announce_exits(work, [pod], controller.container_name)
    why = _why(pod, controller.container_name)
    if group.spec.restart_policy == "ExitCode":
        message = f'job "{job.name}" is failing because "{group.type}" replica(s) failed.'
        status.fail(message, detail=why, event="Warning")
    else:
        status.fail(controller.failed_message(job, group.type, group.failed), detail=why)


async def _waits_for_gang(controller: JobController[Any], work: Pass[JobT], begun: datetime | None) -> float | None:
    """Seconds until another look where the pods are to be scheduled together and may not be created yet. `begun` is
    when the job started or was resumed, if it did so before its pods may be there."""
    if controller.pod_groups is None:
        return None
    job, status = work.job, work.status
    policy = job.spec.run_policy.scheduling_policy
    minimum = policy.min_available if policy is not None else None
    started = status.start_time
    status.start_time = begun  # it begins when its pods may
    status.last_reconcile_time = status.last_reconcile_time or status.now
    try:
        wait = await controller.pod_groups.admit(job, controller.min_available(job) if minimum is None else minimum)
    except ApiError:
        await controller.statuses.write(work)
        raise
    if wait is None:
        status.start_time, status.last_reconcile_time = started, work.read.status.last_reconcile_time
    else:
        await controller.statuses.write(work)
    return wait


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
    if controller.pod_groups is not None:
        await controller.pod_groups.delete(job)
    await controller.statuses.write(work)
    return _due(controller, await _remove_lost(controller, work))


async def finished(controller: JobController[Any], work: Pass[JobT]) -> Result:
    """A job that ended: clean up by its policy, and delete it when its time to live is over."""
    job, status, policy = work.job, work.status, work.job.spec.run_policy
    if status.is_true(SUCCEEDED):
        _finish_counts(status)
    await controller.statuses.write(work)
    await controller.reconcile_dependents(job, wanted=False)
    by_limit = run_policy.stopped_by_limit(job.name, status.condition(FAILED))
    doomed = run_policy.pods_to_clean(policy, work.pods, by_limit=by_limit)
    await work.owned.delete(doomed)
    if policy.clean_pod_policy in ("All", "Running") or by_limit:
        kept = {pod.name for pod in work.pods} - {pod.name for pod in doomed}
        await work.owned.delete([service for service in work.services if service.name not in kept])
    if controller.pod_groups is not None:
        await controller.pod_groups.delete(job)
    expiry = run_policy.expiry(policy, status.old, controller.options.ttl_seconds)
    if expiry is not None and status.now >= expiry and work.read.status.finished:
        return await _delete_job(controller, work)
    return _due(controller, expiry)


async def _delete_job(controller: JobController[Any], work: Pass[JobT]) -> Result:
    """Delete the job, whose time to live is over: this very one, and only as it is known here."""
    job, known = work.job, controller.statuses.newest(work.read).metadata
    preconditions = Preconditions(uid=known.uid, resource_version=known.resource_version)
    try:
        await controller.client.delete(type(job), job.name, job.namespace, preconditions=preconditions)
    except NotFound:
        return Result()
    except Conflict:
        return Result(requeue_after=CHANGED_SECONDS)  # to be looked at again, as it is now
    except (ApiError, ConnectionFailed) as error:
        controller.recorder.warning(job, "FailedDeleteJob", f"Error deleting: {error}")
        raise
    controller.metrics.count("deleted", controller.container_name, job.namespace)
    controller.recorder.normal(job, "SuccessfulDeleteJob", f"Deleted job: {job.name}")
    return Result()


def _finish_counts(status: StatusUpdate) -> None:
    """Of a job that succeeded, replicas that still ran count as succeeded: nobody waits for them."""
    for counts in status.counts.values():
        counts.succeeded, counts.active = counts.succeeded + counts.active, 0


async def _remove_lost(controller: JobController[Any], work: Pass[JobT]) -> datetime | None:
    """Let no pod of a lost node stand in the way of its successor, where the operator is told to."""
    patience = controller.options.force_delete_seconds
    if patience is None:
        return None
    return await remove_lost(controller.client, work.owned, work.pods, work.status.now, patience)


def _announce_tolerated(work: Pass[JobT], failures: Failures, container: str) -> None:
    """Tell of replicas that failed for good and are done without: those that ended last, by how many more there are."""
    failed: dict[str, list[Pod]] = {}
    for group, pod in failures.final:
        failed.setdefault(group.type, []).append(pod)
    for name, pods in failed.items():
        known = work.status.old.replica_statuses.get(name)
        new = work.status.counts[name].failed - (known.failed if known is not None else 0)
        if new > 0:
            _announce_exits(work, sorted(pods, key=ended_at)[-new:], container)


def _announce_exits(work: Pass[JobT], pods: Sequence[Pod], container: str) -> None:
    """Tell how pods ended: one event for all that ended in the same way since the last reconcile."""
    ended: dict[int, list[str]] = {}
    for pod in pods:
        if (code := exit_code(pod, container)) is not None:
            ended.setdefault(code, []).append(f"{pod.namespace}.{pod.name}")
    for code, names in ended.items():
        noun = "Pod" if len(names) == 1 else "Pods"
        work.status.announce("Normal", "ExitedWithCode", f"{noun}: {', '.join(names)} exited with code {code}")


def _why(pod: Pod, container: str) -> str:
    """The end of a failed pod, for people: its exit code, or why it has none."""
    code = exit_code(pod, container)
    reason = f"exit code {code}" if code is not None else pod.status.reason or "no exit code"
    return f" Pod {pod.name}: {reason}."


def _selector(controller: JobController[Any], job: Job[Any], replica_type: str) -> str:
    labels = job_labels(job.name, controller.operator_name)
    return ",".join([*(f"{key}={value}" for key, value in labels.items()), f"{REPLICA_TYPE}={replica_type.lower()}"])


def _due(controller: JobController[Any], *times: datetime | None) -> Result:
    """Look again at the earliest of these times."""
    now = controller.clock.now()
    seconds = [max(0.0, (time - now).total_seconds()) for time in times if time is not None]
    return Result(requeue_after=min(seconds)) if seconds else Result()


def _sooner(result: Result, seconds: float | None) -> Result:
    if seconds is None:
        return result
    return Result(requeue_after=seconds if result.requeue_after is None else min(seconds, result.requeue_after))
