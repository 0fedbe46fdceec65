"""Events of a notebook's StatefulSet and pod → the same on the Notebook, where its user looks. Aggregated by the
recorder, and never twice: what is on the Notebook already is known also after a restart of the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from kfcore.api.core import Event
from kfcore.cache.cache import Cache
from kfcore.cache.informer import Change
from kfcore.client.errors import InvalidObject, NotFound
from kfcore.client.interface import Reader
from kfcore.clock import Clock
from kfcore.controller.controller import Result
from kfcore.controller.events import EventRecorder
from kfcore.controller.handlers import Request
from kfcore_notebook.api import Notebook
from kfcore_notebook.children import NAME_LABEL, StatefulSet
from kfcore_notebook.mirror import NotebookPod

ON_NOTEBOOKS = "notebook"
WAIT_FOR_CACHE = timedelta(seconds=5)


def is_about_children(change: Change[Event]) -> bool:
    """Events come and go; those of other kinds, our own re-issues among them, and deletions are nothing to look at."""
    event = change.new
    return event is not None and event.involved_object.kind in ("StatefulSet", "Pod")


def notebook_of_event(event: Event) -> Sequence[str]:
    """The cache's index of the Events that are on Notebooks."""
    involved = event.involved_object
    return (f"{event.namespace}/{involved.name}",) if involved.kind == "Notebook" else ()


class EventReissuer:
    """A Reconciler of Events. `failed` is told of each Warning of a StatefulSet."""

    def __init__(
        self, reader: Reader, recorder: EventRecorder, clock: Clock, failed: Callable[[Notebook, Event], None]
    ) -> None:
        self.recorder = recorder
        self._reader = reader
        self._clock = clock
        self._failed = failed
        self._seen: dict[str, int] = {}
        self._started = clock.now()

    async def reconcile(self, request: Request) -> Result | None:
        try:
            event = await self._reader.get(Event, request.name, request.namespace)
        except NotFound:
            self._seen.pop(request.key, None)
            return None
        if self._seen.get(request.key) == event.count:
            return None
        notebook = await self._notebook(event)
        if notebook is None:
            created = event.metadata.creation_timestamp
            # The pod or the Notebook of an event that has just been written may not have reached us yet.
            is_new = created is not None and self._clock.now() - created < WAIT_FOR_CACHE
            return Result(requeue_after=1.0) if is_new and request.key not in self._seen else None
        involved = event.involved_object
        if involved.kind == "StatefulSet" and event.type == "Warning":
            self._failed(notebook, event)
        created = event.metadata.creation_timestamp
        may_be_issued = request.key not in self._seen and created is not None and created < self._started
        self._seen[request.key] = event.count
        message = f"Reissued from {involved.kind.lower()}/{involved.name}: {event.message}"
        if may_be_issued and await self._is_there(notebook, event, message):
            return None
        record = self.recorder.warning if event.type == "Warning" else self.recorder.normal
        record(notebook, event.reason, message)
        return None

    async def _notebook(self, event: Event) -> Notebook | None:
        involved, namespace = event.involved_object, event.namespace
        try:
            if involved.kind == "StatefulSet":
                await self._reader.get(StatefulSet, involved.name, namespace)
                name = involved.name
            else:
                pod = await self._reader.get(NotebookPod, involved.name, namespace)
                name = pod.metadata.labels.get(NAME_LABEL, "")
            return await self._reader.get(Notebook, name, namespace) if name else None
        except (NotFound, InvalidObject):
            return None

    async def _is_there(self, notebook: Notebook, event: Event, message: str) -> bool:
        """Whether an earlier process has issued it already."""
        here: Iterable[Event]
        if isinstance(self._reader, Cache):
            here = await self._reader.by_index(Event, ON_NOTEBOOKS, notebook.key)
        else:
            here = await self._reader.list(Event, notebook.namespace)
        return any(
            (issued.reason, issued.message) == (event.reason, message) and not _is_older(issued, event.last_timestamp)
            for issued in here
            if issued.involved_object.kind == "Notebook" and issued.involved_object.name == notebook.name
        )


def _is_older(issued: Event, time: datetime | None) -> bool:
    return time is not None and issued.last_timestamp is not None and issued.last_timestamp < time
