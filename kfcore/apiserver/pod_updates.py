"""What may change of a pod that exists: hardly anything, and more while a gate keeps it from being scheduled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.container_rules import validate_container
from kfcore.apiserver.names import qualified_name
from kfcore.apiserver.placement_rules import REQUIRED
from kfcore.apiserver.status import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
)

EPHEMERAL = "ephemeralContainers"
_CONTAINER_LISTS = ("containers", "initContainers")
_NOT_EPHEMERAL = (
    "ports", "resources", "resizePolicy", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
    "restartPolicy",
)  # fmt: skip
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_OWN_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_STATUSES = (("containerStatuses", ""), ("initContainerStatuses", ""), ("ephemeralContainerStatuses", "Never"))


def validate_update(spec: Manifest, before: Manifest) -> Iterator[FieldError]:
    if spec == before:
        return
    for name in _CONTAINER_LISTS:
        if len(spec.get(name) or ()) != len(before.get(name) or ()):
            yield forbidden_field(f"spec.{name}", "pod updates may not add or remove containers")
            return
    deadline = list(_validate_deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")))
    yield from deadline
    if deadline:
        return
    kept = [_lasting(toleration) for toleration in spec.get("tolerations") or ()]
    if any(_lasting(toleration) not in kept for toleration in before.get("tolerations") or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden_field("spec.tolerations", why)
    known = [gate.get("name") for gate in before.get("schedulingGates") or ()]
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        if (name := gate.get("name")) not in known:
            why = f"only deletion is allowed, but found new scheduling gate '{name}'"
            yield forbidden_field(f"spec.schedulingGates[{index}].name", why)
    free = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if before.get("schedulingGates"):
        yield from _validate_narrowed(spec, before)
        free += ["nodeSelector", "affinity"]
        if _others(spec.get("affinity")) != _others(before.get("affinity")):
            free.remove("affinity")
    if _fixed(spec, free) != _fixed(before, free):
        yield forbidden_field("spec", _IMMUTABLE)


def _validate_deadline(now: Any, then: Any) -> Iterator[FieldError]:
    if then is None:
        return
    if now is None:
        why = "must not update from a positive integer to nil value"
        yield invalid_value("spec.activeDeadlineSeconds", None, why)
    elif now > then:
        yield invalid_value("spec.activeDeadlineSeconds", now, "must be less than or equal to previous value")


def _lasting(toleration: Manifest) -> Manifest:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def _fixed(spec: Manifest, free: list[str]) -> Manifest:
    fixed = {key: value for key, value in spec.items() if key not in free}
    for name in _CONTAINER_LISTS:
        if name in fixed:
            fixed[name] = [{key: value for key, value in item.items() if key != "image"} for item in fixed[name]]
    return fixed


# ── of a pod that waits at a gate ────────────────────────────────────────────────────────────────────────────────────


def _validate_narrowed(spec: Manifest, before: Manifest) -> Iterator[FieldError]:
    """Where it may run can only become less."""
    selector = spec.get("nodeSelector") or {}
    if any(selector.get(key) != value for key, value in (before.get("nodeSelector") or {}).items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield invalid_value("spec.nodeSelector", selector, why)
    place = "spec.affinity.nodeAffinity"
    now, then = (((one.get("affinity") or {}).get("nodeAffinity") or {}) for one in (spec, before))
    if not (held := (then.get(REQUIRED) or {}).get("nodeSelectorTerms")):
        return
    terms = (now.get(REQUIRED) or {}).get("nodeSelectorTerms") or []
    if len(terms) != len(held):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid_value(f"{place}.{REQUIRED}.nodeSelectorTerms", terms, why)
        return
    for index, (term, was) in enumerate(zip(terms, held, strict=True)):
        for field in ("matchExpressions", "matchFields"):
            kept = (was.get(field) or [])[:]
            if kept != (term.get(field) or [])[: len(kept)]:
                why = "only additions are allowed (no mutations or deletions)"
                yield invalid_value(f"{place}.{REQUIRED}.nodeSelectorTerms[{index}]", term, why)
                break


def _others(affinity: Any) -> Manifest:
    return {key: value for key, value in (affinity or {}).items() if key != "nodeAffinity"}


# ── containers that come later ───────────────────────────────────────────────────────────────────────────────────────


def validate_ephemeral(spec: Manifest, place: str) -> Iterator[FieldError]:
    if not spec.get(EPHEMERAL):
        return
    volumes = {str(volume.get("name")): volume for volume in spec.get("volumes") or ()}
    others = {item.get("name") for name in _CONTAINER_LISTS for item in spec.get(name) or ()}
    names = set(others)
    for index, container in enumerate(spec[EPHEMERAL]):
        where = f"{place}.{EPHEMERAL}[{index}]"
        yield from validate_container(container, where, volumes, spec)
        name, target = container.get("name") or "", container.get("targetContainerName")
        if name in names:
            yield duplicate(f"{where}.name", name)
        names.add(name)
        if target and target not in others:
            yield not_found_field(f"{where}.targetContainerName", target)
        for field in _NOT_EPHEMERAL:
            if container.get(field):
                yield forbidden_field(f"{where}.{field}", "cannot be set for an Ephemeral Container")
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    why = "cannot be set for an Ephemeral Container"
                    yield forbidden_field(f"{where}.volumeMounts[{number}].{field}", why)


def validate_added(spec: Manifest, before: Manifest) -> Iterator[FieldError]:
    """Those that are there stay as they are."""
    present = {container.get("name"): container for container in spec.get(EPHEMERAL) or ()}
    for container in before.get(EPHEMERAL) or ():
        name = container["name"]
        if name not in present:
            yield forbidden_field(f"spec.{EPHEMERAL}", f'existing ephemeral containers "{name}" may not be removed\n')
        elif container != present[name]:
            yield forbidden_field(f"spec.{EPHEMERAL}", f'existing ephemeral containers "{name}" may not be changed\n')


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def validate_status(pod: Manifest, previous: Manifest) -> Iterator[FieldError]:
    now, then = pod.get("status") or {}, previous.get("status") or {}
    if now == then:
        return
    for index, condition in enumerate(now.get("conditions") or ()):
        if (kind := condition.get("type") or "") not in _OWN_CONDITIONS:
            yield from (invalid_value(f"metadata.conditions[{index}].Type", kind, why) for why in qualified_name(kind))
    if then.get("qosClass") and now.get("qosClass") != then["qosClass"]:
        yield invalid_value("status.qosClass", now.get("qosClass") or "", "field is immutable")
    for field, restarts in _STATUSES:
        yield from _validate_ends(now, then, field, restarts, previous["spec"])


def _may_restart(container: Manifest, policy: Any, code: int) -> bool:
    """Whether a container that ended so may run again. One that its probe has ended may, whatever it ended with."""
    policy = container.get("restartPolicy") or policy
    probed = "livenessProbe" in container or "startupProbe" in container
    may = policy == "Always" or (policy == "OnFailure" and (code != 0 or probed))
    return may or "restartPolicyRules" in container


def _validate_ends(now: Manifest, then: Manifest, field: str, restarts: Any, spec: Manifest) -> Iterator[FieldError]:
    """What has ended for good does not run again."""
    policy = restarts or spec.get("restartPolicy")
    containers = {item.get("name"): item for item in [*spec.get("containers", ()), *(spec.get("initContainers") or ())]}
    current = {item.get("name"): item for item in now.get(field) or ()}
    for index, item in enumerate(then.get(field) or ()):
        ended = (item.get("state") or {}).get("terminated")
        if ended is None or _may_restart(containers.get(item.get("name"), {}), policy, ended.get("exitCode") or 0):
            continue
        found = current.get(item.get("name"))
        if found is not None and (found.get("state") or {}).get("terminated") is None:
            yield forbidden_field(f"status.{field}[{index}].state", "may not be transitioned to non-terminated state")
