"""Pods and pod templates: the defaults that the API fills in, and the rules that users meet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.names import dns_label
from kfcore.apiserver.status import (
    FieldError,
    bad_request,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

POD_FIELDS = {
    "spec.nodeName": "spec.nodeName",
    "spec.restartPolicy": "spec.restartPolicy",
    "spec.schedulerName": "spec.schedulerName",
    "spec.serviceAccountName": "spec.serviceAccountName",
    "spec.hostNetwork": "spec.hostNetwork",
    "status.phase": "status.phase",
    "status.podIP": "status.podIP",
    "status.nominatedNodeName": "status.nominatedNodeName",
}
_RESTART = ("Always", "OnFailure", "Never")
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINER_LISTS = ("initContainers", "containers")
_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for taint in ("not-ready", "unreachable")
)
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


# ── defaults ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def default_pod(pod: Manifest) -> None:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    check_shape(spec, "Pod")
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    _default_status(pod)


def _default_status(pod: Manifest) -> None:
    """What the types of a pod's status write even when it was not said."""
    status = pod.get("status")
    if not isinstance(status, dict):
        return
    for condition in _items(status, "conditions"):
        condition.setdefault("lastProbeTime", None)
        condition.setdefault("lastTransitionTime", None)
    for name in ("containerStatuses", "initContainerStatuses"):
        for container in _items(status, name):
            container.setdefault("lastState", {})
            container.setdefault("state", {})
            container.setdefault("ready", False)
            for field in ("image", "imageID"):
                container.setdefault(field, "")
            container.setdefault("restartCount", 0)
    if status.get("podIP"):
        status["podIPs"] = [{"ip": status["podIP"]}]


def _items(parent: Manifest, name: str) -> list[Manifest]:
    items = parent.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _mistyped("Pod", "PodStatus", f"status.{name}", items, "array of objects")
    return items


def admit_pod(pod: Manifest) -> None:
    """What admission adds to a new pod, and the status that it starts with."""
    spec = pod.get("spec")
    if isinstance(spec, dict):
        tolerations = spec.setdefault("tolerations", [])
        for toleration in _TOLERATIONS:
            if not any(item.get("key") == toleration["key"] for item in tolerations):
                tolerations.append(dict(toleration))
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec if isinstance(spec, dict) else {})}


def default_pod_spec(spec: Manifest) -> None:
    """The defaults of a pod's spec and of a template's alike."""
    for container in _containers(spec):
        _default_container(container)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _containers(spec: Manifest) -> Iterator[Manifest]:
    for name in _CONTAINER_LISTS:
        yield from spec.get(name) or ()


def _default_container(container: Manifest) -> None:
    container.setdefault("resources", {})
    resources = container["resources"]
    if isinstance(resources, dict) and isinstance(limits := resources.get("limits"), dict):
        requests = resources.setdefault("requests", {})
        for name, quantity in limits.items():
            requests.setdefault(name, quantity)
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = container.get("image")
    if isinstance(image, str):
        container.setdefault("imagePullPolicy", "Always" if _floats(image) else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if isinstance(reference, dict):
            reference.setdefault("apiVersion", "v1")
    for name in _PROBES:
        if isinstance(probe := container.get(name), dict):
            for field, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                probe.setdefault(field, value)
            if isinstance(http := probe.get("httpGet"), dict):
                http.setdefault("path", "/")
                http.setdefault("scheme", "HTTP")


def _floats(image: str) -> bool:
    """Whether an image reference may mean something else tomorrow: no tag, or `latest`, and no digest."""
    if "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest")


