"""Pods and pod templates: the shape that the API takes, and the defaults that it fills in. Rules: `pod_rules.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.status import bad_request

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
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINER_LISTS = ("initContainers", "containers")
_TOLERATIONS = tuple(
    {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for taint in ("not-ready", "unreachable")
)

_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "lastProbeTime": None,
    "lastTransitionTime": None,
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


# ── defaults ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def default_pod(pod: Manifest) -> None:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        for container in _containers(spec):
            for port in container.get("ports") or ():
                port.setdefault("hostPort", port.get("containerPort", 0))
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
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec if isinstance(spec, dict) else {})}
    if isinstance(spec, dict) and spec.get("schedulingGates"):
        pod["status"]["conditions"] = [dict(_GATED)]


def default_pod_spec(spec: Manifest) -> None:
    """The defaults of a pod's spec and of a template's alike."""
    for container in _containers(spec):
        default_container(container)
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


def default_container(container: Manifest) -> None:
    """The defaults of a container of any sort."""
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
        resources = container.get("resources")
        if not resources:
            guaranteed = False
            continue
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        if any(name in group for group in (limits, requests) for name in ("cpu", "memory")):
            anything = True
        if not all(name in limits and requests.get(name) == limits[name] for name in ("cpu", "memory")):
            guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


_GO_TYPES = {str: "string", dict: "object", list: "array", bool: "bool"}


def _mistyped(kind: str, struct: str, path: str, value: Any, type_: str) -> Exception:
    found = _GO_TYPES.get(type(value), "number")
    return bad_request(
        f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go struct field '
        f"{struct}.{path} of type {type_}"
    )
