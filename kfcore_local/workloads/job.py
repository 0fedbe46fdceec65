"""batch/v1 Job: pods that run to completion, replaced when they fail, until enough succeeded or too many failed."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from kfcore.api.meta import Manifest
from kfcore.client.errors import ApiError, NotFound
from kfcore.client.interface import Preconditions, Propagation
from kfcore.client.selectors import LabelSelector
from kfcore.controller.controller import Result
from kfcore_local.workloads.job_pods import (
    JobPods,
    completion_index,
    count_pods,
    is_indexed,
    job_pod,
    render_indexes,
    restarts,
)
from kfcore_local.workloads.kinds import BatchJob, Pod
from kfcore_local.workloads.pods import RETRY_SECONDS, claim, in_slow_start, is_ready
from kfcore_local.workloads.reconciler import WorkloadReconciler
from kfcore_local.workloads.replicaset import create_pod, delete_pod
from kfcore_local.workloads.status import (
    condition,
    is_true,
    parse_time,
    timestamp,
    with_condition,
    without_zeros,
)

REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
EXHAUSTED = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
TOO_LATE = ("DeadlineExceeded", "Job was active longer than specified deadline")


class Run(msgspec.Struct):
    """One reconcile's view of a job: what there is, and what it has found so far."""

    job: BatchJob
    pods: JobPods
    conditions: list[Manifest]
    started: str | None
    completed: str | None = None
    deleted: int = 0
    created: int = 0
    stopped: int = 0