def _default_volume(volume: Manifest) -> None:
    sources = ("configMap", "secret", "projected", "downwardAPI")
    for source in sources:
        if isinstance(inner := volume.get(source), dict):
            inner.setdefault("defaultMode", 420)
    if isinstance(path := volume.get("hostPath"), dict):
        path.setdefault("type", "")
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def qos_class(spec: Manifest) -> str:
    """BestEffort without requests and limits, Guaranteed with all limits and equal requests, else Burstable."""
    guaranteed, anything = True, False
    for container in _containers(spec):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        if any(name in group for group in (limits, requests) for name in ("cpu", "memory")):
            anything = True
        if not all(name in limits and requests.get(name) == limits[name] for name in ("cpu", "memory")):
            guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


# ── shape ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_GO_TYPES = {str: "string", dict: "object", list: "array", bool: "bool"}


def check_shape(spec: Manifest, kind: str) -> None:
    """Refuse what the server could not decode, where defaults and rules look. Raises BadRequest."""
    for name in (*_CONTAINER_LISTS, "volumes", "tolerations"):
        items = spec.get(name)
        if items is None:
            spec.pop(name, None)
        elif not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            go = {"containers": "[]v1.Container", "initContainers": "[]v1.Container", "volumes": "[]v1.Volume"}
            raise _mistyped(kind, "PodSpec", f"spec.{name}", items, go.get(name, "[]v1.Toleration"))
    for name in ("nodeName", "restartPolicy", "serviceAccountName", "schedulerName", "hostname", "subdomain"):
        if not isinstance(spec.get(name, ""), str | None):
            raise _mistyped(kind, "PodSpec", f"spec.{name}", spec[name], "string")
    for name in ("terminationGracePeriodSeconds", "activeDeadlineSeconds"):
        if not isinstance(spec.get(name, 0), int | None) or isinstance(spec.get(name), bool):
            raise _mistyped(kind, "PodSpec", f"spec.{name}", spec[name], "int64")
    if not isinstance(spec.get("securityContext", {}), dict | None):
        raise _mistyped(kind, "PodSpec", "spec.securityContext", spec["securityContext"], "v1.PodSecurityContext")
    for container in _containers(spec):
        for name in ("name", "image", "workingDir", "imagePullPolicy"):
            if not isinstance(container.get(name, ""), str | None):
                raise _mistyped(kind, "Container", f"spec.containers.{name}", container[name], "string")
        for name in ("command", "args"):
            items = container.get(name) or []
            if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
                raise _mistyped(kind, "Container", f"spec.containers.{name}", container[name], "[]string")
        for name in ("env", "ports", "volumeMounts", "envFrom"):
            items = container.get(name) or []
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise _mistyped(kind, "Container", f"spec.containers.{name}", items, "[]v1.EnvVar")
        for variable in container.get("env") or ():
            if not isinstance(variable.get("value", ""), str | None):
                raise _mistyped(kind, "EnvVar", "spec.containers.env.value", variable["value"], "string")
            if not isinstance(variable.get("valueFrom", {}), dict | None):
                raise _mistyped(kind, "EnvVar", "spec.containers.env.valueFrom", "", "v1.EnvVarSource")
        if not isinstance(container.get("resources", {}), dict | None):
            raise _mistyped(kind, "Container", "spec.containers.resources", "", "v1.ResourceRequirements")
        for name in ("limits", "requests"):
            if not isinstance((container.get("resources") or {}).get(name, {}), dict | None):
                raise _mistyped(
                    kind, "ResourceRequirements", f"spec.containers.resources.{name}", "", "v1.ResourceList"
                )


def _mistyped(kind: str, struct: str, path: str, value: Any, type_: str) -> Exception:
    found = _GO_TYPES.get(type(value), "number")
    return bad_request(
        f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go struct field '
        f"{struct}.{path} of type {type_}"
    )


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def validate_pod(pod: Manifest, previous: Manifest | None) -> list[FieldError]:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return [required("spec.containers")]
    errors = validate_pod_spec(spec, "spec")
    if previous is not None and not errors:
        errors = _validate_update(spec, previous["spec"])
    return errors


