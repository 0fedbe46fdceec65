"""Which volumes a pod of plain processes can have. A process shares this machine's files, and nothing can be mounted
for it alone, so only what is already at its place passes; for anything else the pod fails at once with the reason.
What shows API objects is somewhere else, and is spoken of by that path on the command line and in variables.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kfcore_local.images import Image, ImageMap
from kfcore_local.pods import Container, LocalPod, Volume, VolumeMount

SHARED_MEMORY = "/dev/shm"


def home(pod: LocalPod, container: Container, image: Image | None) -> str | None:
    """The claim that is mounted where the container works: it can work in its directory without a mount."""
    places = {container.working_dir, image.home if image else ""} - {""}
    names = {mount.name for mount in container.volume_mounts if os.path.normpath(mount.mount_path) in places}
    for volume in pod.spec.volumes:
        if volume.name in names and volume.persistent_volume_claim is not None:
            return volume.persistent_volume_claim.claim_name
    return None


def problem(pod: LocalPod, images: ImageMap) -> str:
    """Why a mount of the pod cannot be had; empty when all can."""
    volumes = {volume.name: volume for volume in pod.spec.volumes}
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        image = images.find(container.image)
        places = {container.working_dir, image.home if image else ""} - {""}
        for mount in container.volume_mounts:
            volume = volumes.get(mount.name)
            if volume is not None and volume.projections is not None:
                continue
            is_claim = volume is not None and volume.persistent_volume_claim is not None
            if is_claim and os.path.normpath(mount.mount_path) in places:
                continue
            if why := _mount_problem(volume, mount):
                return f"MountVolume.SetUp failed for volume {mount.name!r} of {_named(container)}: {why}"
    return ""


def written_paths(container: Container, written: Mapping[str, Path]) -> dict[str, Path]:
    """Where what the kubelet has written is: what is said of the mount is true of this path."""
    return {
        os.path.normpath(mount.mount_path): written[mount.name] / (mount.sub_path or ".")
        for mount in container.volume_mounts
        if mount.name in written
    }


def _mount_problem(volume: Volume | None, mount: VolumeMount) -> str:
    if volume is None:
        return "the pod has no such volume"
    path = os.path.normpath(mount.mount_path)
    if volume.host_path is not None and os.path.normpath(volume.host_path.path) == path:
        return _host_path_problem(path, volume.host_path.type)
    if volume.empty_dir is not None and path == SHARED_MEMORY:
        return ""
    return (
        f"without namespaces nothing can be mounted at {mount.mount_path}; what works is a hostPath whose path is its "
        f"mountPath, an emptyDir at {SHARED_MEMORY}, a persistentVolumeClaim at the workingDir, and what is made of "
        "API objects (configMap, secret, downwardAPI, projected)"
    )


def _host_path_problem(path: str, type_: str) -> str:
    if type_ == "DirectoryOrCreate":
        try:
            os.makedirs(path, mode=0o755, exist_ok=True)
        except OSError as error:
            return f"hostPath {path} cannot be made: {error.strerror}"
    return "" if os.path.exists(path) else f"hostPath {path} does not exist"


def _named(container: Container) -> str:
    return f"container {container.name!r}"
