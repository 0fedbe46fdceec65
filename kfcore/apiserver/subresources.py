"""What is served beside an object and is not its status: scale, binding, eviction, log, exec, tokens."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.api.resource import Resource
from kfcore.apiserver import logs, pod_changes, proxy, streaming, token_request
from kfcore.apiserver.authentication import Authentication
from kfcore.apiserver.bodies import check_kind, media_type, read_json
from kfcore.apiserver.conversion import served
from kfcore.apiserver.deletion import parse_options
from kfcore.apiserver.eviction import demand_budget
from kfcore.apiserver.gate import Gate
from kfcore.apiserver.logs import PodLogs
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.ownership import owner_of
from kfcore.apiserver.patching import Patcher
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.scaling import Scales
from kfcore.apiserver.status import (
    JSON,
    bad_request,
    invalid,
    method_not_allowed,
    no_such_resource,
    required,
    unsupported,
)
from kfcore.apiserver.streaming import PodProcesses
from kfcore.apiserver.writing import Writing, dry_run
from kfcore.client.errors import Conflict, StatusDetails

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
        self._scales = Scales(objects)
        self._writing = writing
        self._authentication = authentication
        self._pod_logs = pod_logs
        self._pod_processes = pod_processes

    async def handle(self, route: Route, request: Request) -> Response:
        """The answer, where others have a part in it: a log's keeper, or what listens in a pod."""
        match route.kind.resource.plural, route.subresource, request.method:
            case "pods", "log", "GET":
                pod = served(route.kind, self._objects.read(route.kind, route.namespace, route.name))
                return await logs.respond(request, pod, self._pod_logs)
            case "pods" | "services", "proxy", _:
                return await proxy.respond(route, request, self._objects, self._pod_processes)
        return self.act(route, request)

    def act(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        """The answer to everything else, given at once."""
        match route.kind.resource.plural, route.subresource, request.method:
            case _, "scale", "GET":
                return self._scales.read(route, request)
            case _, "scale", "PUT" | "PATCH":
                return self._scales.write(route, request, gate, dry_run=dry_run(request))
            case "pods", "exec" | "attach" | "portforward", "GET" | "POST":
                pod = served(route.kind, self._objects.read(route.kind, route.namespace, route.name))
                return streaming.respond(route.subresource, request, pod, self._pod_processes)
            case "serviceaccounts", "token", "POST":
                account = served(route.kind, self._objects.read(route.kind, route.namespace, route.name))
                return token_request.respond(request, account, self._objects, self._authentication, gate)
            case "pods", "binding", "POST":
                return self._bind(route, request, gate)
            case "pods", "eviction", "POST":
                return self._evict(route, request, gate)
            case "pods", "ephemeralcontainers" | "resize", "GET":
                return self._writing.answer(
                    route.kind, self._objects.read(route.kind, route.namespace, route.name), request
                )
            case "pods", "ephemeralcontainers" | "resize", "PUT" | "PATCH":
                return self._change_pod(route, request, gate)
            case "certificatesigningrequests", "approval", "GET":
                stored = self._objects.read(route.kind, route.namespace, route.name)
                return self._writing.answer(route.kind, stored, request)
            case "certificatesigningrequests", "approval", "PUT":
                return self._approve(route, request, gate)
            case "namespaces", "finalize", "PUT":
                return self._finalize(route, request, gate)
        if not any(sub.name == route.subresource for sub in route.kind.subresources):
            raise no_such_resource()
        raise method_not_allowed()

    # ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def bind_named(self, route: Route, request: Request, gate: Gate | None = None) -> Response:
        """`POST …/bindings`: which pod, the body says."""
        pods = self._objects.kinds.at("", "v1", "pods")
        assert pods is not None
        metadata = check_kind(_BINDING, read_json(request.body, "Binding"), custom=False).get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(name, str) or not name:
            raise invalid(_BINDING, "", [required("metadata.name", "name or generateName is required")])
        return self._bind(Route(pods, route.namespace, name, "binding"), request, gate)

    def _bind(self, route: Route, request: Request, gate: Gate | None) -> Response:
        body = check_kind(_BINDING, read_json(request.body, "Binding"), custom=False)
        if gate is not None:
            body = gate.post(body)
        named = body.get("metadata")
        if isinstance(named, dict) and named.get("name") not in (None, "", route.name):
            raise bad_request("name in URL does not match name in Binding object")
        target = body.get("target")
        target = target if isinstance(target, dict) else {}
        errors = []
        if (sort := target.get("kind") or "Node") != "Node":
            errors.append(unsupported("target.kind", sort, ("Node", "<empty>")))
        node = str(target.get("name") or "")
        if not node:
            errors.append(required("target.name"))
        if errors:
            raise invalid(_BINDING, route.name, errors)

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

    def _evict(self, route: Route, request: Request, gate: Gate | None) -> Response:
        body = check_kind(_EVICTION, read_json(request.body, "Eviction"), custom=False)
        options: Any = body.get("deleteOptions") or {}
        if not isinstance(options, dict):
            raise bad_request("deleteOptions must be an object")
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict) or metadata.get("name") != route.name:
            raise bad_request("name in URL does not match name in Eviction object")
        if gate is not None:
            gate.post(body)
        dry = dry_run(request, options)
        pod = self._objects.read(route.kind, route.namespace, route.name).manifest
        demand_budget(self._objects, pod, dry_run=dry)
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

    def _change_pod(self, route: Route, request: Request, gate: Gate | None) -> Response:
        kind, part = route.kind, route.subresource
        patcher = None if request.method == "PUT" else Patcher(kind, media_type(request), request.body)
        body = {} if patcher else self._writing.manifest(kind, request)

        def changed(pod: Manifest) -> Manifest:
            before = decode_json(encode_json(pod))
            made = pod_changes.only(part, before, patcher.apply(pod) if patcher else body)
            pod_changes.default_ephemeral(made)
            return made

        with patcher.decoding() if patcher else nullcontext():
            stored = self._objects.update(
                kind,
                route.namespace,
                route.name,
                changed,
                subresource=part,
                dry_run=dry_run(request),
                owner=owner_of(request, self._objects.now()),
                validate=partial(pod_changes.validate_change, part),
                gate=gate,
            )
        return self._writing.answer(kind, stored, request)

    # ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _approve(self, route: Route, request: Request, gate: Gate | None) -> Response:
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

        stored = self._objects.update(route.kind, "", route.name, change, subresource="status", gate=gate)
        return self._writing.answer(route.kind, stored, request)

    # ── namespaces ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _finalize(self, route: Route, request: Request, gate: Gate | None) -> Response:
        body = self._writing.manifest(route.kind, request)
        if isinstance(spec := body.get("spec"), dict) and not spec.get("finalizers"):
            spec.pop("finalizers", None)
        stored = self._objects.update(
            route.kind, route.namespace, route.name, lambda _: body, subresource="finalize", replaces=True, gate=gate
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
