"""Notebooks to StatefulSets, Services and VirtualServices, and their state back into the Notebook's status.

A plain Reconciler. It never writes the Notebook's spec, does nothing while a Notebook is being deleted (its children
would come back under the garbage collector's hands), and writes nothing at all when everything is as it should be.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import structlog

from kfcore.api.core import Event
from kfcore.api.meta import CustomResource, Manifest, Unstructured, untyped
from kfcore.api.validation import rule_violations
from kfcore.client.errors import InvalidObject, NotFound
from kfcore.client.interface import Client, PatchType, Reader
from kfcore.clock import Clock, SystemClock
from kfcore.controller.controller import Result
from kfcore.controller.events import EventRecorder
from kfcore.controller.handlers import Request, enqueue_mapped
from kfcore.controller.permissions import READ, Permission, on
from kfcore_notebook.api import Notebook
from kfcore_notebook.applying import Applier, NameTaken, Refused
from kfcore_notebook.children import (
    NAME_LABEL,
    Service,
    StatefulSet,
    VirtualService,
    request_headers,
    service,
    stateful_set,
    virtual_service,
)
from kfcore_notebook.idleness import idle_seconds
from kfcore_notebook.metrics import NotebookMetrics
from kfcore_notebook.mirror import NotebookPod, Trouble, status
from kfcore_notebook.settings import NotebookSettings

if TYPE_CHECKING:
    from kfcore.controller.manager import Manager
    from kfcore.plugins import OperatorOptions

log = structlog.get_logger(__name__)

COMPONENT = "notebook-controller"
STATUS_SECONDS = 0.5
"""The least time between two writes of a status: a pod that starts changes its own several times in a row."""
TAKEN_SECONDS = 30.0
RawNotebook = untyped(Notebook.resource)


class _Known(msgspec.Struct):
    """What is remembered of a Notebook beyond what the API server knows; losing it costs a write, no more."""

    uid: str = ""
    status_written_at: float | None = None
    failure: Trouble | None = None
    unreachable: Trouble | None = None
    asked: bool = False


class NotebookController:
    """`reader` is where it looks (None: the client), `metrics` where it counts."""

    kind: ClassVar[type[CustomResource]] = Notebook

    def __init__(
        self,
        client: Client,
        *,
        reader: Reader | None = None,
        recorder: EventRecorder | None = None,
        clock: Clock | None = None,
        settings: NotebookSettings | None = None,
        metrics: NotebookMetrics | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.recorder = recorder or EventRecorder(client, COMPONENT, self.clock)
        self.settings = settings or NotebookSettings()
        self.metrics = metrics or NotebookMetrics()
        self._client = client
        self._reader = reader or client
        self._applier = Applier(client, self._reader)
        self._known: dict[Request, _Known] = {}

    @classmethod
    def permissions(cls) -> tuple[Permission, ...]:
        """What the controllers of notebooks need leave for; `kfcore rbac` makes the operator's role of it."""
        return (
            on(Notebook, *READ, "patch"),  # the annotations about activity
            on(Notebook, "get", "patch", subresource="status"),
            on(Notebook, "update", subresource="finalizers"),  # it owns with blockOwnerDeletion
            *(on(kind, *READ, "create", "patch") for kind in (StatefulSet, Service, VirtualService)),
            on(NotebookPod, *READ),
            on(Event, *READ),
        )

    @classmethod
    def setup(cls, manager: Manager, options: OperatorOptions) -> NotebookController:
        """Raises ValueError for an environment variable that cannot be understood."""
        from kfcore_notebook.setup import set_up

        return set_up(cls, manager, options, NotebookSettings.from_environment(os.environ))

    async def reconcile(self, request: Request) -> Result | None:
        try:
            notebook = await self._reader.get(Notebook, request.name, request.namespace)
        except NotFound:
            self._known.pop(request, None)
            return None
        except InvalidObject as error:
            raw = await self._client.get(RawNotebook, request.name, request.namespace)
            return await self._refuse(raw, str(error)[:1024])
        known = self._of(notebook)
        if notebook.metadata.deletion_timestamp is not None:
            return None
        if violations := [str(violation) for violation in rule_violations(notebook)]:
            return await self._refuse(notebook, "; ".join(violations))
        try:
            owned = await self._write_children(notebook)
        except NameTaken as error:
            await self._report(notebook, known, None, None, [Trouble("ChildrenOwned", "NameTaken", str(error))])
            return Result(requeue_after=TAKEN_SECONDS)
        except Refused as refused:
            await self._tell_refusal(notebook, known, refused)
            raise refused.error from None
        pod = await self._pod(notebook)
        return await self._report(notebook, known, owned, pod, self._troubles(notebook, known, pod))

    async def _tell_refusal(self, notebook: Notebook, known: _Known, refused: Refused) -> None:
        """A child could not be made, or stays as it was: what there is goes on."""
        reason = "FailedUpdate" if refused.exists else "FailedCreate"
        no_pod = refused.kind is StatefulSet and not refused.exists
        if not refused.exists:
            self.metrics.create_failed(notebook.namespace)
        self.recorder.warning(notebook, reason, str(refused))
        trouble = Trouble("PodCreated" if no_pod else "ChildrenWritten", reason, str(refused)[:1024])
        owned, pod = None, None
        if not no_pod:
            owned = await self._reader.get(StatefulSet, notebook.name, notebook.namespace)
            pod = await self._pod(notebook)
        await self._report(notebook, known, owned, pod, [trouble])

    async def _refuse(self, notebook: Notebook | Unstructured, problem: str) -> Result | None:
        """Nothing is made of it, and its status says why."""
        return await self._report(
            notebook, self._of(notebook), None, None, [Trouble("NotebookValid", "Invalid", problem)]
        )

    def _of(self, notebook: Notebook | Unstructured) -> _Known:
        """What is known of this very object, not of one of its name that was there before."""
        request, uid = Request.of(notebook), notebook.metadata.uid
        known = self._known.get(request)
        if known is None or known.uid != uid:
            known = self._known[request] = _Known(uid)
        return known

    # ── what others tell ─────────────────────────────────────────────────────────────────────────────────────────────

    def child_failed(self, notebook: Notebook, event: Event) -> None:
        """A Warning about the StatefulSet: why there is no pod, should there be none."""
        known = self._of(notebook)
        known.failure = Trouble("PodCreated", event.reason or "Failed", event.message)

    def reached(self, notebook: Notebook, trouble: Trouble | None) -> bool:
        """How asking the server went; whether that is news."""
        known = self._of(notebook)
        is_news = not known.asked or known.unreachable != trouble
        known.asked, known.unreachable = True, trouble
        return is_news

    # ── children ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _write_children(self, notebook: Notebook) -> Unstructured:
        settings = self.settings
        owned, created = await self._applier.apply(StatefulSet, stateful_set(notebook, settings), notebook)
        if created:
            self.metrics.created(notebook.namespace)
        await self._applier.apply(Service, service(notebook), notebook)
        if settings.use_istio:
            await self._applier.apply(VirtualService, virtual_service(notebook, settings), notebook)
        return owned

    async def _pod(self, notebook: Notebook) -> NotebookPod | None:
        try:
            pod = await self._reader.get(NotebookPod, notebook.pod_name, notebook.namespace)
        except NotFound:
            return None
        return pod if pod.metadata.labels.get(NAME_LABEL) else None

    # ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _troubles(self, notebook: Notebook, known: _Known, pod: NotebookPod | None) -> Iterator[Trouble]:
        problems = [request_headers(notebook)[1]] if self.settings.use_istio else []
        problems += [idle_seconds(notebook, self.settings)[1]] if self.settings.culling else []
        if any(problems):
            yield Trouble("AnnotationsValid", "MalformedAnnotation", "; ".join(filter(None, problems)))
        if pod is not None or notebook.is_stopped:
            known.failure = None
        elif known.failure is not None:
            yield known.failure
        if pod is not None and not notebook.is_stopped:
            if known.asked and known.unreachable is not None:
                yield known.unreachable
            elif not known.asked and self.settings.culling:
                yield from _still("ServerReachable", notebook.status)

    async def _report(
        self,
        notebook: Notebook | Unstructured,
        known: _Known,
        owned: Unstructured | None,
        pod: NotebookPod | None,
        troubles: Iterable[Trouble],
    ) -> Result | None:
        before: Any = notebook.status if isinstance(notebook, Notebook) else notebook.raw.get("status") or {}
        wanted = status(notebook.name, owned, pod, troubles, before, self.clock.now())
        if wanted == before:
            return None
        now = self.clock.monotonic()
        if known.status_written_at is not None and (wait := known.status_written_at + STATUS_SECONDS - now) > 0:
            return Result(requeue_after=wait)
        change = [{"op": "add", "path": "/status", "value": wanted}]
        await self._client.patch(
            RawNotebook, notebook.name, notebook.namespace, change, patch_type=PatchType.JSON, subresource="status"
        )
        known.status_written_at = now
        return None


def _still(type_: str, before: Manifest) -> Iterator[Trouble]:
    """A condition as it was written by an earlier process, until this one knows better."""
    for condition in before.get("conditions") or []:
        if condition.get("type") == type_:
            yield Trouble(type_, condition.get("reason", ""), condition.get("message", ""))


def notebook_of_pod(pod: NotebookPod) -> Iterable[Request]:
    name = pod.metadata.labels.get(NAME_LABEL)
    return (Request(pod.namespace, name),) if name else ()


enqueue_notebook_of_pod = enqueue_mapped(notebook_of_pod)