def validate_pod_spec(spec: Manifest, place: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not spec.get("containers"):
        errors.append(required(f"{place}.containers"))
    seen: set[str] = set()
    for list_name in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(list_name) or ()):
            errors += _validate_container(container, f"{place}.{list_name}[{index}]", seen)
    policy = spec.get("restartPolicy")
    if policy not in _RESTART:
        errors.append(unsupported(f"{place}.restartPolicy", policy, _RESTART))
    grace = spec.get("terminationGracePeriodSeconds", 30)
    if isinstance(grace, int) and grace < 0:
        errors.append(
            invalid_value(f"{place}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")
        )
    errors += _validate_volumes(spec, place)
    return errors


def _validate_container(container: Manifest, place: str, seen: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name, image = container.get("name") or "", container.get("image") or ""
    if not name:
        errors.append(required(f"{place}.name"))
    elif why := dns_label(name):
        errors.append(invalid_value(f"{place}.name", name, why))
    if not image:
        errors.append(required(f"{place}.image"))
    elif image != image.strip():
        errors.append(invalid_value(f"{place}.image", image, "must not have leading or trailing whitespace"))
    if name and name in seen:
        errors.append(duplicate(f"{place}.name", name))
    seen.add(name)
    if container.get("imagePullPolicy", "Always") not in _PULL:
        errors.append(unsupported(f"{place}.imagePullPolicy", container["imagePullPolicy"], _PULL))
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if number is None:
            errors.append(required(f"{place}.ports[{index}].containerPort"))
        elif not isinstance(number, int) or not 0 < number < 65536:
            errors.append(
                invalid_value(f"{place}.ports[{index}].containerPort", number, "must be between 1 and 65535, inclusive")
            )
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            errors.append(unsupported(f"{place}.ports[{index}].protocol", port["protocol"], _PROTOCOLS))
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            errors.append(required(f"{place}.env[{index}].name"))
        if variable.get("value") and variable.get("valueFrom"):
            why = "may not be specified when `value` is not empty"
            errors.append(invalid_value(f"{place}.env[{index}].valueFrom", "", why))
    resources = container.get("resources") or {}
    for group in ("limits", "requests"):
        for resource, quantity in (resources.get(group) or {}).items():
            if not _quantity(str(quantity)):
                errors.append(invalid_value(f"{place}.resources.{group}[{resource}]", quantity, "must be a quantity"))
    return errors


_quantity = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?").fullmatch


def _validate_volumes(spec: Manifest, place: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume.get("name") or ""
        if not name:
            errors.append(required(f"{place}.volumes[{index}].name"))
        elif why := dns_label(str(name)):
            errors.append(invalid_value(f"{place}.volumes[{index}].name", name, why))
        elif name in names:
            errors.append(duplicate(f"{place}.volumes[{index}].name", name))
        names.add(str(name))
    for list_name in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(list_name) or ()):
            for mount_index, mount in enumerate(container.get("volumeMounts") or ()):
                where = f"{place}.{list_name}[{index}].volumeMounts[{mount_index}]"
                if not mount.get("name"):
                    errors.append(required(f"{where}.name"))
                elif str(mount["name"]) not in names:
                    errors.append(FieldError("FieldValueNotFound", f"{where}.name", f'Not found: "{mount["name"]}"'))
                if not mount.get("mountPath"):
                    errors.append(required(f"{where}.mountPath"))
    return errors


def _validate_update(spec: Manifest, before: Manifest) -> list[FieldError]:
    """Of a pod that exists, hardly anything may change."""
    if spec == before or _fixed(spec) == _fixed(before):
        return []
    return [forbidden_field("spec", _IMMUTABLE)]


def _fixed(spec: Manifest) -> Manifest:
    free = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
    fixed = {key: value for key, value in spec.items() if key not in free}
    for name in _CONTAINER_LISTS:
        if name in fixed:
            fixed[name] = [{key: value for key, value in item.items() if key != "image"} for item in fixed[name]]
    return fixed
