"""What the API server is told of one pod: its status, as patches of what changed, and that its processes are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from kfcore.api.meta import Manifest
from kfcore.client.errors import ApiError, Conflict, ConnectionFailed, Invalid, NotFound
from kfcore.client.interface import Client, PatchType, Preconditions
from kfcore.clock import Clock
from kfcore_local.pods import LocalPod

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
_ADDRESSES = ("hostIPs", "podIPs")


class PodReports:
    """Of `pod`. `written` is the status as it was written last. `gone` is set when the API server has no such pod."""

    def __init__(self, client: Client, clock: Clock, pod: LocalPod, gone: asyncio.Event) -> None:
        self.written: Manifest = {}
        self._client = client
        self._clock = clock
        self._pod = pod
        self._gone = gone
        self._writing = asyncio.Lock()

    async def write(self, status: Callable[[], Manifest]) -> None:
        """One patch of what changed since the last one; nothing when nothing did."""
        async with self._writing:
            while not self._gone.is_set():
                now = status()
                changes = {field: value for field, value in now.items() if self.written.get(field) != value}
                if not changes:
                    return
                try:
                    await self._patch(changes)
                except NotFound:
                    self._gone.set()
                except (ApiError, ConnectionFailed) as error:
                    if isinstance(error, Invalid) and await self._is_another():
                        self._gone.set()
                        return
                    log.warning("pod.status_not_written", pod=self._pod.key, error=str(error))
                    await self._clock.sleep(RETRY_SECONDS)
                else:
                    self.written = now

    async def _is_another(self) -> bool:
        """Whether the name is another pod's by now: ours was deleted, and we have not heard of it yet."""
        try:
            there = await self._client.get(LocalPod, self._pod.name, self._pod.namespace)
        except NotFound:
            return True
        except (ApiError, ConnectionFailed):
            return False
        return there.metadata.uid != self._pod.metadata.uid

    async def _patch(self, changes: Manifest) -> None:
        """Conditions are merged by their types, so that those of others stay; addresses are all ours. The uid keeps it
        from a pod that was made again under the name.
        """
        body = {
            field: [*value, {"$patch": "replace"}] if field in _ADDRESSES else value for field, value in changes.items()
        }
        pod = self._pod
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": body}
        await self._client.patch(
            LocalPod, pod.name, pod.namespace, patch, patch_type=PatchType.STRATEGIC, subresource="status"
        )

    async def confirm_deletion(self) -> None:
        """The object goes when the processes have."""
        while not self._gone.is_set():
            try:
                await self._client.delete(
                    LocalPod,
                    self._pod.name,
                    self._pod.namespace,
                    grace_period_seconds=0,
                    preconditions=Preconditions(uid=self._pod.metadata.uid),
                )
            except (NotFound, Conflict):
                return
            except (ApiError, ConnectionFailed) as error:
                log.warning("pod.not_deleted", pod=self._pod.key, error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return
