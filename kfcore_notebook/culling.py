"""Stopping notebooks that nobody uses. Each is looked at once a period, on its own: a poll, one patch that notes what
was learnt, and in the same patch the stop, if its time has come.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from kfcore.api.meta import Manifest, rfc3339
from kfcore.client.errors import InvalidObject, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.clock import Clock
from kfcore.controller.controller import Result
from kfcore.controller.events import EventRecorder
from kfcore.controller.handlers import Request
from kfcore_notebook.activity import Servers, Unreachable
from kfcore_notebook.api import CULLING, LAST_ACTIVITY, LAST_CHECK, STOPPED, Notebook
from kfcore_notebook.idleness import Activity, idle_seconds, idle_since, is_ready, last_activity, parse_time
from kfcore_notebook.metrics import NotebookMetrics
from kfcore_notebook.mirror import NotebookPod, Trouble
from kfcore_notebook.settings import NotebookSettings

log = structlog.get_logger(__name__)


class _Noted(msgspec.Struct, frozen=True):
    """What was written last, for while the cache does not show it."""

    uid: str
    activity: datetime
    check: datetime


class Culler:
    """A Reconciler of Notebooks. `reached` is told how asking each server went."""

    def __init__(
        self,
        client: Client,
        servers: Servers,
        *,
        reader: Reader | None = None,
        recorder: EventRecorder,
        clock: Clock,
        settings: NotebookSettings,
        metrics: NotebookMetrics,
        reached: Callable[[Notebook, Trouble | None], None],
    ) -> None:
        self.recorder = recorder
        self._client = client
        self._servers = servers
        self._reader = reader or client
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._reached = reached
        self._noted: dict[Request, _Noted] = {}
        self._busy: dict[Request, datetime] = {}

    async def reconcile(self, request: Request) -> Result | None:
        try:
            notebook = await self._reader.get(Notebook, request.name, request.namespace)
        except (NotFound, InvalidObject):
            self._forget(request)
            return None
        if notebook.metadata.deletion_timestamp or notebook.metadata.annotations.get(CULLING) == "disabled":
            return None
        pod = await self._pod(notebook)
        if notebook.is_stopped or pod is None:
            await self._reset(request, notebook)
            return None
        return await self._look(request, notebook, pod)

    async def _look(self, request: Request, notebook: Notebook, pod: NotebookPod) -> Result:
        now, period = self._clock.now(), self._settings.check_seconds
        noted = self._notes(request, notebook)
        if noted is None:
            await self._note(request, notebook, now, now, {})
            return Result(requeue_after=period)
        wait = period - (now - noted.check).total_seconds()
        if 0 < wait <= period:
            return Result(requeue_after=wait)
        # Judged by the moment of the question: the answer may come late, and says nothing of the time in between.
        told = await self._ask(notebook) if is_ready(pod) else None
        activity = self._at_least_last_busy(request, last_activity(noted.activity, told, now), told, now)
        since = idle_since(activity, told, pod, self._settings)
        limit, _ = idle_seconds(notebook, self._settings)
        if since is None or (now - since).total_seconds() <= limit:
            await self._note(request, notebook, activity, now, {})
            return Result(requeue_after=period)
        # Not if anything has happened to the Notebook meanwhile: its user may have come back just now.
        stop = {STOPPED: _seconds(now)}
        await self._note(request, notebook, activity, now, stop, notebook.metadata.resource_version)
        self._forget(request)
        self._metrics.culled(notebook.namespace, notebook.name, now)
        self.recorder.normal(notebook, "Culled", f"Stopped: idle since {_seconds(since)}")
        log.info("notebook.culled", notebook=notebook.key, idle_since=_seconds(since))
        return Result()

    def _at_least_last_busy(
        self, request: Request, activity: datetime, told: Activity | None, now: datetime
    ) -> datetime:
        """What worked at the last look and is gone by now, a kernel that was shut down, was activity all the same:
        what is left may have been idle for days."""
        if told is not None and told.busy:
            self._busy[request] = now
        return max(activity, self._busy.get(request, activity))

    async def _ask(self, notebook: Notebook) -> Activity | None:
        try:
            told = await self._servers.ask(notebook)
        except Unreachable as error:
            self._reached(notebook, Trouble("ServerReachable", error.reason, str(error)[:1024]))
            return None
        self._reached(notebook, None)
        return told

    def _notes(self, request: Request, notebook: Notebook) -> _Noted | None:
        """The later of what the annotations say and what was written into them."""
        annotations, uid = notebook.metadata.annotations, notebook.metadata.uid
        activity, check = parse_time(annotations.get(LAST_ACTIVITY)), parse_time(annotations.get(LAST_CHECK))
        remembered = self._noted.get(request)
        if remembered is not None and remembered.uid == uid and (check is None or check < remembered.check):
            return remembered
        return None if activity is None or check is None else _Noted(uid, activity, check)

    async def _note(
        self,
        request: Request,
        notebook: Notebook,
        activity: datetime,
        check: datetime,
        more: dict[str, str],
        resource_version: str = "",
    ) -> None:
        annotations = {LAST_ACTIVITY: _seconds(activity), LAST_CHECK: rfc3339(check), **more}
        metadata: Manifest = {"annotations": annotations}
        if resource_version:
            metadata["resourceVersion"] = resource_version
        try:
            await self._client.patch(Notebook, notebook.name, notebook.namespace, {"metadata": metadata})
        except NotFound:
            return
        self._noted[request] = _Noted(notebook.metadata.uid, activity, check)

    async def _reset(self, request: Request, notebook: Notebook) -> None:
        """Without a server there is no activity: the next one starts with a time of its own."""
        self._forget(request)
        if gone := {key: None for key in (LAST_ACTIVITY, LAST_CHECK) if key in notebook.metadata.annotations}:
            body = {"metadata": {"annotations": gone}}
            await self._client.patch(Notebook, notebook.name, notebook.namespace, body)

    def _forget(self, request: Request) -> None:
        self._noted.pop(request, None)
        self._busy.pop(request, None)

    async def _pod(self, notebook: Notebook) -> NotebookPod | None:
        try:
            pod = await self._reader.get(NotebookPod, notebook.pod_name, notebook.namespace)
        except NotFound:
            return None
        return None if pod.metadata.deletion_timestamp is not None else pod


def _seconds(time: datetime) -> str:
    return rfc3339(time.replace(microsecond=0))
