"""The scheduler of one machine: pods without a node come in from a watch, a binding to this node goes out at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import ClassVar

import structlog

from kfcore.api.core import Pod
from kfcore.api.meta import Manifest, ServerObject, Struct
from kfcore.api.resource import Resource
from kfcore.cache.informer import Change, Informer
from kfcore.cache.reflector import Selection
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore.clock import Clock, SystemClock
from kfcore.controller.events import EventRecorder
from kfcore.controller.workqueue import WorkQueue

log = structlog.get_logger(__name__)

SCHEDULER_NAME = "default-scheduler"


class PendingPodSpec(Struct, frozen=True):
    node_name: str = ""
    scheduler_name: str = SCHEDULER_NAME


class PendingPod(ServerObject, frozen=True):
    """A Pod as the scheduler sees it."""

    resource: ClassVar[Resource] = Pod.resource
    spec: PendingPodSpec = PendingPodSpec()


class Scheduler:
    """Binds every pending pod of `default-scheduler` to `node_name`; pods of other schedulers are left to them, but for
    those in `also`, whose part it plays."""

    def __init__(
        self, client: Client, *, node_name: str, also: Collection[str] = (), clock: Clock | None = None
    ) -> None:
        self._client = client
        self._node_name = node_name
        self._names = {SCHEDULER_NAME, *also}
        self._clock = clock or SystemClock()
        self._recorder = EventRecorder(client, SCHEDULER_NAME, self._clock)

    async def run(self) -> None:
        """Until cancelled."""
        queue: WorkQueue[str] = WorkQueue(self._clock)
        selection = Selection(field_selector="spec.nodeName=")
        pods = Informer(self._client, PendingPod, clock=self._clock, selection=selection)

        def changed(change: Change[PendingPod]) -> None:
            if change.new is not None and self._is_ours(change.new):
                queue.add(change.new.key)

        pods.subscribe(changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            group.create_task(pods.run())
            group.create_task(self._bind_all(queue, pods))

    async def _bind_all(self, queue: WorkQueue[str], pods: Informer[PendingPod]) -> None:
        while True:
            key = await queue.get()
            namespace, _, name = key.partition("/")
            pod = pods.store.get(namespace, name)
            try:
                if pod is not None and self._is_ours(pod):
                    await self._bind(pod)
                queue.forget(key)
            except (NotFound, Conflict):
                queue.forget(key)  # gone, or bound by somebody else
            except (ApiError, ConnectionFailed) as error:
                log.warning("pod.not_bound", pod=key, error=str(error))
                self._recorder.warning(pod or PendingPod(), "FailedScheduling", str(error))
                queue.add_rate_limited(key)
            finally:
                queue.done(key)

    async def _bind(self, pod: PendingPod) -> None:
        body: Manifest = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node_name},
        }
        await self._client.subresource("POST", PendingPod, pod.name, pod.namespace, "binding", body=body)
        self._recorder.normal(pod, "Scheduled", f"Successfully assigned {pod.key} to {self._node_name}")

    def _is_ours(self, pod: PendingPod) -> bool:
        waiting = not pod.spec.node_name and pod.metadata.deletion_timestamp is None
        return waiting and pod.spec.scheduler_name in self._names
