"""What is mounted in a container: its volumes and mounts come in, directories and files of this machine go out, and
which file systems in memory the pod has.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from kfcore.api.quantity import parse_quantity
from kfcore.client.interface import Client
from kfcore_local.environment import expand
from kfcore_local.images import Image
from kfcore_local.pods import Container, HostPath, LocalPod, Volume, VolumeMount
from kfcore_local.sandboxes import Wanted, claimed_directory
from kfcore_local.volume_contents import MountError

Mount = tuple[str, str, str, bool]
"""Source, path inside it, target, and whether it is read-only: as `container.become_container` takes them."""

SHARED_MEMORY = "/dev/shm"
_SHARED_MEMORY_NAME = "dev-shm"
_EMPTY = ".empty"
"""No container is named so: their directories are beside it."""
_TYPES: Mapping[str, Callable[[int], bool]] = {
    "Directory": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


def problem(pod: LocalPod) -> str:
    """Why a mount of the pod can never be had; empty when all can."""
    volumes = {volume.name: volume for volume in pod.spec.volumes}
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        for mount in container.volume_mounts:
            if why := _mount_problem(volumes.get(mount.name), mount):
                return f"MountVolume.SetUp failed for volume {mount.name!r} of container {container.name!r}: {why}"
    return ""


def _mount_problem(volume: Volume | None, mount: VolumeMount) -> str:
    if volume is None:
        return "the pod has no such volume"
    if ".." in mount.sub_path.split("/") or mount.sub_path.startswith("/"):
        return f"subPath {mount.sub_path!r} must be relative, and must not contain '..'"
    known = (volume.host_path, volume.empty_dir, volume.persistent_volume_claim, volume.projections)
    if all(source is None for source in known):
        return (
            "kfcore local has no such type of volume; what works is configMap, downwardAPI, emptyDir, hostPath, "
            "persistentVolumeClaim, projected and secret"
        )
    return ""


def in_memory(pod: LocalPod) -> dict[str, str]:
    """The file systems in memory that the pod's containers share: mount options by name."""
    made = {_SHARED_MEMORY_NAME: "mode=1777"}
    for volume in pod.spec.volumes:
        if volume.empty_dir is not None and volume.empty_dir.get("medium") == "Memory":
            limit = volume.empty_dir.get("sizeLimit")
            size = f",size={int(parse_quantity(limit))}" if limit is not None else ""
            made[volume.name] = f"mode=1777{size}"
    return made


async def mounts(client: Client, wanted: Wanted, memory: Callable[[str], str]) -> list[Mount]:
    """The container's mounts. `memory` says where a file system of `in_memory` is. Raises MountError."""
    volumes = {volume.name: volume for volume in wanted.pod.spec.volumes}
    made = []
    for mount in wanted.container.volume_mounts:
        volume = volumes[mount.name]
        source, read_only = await _source(client, wanted, volume, memory)
        inner = mount.sub_path
        if mount.sub_path_expr:
            inner = expand(mount.sub_path_expr, wanted.variables)
            if inner.startswith("/") or ".." in inner.split("/"):
                raise MountError(f"subPathExpr {mount.sub_path_expr!r} leads out of the volume: {inner!r}")
        made.append((source, inner, _absolute(mount.mount_path), read_only or mount.read_only))
    if not any(target == SHARED_MEMORY for _, _, target, _ in made):
        made.append((memory(_SHARED_MEMORY_NAME), "", SHARED_MEMORY, False))
    return made


def working_directory(wanted: Wanted) -> str:
    """The container's; the image's, where something is mounted there; else that of this machine."""
    container, image = wanted.container, wanted.image
    if container.working_dir and not _is_missing_home(container, image):
        return container.working_dir
    if image is not None and image.home and _mounts_at(container, image.home):
        return image.home
    return str(wanted.machine_directory)


def _is_missing_home(container: Container, image: Image | None) -> bool:
    """Whether it works where an image would have a directory that this machine has not."""
    home = image.home if image is not None else ""
    return container.working_dir == home and not Path(home).is_dir() and not _mounts_at(container, home)


def _mounts_at(container: Container, path: str) -> bool:
    return any(_absolute(mount.mount_path) == _absolute(path) for mount in container.volume_mounts)


def _absolute(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


async def _source(client: Client, wanted: Wanted, volume: Volume, memory: Callable[[str], str]) -> tuple[str, bool]:
    """Where the volume is, and whether none may write to it."""
    try:
        if volume.name in wanted.written:
            return str(wanted.written[volume.name]), True
        if volume.projections is not None:
            raise MountError(f'MountVolume.SetUp failed for volume "{volume.name}" : it is not written yet')
        if volume.host_path is not None:
            return _host_path(volume.host_path), False
        if (claim := volume.persistent_volume_claim) is not None:
            directory = await claimed_directory(client, wanted.pod.namespace, claim.claim_name)
            return str(directory), claim.read_only
        if volume.empty_dir is not None and volume.empty_dir.get("medium") == "Memory":
            return memory(volume.name), False
        empty = wanted.directory / _EMPTY / volume.name
        if not empty.exists():
            empty.mkdir(parents=True)
            empty.chmod(0o777)
        return str(empty), False
    except OSError as error:
        raise MountError(
            f'MountVolume.SetUp failed for volume "{volume.name}" : {error.filename}: {os.strerror(error.errno or 0)}'
        ) from error


def _host_path(source: HostPath) -> str:
    """Raises MountError where it is not what its type says."""
    path = Path(_absolute(source.path))
    if source.type == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    elif source.type == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if not path.exists():
        raise MountError(f"hostPath type check failed: {path} does not exist on this machine")
    check = _TYPES.get(source.type.removesuffix("OrCreate"))
    if check is not None and not check(path.stat().st_mode):
        raise MountError(f"hostPath type check failed: {path} is not a {source.type.removesuffix('OrCreate')}")
    return str(path)
