"""Pods with namespaces of their own, as the kubelet sees them: a container that is to start comes in, a launcher goes
out that puts it into its pod's namespaces, with a root of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kfcore.client.interface import Client
from kfcore_local import scratch
from kfcore_local.images import ImageMap
from kfcore_local.isolation import mounts, pod_files
from kfcore_local.isolation.addresses import GATEWAY, HOST_NAME
from kfcore_local.isolation.hub_client import Hub, PodLauncher, PodNamespaces
from kfcore_local.isolation.name_server import upstream_searches
from kfcore_local.isolation.network import IsolatedNetwork
from kfcore_local.launcher import StartFailed
from kfcore_local.pods import LocalPod
from kfcore_local.sandboxes import Place, Wanted
from kfcore_local.volume_contents import MountError


class IsolatedSandboxes:
    """`hidden` are directories and files that no container sees but by a volume, the cluster's own among them; `tools`
    is one inside of them that each sees.
    """

    opens_host_ports = True

    def __init__(self, hub: Hub, client: Client, *, hidden: Sequence[Path], tools: Path, api_port: int = 0) -> None:
        self.network = IsolatedNetwork(hub, api_port=api_port)
        self._hub = hub
        self._client = client
        self._hidden = [str(path) for path in hidden]
        self._tools = str(tools)

    @property
    def note(self) -> str:
        if self._hub.writable:
            return ""
        return "pods can write to volumes only: this kernel has no overlays over this machine's files for them"

    def problem(self, pod: LocalPod, images: ImageMap) -> str:
        return mounts.problem(pod)

    def missing(self, pod: LocalPod) -> str:
        spec, parts = pod.spec, []
        if spec.host_network:
            parts.append(
                "hostNetwork is not offered to isolated pods: this one has an address of its own, finds this machine's "
                f"servers at {HOST_NAME}, and its ports are opened on this machine's loopback"
            )
        if asked := [name for name, given in (("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)) if given]:
            them = f"{' and '.join(asked)} {'are' if len(asked) > 1 else 'is'}"
            parts.append(
                f"{them} not offered to isolated pods: kfcore local up --isolation none shares all that it has"
            )
        return "; ".join(parts)

    async def place(self, wanted: Wanted) -> Place:
        pod = wanted.pod
        uid, address = pod.metadata.uid, self.network.add_pod(pod)
        namespaces = PodNamespaces(
            uid, pod_files.hostname(pod), address, mounts.in_memory(pod), pod.spec.share_process_namespace
        )
        own = [(str(file), "", path, False) for path, file in wanted.own_files.items()]
        mounted = await mounts.mounts(self._client, wanted, lambda name: self._hub.memory(uid, name))
        try:
            await self._hub.add(namespaces)
        except StartFailed as error:
            raise MountError(str(error)) from error
        directory = mounts.working_directory(wanted)
        place = {
            "places": [directory, "/var/tmp", *filter(None, map(os.environ.get, ("HOME", "TMPDIR")))],
            "hidden": [*self._hidden, *map(str, scratch.directories())],
            "files": pod_files.files(pod, address, GATEWAY, upstream_searches()),
            "mounts": [(self._tools, "", self._tools, True), *mounted, *own],
        }
        launcher = PodLauncher(self._hub, namespaces, place, target=wanted.container.target_container_name)
        return Place(launcher, directory)
