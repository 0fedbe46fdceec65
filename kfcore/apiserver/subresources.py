"""What is served beside an object and is not its status: scale, binding, eviction, log, exec, tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import logs, pod_changes, proxy, streaming, token_request
from kfcore.apiserver.authentication import Authentication
from kfcore.apiserver.conversion import served
from kfcore.apiserver.deletion import parse_options
from kfcore.apiserver.eviction import demand_budget
from kfcore.apiserver.kinds import ScalePaths, ServedKind
from kfcore.apiserver.logs import PodLogs
from kfcore.apiserver.objects import Change, Objects
from kfcore.apiserver.ownership import owner_of
from kfcore.apiserver.patch import json_patch, merge_patch
from kfcore.apiserver.representation import negotiate
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import (
    JSON,
    bad_request,
    invalid,
    invalid_value,
    method_not_allowed,
    no_such_resource,
    required,
)
from kfcore.apiserver.storage import Stored
from kfcore.apiserver.streaming import PodProcesses
from kfcore.apiserver.writing import Writing, check_kind, dry_run, media_type, patch_change, read_json
from kfcore.client.errors import Conflict, StatusDetails, UnsupportedMediaType

_SCALE = Resource("autoscaling", "v1", "Scale", "scales")
_SERVED_SCALE = ServedKind(_SCALE)
_BINDING = Resource("", "v1", "Binding", "bindings")
_EVICTION = Resource("policy", "v1", "Eviction", "evictions")


class Subresources:
    def __init__(
        self,
        objects: Objects,
        writing: Writing,
        authentication: Authentication,
        pod_logs: PodLogs | None,
        pod_processes: PodProcesses | None,
    ) -> None:
        self._objects = objects
        self._writing = writing
        self._authentication = authentication
        self._pod_logs = pod_logs
        self._pod_processes = pod_processes

    async def handle(self, route: Route, request: Request) -> Response:
        match route.kind.resource.plural, route.subresource, request.method:
            case _, "scale", "GET":
                stored = self._objects.read(route.kind, route.namespace, route.name)
                return self._answer_scale(route.kind, stored, request)
            case _, "scale", "PUT" | "PATCH":
                return self._scale(route, request)
            case "pods", "log", "GET":
                pod = served(route.kind, self._objects.read(route.kind, route.namespace, route.name))
                return await logs.respond(request, pod, self._pod_logs)
            case "pods", "exec" | "attach" | "portforward", "GET" | "POST":
                pod = served(route.kind, self._objects.read(route.kind, route.namespace, route.name))
                return streaming.respond(route.subresource, request, pod, self._pod_processes)
            case "serviceaccounts", "token", "POST":
                account = served(route.kind, self._objects.read(route.kind, route.namespace, route.name))
                return token_request.respond(request, account, self._objects, self._authentication)
            case "pods", "binding", "POST":
                return self._bind(route, request)
            case "pods", "eviction", "POST":
                return self._evict(route, request)
            case "pods", "ephemeralcontainers" | "resize", "GET":
                return self._writing.answer(
                    route.kind, self._objects.read(route.kind, route.namespace, route.name), request
                )
            case "pods" | "services", "proxy", _:
                return await proxy.respond(route, request, self._objects, self._pod_processes)
            case "pods", "ephemeralcontainers" | "resize", "PUT" | "PATCH":
                return self._change_pod(route, request)
            case "certificatesigningrequests", "approval", "GET":
                stored = self._objects.read(route.kind, route.namespace, route.name)
                return self._writing.answer(route.kind, stored, request)
            case "certificatesigningrequests", "approval", "PUT":
                return self._approve(route, request)
            case "namespaces", "finalize", "PUT":
                return self._finalize(route, request)
        if not any(sub.name == route.subresource for sub in route.kind.subresources):
            raise no_such_resource()
        raise method_not_allowed()

    # ── scale ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer_scale(self, kind: ServedKind, stored: Stored, request: Request) -> Response:
        scale = scale_of(kind, served(kind, stored))
        view = negotiate(
            request.headers.get("accept", ""), request.query.get("includeObject", ""), self._objects.clock.now
        )
        return Response(200, dict(JSON), encode_json(scale) if view.plain else view.one(_SERVED_SCALE, scale))

    def _scale(self, route: Route, request: Request) -> Response:
        kind, paths = route.kind, route.kind.scale
        if paths is None:
            raise no_such_resource()
        body = read_json(request.body, "Scale")

        def change(manifest: Manifest) -> Manifest:
            scale = scale_of(kind, manifest)
            match request.method, media_type(request):
                case "PUT", _:
                    wanted = check_kind(_SCALE, body, custom=False)
                case _, "application/json-patch+json":
                    wanted = json_patch(scale, body)
                case _, "application/merge-patch+json" | "application/strategic-merge-patch+json":
                    wanted = merge_patch(scale, body)
                case _:
                    raise UnsupportedMediaType("415: Unsupported Media Type")
            spec = wanted.get("spec") if isinstance(wanted, dict) else None
            replicas = (spec or {}).get("replicas", 0) if isinstance(spec, dict | None) else None
            if not isinstance(replicas, int) or isinstance(replicas, bool):
                raise bad_request("Scale.spec.replicas must be an integer")
            if replicas < 0:
                error = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
                raise invalid(_SCALE, route.name, [error])
            metadata = wanted.get("metadata")
            if isinstance(metadata, dict) and (version := metadata.get("resourceVersion")):
                manifest["metadata"]["resourceVersion"] = version
            put(manifest, paths.spec_replicas, replicas)
            return manifest

        stored = self._objects.update(
            kind,
            route.namespace,
            route.name,
            change,
            dry_run=dry_run(request),
            subresource="scale",
            owner=owner_of(request, self._objects.now()),
        )
        return self._answer_scale(kind, stored, request)

    # ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def bind_named(self, route: Route, request: Request) -> Response:
        """`POST …/bindings`: which pod, the body says."""
        pods = self._objects.kinds.at("", "v1", "pods")
        assert pods is not None
        metadata = check_kind(_BINDING, read_json(request.body, "Binding"), custom=False).get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str) or not name:
            raise invalid(_BINDING, "", [required("metadata.name", "name or generateName is required")])
        return self._bind(Route(pods, route.namespace, name, "binding"), request)

    def _bind(self, route: Route, request: Request) -> Response:
        body = check_kind(_BINDING, read_json(request.body, "Binding"), custom=False)
        target = body.get("target")
        node = target.get("name") if isinstance(target, dict) else None
        if not isinstance(node, str) or not node:
            raise invalid(_BINDING, route.name, [required("target.name")])

        def change(pod: Manifest) -> Manifest:
            bound = pod["spec"].get("nodeName")
            if "deletionTimestamp" in pod["metadata"]:
                why = f"pod {route.name} is being deleted, cannot be assigned to a host"
                raise _binding_conflict(route.name, why)
            if bound:
                raise _binding_conflict(route.name, f'pod {route.name} is already assigned to node "{bound}"')
            pod["spec"] = _with_node(pod["spec"], node)
            conditions = pod.setdefault("status", {}).setdefault("conditions", [])
            conditions[:] = [condition for condition in conditions if condition.get("type") != "PodScheduled"]
            conditions.append(
                {
                    "type": "PodScheduled",
                    "status": "True",
                    "lastProbeTime": None,
                    "lastTransitionTime": self._objects.now(),
                }
            )
            return pod

        self._objects.update(
            route.kind, route.namespace, route.name, change, subresource="binding", dry_run=dry_run(request)
        )
        return _success(201)

    def _evict(self, route: Route, request: Request) -> Response:
        body = check_kind(_EVICTION, read_json(request.body, "Eviction"), custom=False)
        options: Any = body.get("deleteOptions") or {}
        if not isinstance(options, dict):
            raise bad_request("deleteOptions must be an object")
        metadata = body.get("metadata") or {}
        if isinstance(metadata, dict) and metadata.get("name") not in (None, route.name):
            raise bad_request("name in URL does not match name in Eviction object")
        dry = dry_run(request, options)
        pod = self._objects.read(route.kind, route.namespace, route.name).manifest
        demand_budget(self._objects, pod)
        if not dry and "deletionTimestamp" not in pod["metadata"]:
            self._objects.update(route.kind, route.namespace, route.name, self._disrupted, subresource="status")
        self._objects.delete(route.kind, route.namespace, route.name, parse_options(options, {}), dry_run=dry)
        return _success(201)

    def _disrupted(self, pod: Manifest) -> Manifest:
        """A pod says why it goes."""
        conditions = [item for item in pod["status"].get("conditions") or () if item.get("type") != "DisruptionTarget"]
        conditions.append(
            {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": self._objects.now(),
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            }
        )
        return {**pod, "status": {**pod["status"], "conditions": conditions}}

    def _change_pod(self, route: Route, request: Request) -> Response:
        kind, part = route.kind, route.subresource
        if request.method == "PUT":
            body = self._writing.manifest(kind, request)
            change: Change = lambda _: body  # noqa: E731
        else:
            change = patch_change(kind, media_type(request), request.body)

        def changed(pod: Manifest) -> Manifest:
            before = decode_json(encode_json(pod))
            made = pod_changes.only(part, before, change(pod))
            pod_changes.default_ephemeral(made)
            return made

        stored = self._objects.update(
            kind,
            route.namespace,
            route.name,
            changed,
            subresource=part,
            dry_run=dry_run(request),
            owner=owner_of(request, self._objects.now()),
            validate=partial(pod_changes.validate_change, part),
        )
        return self._writing.answer(kind, stored, request)

    # ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _approve(self, route: Route, request: Request) -> Response:
        """Conditions are what this is for; nothing else of the body counts."""
        body = self._writing.manifest(route.kind, request)

        def change(csr: Manifest) -> Manifest:
            wanted, now = body.get("status") or {}, self._objects.now()
            listed = wanted.get("conditions") if isinstance(wanted, dict) else None
            conditions = [
                {**item, "lastUpdateTime": item.get("lastUpdateTime") or now, "lastTransitionTime": now}
                for item in (listed if isinstance(listed, list) else ())
                if isinstance(item, dict)
            ]
            given = body.get("metadata")
            version = given.get("resourceVersion") if isinstance(given, dict) else None
            metadata = {**csr["metadata"], "resourceVersion": version or csr["metadata"]["resourceVersion"]}
            return {**csr, "metadata": metadata, "status": {**(csr.get("status") or {}), "conditions": conditions}}

        stored = self._objects.update(route.kind, "", route.name, change, subresource="status")
        return self._writing.answer(route.kind, stored, request)

    # ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _finalize(self, route: Route, request: Request) -> Response:
        body = self._writing.manifest(route.kind, request)
        stored = self._objects.update(
            route.kind, route.namespace, route.name, lambda _: body, subresource="finalize", replaces=True
        )
        return self._writing.answer(route.kind, stored, request)


def _success(code: int) -> Response:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
    return Response(code, dict(JSON), encode_json(body))


def _binding_conflict(pod: str, why: str) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on pods/binding "{pod}": {why}',
        details=StatusDetails(name=pod, kind="pods/binding"),
    )


def _with_node(spec: Manifest, node: str) -> Manifest:
    return {**spec, "nodeName": node}


def scale_of(kind: ServedKind, manifest: Manifest) -> Manifest:
    """The autoscaling/v1 Scale of an object."""
    paths: ScalePaths | None = kind.scale
    if paths is None:
        raise no_such_resource()
    metadata = manifest["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Manifest = {"replicas": look_up(manifest, paths.status_replicas) or 0}
    selector = look_up(manifest, paths.selector) if paths.selector else None
    if isinstance(selector, dict):
        labels = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in kept if field in metadata},
        "spec": {"replicas": look_up(manifest, paths.spec_replicas) or 0},
        "status": status,
    }


def look_up(manifest: Manifest, path: str) -> Any:
    value: Any = manifest
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def put(manifest: Manifest, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        manifest = manifest.setdefault(part, {})
    manifest[last] = value
