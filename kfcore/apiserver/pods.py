"""Pods and pod templates: the shape that the API takes, and the defaults that it fills in. Rules: `pod_rules.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.amounts import of_containers, text
from kfcore.apiserver.quantities import amount
from kfcore.apiserver.status import bad_request
from kfcore.apiserver.volume_defaults import default_references, default_volume, pull_policy

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
_HOOKS = ("postStart", "preStop")
_QOS_RESOURCES = ("cpu", "memory")
_CONTAINER_LISTS = ("initContainers", "containers")
_TOLERATIONS: tuple[Manifest, ...] = tuple(
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
    _request_limits(spec)
    _request_as_a_whole(spec)
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
            if not any(_covers(item, toleration["key"]) for item in tolerations):
                tolerations.append(dict(toleration))
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec if isinstance(spec, dict) else {})}
    if isinstance(spec, dict) and spec.get("schedulingGates"):
        pod["status"]["conditions"] = [dict(_GATED)]


def _covers(toleration: Manifest, taint: str) -> bool:
    """Whether a pod says itself how long it stays where the taint evicts. An empty key or effect is any."""
    return (toleration.get("key") or taint) == taint and (toleration.get("effect") or "NoExecute") == "NoExecute"


def default_pod_spec(spec: Manifest) -> None:
    """The defaults of a pod's spec and of a template's alike."""
    for container in _containers(spec):
        default_container(container)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for volume in spec.get("volumes") or ():
        default_volume(volume)


def _containers(spec: Manifest) -> Iterator[Manifest]:
    for name in _CONTAINER_LISTS:
        yield from spec.get(name) or ()


def _request_limits(spec: Manifest) -> None:
    """Of a pod, not of a template: what is limited and not requested is requested."""
    for container in _containers(spec):
        resources = container["resources"]
        if isinstance(resources, dict) and isinstance(limits := resources.get("limits"), dict):
            requests = resources.setdefault("requests", {})
            for name, quantity in limits.items():
                requests.setdefault(name, quantity)


def _request_as_a_whole(spec: Manifest) -> None:
    """A pod that is limited as a whole requests what its containers do, or else what it is limited to."""
    resources = spec.get("resources")
    if not isinstance(resources, dict) or not (limits := resources.get("limits")):
        return
    needed = {name: text(name, size) for name, size in of_containers(spec, "requests").items()}
    requests = resources.setdefault("requests", {})
    for name, quantity in {**limits, **needed}.items():
        if name in _QOS_RESOURCES:
            requests.setdefault(name, quantity)


def default_container(container: Manifest) -> None:
    """The defaults of a container of any sort."""
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = container.get("image")
    if isinstance(image, str):
        container.setdefault("imagePullPolicy", pull_policy(image))
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or ():
        default_references(variable.get("valueFrom") or {})
    for name in _PROBES:
        if isinstance(probe := container.get(name), dict):
            for field, value in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                probe.setdefault(field, value)
            _default_handler(probe)
    lifecycle: Manifest = container.get("lifecycle") or {}
    for name in _HOOKS:
        if isinstance(hook := lifecycle.get(name), dict):
            _default_handler(hook)


def _default_handler(handler: Manifest) -> None:
    if isinstance(http := handler.get("httpGet"), dict):
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")
    if isinstance(grpc := handler.get("grpc"), dict):
        grpc.setdefault("service", "")


def qos_class(spec: Manifest) -> str:
    """BestEffort without requests and limits, Guaranteed with all limits and equal requests, else Burstable. What the
    pod as a whole asks for goes before what its containers do.
    """
    whole = spec.get("resources") or {}
    asked = [whole] if whole.get("limits") or whole.get("requests") else [
        container.get("resources") or {} for container in _containers(spec)
    ]  # fmt: skip
    if not any(asked):
        return "BestEffort"
    guaranteed, anything = True, False
    for resources in asked:
        limits, requests = (_above_nothing(resources.get(group)) for group in ("limits", "requests"))
        anything = anything or bool(limits or requests)
        guaranteed = guaranteed and len(limits) == len(_QOS_RESOURCES) and requests == limits
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _above_nothing(quantities: Any) -> dict[str, Any]:
    if not quantities:
        return {}
    found = {name: amount(str(value)) for name, value in quantities.items() if name in _QOS_RESOURCES}
    return {name: value for name, value in found.items() if value}


_GO_TYPES = {str: "string", dict: "object", list: "array", bool: "bool"}


def _mistyped(kind: str, struct: str, path: str, value: Any, type_: str) -> Exception:
    found = _GO_TYPES.get(type(value), "number")
    return bad_request(
        f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal {found} into Go struct field '
        f"{struct}.{path} of type {type_}"
    )
