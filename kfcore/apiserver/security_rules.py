"""The rules of as whom a pod's containers run, and with what rights."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kfcore.api.meta import Manifest
from kfcore.apiserver.paths import inside
from kfcore.apiserver.status import FieldError, duplicate, forbidden_field, invalid_value, required, unsupported

_USER_RANGE = "must be between 0 and 2147483647, inclusive"
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_PROC_MOUNTS = ("Default", "Unmasked")
_CHOICES = (
    ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
    ("supplementalGroupsPolicy", ("Merge", "Strict")),
    ("seLinuxChangePolicy", ("MountOption", "Recursive")),
)
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = re.compile(rf"({_SEGMENT}[\./])*{_SEGMENT}")
_SYSCTL_LIMIT = 253


def validate_pod_security(spec: Manifest, place: str) -> Iterator[FieldError]:
    context, where = spec.get("securityContext"), f"{place}.securityContext"
    if context:
        yield from _validate_ids(context, ("fsGroup", "runAsUser", "runAsGroup"), where)
        for index, group in enumerate(context.get("supplementalGroups") or ()):
            if not 0 <= group < 2**31:
                yield invalid_value(f"{where}.supplementalGroups[{index}]", group, _USER_RANGE)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(f"{where}.shareProcessNamespace", True, why)
    if context:
        yield from _validate_sysctls(context, f"{where}.sysctls")
        for field, choices in _CHOICES:
            if (choice := context.get(field)) is not None and choice not in choices:
                yield unsupported(f"{where}.{field}", choice, choices)
        yield from _validate_profiles(context, where)
    if spec.get("hostUsers") is False:
        for field, name in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
            if spec.get(field):
                yield forbidden_field(f"{place}.{name}", "when `pod.Spec.HostUsers` is false")


def validate_container_security(context: Manifest, place: str) -> Iterator[FieldError]:
    yield from _validate_ids(context, ("runAsUser", "runAsGroup"), place)
    if (mount := context.get("procMount")) is not None and mount not in _PROC_MOUNTS:
        yield unsupported(f"{place}.procMount", mount, _PROC_MOUNTS)
    yield from _validate_profiles(context, place)
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield invalid_value(place, context, why)
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid_value(place, context, why)


def _validate_ids(context: Manifest, fields: tuple[str, ...], place: str) -> Iterator[FieldError]:
    for field in fields:
        if isinstance(number := context.get(field), int) and not 0 <= number < 2**31:
            yield invalid_value(f"{place}.{field}", number, _USER_RANGE)


def _validate_sysctls(context: Manifest, place: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        where, name = f"{place}[{index}].name", sysctl.get("name") or ""
        if not name:
            yield required(where)
        elif len(name) > _SYSCTL_LIMIT or not _SYSCTL.fullmatch(name):
            why = f"must have at most {_SYSCTL_LIMIT} characters and match regex ^{_SYSCTL.pattern}$"
            yield invalid_value(where, name, why)
        elif name in seen:
            yield duplicate(where, name)
        seen.add(name)


def _validate_profiles(context: Manifest, place: str) -> Iterator[FieldError]:
    for field, what in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile = context.get(field)
        if profile is None:
            continue
        where, kind, local = f"{place}.{field}", profile.get("type") or "", profile.get("localhostProfile")
        if not kind:
            yield required(f"{where}.type", f"type is required when {field} is set")
        elif kind not in _PROFILES:
            yield unsupported(f"{where}.type", kind, _PROFILES)
        if kind == "Localhost":
            if not local:
                yield required(f"{where}.localhostProfile", f"must be set when {what} type is Localhost")
            elif what == "seccomp":
                yield from inside(local, f"{where}.localhostProfile")
        elif local is not None:
            why = f"can only be set when {what} type is Localhost"
            yield invalid_value(f"{where}.localhostProfile", local, why)