class JobReconciler(WorkloadReconciler[BatchJob]):
    """Keeps a Job's pods going and says how the job ended."""

    kind = BatchJob

    async def sync(self, job: BatchJob) -> Result:
        conditions = list(job.status.get("conditions") or [])
        if job.metadata.deletion_timestamp or job.spec.managed_by != "kubernetes.io/job-controller":
            return Result()
        if is_true(conditions, "Complete") or is_true(conditions, "Failed"):
            return await self._expire(job, conditions)
        owned = await self._pods(job)
        run = Run(job, count_pods(job, owned), conditions, job.status.get("startTime"))
        failure, wait = await self._step(run)
        await self.write_status(job, self._status(run))
        if failure:
            return Result(RETRY_SECONDS)
        if is_true(run.conditions, "Complete") or is_true(run.conditions, "Failed"):
            return self._expiry(job, self.clock.now())
        return Result(wait)

    async def _pods(self, job: BatchJob) -> list[Pod]:
        labels = job.spec.selector or {"matchLabels": {"batch.kubernetes.io/controller-uid": job.metadata.uid}}
        return await claim(self.client, self.reader, Pod, job, LabelSelector.from_spec(labels), lambda _: True)

    async def _step(self, run: Run) -> tuple[ApiError | None, float | None]:
        """Decide how the job stands and act on it; a failure to create pods, and when to look again."""
        job, now = run.job, self.clock.now()
        if not job.spec.suspend and run.started is None:
            run.started = timestamp(now)
        if not is_true(run.conditions, "SuccessCriteriaMet") and not is_true(run.conditions, "FailureTarget"):
            if reason := self._failed(run, now):
                self._set(run, "FailureTarget", "True", *reason)
            elif _succeeded(run):
                self._set(run, "SuccessCriteriaMet", "True", *REACHED)
        if is_true(run.conditions, "SuccessCriteriaMet") or is_true(run.conditions, "FailureTarget"):
            await self._finish(run)
            return None, None
        if job.spec.suspend:
            await self._suspend(run)
            return None, None
        suspended = condition(run.conditions, "Suspended")
        if suspended and suspended["status"] == "True":
            self._set(run, "Suspended", "False", "JobResumed", "Job resumed")
            self.recorder.normal(job, "Resumed", "Job resumed")
            run.started = timestamp(now)
        failure, wait = await self._manage(run, now)
        deadline = self._seconds_to_deadline(run, now)
        return failure, min((time for time in (wait, deadline) if time is not None), default=None)

    def _failed(self, run: Run, now: datetime) -> tuple[str, str] | None:
        limit = run.job.spec.backoff_limit
        restart_policy = (run.job.spec.template.get("spec") or {}).get("restartPolicy")
        in_place = restarts(run.pods.active) if restart_policy == "OnFailure" else 0
        if run.pods.failed > limit or (in_place and in_place >= limit):
            return EXHAUSTED
        left = self._seconds_to_deadline(run, now)
        return TOO_LATE if left is not None and left <= 0 else None

    def _seconds_to_deadline(self, run: Run, now: datetime) -> float | None:
        seconds = run.job.spec.active_deadline_seconds
        if seconds is None or run.started is None or run.job.spec.suspend:
            return None
        return (parse_time(run.started) + timedelta(seconds=seconds) - now).total_seconds()

    async def _finish(self, run: Run) -> None:
        """Stop what still runs; once nothing does, the job has its final condition."""
        stopped = len(run.pods.active)
        await self._delete(run, list(run.pods.active))
        run.pods, run.deleted = count_pods(run.job, await self._pods(run.job)), 0
        if is_true(run.conditions, "FailureTarget"):
            run.stopped = stopped  # pods that did not get to their end count as failed
        if run.pods.active or run.pods.terminating:
            return
        if met := condition(run.conditions, "SuccessCriteriaMet"):
            self._set(run, "Complete", "True", met["reason"], met["message"])
            run.completed = timestamp(self.clock.now())
            self.recorder.normal(run.job, "Completed", "Job completed")
        elif target := condition(run.conditions, "FailureTarget"):
            self._set(run, "Failed", "True", target["reason"], target["message"])
            self.recorder.warning(run.job, target["reason"], target["message"])

    async def _suspend(self, run: Run) -> None:
        await self._delete(run, list(run.pods.active))
        run.started = None
        if not is_true(run.conditions, "Suspended"):
            self._set(run, "Suspended", "True", "JobSuspended", "Job suspended")
            self.recorder.normal(run.job, "Suspended", "Job suspended")

    async def _manage(self, run: Run, now: datetime) -> tuple[ApiError | None, float | None]:
        """Bring the number of running pods to what is wanted; after failures only when their back-off is over."""
        job, pods = run.job, run.pods
        wanted = _wanted_active(job, pods)
        surplus = sorted(pods.active, key=lambda pod: (is_ready(pod), pod.name))[: max(0, len(pods.active) - wanted)]
        await self._delete(run, surplus)
        missing = wanted - len(pods.active)
        if missing <= 0:
            return None, None
        if pods.last_failure is not None:
            wait = (pods.last_failure + timedelta(seconds=pods.back_off) - now).total_seconds()
            if wait > 0:
                return None, wait
        indexes = _free_indexes(job, pods, missing) if is_indexed(job) else [None] * missing

        async def create(place: int) -> Pod:
            return await create_pod(self.client, self.recorder, job, job_pod(job, indexes[place]))

        created, failure = await in_slow_start(len(indexes), create)
        run.created = len(created)
        return failure, None

    async def _delete(self, run: Run, pods: list[Pod]) -> None:
        for pod in pods:
            await delete_pod(self.client, self.recorder, run.job, pod)
        run.deleted += len(pods)

    def _status(self, run: Run) -> Manifest:
        pods, present = run.pods, run.job.status
        ended = is_true(run.conditions, "Complete") or is_true(run.conditions, "Failed")
        optional = {
            "active": 0 if ended else max(0, len(pods.active) - run.deleted) + run.created,
            "succeeded": pods.succeeded,
            "failed": pods.failed + run.stopped,
            "completedIndexes": render_indexes(pods.done),
            "conditions": run.conditions,
            "startTime": run.started,
            "completionTime": run.completed,
        }
        return {
            "ready": pods.ready,
            "terminating": pods.terminating,
            "uncountedTerminatedPods": present.get("uncountedTerminatedPods", {}),
            **without_zeros(optional),
        }

    def _set(self, run: Run, type_: str, status: str, reason: str, message: str) -> None:
        now = timestamp(self.clock.now())
        times = {"lastProbeTime": now, "lastTransitionTime": now}
        new = {"type": type_, "status": status, **times, "reason": reason, "message": message}
        run.conditions = with_condition(run.conditions, new)

    async def _expire(self, job: BatchJob, conditions: list[Manifest]) -> Result:
        """Delete a finished job when its time to live is over."""
        ended = condition(conditions, "Complete") or condition(conditions, "Failed")
        assert ended is not None
        result = self._expiry(job, parse_time(ended["lastTransitionTime"]))
        if result.requeue_after is None or result.requeue_after > 0:
            return result
        with suppress(NotFound):
            await self.client.delete(
                BatchJob,
                job.name,
                job.namespace,
                preconditions=Preconditions(uid=job.metadata.uid),
                propagation=Propagation.FOREGROUND,
            )
        return Result()

    def _expiry(self, job: BatchJob, ended: datetime) -> Result:
        lifetime = job.spec.ttl_seconds_after_finished
        if lifetime is None:
            return Result()
        return Result((ended + timedelta(seconds=lifetime) - self.clock.now()).total_seconds())


def _succeeded(run: Run) -> bool:
    completions = run.job.spec.completions
    if completions is None:
        return run.pods.succeeded > 0 and not run.pods.active
    return run.pods.succeeded >= completions


def _wanted_active(job: BatchJob, pods: JobPods) -> int:
    if job.spec.completions is None:
        return len(pods.active) if pods.succeeded else job.spec.parallelism
    return min(job.spec.parallelism, job.spec.completions - pods.succeeded)


def _free_indexes(job: BatchJob, pods: JobPods, count: int) -> list[int | None]:
    """The lowest completion indexes that nobody works on."""
    taken = pods.done | {completion_index(pod) for pod in pods.active}
    free = (index for index in range(job.spec.completions or 0) if index not in taken)
    return [index for index, _ in zip(free, range(count), strict=False)]
