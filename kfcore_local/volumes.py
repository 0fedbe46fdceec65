"""Which volumes a pod of plain processes can have. A process shares this machine's files, and nothing can be mounted
for it alone, so only what is already at its place passes; for anything else the pod fails at once with the reason.
"""

from __future__ import annotations

import os

from kfcore_local.pods import Container, LocalPod, Volume, VolumeMount

SHARED_MEMORY = "/dev/shm"


def problem(pod: LocalPod) -> str:
    """Why a mount of the pod cannot be had; empty when all can."""
    volumes = {volume.name: volume for volume in pod.spec.volumes}
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for mount in container.volume_mounts:
            if why := _mount_problem(volumes.get(mount.name), mount):
                return f"MountVolume.SetUp failed for volume {mount.name!r} of {_named(container)}: {why}"
    return ""


def _mount_problem(volume: Volume | None, mount: VolumeMount) -> str:
    if volume is None:
        return "the pod has no such volume"
    path = os.path.normpath(mount.mount_path)
    if volume.host_path is not None and os.path.normpath(volume.host_path.path) == path:
        return "" if os.path.exists(path) else f"hostPath {path} does not exist"
    if volume.empty_dir is not None and path == SHARED_MEMORY:
        return ""
    return (
        f"without namespaces nothing can be mounted at {mount.mount_path}; what works is a hostPath whose path is its "
        f"mountPath, and an emptyDir at {SHARED_MEMORY}"
    )


def _named(container: Container) -> str:
    return f"container {container.name!r}"
