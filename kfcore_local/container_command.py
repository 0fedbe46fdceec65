"""What a container runs: its manifest, the objects that it refers to and what this machine has for its image come in, a
`Command` goes out.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kfcore_local import environment
from kfcore_local.container import Command
from kfcore_local.environment import ConfigError, PodFacts
from kfcore_local.machine import Machine
from kfcore_local.pods import Container, LocalPod, SecurityContext
from kfcore_local.sandboxes import Wanted

CAP_SETGID, CAP_SETUID = 6, 7


class NoCommand(Exception):
    """Neither the manifest nor the image says what to run; the message says what to do."""


class PodFiles(msgspec.Struct, frozen=True):
    """What the kubelet has written for a pod: its own `directory`, and those of `volumes` by their names."""

    directory: Path
    volumes: Mapping[str, Path]


async def command_of(
    machine: Machine, pod: LocalPod, container: Container, facts: PodFacts, files: PodFiles, message: Path
) -> Command:
    """Raises ConfigError, MountError and NoCommand. `message` is the file of the container's last words."""
    check_user(pod, container)
    variables = await environment.variables(machine.client, pod, container, facts)
    image = machine.images.find(container.image)
    wanted = Wanted(
        pod,
        container,
        image,
        files.directory,
        files.volumes,
        variables.values,
        machine.working_directory,
        {container.termination_message_path: message} if container.termination_message_path else {},
    )
    place = await machine.sandboxes.place(wanted)
    values = machine.network.rewrite_variables(pod, variables)
    values |= {name: moved(values[name], place.moved) for name in variables.literal}
    defaults = {"KFCORE_POD_IP": facts.pod_ip, "NB_PREFIX": "/"}
    start = [environment.expand(part, {**defaults, **values}) for part in image.command] if image else []
    given = [
        moved(machine.network.rewrite_argument(pod, part), place.moved)
        for part in environment.command_line(container, values)
    ]
    argv = given if container.command else [*start, *given]
    base = environment.base_environment(machine.bin_directory, image.bin_directory if image else None)
    gpus = machine.gpus.variables(pod.metadata.uid, container.name, container.resources.limits)
    if not container.command and not start and not _is_program(given, values.get("PATH") or base["PATH"]):
        raise NoCommand(environment.missing_command(container))
    user = user_of(security_of(pod, container))
    if user is not None:
        base["HOME"] = _home_of(user[0])
    own = {"HOSTNAME": pod.spec.hostname or pod.name, **machine.network.pod_variables(pod), **place.variables}
    env = {**base, **machine.variables, **gpus, **own, **values}
    return Command(argv, env, place.working_directory, place.launcher, user)


def _is_program(arguments: Sequence[str], search: str) -> bool:
    """Whether a container's arguments are a command by themselves, as they are for an image without an entrypoint:
    `kubectl run --image=busybox -- sh` gives no other."""
    return bool(arguments) and shutil.which(arguments[0], path=search) is not None


def moved(text: str, paths: Mapping[str, Path]) -> str:
    """`text` with paths of the container that are elsewhere on this machine as what they are here."""
    for path, here in sorted(paths.items(), reverse=True):
        text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", str(here).replace("\\", r"\\"), text)
    return text


def security_of(pod: LocalPod, container: Container) -> SecurityContext:
    """A container's own settings, and the pod's for what it does not say."""
    own, shared = container.security_context, pod.spec.security_context

    def either(name: str) -> int | None:
        value: int | None = getattr(own, name)
        return getattr(shared, name) if value is None else value

    non_root = shared.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    return SecurityContext(
        run_as_user=either("run_as_user"),
        run_as_group=either("run_as_group"),
        run_as_non_root=non_root,
        supplemental_groups=shared.supplemental_groups,
        fs_group=shared.fs_group,
    )


def user_of(security: SecurityContext) -> tuple[int, int, list[int]] | None:
    """Whom the command runs as, where that is another one than us. Only root can choose."""
    user, group = security.run_as_user, security.run_as_group
    if os.geteuid() != 0 or (user is None and group is None):
        return None
    further = [*security.supplemental_groups, *([] if security.fs_group is None else [security.fs_group])]
    wanted = user or 0, _group_of(user or 0) if group is None else group, further
    return wanted if may_become(wanted[0], wanted[1]) else None


def may_become(user: int, group: int) -> bool:
    """Whether root can be this user here: in a sandbox root may know no others, or lack the right to change to them."""
    try:
        status = Path("/proc/self/status").read_text()
        maps = [Path(f"/proc/self/{kind}_map").read_text() for kind in ("uid", "gid")]
    except OSError:
        return True  # not Linux
    capabilities = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff")), 0)
    rights = all(capabilities >> bit & 1 for bit in (CAP_SETGID, CAP_SETUID))
    return rights and all(_is_mapped(number, text) for number, text in zip((user, group), maps, strict=True))


def _is_mapped(number: int, text: str) -> bool:
    ranges = (tuple(map(int, line.split())) for line in text.splitlines())
    return any(first <= number < first + count for first, _, count in ranges)


def _group_of(user: int) -> int:
    """As this machine has it; root's for a user that it does not know, as container runtimes have it."""
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return 0


def _home_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        return "/"


def check_user(pod: LocalPod, container: Container) -> None:
    """Raises ConfigError for a container that must not run as root and would."""
    security = security_of(pod, container)
    user = security.run_as_user
    if not security.run_as_non_root:
        return
    if user == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if user is None and os.geteuid() == 0:
        raise ConfigError(
            "container has runAsNonRoot and image will run as root: kfcore runs as root here; say which user with "
            "securityContext.runAsUser, or start kfcore as another user"
        )
