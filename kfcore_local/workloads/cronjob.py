"""CronJob: a Job whenever its schedule says so, and of the finished ones the last few."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from kfcore.api.meta import Manifest, owner_reference, rfc3339
from kfcore.client.errors import AlreadyExists, ApiError, NotFound
from kfcore.client.interface import Preconditions, Propagation
from kfcore.controller.controller import Result
from kfcore_local.workloads import cron
from kfcore_local.workloads.kinds import BatchJob, CronJob, created_at
from kfcore_local.workloads.pods import RETRY_SECONDS
from kfcore_local.workloads.reconciler import WorkloadReconciler
from kfcore_local.workloads.status import is_true, parse_time, timestamp

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MANY_MISSED = 100


class Runs(msgspec.Struct):
    """The jobs of a CronJob by how they stand."""

    active: list[BatchJob] = msgspec.field(default_factory=list)
    succeeded: list[BatchJob] = msgspec.field(default_factory=list)
    failed: list[BatchJob] = msgspec.field(default_factory=list)


class CronJobReconciler(WorkloadReconciler[CronJob]):
    """Starts the jobs whose time has come."""

    kind = CronJob

    async def sync(self, cron_job: CronJob) -> Result:
        if cron_job.metadata.deletion_timestamp is not None:
            return Result()
        runs = self._runs(cron_job, await self.reader.list_owned(BatchJob, cron_job))
        await self._forget(cron_job, runs.succeeded, cron_job.spec.successful_jobs_history_limit)
        await self._forget(cron_job, runs.failed, cron_job.spec.failed_jobs_history_limit)
        last = _time(cron_job.status.get("lastScheduleTime"))
        wait: float | None = None
        if not cron_job.spec.suspend:
            try:
                schedule, zone = cron.parse(cron_job.spec.schedule), _zone(cron_job.spec.time_zone)
            except (ValueError, ZoneInfoNotFoundError) as error:
                self.recorder.warning(cron_job, "UnparseableSchedule", f"unparseable schedule: {error}")
                await self._write(cron_job, runs, last)
                return Result()
            due, following = self._due(cron_job, schedule, zone, last)
            failed = False
            if due is not None:
                started = await self._start(cron_job, runs, due)
                last, failed = due if started else last, started is None
            if following is not None:
                wait = RETRY_SECONDS if failed else max(0.0, (following - self.clock.now()).total_seconds())
        await self._write(cron_job, runs, last)
        return Result(wait)

    def _runs(self, cron_job: CronJob, jobs: list[BatchJob]) -> Runs:
        runs = Runs()
        known = {reference.get("uid") for reference in cron_job.status.get("active") or ()}
        for job in sorted(jobs, key=lambda job: (created_at(job.metadata), job.name)):
            conditions = job.status.get("conditions") or []
            for type_, kept in (("Complete", runs.succeeded), ("Failed", runs.failed)):
                if is_true(conditions, type_):
                    kept.append(job)
                    if job.metadata.uid in known:
                        message = f"Saw completed job: {job.name}, condition: {type_}"
                        self.recorder.normal(cron_job, "SawCompletedJob", message)
                    break
            else:
                runs.active.append(job)
        return runs

    def _due(
        self, cron_job: CronJob, schedule: cron.Schedule | cron.Every, zone: tzinfo, last: datetime | None
    ) -> tuple[datetime | None, datetime | None]:
        """The latest time that has passed without a job, and the next one to come."""
        now = self.clock.now()
        earliest = last or created_at(cron_job.metadata)
        if (deadline := cron_job.spec.starting_deadline_seconds) is not None:
            earliest = max(earliest, now - timedelta(seconds=deadline))
        due, missed = None, 0
        following = schedule.after(earliest, zone)
        while following is not None and following <= now:
            due, missed = following, missed + 1
            if missed == MANY_MISSED:
                self.recorder.warning(cron_job, "TooManyMissedTimes", "too many missed start times: the last counts")
                following = schedule.after(now - timedelta(minutes=1), zone)
                due = following if following is not None and following <= now else due
                return due, schedule.after(now, zone)
            following = schedule.after(following, zone)
        return due, following

    async def _start(self, cron_job: CronJob, runs: Runs, due: datetime) -> bool | None:
        """Whether a job was started for this time; None when it should be tried again."""
        if cron_job.spec.concurrency_policy == "Forbid" and runs.active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.recorder.normal(cron_job, "JobAlreadyActive", message)
            return False
        if cron_job.spec.concurrency_policy == "Replace":
            for job in runs.active:
                await self._delete(cron_job, job)
            runs.active.clear()
        template = cron_job.spec.job_template
        metadata = template.get("metadata") or {}
        name = f"{cron_job.name}-{int(due.timestamp()) // 60}"
        body: Manifest = {
            "apiVersion": BatchJob.resource.api_version,
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": cron_job.namespace,
                "labels": dict(metadata.get("labels") or {}),
                "annotations": {**(metadata.get("annotations") or {}), SCHEDULED_AT: rfc3339(due)},
                "ownerReferences": [owner_reference(cron_job)],
            },
            "spec": dict(template.get("spec") or {}),
        }
        try:
            runs.active.append(await self.client.create(BatchJob, body, cron_job.namespace))
        except AlreadyExists:  # started before, and the cache is late
            return True
        except ApiError as error:
            self.recorder.warning(cron_job, "FailedCreate", f"Error creating job: {error}")
            return None
        self.recorder.normal(cron_job, "SuccessfulCreate", f"Created job {name}")
        return True

    async def _forget(self, cron_job: CronJob, finished: list[BatchJob], limit: int | None) -> None:
        """Delete the oldest beyond the limit."""
        if limit is not None:
            for job in finished[: max(0, len(finished) - limit)]:
                await self._delete(cron_job, job)

    async def _delete(self, cron_job: CronJob, job: BatchJob) -> None:
        uid = Preconditions(uid=job.metadata.uid)
        with suppress(NotFound):
            await self.client.delete(
                BatchJob, job.name, job.namespace, preconditions=uid, propagation=Propagation.BACKGROUND
            )
            self.recorder.normal(cron_job, "SuccessfulDelete", f"Deleted job {job.name}")

    async def _write(self, cron_job: CronJob, runs: Runs, last: datetime | None) -> None:
        ended = [job.status.get("completionTime") for job in runs.succeeded]
        latest = max(filter(None, ended), default=cron_job.status.get("lastSuccessfulTime"))
        status: Manifest = {"active": [_reference(job) for job in runs.active]} if runs.active else {}
        if last is not None:
            status["lastScheduleTime"] = timestamp(last)
        if latest:
            status["lastSuccessfulTime"] = latest
        await self.write_status(cron_job, status)


def _reference(job: BatchJob) -> Manifest:
    return {
        "apiVersion": BatchJob.resource.api_version,
        "kind": "Job",
        "name": job.name,
        "namespace": job.namespace,
        "uid": job.metadata.uid,
        "resourceVersion": job.metadata.resource_version,
    }


def _time(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


def _zone(name: str | None) -> tzinfo:
    """The clocks that a schedule is of. Raises ZoneInfoNotFoundError."""
    return ZoneInfo(name) if name else UTC
