"""Taints that no pod may stay under (`NoExecute`): pods and nodes come in as they change; pods that do not tolerate
their node's taints, or not for longer, are deleted.
"""

from __future__ import annotations

import asyncio

import structlog

from kfcore.api.meta import Manifest
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Client, PatchType, Preconditions
from kfcore.clock import Clock, Timer
from kfcore.controller.events import EventRecorder
from kfcore_local.pod_status import timestamp
from kfcore_local.scheduling.affinity import tolerates
from kfcore_local.scheduling.kinds import SchedulableNode, SchedulablePod, Taint

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
REASON = "TaintManagerEviction"


class TaintEviction:
    """Its owner tells it of every pod and every node; `run` deletes."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = EventRecorder(client, "taint-eviction-controller", clock)
        self._taints: dict[str, list[Taint]] = {}
        self._pods: dict[str, SchedulablePod] = {}
        self._since: dict[str, float] = {}
        self._timers: dict[str, Timer] = {}
        self._due: asyncio.Queue[SchedulablePod] = asyncio.Queue()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            while True:
                await self._evict(await self._due.get())

    def pod_changed(self, pod: SchedulablePod, *, exists: bool) -> None:
        uid = pod.metadata.uid
        if exists and pod.spec.node_name and not pod.is_finished and pod.metadata.deletion_timestamp is None:
            self._pods[uid] = pod
            if self._taints:
                self._consider(pod)
        elif self._pods.pop(uid, None) is not None:
            self._forget(uid)

    def node_changed(self, name: str, node: SchedulableNode | None) -> None:
        taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"] if node is not None else []
        if taints == self._taints.get(name, []):
            return
        if taints:
            self._taints[name] = taints
        else:
            del self._taints[name]
        for pod in [pod for pod in self._pods.values() if pod.spec.node_name == name]:
            self._consider(pod)

    def _consider(self, pod: SchedulablePod) -> None:
        """Delete it now, later or not at all. Time counts from when it came under the taints."""
        uid, taints = pod.metadata.uid, self._taints.get(pod.spec.node_name, [])
        stays = seconds_under(pod, taints)
        if stays is None:
            if self._forget(uid):
                self._recorder.normal(pod, REASON, f"Cancelling deletion of Pod {pod.key}")
            return
        since = self._since.setdefault(uid, self._clock.monotonic())
        if (timer := self._timers.pop(uid, None)) is not None:
            timer.cancel()
        left = since + stays - self._clock.monotonic()
        self._timers[uid] = self._clock.call_later(max(left, 0.0), lambda: self._due.put_nowait(pod))

    def _forget(self, uid: str) -> bool:
        """Whether it was to be deleted."""
        self._since.pop(uid, None)
        if (timer := self._timers.pop(uid, None)) is not None:
            timer.cancel()
        return timer is not None

    async def _evict(self, pod: SchedulablePod) -> None:
        if pod.metadata.uid not in self._timers:
            return  # it tolerates the taints now, or has gone
        condition: Manifest = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": timestamp(self._clock.now()),
        }
        self._recorder.normal(pod, REASON, f"Marking for deletion Pod {pod.key}")
        try:
            await set_condition(self._client, pod, condition)
            uid = Preconditions(uid=pod.metadata.uid)
            await self._client.delete(SchedulablePod, pod.name, pod.namespace, preconditions=uid)
        except (NotFound, Conflict):
            return  # gone, or another one of its name
        except (ApiError, ConnectionFailed) as error:
            log.warning("pod.not_evicted", pod=pod.key, error=str(error))
            self._clock.call_later(RETRY_SECONDS, lambda: self._due.put_nowait(pod))


def seconds_under(pod: SchedulablePod, taints: list[Taint]) -> float | None:
    """How long a pod may stay under taints: 0 where it does not tolerate one of them, None where it may for ever.

    Of several tolerations of one taint the first counts, as in Kubernetes.
    """
    stays = []
    for taint in taints:
        toleration = next((found for found in pod.spec.tolerations if tolerates([found], taint)), None)
        if toleration is None:
            return 0.0
        if toleration.toleration_seconds is not None:
            stays.append(max(toleration.toleration_seconds, 0.0))
    return min(stays, default=None)


async def set_condition(client: Client, pod: SchedulablePod, condition: Manifest) -> None:
    await client.patch(
        SchedulablePod,
        pod.name,
        pod.namespace,
        {"status": {"conditions": [condition]}},
        patch_type=PatchType.STRATEGIC,
        subresource="status",
    )
