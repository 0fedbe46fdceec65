"""Servers that run until somebody ends them, for `kfcore local run`: Notebooks come in, and once each is ready its link
is on the console; what keeps it from that is too.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import aclosing

from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.client.interface import Client
from kfcore_local.console import Console
from kfcore_local.follow import states
from kfcore_local.gateway import Gateway
from kfcore_local.progress import JobKey

QUIET = frozenset({"", "ContainerCreating", "PodInitializing"})


class ServerWatch:
    """Tells of Notebooks what their users want to know: where they are, or why they are not."""

    def __init__(self, client: Client, gateway: Gateway, console: Console) -> None:
        self._client = client
        self._gateway = gateway
        self._console = console
        self._told: dict[JobKey, str] = {}

    async def run(self, resource: Resource, servers: Collection[JobKey]) -> None:
        """Watch until cancelled."""
        wanted = {(key.namespace, key.name): key for key in servers}
        async with aclosing(states(self._client, resource)) as found:
            async for raw in found:
                metadata = raw["metadata"]
                if key := wanted.get((metadata.get("namespace", ""), metadata["name"])):
                    self._tell(key, raw)

    def _tell(self, key: JobKey, raw: Manifest) -> None:
        status: Manifest = raw.get("status") or {}
        if status.get("readyReplicas"):
            type_, message = "Ready", self._gateway.link(f"/notebook/{key.namespace}/{key.name}/")
        elif "kubeflow-resource-stopped" in (metadata := raw["metadata"].get("annotations") or {}):
            type_, message = "Stopped", f"since {metadata['kubeflow-resource-stopped']}"
        else:
            type_, message = "Waiting", _why(status)
        if message and self._told.get(key) != message:
            self._told[key] = message
            self._console.condition(key.name, type_, message)


def _why(status: Manifest) -> str:
    """What keeps a server from being ready, if it is more than that it starts."""
    state = status.get("containerState") or {}
    for part in ("waiting", "terminated"):
        found = state.get(part) or {}
        reason, message = found.get("reason", ""), found.get("message", "")
        if reason not in QUIET or message:
            return f"{reason}: {message}".removesuffix(": ")
    for condition in status.get("conditions") or ():
        if condition.get("status") == "False" and condition.get("type") in ("PodCreated", "NotebookValid"):
            return f"{condition['reason']}: {condition['message']}"
    return ""
