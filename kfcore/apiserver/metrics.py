"""`/apis/metrics.k8s.io/v1beta1`, for `kubectl top`: what pods and nodes use comes from whoever measures it, and is put
together with the objects when asked. Nothing of it is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from kfcore.api.codec import encode_json
from kfcore.api.meta import Manifest, rfc3339
from kfcore.api.resource import Resource
from kfcore.apiserver.kinds import Kinds, ServedKind
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import not_found
from kfcore.apiserver.storage import Stored
from kfcore.client.selectors import LabelSelector

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_VERBS = ("get", "list")


class Measured(msgspec.Struct, frozen=True):
    """Cores and bytes that were used, on average over the `window` seconds before `at`: of containers by their pod's
    uid and their name, of nodes by theirs."""

    at: datetime
    window: float
    containers: Mapping[tuple[str, str], tuple[float, int]]
    nodes: Mapping[str, tuple[float, int]]


class Measures(Protocol):
    def __call__(self) -> Measured | None:
        """What was measured last; None while nothing was."""


class Metrics:
    """Serves the group from now on."""

    def __init__(self, kinds: Kinds, objects: Objects, measures: Measures) -> None:
        for kind, plural, namespaced in (("NodeMetrics", "nodes", False), ("PodMetrics", "pods", True)):
            kinds.add(ServedKind(Resource(GROUP, VERSION, kind, plural, namespaced), verbs=_VERBS))
        self._kinds = kinds
        self._objects = objects
        self._measures = measures

    def answer(self, route: Route, request: Request) -> Response:
        resource = route.kind.resource
        items = list(self._items(route, LabelSelector.parse(request.query.get("labelSelector", ""))))
        if route.name:
            if not items:
                raise not_found(resource, route.name)
            return _json({"kind": resource.kind, "apiVersion": resource.api_version, **items[0]})
        head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": {}}
        return _json({**head, "items": items})

    def _items(self, route: Route, selector: LabelSelector) -> Iterator[Manifest]:
        measured = self._measures()
        plural = route.kind.resource.plural
        measured_kind = self._kinds.at("", "v1", plural)
        if measured is None or measured_kind is None:
            return
        for stored in self._objects.collection(measured_kind).select(route.namespace):
            if route.name in ("", stored.key[1]) and selector.matches(stored.labels):
                usage = _of_pod(stored, measured) if plural == "pods" else _of_node(stored, measured)
                if usage is not None:
                    yield {**_head(stored, measured), **usage}


def _head(stored: Stored, measured: Measured) -> Manifest:
    namespace, name = stored.key
    at = rfc3339(measured.at.replace(microsecond=0))
    metadata: Manifest = {"name": name, **({"namespace": namespace} if namespace else {}), "creationTimestamp": at}
    if stored.labels:
        metadata["labels"] = dict(stored.labels)
    return {"metadata": metadata, "timestamp": at, "window": f"{measured.window:.3f}s"}


def _of_pod(stored: Stored, measured: Measured) -> Manifest | None:
    manifest = stored.manifest
    uid = manifest["metadata"]["uid"]
    containers = [
        {"name": container["name"], "usage": _usage(measured.containers[uid, container["name"]])}
        for container in (*(manifest["spec"].get("initContainers") or ()), *manifest["spec"]["containers"])
        if (uid, container["name"]) in measured.containers
    ]
    return {"containers": containers} if containers else None


def _of_node(stored: Stored, measured: Measured) -> Manifest | None:
    used = measured.nodes.get(stored.key[1])
    return {"usage": _usage(used)} if used else None


def _usage(used: tuple[float, int]) -> Manifest:
    cores, memory = used
    return {"cpu": f"{math.ceil(cores * 1e9)}n", "memory": f"{memory // 1024}Ki"}


def _json(body: Manifest) -> Response:
    return Response(200, {"content-type": "application/json"}, encode_json(body))
