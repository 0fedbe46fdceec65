"""The directories of a pod's volumes that show API objects: written before its containers start, and kept up to date
while they run. What is in them comes from `volume_contents.py`; where they are mounted is the sandbox's matter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from kfcore.client.interface import Client
from kfcore.clock import Clock
from kfcore_local import atomic_directory
from kfcore_local.environment import PodFacts
from kfcore_local.pods import LocalPod, Projections
from kfcore_local.service_account_tokens import Tokens
from kfcore_local.volume_contents import MountError, contents

log = structlog.get_logger(__name__)

UPDATE_SECONDS = 10.0
"""How long a change of a ConfigMap or Secret takes at most to reach a running pod."""
ROOT_CA = "kube-root-ca.crt"
"""The ConfigMap of every namespace that never changes while a cluster runs."""
_DIRECTORY = ".volumes"
"""No container is named so: their directories are beside it."""


class PodVolumes:
    """Those of `pod`, below `directory`. `update` tells of its new labels and annotations."""

    def __init__(self, client: Client, clock: Clock, pod: LocalPod, facts: PodFacts, directory: Path) -> None:
        self._client = client
        self._clock = clock
        self._pod = pod
        self._facts = facts
        self._root = directory / _DIRECTORY
        self._tokens = Tokens(client, clock, pod)
        self._changed = asyncio.Event()
        self._wanted = {volume.name: made for volume in pod.spec.volumes if (made := volume.projections) is not None}
        self.directories = {name: self._root / name for name in self._wanted}
        """Where each volume's files are, by its name."""

    async def set_up(self) -> None:
        """Write the volumes. Raises MountError, as kubelet words it."""
        for name in self._wanted:
            try:
                await self._write(name)
            except MountError as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error

    def update(self, pod: LocalPod) -> None:
        before, self._pod = self._pod, pod
        if (before.metadata.labels, before.metadata.annotations) != (pod.metadata.labels, pod.metadata.annotations):
            self._changed.set()

    async def run(self) -> None:
        """Keep the volumes up to date until cancelled. What cannot be read now stays as it is."""
        while self._wanted:
            await self._until_due()
            for name in self._wanted:
                try:
                    await self._write(name)
                except MountError as error:
                    log.warning("pod.volume_not_updated", pod=self._pod.key, volume=name, error=str(error))

    async def _until_due(self) -> None:
        timer = None
        if (seconds := self._next_look()) is not None:
            timer = self._clock.call_later(seconds, self._changed.set)
        try:
            await self._changed.wait()
            self._changed.clear()
        finally:
            if timer is not None:
                timer.cancel()

    def _next_look(self) -> float | None:
        if any(self._changing_objects()):
            return UPDATE_SECONDS
        renewal = self._tokens.next_renewal()
        return None if renewal is None else max((renewal - self._clock.now()).total_seconds(), UPDATE_SECONDS)

    def _changing_objects(self) -> Iterator[bool]:
        for projections in self._wanted.values():
            for source in projections.sources:
                yield source.secret is not None
                yield source.config_map is not None and source.config_map.name != ROOT_CA

    async def _write(self, name: str) -> None:
        projections: Projections = self._wanted[name]
        files = await contents(self._client, self._pod, self._facts, self._tokens, projections)
        try:
            # Secrets are nobody else's to read, whatever mode their files have in the container.
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if atomic_directory.write(self._root / name, files):
                log.debug("pod.volume_written", pod=self._pod.key, volume=name, files=len(files))
        except OSError as error:
            raise MountError(f"{self._root / name}: {os.strerror(error.errno or 0)}") from error
