"""Where the containers of pods run: a pod and a container come in, a launcher and a working directory go out.

`SharedMachine` runs plain processes of this machine: what weakens them against a cluster's pods is in its `note`.
`isolation/sandboxes.py` has pods with namespaces of their own. `choose.py` there decides between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from kfcore.apiserver.kubeconfig import write_pod_kubeconfig
from kfcore.apiserver.service_accounts import TOKEN_DIRECTORY
from kfcore.client.interface import Client
from kfcore_local import host_ports, volumes
from kfcore_local.images import Image, ImageMap
from kfcore_local.launcher import PLAIN, Launcher
from kfcore_local.network import Network
from kfcore_local.pod_network import PodNetwork
from kfcore_local.pods import Container, LocalPod
from kfcore_local.storage import directory_of
from kfcore_local.volume_contents import MountError


class Wanted(msgspec.Struct, frozen=True):
    """A container that is to be started. `directory` is the pod's own; `written` has the directories of its volumes
    that show API objects; `variables` are the container's, for paths that name them; `machine_directory` is where it
    works when neither it nor its image says; `own_files` are files of its own by their paths in the container.
    """

    pod: LocalPod
    container: Container
    image: Image | None
    directory: Path
    written: Mapping[str, Path]
    variables: Mapping[str, str]
    machine_directory: Path
    own_files: Mapping[str, Path] = msgspec.field(default_factory=dict)


class Place(msgspec.Struct, frozen=True):
    """Where a container runs, and the directory in which it begins. `moved` are paths of the container that are
    elsewhere for it, because nothing can be mounted; `variables` tell it of such.
    """

    launcher: Launcher
    working_directory: str
    moved: Mapping[str, Path] = msgspec.field(default_factory=dict)
    variables: Mapping[str, str] = msgspec.field(default_factory=dict)


class Sandboxes(Protocol):
    @property
    def network(self) -> PodNetwork: ...

    @property
    def note(self) -> str:
        """What a user must know about how pods are kept apart here, in one line; empty when there is nothing."""
        ...

    @property
    def opens_host_ports(self) -> bool:
        """Whether ports of the machine are to be led to pods; False where pods listen on it themselves."""
        ...

    def problem(self, pod: LocalPod, images: ImageMap) -> str:
        """Why the pod can never have what it mounts; empty when it can."""
        ...

    def missing(self, pod: LocalPod) -> str:
        """What of the machine the pod asks for and does without here; empty when there is nothing."""
        ...

    async def place(self, wanted: Wanted) -> Place:
        """Make ready what a container needs. Raises MountError, for what may come to be."""
        ...


class SharedMachine:
    """Plain processes: they have this machine's files, and addresses of its loopback. `api` is the API server's, for
    those that have a token for it.
    """

    opens_host_ports = False

    def __init__(self, client: Client, root: Path, why: str = "", *, api: str = "") -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.network = Network(root / "hosts")
        self.note = (
            f"pods are not isolated ({why}): they share this machine's files, processes and network; a volume can be "
            "mounted only where its files are already"
            if why
            else ""
        )
        self._client = client
        self._api = api

    def problem(self, pod: LocalPod, images: ImageMap) -> str:
        return volumes.problem(pod, images)

    def missing(self, pod: LocalPod) -> str:
        if any(port.host_port != port.container_port for port in host_ports.of(pod)):
            return (
                "hostPort is not led to the containerPort: pods that are not isolated listen on this machine themselves"
            )
        return ""

    async def place(self, wanted: Wanted) -> Place:
        pod, container, image = wanted.pod, wanted.container, wanted.image
        asked, ours = container.working_dir, str(wanted.machine_directory)
        moved = {**volumes.written_paths(container, wanted.written), **wanted.own_files}
        variables = self._access(wanted, moved.get(TOKEN_DIRECTORY))
        claim = volumes.home(pod, container, image)
        if claim is not None:
            directory = str(await claimed_directory(self._client, pod.namespace, claim))
        else:
            directory = ours if not asked or _is_missing_home(asked, image) else asked
        return Place(PLAIN, directory, moved, variables)

    def _access(self, wanted: Wanted, token: Path | None) -> dict[str, str]:
        """A kubeconfig with the service account's token: where libraries look for that itself, nothing can be put."""
        if token is None or not self._api:
            return {}
        path = wanted.directory / wanted.container.name / "kubeconfig"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_pod_kubeconfig(path, self._api, token, wanted.pod.namespace)
        except OSError as error:
            raise MountError(f"cannot write {path}: {error.strerror}") from error
        return {"KUBECONFIG": str(path)}


def _is_missing_home(directory: str, image: Image | None) -> bool:
    """Whether an image would have it, and this machine has not."""
    return image is not None and directory == image.home and not Path(directory).is_dir()


async def claimed_directory(client: Client, namespace: str, claim: str) -> Path:
    """Of a claim's volume. Raises MountError."""
    directory = await directory_of(client, namespace, claim)
    if directory is None:
        raise MountError(f'persistentvolumeclaim "{claim}" is not bound to a directory of this machine')
    return directory
